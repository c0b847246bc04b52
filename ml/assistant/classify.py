"""Which intent a question has, and how sure that is.

Multinomial logistic regression on sentence vectors, its strength and temperature (Guo et al. 2017) chosen by
cross-validation. A softmax alone is sure of questions that are none of its intents, so the confidence of the best guess
is a second, small logistic regression on three signs, fitted to whether the guess was right on held-out questions:

- the margin: log-odds of the best intent after temperature;
- the energy: log-sum-exp of the logits (Liu, Wang, Owens and Li 2020), which the softmax divides away;
- the nearness: mean cosine with the nearest training questions of the guessed intent (Sun et al. 2022 use the distance
  to the k-th).

Held-out questions are of three kinds. In scope: cross-validation by question. Out of scope and near: all questions of a
fifth of the intents, asked of a model that never saw these intents. Out of scope and far: what the knowledge file lists
as outside. docs/assistant.md has what each sign does alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.assistant.bound import Held

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
STRENGTHS = (10.0, 30.0, 100.0)
FOLDS = 5
_NEAREST = 3
_MANY = 3000
_SEED = 20261111
_SMALL = 1e-12


@dataclass(frozen=True)
class Guess:
    """The best guesses of one question, likeliest first, with their probabilities; `confidence` is of the first."""

    intents: tuple[str, ...]
    shares: tuple[float, ...]
    confidence: float


@dataclass(frozen=True)
class Classifier:
    """A fitted classifier.

    Args:
        names: the intents, in order.
        weight: shape (hidden, intents).
        bias: shape (intents,).
        temperature: divides the logits.
        vectors: training questions, unit rows of shape (n, hidden).
        labels: their intents' places, shape (n,).
        sure: weights of the three signs and a constant, shape (4,).
        strength: of the logistic regression, as it was chosen.
    """

    names: tuple[str, ...]
    weight: Floats
    bias: Floats
    temperature: float
    vectors: Floats
    labels: Places
    sure: Floats
    strength: float

    def logits(self, rows: Floats) -> Floats:
        """Logits before the temperature, shape (n, intents)."""
        return np.asarray(rows.astype(np.float64) @ self.weight + self.bias, dtype=np.float64)

    def signs(self, rows: Floats) -> tuple[Places, Floats]:
        """The best guess of each row, shape (n,), and its signs, shape (n, 3): margin, energy, nearness."""
        logits = self.logits(rows)
        best = logits.argmax(1)
        shares = softmax(logits / self.temperature)[np.arange(len(rows)), best]
        margin = np.log(shares + _SMALL) - np.log(1 - shares + _SMALL)
        near = _nearness(rows.astype(np.float64), self.vectors, self.labels, best)
        return best, np.stack([margin, log_sum_exp(logits), near], axis=1)

    def confidences(self, rows: Floats) -> tuple[Places, Floats]:
        """The best guess of each row and the chance that it is right, both of shape (n,)."""
        best, signs = self.signs(rows)
        return best, _chance(signs, self.sure)

    def guesses(self, rows: Floats, count: int = 3) -> list[Guess]:
        """The likeliest intents of each row."""
        _, confidence = self.confidences(rows)
        shares = softmax(self.logits(rows) / self.temperature)
        order = np.argsort(-shares, axis=1, kind="stable")[:, :count]
        return [
            Guess(tuple(self.names[at] for at in top), tuple(float(row[at]) for at in top), float(sure))
            for top, row, sure in zip(order, shares, confidence, strict=True)
        ]


@dataclass(frozen=True)
class Part:
    """A model of some of the questions; `place` are its intents' places among all."""

    model: Classifier
    place: Places

    def at(self, temperature: float) -> Classifier:
        """The model at a temperature."""
        return replace(self.model, temperature=temperature)

    def guess(self, rows: Floats) -> Places:
        """The best intent of each row, as a place among all."""
        return np.asarray(self.place[self.model.logits(rows).argmax(1)], dtype=np.int64)


def fit(rows: Floats, intents: Sequence[str], outside: Floats) -> tuple[Classifier, Held, Held]:
    """A classifier, and what it said about held-out questions in and out of scope, for `ml.assistant.bound`.

    Args:
        rows: unit vectors of the training questions, shape (n, hidden).
        intents: the name of each one's intent; at least two names.
        outside: unit vectors of questions out of scope, shape (m, hidden); may be none.
    """
    names = tuple(sorted(set(intents)))
    labels = np.array([names.index(name) for name in intents], dtype=np.int64)
    folds = _folds(labels, np.random.default_rng(_SEED))
    strength, parts = _search(rows, labels, folds)
    temperature = _temperature(_held_logits(rows, labels, folds, parts), labels)
    whole = _bare(names, rows, labels, strength, temperature)
    inside_right, inside_signs = _ask_folds(whole, folds, parts)
    near_signs = _ask_intents(whole, strength)
    far_signs = _ask_outside(whole, parts, outside) if len(outside) else np.zeros((0, 3))
    signs = np.concatenate([inside_signs, near_signs, far_signs])
    right = np.concatenate([inside_right, np.zeros(len(near_signs) + len(far_signs), dtype=bool)])
    sure = _fit_sure(signs, right, len(inside_signs))
    fitted = replace(whole, sure=sure)
    beyond = np.concatenate([near_signs, far_signs])
    held_inside = Held(_chance(inside_signs, sure), ~inside_right)
    return fitted, held_inside, Held(_chance(beyond, sure), np.ones(len(beyond), dtype=bool))


def softmax(logits: Floats) -> Floats:
    """Rows that sum to one, shape as given."""
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(shares / shares.sum(1, keepdims=True), dtype=np.float64)


def log_sum_exp(logits: Floats) -> Floats:
    """Shape (n,) for logits of shape (n, intents)."""
    top = logits.max(1)
    return np.asarray(top + np.log(np.exp(logits - top[:, None]).sum(1)), dtype=np.float64)


def regression(rows: Any, labels: Places, strength: float) -> Any:
    """A multinomial logistic regression on `rows`, dense or sparse."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=500, tol=1e-5).fit(rows, labels)


def _bare(names: tuple[str, ...], rows: Floats, labels: Places, strength: float, temperature: float) -> Classifier:
    """A classifier whose confidence is not fitted yet. Two intents get two columns, where scikit-learn gives one."""
    fitted = regression(rows, labels, strength)
    weight, bias = fitted.coef_.T.astype(np.float64), fitted.intercept_.astype(np.float64)
    if len(fitted.classes_) == 2:
        weight, bias = np.concatenate([-weight, weight], 1) / 2, np.concatenate([-bias, bias]) / 2
    return Classifier(names, weight, bias, temperature, rows.astype(np.float64), labels, np.zeros(4), strength)


def _folds(labels: Places, dice: np.random.Generator) -> Places:
    """A fold for each question, every intent spread evenly."""
    folds = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        at = dice.permutation(np.flatnonzero(labels == label))
        folds[at] = (np.arange(len(at)) + dice.integers(FOLDS)) % FOLDS
    return folds


def _search(rows: Floats, labels: Places, folds: Places) -> tuple[float, list[Part]]:
    """The strength with the most held-out questions right, the weakest of equals, and its models, one a fold.

    With thousands of questions one fold tells strengths apart.
    """
    turns = range(FOLDS) if len(labels) <= _MANY else range(1)
    tried = []
    for strength in STRENGTHS:
        parts = [_part(rows, labels, folds != fold, strength) for fold in turns]
        hits = [
            part.guess(rows[folds == fold]) == labels[folds == fold] for fold, part in zip(turns, parts, strict=True)
        ]
        tried.append((float(np.concatenate(hits).mean()), -strength, parts))
    _, negative, parts = max(tried, key=lambda entry: entry[:2])
    parts += [_part(rows, labels, folds != fold, -negative) for fold in range(len(parts), FOLDS)]
    return -negative, parts


def _held_logits(rows: Floats, labels: Places, folds: Places, parts: list[Part]) -> Floats:
    """Logits of each question by the model without its fold; very low for intents that this model never saw."""
    logits = np.full((len(labels), labels.max() + 1), -1e3)
    for fold, part in enumerate(parts):
        logits[np.ix_(folds == fold, part.place)] = part.model.logits(rows[folds == fold])
    return logits


def _part(rows: Floats, labels: Places, kept: NDArray[np.bool_], strength: float) -> Part:
    place, inner = np.unique(labels[kept], return_inverse=True)
    names = tuple(str(at) for at in place)
    return Part(_bare(names, rows[kept], inner.astype(np.int64), strength, 1.0), place)


def _temperature(logits: Floats, labels: Places) -> float:
    """The temperature with the least mean log loss on held-out logits."""
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        shares = softmax(logits / np.exp(log_temperature))[np.arange(len(labels)), labels]
        return -float(np.log(shares + _SMALL).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x))


def _ask_folds(whole: Classifier, folds: Places, parts: list[Part]) -> tuple[NDArray[np.bool_], Floats]:
    """Whether each training question is guessed right by a model without its fold, and the signs of the guess."""
    right, signs = np.zeros(len(folds), dtype=bool), np.zeros((len(folds), 3))
    for fold, part in enumerate(parts):
        held = folds == fold
        best, signs[held] = part.at(whole.temperature).signs(whole.vectors[held])
        right[held] = part.place[best] == whole.labels[held]
    return right, signs


def _ask_intents(whole: Classifier, strength: float) -> Floats:
    """Signs of each training question asked of a model without its intent and a fifth of the others."""
    count = len(whole.names)
    turns = min(FOLDS, count)
    if count - -(-count // turns) < 2:
        return np.zeros((0, 3))
    turn_of = np.random.default_rng(_SEED).permutation(np.arange(count) % turns)[whole.labels]
    signs = []
    for turn in range(turns):
        part = _part(whole.vectors, whole.labels, turn_of != turn, strength)
        signs.append(part.at(whole.temperature).signs(whole.vectors[turn_of == turn])[1])
    return np.concatenate(signs)


def _ask_outside(whole: Classifier, parts: list[Part], outside: Floats) -> Floats:
    """Signs of the outside questions, each asked of one of the models of the cross-validation."""
    turn = np.arange(len(outside)) % FOLDS
    signs = np.zeros((len(outside), 3))
    for fold, part in enumerate(parts):
        if (turn == fold).any():
            signs[turn == fold] = part.at(whole.temperature).signs(outside[turn == fold])[1]
    return signs


def _fit_sure(signs: Floats, right: NDArray[np.bool_], inside: int) -> Floats:
    """Weights of the signs and a constant, in and out of scope counting alike; zeros where all guesses end alike."""
    from sklearn.linear_model import LogisticRegression

    if right.all() or not right.any():
        return np.array([1.0, 0.0, 0.0, 0.0])
    scale = signs.std(0) + _SMALL
    weights = np.ones(len(right))
    if 0 < inside < len(right):
        weights[inside:] = inside / (len(right) - inside)
    fitted = LogisticRegression(C=1.0, max_iter=300).fit(signs / scale, right, sample_weight=weights)
    return np.concatenate([fitted.coef_[0] / scale, fitted.intercept_])


def _chance(signs: Floats, sure: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(signs @ sure[:3] + sure[3], -40, 40))), dtype=np.float64)


def _nearness(rows: Floats, known: Floats, labels: Places, best: Places) -> Floats:
    """Mean cosine of each row with the nearest training questions of its guessed intent, shape (n,)."""
    near = np.zeros(len(rows))
    for label in np.unique(best):
        mine = best == label
        cosines = rows[mine] @ known[labels == label].T
        count = min(_NEAREST, cosines.shape[1])
        near[mine] = np.sort(cosines, axis=1)[:, -count:].mean(1)
    return near
