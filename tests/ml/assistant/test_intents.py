"""Knowledge files: the shop's is whole, slots are filled or asked for, wrong files are refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from flashsale.errors import InputError
from ml.assistant.intents import LANGUAGES, SHOP, Knowledge, language_of, load_knowledge


@pytest.fixture(scope="module")
def shop() -> Knowledge:
    return load_knowledge(SHOP)


def test_the_shops_knowledge_is_as_large_as_it_says(shop: Knowledge) -> None:
    assert len(shop.intents) >= 18 and all(len(questions) >= 30 for questions in shop.outside_by_language.values())
    texts, names = shop.examples()
    assert len(texts) == len(set(texts)) == len(names) and len(texts) >= 18 * 2 * 8
    wrong = [text for intent in shop.intents.values() for text in intent.examples["en"] if language_of(text) != "en"]
    wrong += [text for intent in shop.intents.values() for text in intent.examples["zh"] if language_of(text) != "zh"]
    assert not wrong


def test_every_answer_of_the_shop_can_be_given(shop: Knowledge) -> None:
    everything = {name: f"[{name}]" for name in shop.slots}
    for intent in shop.intents.values():
        for language in LANGUAGES if not intent.person else ():
            filled = shop.answer(intent.name, language, everything)
            assert filled.text and "{" not in filled.text and not filled.missing


def test_slots_are_filled_or_asked_for_and_never_guessed(shop: Knowledge) -> None:
    asked = shop.answer("order_status", "en", {})
    assert (asked.text, asked.missing) == ("Please tell me the order number.", ("order_id",))
    assert shop.answer("order_status", "en", {"order_id": " "}) == asked
    some = shop.answer("order_status", "en", {"order_id": "A-17", "order_state": "on its way"})
    assert (some.text, some.missing) == ("Order A-17 is on its way.", ())
    braces = shop.answer("order_status", "en", {"order_id": "{order_state}", "order_state": "late"})
    assert braces.text == "Order {order_state} is late."


def written(tmp_path: Path, **changes: Any) -> Path:
    """A small knowledge file, with changes by top-level name."""
    questions = {
        name: {"zh": [f"问{name}{at}" for at in range(8)], "en": [f"{name} {at}" for at in range(8)]} for name in "ab"
    }
    intents = [{"name": n, "examples": q, "answers": {"zh": [f"答{n}"], "en": [f"{n}!"]}} for n, q in questions.items()]
    slots = {"days": {"from": "shop"}}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"version": "1", "slots": slots, "intents": intents} | changes), encoding="utf-8")
    return path


def test_a_value_only_the_shop_knows_is_not_asked_for(tmp_path: Path) -> None:
    raw = yaml.safe_load(written(tmp_path).read_text())
    raw["intents"][0]["answers"]["en"] = ["It takes {days} days."]
    found = load_knowledge(written(tmp_path, **raw)).answer("a", "en", {})
    assert (found.text, found.missing) == (None, ("days",))


def test_the_version_changes_with_any_letter(tmp_path: Path) -> None:
    one = load_knowledge(written(tmp_path)).version
    assert one == load_knowledge(written(tmp_path)).version
    path = written(tmp_path)
    path.write_text(path.read_text().replace("a!", "a?"))
    assert load_knowledge(path).version != one


BAD = [
    (
        lambda raw: raw["intents"][1]["examples"]["en"].pop(),
        "field 'examples', row b: it has 7 example questions in en",
    ),
    (lambda raw: raw["intents"][1]["examples"]["en"].append("A 0"), "field 'examples', row b: the question 'A 0'"),
    (lambda raw: raw["intents"][0]["answers"]["en"].append("{weeks}"), "field 'answers', row a: .*slot 'weeks'"),
    (lambda raw: raw["intents"][0]["answers"]["en"].append("{days"), "row a: an answer has a brace alone"),
    (lambda raw: raw["intents"][0].pop("answers"), "field 'answers', row a: in zh it needs either answers or person"),
    (lambda raw: raw["intents"][0].update(person=True), "row a: in zh it needs either answers or person"),
    (lambda raw: raw["intents"][1].update(name="a"), "field 'intents.name', row a: the intent's name"),
    (lambda raw: raw["intents"][1].update(nmae="c"), "field 'intents.nmae', row b"),
    (lambda raw: raw["slots"].update(order={"from": "customer", "ask": {"zh": "?"}}), "row order: .*no words in en"),
    (lambda raw: raw.pop("version"), "field 'version'"),
    (lambda raw: raw.update(intents=raw["intents"][:1]), "field 'intents': fewer than two"),
    (lambda raw: raw.update(outside={"en": ["a 1"]}), "field 'examples', row a: the question 'a 1'"),
]


@pytest.mark.parametrize(("change", "words"), BAD)
def test_wrong_files_are_refused_by_field_row_and_remedy(change: Any, words: str, tmp_path: Path) -> None:
    raw = yaml.safe_load(written(tmp_path).read_text())
    change(raw)
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    with pytest.raises(InputError, match=words) as error:
        load_knowledge(path)
    assert error.value.remedy


def test_what_is_no_yaml_is_refused_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("version: 1\nintents: [a, {b\n", encoding="utf-8")
    with pytest.raises(InputError, match="row 3: cannot be read"):
        load_knowledge(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_knowledge(tmp_path / "none.yaml")
