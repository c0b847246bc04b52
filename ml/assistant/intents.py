"""What an assistant may answer: a readable YAML file of intents, example questions and answer templates.

The format is explained at the top of `knowledge/shop.yaml`. A template names slots in braces. They are filled from
what a request brings along and never guessed: where one is missing, the customer is asked for it, or, if only the shop
can know it, the answer is not given.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flashsale.errors import InputError
from flashsale.yaml_text import parse_yaml

SHOP = Path(__file__).parent / "knowledge" / "shop.yaml"
LANGUAGES = ("zh", "en")
LEAST_EXAMPLES = 8
_SLOT = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_HAN = re.compile(r"[㐀-鿿豈-﫿]")
Language = Literal["zh", "en"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Slot(_Strict):
    """A value that answers may name; `ask` are the words, by language, that ask a customer for it."""

    from_: Literal["customer", "shop"] = Field(alias="from")
    ask: dict[Language, str] = Field(default_factory=dict)


class Intent(_Strict):
    """A kind of question; `answers` are templates by language, in order of choice; `person` always hands over."""

    name: str
    examples: dict[Language, list[str]]
    answers: dict[Language, list[str]] = Field(default_factory=dict)
    person: bool = False


class _File(_Strict):
    version: str
    slots: dict[str, Slot] = Field(default_factory=dict)
    intents: list[Intent]
    outside: dict[Language, list[str]] = Field(default_factory=dict)


@dataclass(frozen=True)
class Filled:
    """A template's outcome: the text to send, or the slots that are missing.

    Args:
        text: the answer, or the question for what the customer has to say; None where the shop's values are missing.
        missing: slots that were not given; none where the answer is whole.
    """

    text: str | None
    missing: tuple[str, ...] = ()


class Knowledge:
    """A checked knowledge file.

    Args:
        parsed: the file's content.
        text: the file as it is written, which the version's digest is of.
    """

    def __init__(self, parsed: _File, text: str) -> None:
        self.text = text
        self.version = f"{parsed.version}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        self.slots, self.outside_by_language = parsed.slots, parsed.outside
        self.intents = {intent.name: intent for intent in parsed.intents}

    def examples(self) -> tuple[list[str], list[str]]:
        """All example questions and the name of each one's intent, in the file's order."""
        pairs = [
            (question, intent.name)
            for intent in self.intents.values()
            for language in LANGUAGES
            for question in intent.examples[language]  # type: ignore[index]
        ]
        return [question for question, _ in pairs], [name for _, name in pairs]

    def outside(self) -> list[str]:
        """Questions that are not to be answered, in the file's order."""
        return [question for questions in self.outside_by_language.values() for question in questions]

    def answer(self, intent: str, language: str, context: Mapping[str, str]) -> Filled:
        """The first template of an intent whose slots are all in `context`, else what its last one lacks."""
        templates = self.intents[intent].answers[language]  # type: ignore[index]
        for template in templates:
            if not (missing := self._missing(template, context)):
                return Filled(_SLOT.sub(lambda found: context[found[1]], template))
        asked = [name for name in missing if self.slots[name].from_ == "customer"]
        if len(asked) < len(missing):
            return Filled(None, tuple(missing))
        return Filled(" ".join(self.slots[name].ask[language] for name in asked), tuple(missing))  # type: ignore[index]

    def _missing(self, template: str, context: Mapping[str, str]) -> list[str]:
        return [name for name in dict.fromkeys(_SLOT.findall(template)) if not context.get(name, "").strip()]


def language_of(text: str) -> Language:
    """`zh` where a text has a Chinese character, else `en`."""
    return "zh" if _HAN.search(text) else "en"


def load_knowledge(path: Path) -> Knowledge:
    """Read and check a knowledge file. Raises InputError naming the field, the intent or slot, and the remedy."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"knowledge {path.name}", f"it cannot be read: {error}", "name a YAML file in UTF-8"
        ) from error
    return parse_knowledge(text, subject=f"knowledge {path.name}")


def parse_knowledge(text: str, *, subject: str) -> Knowledge:
    """The knowledge written in `text`; `subject` names it in errors. Raises InputError, see `load_knowledge`."""
    raw = parse_yaml(text, subject, "mend it; put words with a colon, comma or brace in quotes")
    if not isinstance(raw, dict):
        raise InputError(subject, "it is no mapping", "begin with version, slots and intents; see shop.yaml")
    try:
        parsed = _File.model_validate(raw)
    except ValidationError as error:
        raise _invalid(subject, raw, error) from error
    _check_slots(subject, parsed)
    _check_intents(subject, parsed)
    return Knowledge(parsed, text)


def _invalid(subject: str, raw: Mapping[str, Any], error: ValidationError) -> InputError:
    first = error.errors()[0]
    place = list(first["loc"])
    row: int | str | None = next((part for part in place if isinstance(part, int)), None)
    if place[:1] == ["intents"] and isinstance(row, int) and isinstance(raw["intents"][row], dict):
        row = str(raw["intents"][row].get("name", row))
    field = ".".join(str(part) for part in place if isinstance(part, str))
    return InputError(subject, first["msg"], "write it as in shop.yaml", field=field or None, row=row)


def _check_slots(subject: str, parsed: _File) -> None:
    for name, slot in parsed.slots.items():
        if not _NAME.fullmatch(name):
            remedy = "use lower-case letters, digits and _"
            raise InputError(subject, "the slot's name cannot be used", remedy, field="slots", row=name)
        lacking = [language for language in LANGUAGES if not slot.ask.get(language)]  # type: ignore[call-overload]
        if slot.from_ == "customer" and lacking:
            problem = f"there are no words in {' and '.join(lacking)} to ask the customer with"
            raise InputError(subject, problem, "add them under ask", field="slots.ask", row=name)


def _check_intents(subject: str, parsed: _File) -> None:
    if len(parsed.intents) < 2:
        raise InputError(subject, "fewer than two intents leave nothing to tell apart", "add some", field="intents")
    seen: dict[str, str] = {}
    outside = [question for questions in parsed.outside.values() for question in questions]
    for name, questions in [("outside", outside), *((i.name, _all(i)) for i in parsed.intents)]:
        for question in questions:
            if not question:
                raise InputError(subject, "a question is empty", "fill it or take it out", field="examples", row=name)
            other = seen.setdefault(question.casefold(), name)
            if other != name or questions.count(question) > 1:
                problem = f"the question {question!r} is there twice, also under {other}"
                raise InputError(subject, problem, "keep it where it belongs", field="examples", row=name)
    names = [intent.name for intent in parsed.intents]
    for intent in parsed.intents:
        if not _NAME.fullmatch(intent.name) or names.count(intent.name) > 1 or intent.name == "outside":
            remedy = "use lower-case letters, digits and _, each name once, and not outside"
            raise InputError(subject, "the intent's name cannot be used", remedy, field="intents.name", row=intent.name)
        _check_intent(subject, intent, parsed.slots)


def _check_intent(subject: str, intent: Intent, slots: Mapping[str, Slot]) -> None:
    for language in LANGUAGES:
        count = len(intent.examples.get(language, []))  # type: ignore[call-overload]
        if count < LEAST_EXAMPLES:
            problem = f"it has {count} example questions in {language}, fewer than {LEAST_EXAMPLES}"
            raise InputError(subject, problem, "add some as customers write them", field="examples", row=intent.name)
        templates: Sequence[str] = intent.answers.get(language, [])  # type: ignore[call-overload]
        if bool(templates) == intent.person or not all(templates):
            problem = f"in {language} it needs either answers or person: true, and no empty answer"
            raise InputError(subject, problem, "give one of the two", field="answers", row=intent.name)
        for template in templates:
            _check_template(subject, intent.name, template, slots)


def _check_template(subject: str, name: str, template: str, slots: Mapping[str, Slot]) -> None:
    if any(mark in _SLOT.sub("", template) for mark in "{}"):
        raise InputError(subject, "an answer has a brace alone", "pair it or take it out", field="answers", row=name)
    for slot in _SLOT.findall(template):
        if slot not in slots:
            remedy = "add it under slots, or write its name as it is there"
            raise InputError(
                subject, f"an answer names the slot {slot!r}, which is not there", remedy, field="answers", row=name
            )


def _all(intent: Intent) -> list[str]:
    return [question for questions in intent.examples.values() for question in questions]
