"""What the text model has to beat: character TF-IDF with logistic regression, and a lexicon of spans.

The peer gets all training sentences, a model a language and label, and a regularisation chosen on the
validation sentences; spans come from a lexicon of the spans seen in training, longest match first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.text.data import Example
from ml.text.weak import merge_spans

_MIN_SEEN = 2
_STRENGTHS = (1.0, 4.0)


@dataclass(frozen=True)
class Predicted:
    """Predictions for one text, in the terms of `Example`; `confidence` is the named sentiment's probability."""

    sentiment: int
    intent: int
    spans: tuple[tuple[int, int], ...]
    confidence: float | None = None


class Baseline:
    """Fitted peers, one set a language."""

    def __init__(self, train: Sequence[Example], valid: Sequence[Example]) -> None:
        languages = sorted({example.language for example in train})
        self._parts = {language: _fit(_of(train, language), _of(valid, language)) for language in languages}

    def predict(self, examples: Sequence[Example]) -> list[Predicted]:
        """Predictions in order; the examples' labels are not looked at."""
        found: dict[int, Predicted] = {}
        for language, part in self._parts.items():
            places = [at for at, example in enumerate(examples) if example.language == language]
            texts = [examples[at].text for at in places]
            if not texts:
                continue
            features = part["features"].transform(texts)
            sentiments, intents = part["sentiment"].predict(features), part["intent"].predict(features)
            for at, text, sentiment, intent in zip(places, texts, sentiments, intents, strict=True):
                spans = [match.span() for match in part["lexicon"].finditer(text.lower())]
                found[at] = Predicted(int(sentiment), int(intent), tuple(merge_spans(text, spans)))
        return [found[at] for at in range(len(examples))]


def _of(examples: Sequence[Example], language: str) -> list[Example]:
    return [example for example in examples if example.language == language]


def _fit(train: list[Example], valid: list[Example]) -> dict[str, Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    chinese = train[0].language == "zh"
    analyzer, sizes = ("char", (1, 3)) if chinese else ("char_wb", (1, 5))
    features = TfidfVectorizer(analyzer=analyzer, ngram_range=sizes, min_df=2, sublinear_tf=True, dtype=np.float32)
    seen = features.fit_transform([example.text for example in train])
    held = features.transform([example.text for example in valid])
    fitted: dict[str, Any] = {"features": features, "lexicon": _lexicon(train)}
    for name in ("sentiment", "intent"):
        goals = [getattr(example, name) for example in train]
        fitted[name] = _best_of(seen, goals, held, [getattr(example, name) for example in valid])
    return fitted


def _best_of(seen: Any, goals: list[int], held: Any, truth: list[int]) -> Any:
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score

    if len(set(goals)) == 1:  # nothing to tell apart
        return DummyClassifier().fit(seen, goals)
    tried = []
    for strength in _STRENGTHS:
        fitted = LogisticRegression(C=strength, class_weight="balanced", max_iter=200, tol=1e-3).fit(seen, goals)
        score = f1_score(truth, fitted.predict(held), labels=sorted(set(goals)), average="macro", zero_division=0)
        tried.append((float(score), -strength, fitted))
    return max(tried, key=lambda entry: entry[:2])[2]


def _lexicon(train: list[Example]) -> re.Pattern[str]:
    seen = Counter(e.text[start:end].lower() for e in train for start, end in e.spans)
    words = sorted((word for word, count in seen.items() if count >= _MIN_SEEN), key=lambda w: (-len(w), w))
    joined = "|".join(map(re.escape, words)) or r"(?!)"
    return re.compile(joined if train[0].language == "zh" else rf"\b(?:{joined})\b")
