"""Doubtful labels among new sentences: judged by models that never saw them, held against trusted sentences.

The judge is TF-IDF with logistic regression, fitted in folds on trusted sentences alone, so that poison cannot teach
it. Each new sentence is judged by the fold that its hash names; each trusted one by the fold that held it out. Were
the new labels as good as the trusted ones, both would look alike. Per language and given label, three questions are
asked:

- **Disagreements** (confident learning, Northcutt et al. 2021): a label is in doubt where another class's probability
  is above that class's mean self-confidence. Each is for a second person to read. Are there more than among trusted
  ones?
- **Flips**: a score test for a small share of flipped labels. The judge's probability of the given label is put into
  bins; a row scores the bin's share among trusted sentences given a wrong label on purpose, over its share among
  trusted ones as they are, less 1. The sum is the locally most powerful statistic against mixture with flipped rows
  (Cox and Hinkley 1974, section 4.8), so it sees about half the rate that a count of disagreements needs.
- **Triggers**: is an n-gram, rare among trusted sentences, tied to disagreements? A back door needs such a word (Gu et
  al. 2017; Kurita et al. 2020).

P-values come from draws of whole files under the trusted rates, which are themselves drawn from what is known of them
(Dirichlet), so a small trusted set does not raise false alarms.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsale.corpora.normal import identity
from ml.text.data import SENTIMENTS, Example
from ml.text.verdict import Check

Floats = NDArray[np.float64]
FOLDS = 5
DRAWS = 20_000
ALPHA = 0.005
"""Level of each of the two counts of a file; with both, a clean file is stopped at most once in a hundred."""
TRIGGER_ALPHA = 0.001
"""Level over all n-grams of a file together (Bonferroni)."""
BINS = np.array([0.01, 0.02, 0.04, 0.07, 0.11, 0.16, 0.22, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
LEAST_STRATUM = 50
"""Trusted sentences that a language and label need before new ones can be held against them."""
_LEAST_SEEN, _MOST_SHARE = 5, 0.1


@dataclass(frozen=True)
class Doubt:
    """Checks, the rows to read (worst first) and the numbers behind."""

    checks: list[Check]
    suspicious: list[dict[str, Any]]
    figures: dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """Sentences with their class probabilities (rows, 3), given labels (rows) and their language and label."""

    examples: list[Example]
    shares: Floats

    @property
    def given(self) -> NDArray[np.int64]:
        """Given labels, indices of `SENTIMENTS`."""
        return np.array([example.sentiment for example in self.examples], dtype=np.int64)

    @property
    def strata(self) -> list[tuple[str, int]]:
        """Language and given label of each row."""
        return [(example.language, example.sentiment) for example in self.examples]


def doubt(trusted: Sequence[Example], fresh: Sequence[Example], *, seed: int = 0) -> Doubt:
    """Judge the labels of `fresh` by models fitted on `trusted`.

    Rows of a language and label with fewer than `LEAST_STRATUM` trusted sentences cannot be judged; the checks say how
    many there are.
    """
    reference, judged, left = judge(trusted, fresh)
    checks = [_unjudged(left)] if left else []
    if not judged.examples:
        return Doubt(checks, [], {"unjudged": len(left)})
    dice = np.random.default_rng(seed)
    limits = confidence_limits(reference)
    known, found = disagreements(reference, limits), disagreements(judged, limits)
    more = disagreement_check(reference, known, judged, found, dice)
    flips = flip_check(reference, judged, dice)
    words, figures = trigger_check(reference, known, judged, found)
    order = np.argsort(judged.shares[np.arange(len(found)), judged.given], kind="stable")
    rows = [_row(judged, int(at)) for at in order if found[at]]
    stated = {"unjudged": len(left), "disagreements": int(found.sum()), "triggers": figures}
    unread = Check("labels in doubt that nobody has read again", not rows, float(len(rows)), 0.0, "sentences")
    return Doubt([*checks, unread, more, flips, words], rows, stated)


def judge(trusted: Sequence[Example], fresh: Sequence[Example]) -> tuple[Judged, Judged, list[Example]]:
    """Return trusted and new sentences with out-of-fold probabilities, and the new ones that cannot be judged."""
    counts = Counter((example.language, example.sentiment) for example in trusted)
    left = [e for e in fresh if counts[e.language, e.sentiment] < LEAST_STRATUM]
    usable = [e for e in fresh if counts[e.language, e.sentiment] >= LEAST_STRATUM]
    languages = sorted({e.language for e in usable})
    parts = [_judge_language([e for e in trusted if e.language == x], [e for e in usable if e.language == x])
             for x in languages]  # fmt: skip
    old, new = ([part[side] for part in parts] for side in (0, 1))
    return _joined(old), _joined(new), left


def _joined(parts: Sequence[Judged]) -> Judged:
    shares = np.concatenate([p.shares for p in parts]) if parts else np.zeros((0, len(SENTIMENTS)))
    return Judged([example for part in parts for example in part.examples], shares)


def _judge_language(trusted: list[Example], fresh: list[Example]) -> tuple[Judged, Judged]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    chinese = trusted[0].language == "zh"
    old, new = np.zeros((len(trusted), len(SENTIMENTS))), np.zeros((len(fresh), len(SENTIMENTS)))
    of_old, of_new = ([_fold(example.text) for example in rows] for rows in (trusted, fresh))
    for fold in range(FOLDS):
        seen = [e for e, f in zip(trusted, of_old, strict=True) if f != fold]
        analyzer, sizes = ("char", (1, 2)) if chinese else ("char_wb", (1, 4))
        features = TfidfVectorizer(analyzer=analyzer, ngram_range=sizes, min_df=2, sublinear_tf=True, dtype=np.float32)
        fitted = LogisticRegression(C=4.0, max_iter=200, tol=1e-3)
        fitted.fit(features.fit_transform([e.text for e in seen]), [e.sentiment for e in seen])
        for rows, folds, out in ((trusted, of_old, old), (fresh, of_new, new)):
            places = [at for at, f in enumerate(folds) if f == fold]
            if places:
                found = fitted.predict_proba(features.transform([rows[at].text for at in places]))
                out[np.ix_(places, fitted.classes_)] = found
    return Judged(trusted, old), Judged(fresh, new)


def _fold(text: str) -> int:
    """A fold by the hash of the sentence, so that copies share it; another salt than the split's."""
    return hashlib.sha256(b"fold" + identity(text).encode()).digest()[0] % FOLDS


def confidence_limits(reference: Judged) -> dict[tuple[str, int], float]:
    """Mean probability of its own class over the trusted sentences of a language and label: confident learning's t."""
    sums: dict[tuple[str, int], list[float]] = defaultdict(list)
    own = reference.shares[np.arange(len(reference.examples)), reference.given]
    for stratum, share in zip(reference.strata, own, strict=True):
        sums[stratum].append(float(share))
    return {stratum: sum(found) / len(found) for stratum, found in sums.items() if len(found) >= LEAST_STRATUM}


def disagreements(judged: Judged, limits: dict[tuple[str, int], float]) -> NDArray[np.bool_]:
    """Which rows have another class above its limit that is likelier than the given one."""
    languages = sorted({example.language for example in judged.examples})
    known = {lang: [limits.get((lang, label), 2.0) for label in range(len(SENTIMENTS))] for lang in languages}
    bounds = np.array([known[example.language] for example in judged.examples]).reshape(-1, len(SENTIMENTS))
    own = judged.shares[np.arange(len(judged.examples)), judged.given]
    return np.asarray(((judged.shares >= bounds) & (judged.shares > own[:, None])).any(1), dtype=np.bool_)


def disagreement_check(
    reference: Judged,
    known: NDArray[np.bool_],
    judged: Judged,
    found: NDArray[np.bool_],
    dice: np.random.Generator,
) -> Check:
    """Whether more new labels are in confident doubt than the trusted rates allow: one-sided, level `ALPHA`.

    The count is a sum of binomials, one a language and label, whose rates have Jeffreys' posterior.
    """
    old, new = _by_stratum(reference.strata), _by_stratum(judged.strata)
    drawn = np.zeros(DRAWS)
    for stratum, places in new.items():
        among = known[old[stratum]]
        rates = dice.beta(among.sum() + 0.5, (~among).sum() + 0.5, DRAWS)
        drawn += dice.binomial(len(places), rates)
    p = float((1 + (drawn >= found.sum()).sum()) / (1 + DRAWS))
    words = f"{int(found.sum())} of {len(found)} new labels, {drawn.mean():.1f} expected"
    return Check("confident disagreements, p", p >= ALPHA, p, ALPHA, note=words)


def flip_check(reference: Judged, judged: Judged, dice: np.random.Generator) -> Check:
    """The score test of the module's docstring, one-sided, level `ALPHA`; the note says the share it points to."""
    old, new = _by_stratum(reference.strata), _by_stratum(judged.strata)
    bins_old, bins_new = _bins(reference), _bins(judged)
    statistic, drawn, slope = 0.0, np.zeros(DRAWS), 0.0
    for stratum, places in new.items():
        clean = np.bincount(bins_old[old[stratum]], minlength=len(BINS) + 1).astype(float)
        score = _flipped(reference, *stratum) / _smooth(clean) - 1.0
        counts = np.bincount(bins_new[places], minlength=len(BINS) + 1)
        statistic += float(counts @ score)
        shares = dice.gamma(clean + 0.5, size=(DRAWS, len(clean)))
        shares /= shares.sum(1, keepdims=True)
        drawn += dice.multinomial(len(places), shares) @ score
        slope += len(places) * float(_smooth(clean) @ score**2)
    p = float((1 + (drawn >= statistic).sum()) / (1 + DRAWS))
    share = max(0.0, (statistic - float(drawn.mean())) / slope) if slope else 0.0
    return Check("flipped labels, p", p >= ALPHA, p, ALPHA, note=f"points to {100 * share:.1f} % flipped")


def _bins(judged: Judged) -> NDArray[np.int64]:
    own = judged.shares[np.arange(len(judged.examples)), judged.given]
    return np.searchsorted(BINS, own).astype(np.int64)


def _smooth(counts: Floats) -> Floats:
    raised = counts + 0.5
    return raised / raised.sum()


def _flipped(reference: Judged, language: str, label: int) -> Floats:
    """Shares of the bins of P(`label`) among trusted sentences of that language whose label is another one."""
    others = [at for at, (lang, own) in enumerate(reference.strata) if lang == language and own != label]
    bins = np.searchsorted(BINS, reference.shares[others, label])
    return _smooth(np.bincount(bins, minlength=len(BINS) + 1).astype(float))


def _by_stratum(strata: Sequence[tuple[str, int]]) -> dict[tuple[str, int], NDArray[np.int64]]:
    places: dict[tuple[str, int], list[int]] = defaultdict(list)
    for at, stratum in enumerate(strata):
        places[stratum].append(at)
    return {stratum: np.array(found, dtype=np.int64) for stratum, found in places.items()}


def trigger_check(
    reference: Judged, known: NDArray[np.bool_], judged: Judged, found: NDArray[np.bool_]
) -> tuple[Check, list[dict[str, Any]]]:
    """Whether an n-gram that trusted sentences hardly have goes with confident disagreements.

    An n-gram (1 to 3 words, 2 to 4 characters in Chinese) is asked about where at least 5 new sentences and at most a
    tenth have it, five times the share that trusted sentences have. Its disagreements are held against the file's other
    rows by a one-sided binomial test, at `TRIGGER_ALPHA` over all that are asked about.
    """
    from scipy.stats import binom

    most = _MOST_SHARE * len(found)
    rows = {gram: at for gram, at in _seen(judged.examples).items() if _LEAST_SEEN <= len(at) <= most}
    usual = Counter(gram for example in reference.examples if rows for gram in _grams(example) if gram in rows)
    base = (found.sum() + 0.5) / (len(found) + 1)
    old_base = (known.sum() + 0.5) / (len(known) + 1)
    asked = []
    for gram, places in rows.items():
        if len(places) / len(found) >= 5 * usual[gram] / max(len(known), 1):
            rest = (found.sum() - found[places].sum() + 0.5) / (len(found) - len(places) + 1)
            hits = int(found[places].sum())
            asked.append((float(binom.sf(hits - 1, len(places), max(rest, min(base, old_base)))), gram, hits, places))
    tested = len({tuple(places) for *_, places in asked})  # n-grams of the same rows are one question
    caught = sorted((p * tested, gram, hits, len(places)) for p, gram, hits, places in asked)
    caught = [entry for entry in caught if entry[0] < TRIGGER_ALPHA]
    words = [{"words": gram, "rows": seen, "disagreements": hits, "p": p} for p, gram, hits, seen in caught[:10]]
    named = ", ".join(repr(entry["words"]) for entry in words[:3])
    note = f"{named} go with disagreements" if named else f"{tested} rare n-grams asked about"
    return Check("trigger words", not words, float(len(caught)), 0.0, "n-grams", note), words


def _seen(examples: Sequence[Example]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = defaultdict(list)
    for at, example in enumerate(examples):
        for gram in _grams(example):
            places[gram].append(at)
    return places


def _grams(example: Example) -> set[str]:
    text = example.text.lower()
    chinese = example.language == "zh"
    units: Sequence[str] = text if chinese else text.split()
    sizes = (2, 3, 4) if chinese else (1, 2, 3)
    glue = "" if chinese else " "
    return {glue.join(units[at : at + size]) for size in sizes for at in range(len(units) - size + 1)}


def _unjudged(left: Sequence[Example]) -> Check:
    kinds = Counter(f"{e.language} {SENTIMENTS[e.sentiment]}" for e in left)
    named = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    words = f"{named}: read them"
    return Check("labels without a trusted peer", True, float(len(left)), None, "sentences", words, judged=False)


def _row(judged: Judged, at: int) -> dict[str, Any]:
    example, shares = judged.examples[at], judged.shares[at]
    likelier = SENTIMENTS[int(shares.argmax())]
    label = SENTIMENTS[example.sentiment]
    why = f"a model that never saw it gives {label} {shares[example.sentiment]:.2f} and {likelier} {shares.max():.2f}"
    return {"text": example.text, "language": example.language, "sentiment": label, "likelier": likelier, "why": why}
