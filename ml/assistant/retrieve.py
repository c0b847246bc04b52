"""Answers of the past for questions that no template covers: exact nearest neighbours among past questions.

The search is one matrix product: 100,000 questions of 384 numbers are 150 MB and some 15 ms on one core, beside an
encoder call of the same size. An approximate index would add a dependency and lose neighbours to save nothing that
anybody waits for; from some millions of questions on it would pay.

An answer is only offered where it was given in several conversations with the same numbers in it, so that nothing that
was said to one customer is said to another, and where the questions it was given to are alike: "we will look into it"
answers everything and says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from flashsale.errors import InputError
from ml.assistant.history import Pair, key_of
from ml.assistant.intents import language_of

Floats = NDArray[np.float32]
VECTORS, QUESTIONS, ANSWERS = "questions.safetensors", "questions.parquet", "answers.parquet"
#: What two wordings of one answer have in common: their numbers and their negations, which vectors hardly tell apart.
_FIXED = re.compile(r"\d+(?:[.,]\d+)*|[不没无未别]|\b(?:no|not|never|cannot|without|unable)\b|n't\b", re.IGNORECASE)
_ALIKE = 3
"""From so many questions on it can be told whether an answer's questions are alike."""

_ANSWERS = pa.schema(
    [
        ("answer", pa.string()),
        ("conversations", pa.int32()),
        ("conversation", pa.string()),
        ("answered_at", pa.timestamp("us", tz="UTC")),
    ]
)
_QUESTIONS = pa.schema([("question", pa.string()), ("conversation", pa.string()), ("answer_row", pa.int32())])


@dataclass(frozen=True)
class Choice:
    """Which answers of the past are kept.

    Args:
        merge_from: answers of at least this cosine, with the same numbers and negations, are one: the newest.
        least_conversations: an answer was given in so many conversations.
        least_alike: by so much the mean cosine between an answer's questions is above that with other answers' ones.
    """

    merge_from: float = 0.95
    least_conversations: int = 2
    least_alike: float = 0.05


@dataclass(frozen=True)
class Retrieved:
    """An answer of the past; `conversation` is the pseudonym of the newest conversation it was given in."""

    answer: str
    similarity: float
    conversation: str
    conversations: int


class Index:
    """Past questions and their answers.

    Args:
        vectors: unit rows of the questions, shape (n, hidden).
        questions: a row a question with its `conversation` and `answer_row`.
        answers: a row an answer.
    """

    def __init__(self, vectors: Floats, questions: pa.Table, answers: pa.Table) -> None:
        self.vectors, self.questions, self.answers = vectors, questions, answers
        self._rows = questions["answer_row"].to_numpy().astype(np.int64)

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, row: Floats, count: int = 3) -> list[Retrieved]:
        """The answers whose nearest question is nearest to a unit vector of shape (hidden,), nearest first."""
        if not len(self):
            return []
        best = np.full(self.answers.num_rows, -np.inf)
        np.maximum.at(best, self._rows, self.vectors @ row)
        order = np.argsort(-best, kind="stable")[:count]
        found = zip(self.answers.take(order).to_pylist(), best[order], strict=True)
        return [
            Retrieved(row["answer"], float(similarity), row["conversation"], row["conversations"])
            for row, similarity in found
        ]

    def save(self, folder: Path) -> None:
        """Write the three files; the manifest is the assistant's."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"vectors": self.vectors}, str(folder / VECTORS))
        pq.write_table(self.questions, folder / QUESTIONS, compression="zstd")
        pq.write_table(self.answers, folder / ANSWERS, compression="zstd")

    @classmethod
    def load(cls, folder: Path) -> Index:
        """Read what `save` wrote. Raises InputError where the files do not fit together."""
        try:
            vectors = load_file(str(folder / VECTORS))["vectors"]
            questions, answers = (pq.ParquetFile(folder / name).read() for name in (QUESTIONS, ANSWERS))
        except (OSError, KeyError, pa.ArrowException) as error:
            raise InputError("assistant", f"its index cannot be read: {error}", "build it again") from error
        rows = questions["answer_row"].to_numpy()
        if len(rows) != len(vectors) or (len(rows) and rows.max() >= answers.num_rows):
            raise InputError("assistant", "its index does not fit together", "build it again", field="index")
        return cls(vectors, questions, answers)


def build_index(pairs: Sequence[Pair], vectors_of: Callable[[Sequence[str]], Floats], choice: Choice) -> Index:
    """The index of past pairs; `vectors_of` gives unit rows for texts. Pairs come oldest first."""
    groups = _merged(pairs, vectors_of, choice.merge_from)
    questions = vectors_of([pair.question for pair in pairs]) if pairs else np.zeros((0, 1), dtype=np.float32)
    kept = _offered(pairs, questions, groups, choice)
    places = [at for group in kept for at in group]
    asked = [
        [pairs[at].question for at in places],
        [pairs[at].conversation for at in places],
        [row for row, group in enumerate(kept) for _ in group],
    ]
    newest = [pairs[group[-1]] for group in kept]
    answers = pa.table(
        [
            [pair.answer for pair in newest],
            [len({pairs[at].conversation for at in group}) for group in kept],
            [pair.conversation for pair in newest],
            [pair.answered_at for pair in newest],
        ],
        schema=_ANSWERS,
    )
    return Index(questions[places], pa.table(asked, schema=_QUESTIONS), answers)


def agreement(index: Index, least: float) -> dict[str, Any]:
    """How well the past predicts itself: each question asked of the other conversations.

    Returns how many had a neighbour of at least `least`, and the share of those whose neighbour has the same answer.
    """
    names = np.array(index.questions["conversation"].to_pylist(), dtype=object)
    rows = index.questions["answer_row"].to_numpy()
    near = same = 0
    for at in range(len(index)):
        cosines = np.where(names == names[at], -np.inf, index.vectors @ index.vectors[at])
        other = int(cosines.argmax())
        if cosines[other] >= least:
            near += 1
            same += int(rows[other] == rows[at])
    return {"questions": len(index), "near": near, "same_answer": round(same / near, 4) if near else None}


def _offered(pairs: Sequence[Pair], questions: Floats, groups: Sequence[list[int]], choice: Choice) -> list[list[int]]:
    """The groups that several conversations had, and whose questions are more alike than like the other ones.

    Questions are held against those of their own language, as texts of one language are alike whatever they say.
    """
    languages = np.array([language_of(pair.question) for pair in pairs])
    sums = {name: questions[languages == name].astype(np.float64).sum(0) for name in np.unique(languages)}
    kept = []
    for group in groups:
        if len({pairs[at].conversation for at in group}) < choice.least_conversations:
            continue
        mine = questions[group].astype(np.float64)
        language = languages[group[0]]
        same = languages[group] == language
        others = int((languages == language).sum()) - int(same.sum())
        distinct = np.unique(mine, axis=0)
        count = len(distinct)
        if count >= _ALIKE and others:
            within = (float((distinct.sum(0) ** 2).sum()) - count) / (count * (count - 1))
            across = float(distinct.mean(0) @ (sums[language] - mine[same].sum(0))) / others
            if within - across < choice.least_alike:
                continue
        kept.append(group)
    return kept


def _merged(pairs: Sequence[Pair], vectors_of: Callable[[Sequence[str]], Floats], merge_from: float) -> list[list[int]]:
    """Pairs by answer, as places: equal ones first, then like vectors with the same numbers and negations."""
    by_key: dict[tuple[str, ...], list[int]] = {}
    for at, pair in enumerate(pairs):
        by_key.setdefault((key_of(pair.answer), *_fixed(pair.answer)), []).append(at)
    equal = sorted(by_key.values(), key=lambda group: (-len(group), group[0]))
    if not equal:
        return []
    rows = vectors_of([pairs[group[-1]].answer for group in equal])
    fixed = [_fixed(pairs[group[-1]].answer) for group in equal]
    heads: dict[tuple[str, ...], list[int]] = {}
    joined: dict[int, list[int]] = {}
    for at, group in enumerate(equal):
        known = heads.setdefault(fixed[at], [])
        cosines = rows[known] @ rows[at] if known else np.zeros(0)
        if len(known) and cosines.max() >= merge_from:
            joined[known[int(cosines.argmax())]] += group
        else:
            known.append(at)
            joined[at] = list(group)
    return sorted((sorted(group) for group in joined.values()), key=lambda group: group[0])


def _fixed(answer: str) -> tuple[str, ...]:
    return tuple(found.casefold() for found in _FIXED.findall(answer))
