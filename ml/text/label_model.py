"""A label model: how far to believe rules and witnesses that answer one yes-or-no question, none of them reliable.

Latent classes after Hui and Walter (1980), with priors. Every text lies in one *stratum*, which is what the rules say
of it; in a stratum a share of texts is truly yes. *Witnesses* are tests that speak of some texts, each with a
sensitivity and a specificity of its own, the same in every stratum, and independent given the truth. Two strata that
differ and two witnesses, or a stratum whose share somebody has read beforehand, make all of it estimable. Priors are
Beta distributions; expectation-maximisation finds the posterior's mode. Standard errors are a bootstrap's, in which the
texts are drawn anew and the priors' centres too: that is what is not known, in both.

Rules are strata and not witnesses, since they never are independent: one rule's silence is what makes another apply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flashsale.errors import InputError

Floats = NDArray[np.float64]
Counts = tuple[float, float]
SILENT = -1
_ROUNDS, _SETTLED = 3000, 1e-7
_DRAWS = 80


@dataclass(frozen=True)
class Share:
    """A share between 0 and 1 with its standard error; `rows` are the texts it was learnt from, none of the prior's."""

    name: str
    rows: int
    value: float
    error: float


@dataclass(frozen=True)
class Fitted:
    """`chances` of yes, shape (texts,); the share of yes by stratum, sensitivity and specificity by witness."""

    chances: Floats
    strata: list[Share]
    sensitivity: list[Share]
    specificity: list[Share]


def fit(
    stratum: NDArray[np.int64],
    strata: Sequence[tuple[str, Counts]],
    votes: NDArray[np.int8],
    witnesses: Sequence[tuple[str, Counts, Counts]],
) -> Fitted:
    """Find the chances of yes.

    Args:
        stratum: index of each text's stratum, shape (texts,).
        strata: name, and how many of its texts were read beforehand as yes and as no.
        votes: shape (texts, witnesses): 1 yes, 0 no, `SILENT`.
        witnesses: name, prior of its sensitivity (says yes to a yes, says no to one), and of its specificity (says no
            to a no, says yes to one), both as counts.

    Raises InputError where there is no text.
    """
    if not len(stratum):
        raise InputError("label model", "there is no text", "give texts that rules have sorted")
    patterns, cell, counts = np.unique(
        np.column_stack([stratum, votes]), axis=0, return_inverse=True, return_counts=True
    )  # texts that look alike are one row with a weight
    priors = [
        np.array(given, dtype=np.float64).reshape(-1, 2)
        for given in ([p for _, p in strata], [w[1] for w in witnesses], [w[2] for w in witnesses])
    ]
    found = _settle(patterns, counts.astype(np.float64), priors)
    errors = _errors(patterns, counts, priors)
    heard = (votes != SILENT).sum(0)
    named = [name for name, *_ in witnesses]
    sizes = np.bincount(stratum, minlength=len(strata))
    return Fitted(
        found.chances[cell.ravel()],
        _shares([name for name, _ in strata], sizes, found.share, errors[0]),
        _shares(named, heard, found.right, errors[1]),
        _shares(named, heard, found.quiet, errors[2]),
    )


@dataclass(frozen=True)
class _Settled:
    """Chances by pattern; shares by stratum, sensitivities and specificities by witness."""

    chances: Floats
    share: Floats
    right: Floats
    quiet: Floats


def _settle(patterns: NDArray[np.int64], weight: Floats, priors: Sequence[Floats]) -> _Settled:
    """Expectation-maximisation over patterns (stratum, then a vote a witness) that stand for `weight` texts each."""
    stratum, said, yes = patterns[:, 0], patterns[:, 1:] != SILENT, patterns[:, 1:] == 1
    read, hits, calm = priors
    share, right, quiet = (given[:, 0] / given.sum(1) for given in priors)
    size = np.bincount(stratum, weight, len(read))
    chances = share[stratum]
    for _ in range(_ROUNDS):
        before, chances = chances, _chances(share[stratum], said, yes, right, quiet)
        is_yes, is_no = weight * chances, weight * (1.0 - chances)
        share = (np.bincount(stratum, is_yes, len(read)) + read[:, 0]) / (size + read.sum(1))
        right = ((yes & said).T @ is_yes + hits[:, 0]) / (said.T @ is_yes + hits.sum(1))
        quiet = ((~yes & said).T @ is_no + calm[:, 0]) / (said.T @ is_no + calm.sum(1))
        if float(np.abs(chances - before).max()) < _SETTLED:
            break
    return _Settled(chances, share, right, quiet)


def _errors(patterns: NDArray[np.int64], counts: NDArray[np.int64], priors: Sequence[Floats]) -> list[Floats]:
    """Standard errors of shares, sensitivities and specificities, from draws of texts and of the priors' centres."""
    rng = np.random.default_rng(0)
    drawn: list[_Settled] = []
    for _ in range(_DRAWS):
        weight = rng.multinomial(counts.sum(), counts / counts.sum()).astype(np.float64)
        moved = []
        for prior in priors:
            centre = np.clip(rng.beta(prior[:, 0], prior[:, 1]), 1e-6, 1.0 - 1e-6)
            moved.append(prior.sum(1)[:, None] * np.column_stack([centre, 1.0 - centre]))
        drawn.append(_settle(patterns, weight, moved))
    return [np.std([getattr(each, name) for each in drawn], axis=0) for name in ("share", "right", "quiet")]


def _chances(prior: Floats, said: NDArray[np.bool_], yes: NDArray[np.bool_], right: Floats, quiet: Floats) -> Floats:
    """Chance of yes by pattern: the stratum's odds times what the witnesses that spoke make of them."""
    if_yes = np.log(right / (1.0 - quiet))
    if_no = np.log((1.0 - right) / quiet)
    odds = np.log(prior / (1.0 - prior)) + (np.where(yes, if_yes, if_no) * said).sum(1)
    return np.asarray(1.0 / (1.0 + np.exp(-odds)), dtype=np.float64)


def _shares(names: Sequence[str], rows: NDArray[np.int64], values: Floats, errors: Floats) -> list[Share]:
    return [
        Share(name, int(row), round(float(value), 4), round(float(error), 4))
        for name, row, value, error in zip(names, rows, values, errors, strict=True)
    ]
