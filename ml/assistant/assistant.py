"""The assistant: a folder that is built once, checked when it is loaded, and answers by itself.

It keeps its own copy of the encoder (see `ml.assistant.vectors`), so that nothing it says changes when the champion
moves; `model_version` is the version the copy was taken from.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from safetensors.numpy import load_file, save_file

from flashsale.errors import InputError
from ml.assistant import bound as bounds
from ml.assistant.classify import Classifier, Guess, fit
from ml.assistant.files import MANIFEST, seal, unseal
from ml.assistant.history import masked_question, pairs
from ml.assistant.intents import LANGUAGES, Knowledge, language_of, load_knowledge, parse_knowledge
from ml.assistant.retrieve import Choice, Index, Retrieved, agreement, build_index
from ml.assistant.vectors import copy_encoder, open_encoder, set_centre, vectors
from ml.text.pooled import Floats, pool
from ml.text.scorer import Scorer

ENCODER, INDEX, CLASSIFIER, KNOWLEDGE = "encoder", "index", "classifier.safetensors", "knowledge.yaml"
GUESSES = 3
_DECIMALS = 4
Kind = Literal["answer", "retrieved", "hand_over"]


@dataclass(frozen=True)
class Plan:
    """How an assistant is built.

    Args:
        layers: how many lower layers of the encoder make the vectors; None takes all.
        most_wrong: largest share of wrong answers by intent among all messages.
        outside_share: expected share of messages that no intent covers.
        least_similarity: least cosine with a past question for its answer to be offered.
        choice: which answers of the past are kept.
    """

    layers: int | None = None
    most_wrong: float = 0.02
    outside_share: float = 0.2
    least_similarity: float = 0.8
    choice: Choice = field(default_factory=Choice)

    def __post_init__(self) -> None:
        if not 0 < self.least_similarity <= 1:
            problem = f"{self.least_similarity} is no such cosine"
            raise InputError("assistant", problem, "give a number above 0, up to 1", field="least_similarity")


@dataclass(frozen=True)
class Reply:
    """What the assistant says to one message.

    Args:
        kind: `answer` by template, `retrieved` from the past, or `hand_over` to a person.
        answer: the words to send; None for a hand-over.
        intent: the intent answered; None unless `kind` is `answer`, or the intent is to talk to a person.
        confidence: chance that the best intent is right for `answer` and `hand_over`, cosine for `retrieved`.
        reason: why it is handed over, in one word; None otherwise.
        missing: slots that the answer asks for, or that the shop did not give.
        source: for `retrieved`, the pseudonym of the conversation it is from.
        guesses: the three likeliest intents with their probabilities.
        language: `zh` or `en`.
        model_version: the version of the encoder that read the message.
        knowledge_version: the version of the knowledge.
    """

    kind: Kind
    answer: str | None
    intent: str | None
    confidence: float
    reason: str | None
    missing: tuple[str, ...]
    source: str | None
    guesses: tuple[tuple[str, float], ...]
    language: str
    model_version: str
    knowledge_version: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        guesses = [{"intent": intent, "probability": share} for intent, share in self.guesses]
        return asdict(self) | {"missing": list(self.missing), "guesses": guesses}


class Assistant:
    """A loaded assistant.

    Args:
        scorer: the copied encoder.
        knowledge: what may be answered.
        classifier: which intent a question has.
        index: answers of the past.
        facts: `model_version`, `bound` (None: no bound keeps the promise) and `least_similarity`.
    """

    def __init__(
        self, scorer: Scorer, knowledge: Knowledge, classifier: Classifier, index: Index, facts: Mapping[str, Any]
    ) -> None:
        self.scorer, self.knowledge, self.classifier, self.index = scorer, knowledge, classifier, index
        self.model_version, self.knowledge_version = str(facts["model_version"]), knowledge.version
        at = facts["bound"]["at"]
        self.bound = float("inf") if at is None else float(at)
        self.least_similarity = float(facts["least_similarity"])

    @classmethod
    def load(cls, folder: Path, *, threads: int | None = None) -> Assistant:
        """Load a folder that `build` wrote. Raises InputError where a file is not what was written."""
        facts = unseal(folder)
        knowledge = parse_knowledge(
            (folder / KNOWLEDGE).read_text(encoding="utf-8"), subject="the assistant's knowledge"
        )
        arrays = load_file(str(folder / CLASSIFIER))
        classifier = Classifier(
            names=tuple(facts["intents"]),
            weight=arrays["weight"],
            bias=arrays["bias"],
            temperature=float(arrays["temperature"][0]),
            vectors=arrays["vectors"],
            labels=arrays["labels"],
            sure=arrays["sure"],
            strength=float(arrays["strength"][0]),
        )
        return cls(
            open_encoder(folder / ENCODER, threads=threads), knowledge, classifier, Index.load(folder / INDEX), facts
        )

    def ask(self, text: str, *, language: str | None = None, context: Mapping[str, str] | None = None) -> Reply:
        """The reply to one message.

        `language` is that of the answer, by default the message's; `context` has values for slots, by name. Raises
        InputError where the language is unknown or the text is blank.
        """
        if not text.strip():
            raise InputError("message", "it is blank", "send what the customer wrote", field="text")
        if language is not None and language not in LANGUAGES:
            remedy = f"choose {' or '.join(LANGUAGES)}, or leave it out"
            raise InputError("message", "the language is unknown", remedy, field="language")
        row = vectors(self.scorer, [masked_question(text)])
        guess = self.classifier.guesses(row.astype(np.float64), GUESSES)[0]
        past = self.index.search(row[0], 1)
        return self._decide(guess, past, language or language_of(text), context or {})

    def _decide(self, guess: Guess, past: Sequence[Retrieved], language: str, context: Mapping[str, str]) -> Reply:
        """An intent's answer if that is sure, else one of the past that is near enough, else a person."""
        reason, intent = "unsure", None
        missing: tuple[str, ...] = ()
        if guess.confidence >= self.bound:
            intent = guess.intents[0]
            if self.knowledge.intents[intent].person:
                return self._reply("hand_over", guess, language, intent=intent, reason="asked_for_a_person")
            filled = self.knowledge.answer(intent, language, context)
            if filled.text is not None:
                return self._reply("answer", guess, language, answer=filled.text, intent=intent, missing=filled.missing)
            reason, missing = "shop_value_missing", filled.missing
        elif past and past[0].similarity >= self.least_similarity and language_of(past[0].answer) == language:
            return self._reply(
                "retrieved",
                guess,
                language,
                answer=past[0].answer,
                source=past[0].conversation,
                sure=past[0].similarity,
            )
        return self._reply("hand_over", guess, language, intent=intent, reason=reason, missing=missing)

    def _reply(
        self,
        kind: Kind,
        guess: Guess,
        language: str,
        *,
        answer: str | None = None,
        intent: str | None = None,
        reason: str | None = None,
        missing: tuple[str, ...] = (),
        source: str | None = None,
        sure: float | None = None,
    ) -> Reply:
        guesses = zip(guess.intents, (round(share, _DECIMALS) for share in guess.shares), strict=True)
        confidence = round(guess.confidence if sure is None else sure, _DECIMALS)
        versions = self.model_version, self.knowledge_version
        return Reply(kind, answer, intent, confidence, reason, missing, source, tuple(guesses), language, *versions)


def build(
    knowledge_file: Path, model: Path, model_version: str, target: Path, *, history: pa.Table | None, plan: Plan
) -> dict[str, Any]:
    """Build an assistant into `target`, which appears whole or not at all; returns what was measured on the way.

    Args:
        knowledge_file: see `ml.assistant.intents`.
        model: a text model's folder, and `model_version` its label.
        target: a new folder, or an assistant's, which is replaced.
        history: messages with the columns of `ml.assistant.history`; None leaves retrieval empty.

    Raises InputError where an input is wrong or `target` is something else.
    """
    knowledge = load_knowledge(knowledge_file)
    if target.is_file():
        raise InputError("assistant", f"{target.name} is a file", "name a new folder", field="out")
    if target.exists() and any(target.iterdir()) and not (target / MANIFEST).is_file():
        raise InputError("assistant", "the folder holds something else", "name a new folder", field="out")
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        facts = _build(knowledge, model, model_version, staged, history, plan)
        seal(staged, facts)
        if target.exists():
            shutil.rmtree(target)
        staged.chmod(0o755)
        os.replace(staged, target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return facts


def _build(
    knowledge: Knowledge, model: Path, version: str, staged: Path, history: pa.Table | None, plan: Plan
) -> dict[str, Any]:
    scorer = copy_encoder(model, staged / ENCODER, plan.layers)
    questions, intents = knowledge.examples()
    set_centre(scorer, staged / ENCODER, pool(scorer, questions))

    def rows_of(texts: Sequence[str]) -> Floats:
        return vectors(scorer, [masked_question(text) for text in texts])

    outside = knowledge.outside()
    beyond = rows_of(outside) if outside else np.zeros((0, scorer.encoder.size), dtype=np.float32)
    classifier, inside, outer = fit(rows_of(questions).astype(np.float64), intents, beyond.astype(np.float64))
    chosen = bounds.choose(inside, outer, most_wrong=plan.most_wrong, outside_share=plan.outside_share)
    index = build_index(pairs(history) if history is not None else [], rows_of, plan.choice)
    index.save(staged / INDEX)
    (staged / KNOWLEDGE).write_text(knowledge.text, encoding="utf-8")
    arrays = {name: getattr(classifier, name) for name in ("weight", "bias", "vectors", "labels", "sure")}
    arrays |= {name: np.array([getattr(classifier, name)]) for name in ("temperature", "strength")}
    save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, str(staged / CLASSIFIER))
    return {
        "model_version": version,
        "knowledge_version": knowledge.version,
        "layers": len(scorer.encoder.layers),
        "intents": list(classifier.names),
        "examples": len(questions),
        "right_held_out": round(float(1 - inside.wrong.mean()), _DECIMALS),
        "bound": chosen.as_dict(),
        "least_similarity": plan.least_similarity,
        "past": {"answers": index.answers.num_rows, **agreement(index, plan.least_similarity)},
    }


def describe(folder: Path) -> dict[str, Any]:
    """An assistant's manifest without its hashes."""
    return {name: value for name, value in json.loads((folder / MANIFEST).read_text()).items() if name != "files"}
