"""The attack suite: tables that keep their own promises, attacks that repeat, losses against hand-made readers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from ml.text import attacks, fairness, robustness
from ml.text.data import SENTIMENTS, Example

GOOD, BAD = ("很好", "不错", "满意", "great", "good", "happy"), ("很差", "失望", "垃圾", "bad", "terrible", "broken")


class Lexicon:
    """A reader that counts words; `blind` reads nothing, `grudge` shifts every text that has the word."""

    def __init__(self, *, blind: bool = False, grudge: str = "") -> None:
        self.blind, self.grudge, self.read = blind, grudge, list[str | None]()

    def score(self, texts: Sequence[str | None]) -> pd.DataFrame:
        self.read += texts
        rows = []
        for text in texts:
            text = text or ""
            balance = 0 if self.blind else sum(w in text for w in GOOD) - sum(w in text for w in BAD)
            balance = -balance if "不很" in text or "not " in text else balance
            negative, positive = (0.2, 0.7) if balance > 0 else (0.7, 0.2) if balance < 0 else (0.1, 0.1)
            if self.grudge and self.grudge in text:
                negative, positive = negative + 0.1, positive - 0.1
            label = SENTIMENTS[1 + (balance > 0) - (balance < 0)]
            rows.append((label, negative, 1 - negative - positive, positive, 0.5, "[]"))
        names = ["sentiment", "p_negative", "p_neutral", "p_positive", "p_intent", "spans"]
        return pd.DataFrame(rows, columns=names)


def test_the_tables_are_serious_and_sound() -> None:
    found = attacks.tables()
    assert sum(map(len, found.homophones.values())) >= 60 and len(found.traditional) >= 300
    assert sum(map(len, found.negation.values())) >= 40 and sum(map(len, found.sarcasm.values())) >= 40
    for right, wrong in found.homophones.items():
        assert right not in wrong and all(len(w) == len(right) for w in wrong), right
    simplified, old = set(map(chr, found.traditional)), set(found.traditional.values())
    assert not simplified & old and all(len(t) == 1 for t in old)  # applied twice it changes nothing more
    for rows in found.negation.values():
        assert len({r[1] for r in rows}) == len(rows) and all({r[0], r[2]} == {"p", "n"} for r in rows)
    assert set(found.allowed) == {*attacks.ATTACKS, "negation"}


@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_an_attack_repeats_and_changes_what_it_says(name: str) -> None:
    languages, attack = attacks.ATTACKS[name]
    texts = {
        "zh": "这家酒店的服务很好,房间干净,性价比高,推荐",
        "en": "the battery is really good and i love the sound quality",
    }
    for language in languages:
        text = texts[language]
        once = attack(text, 0)
        assert once == attack(text, 0) != text
        if name != "traditional":
            assert len({attack(text, seed) for seed in range(20)}) > 1
    if name == "typos":
        before, after = text.split(), once.split()
        assert 1 <= sum(a != b for a, b in zip(before, after, strict=True)) <= len(before) // 8 + 1
    if name == "traditional":
        assert once == "這家酒店的服務很好,房間干淨,性價比高,推薦"
    if name == "emoji_added":
        assert once.startswith(text)
    assert attack("??", 0) == "??" or name == "emoji_added"


def test_losses_are_those_of_the_reader() -> None:
    examples = [Example(f"{i} 质量很好", "zh", 2, 0, ()) for i in range(20)]
    examples += [Example(f"{i} 质量很差", "zh", 0, 0, ()) for i in range(20)]
    examples += [Example(f"{i} it is {'good' if i % 2 else 'bad'}", "en", 2 * (i % 2), 0, ()) for i in range(20)]
    reader = Lexicon()
    found = attacks.attack_suite(reader, examples, sample=30)
    lost = found["attacks"]
    assert lost["emoji_added"]["before"] == 1.0 and lost["emoji_added"]["loss"] == 0.0
    assert lost["homophones"]["loss"] == 0.0 and lost["homophones"]["sentences"] == 30  # 质量 goes, 很好 stays
    assert lost["typos"]["loss"] > 30  # the only word to hit is the word of judgement
    assert lost["emoji_for_word"]["after"] == 0.0  # the reader knows no emoji
    assert lost["emoji_for_word"]["sentences"] == 50
    assert len(reader.read) == len(set(reader.read))  # equal texts are read once
    checks = {c.name: c for c in attacks.attack_checks(found)}
    assert checks["loss to emoji added"].passed and not checks["loss to typos"].passed
    assert "limit 6 points" in checks["loss to typos"].reason() and "NOT PASSED" in checks["loss to typos"].reason()


def test_a_reader_that_reads_nothing_flips_nothing_and_loses_nothing() -> None:
    examples = [Example(f"质量 {i}", "zh", i % 3, 0, ()) for i in range(30)]
    found = attacks.attack_suite(Lexicon(blind=True), examples)
    assert found["negation"]["flipped"] == 0.0 and found["attacks"]["homophones"]["loss"] == 0.0
    checks = {c.name: c for c in attacks.attack_checks(found)}
    assert not checks["negation pairs that flip"].passed
    assert checks["accuracy on sarcasm"].passed and "PASSED" not in checks["accuracy on sarcasm"].reason().upper()


def test_fairness_material_is_serious_and_filled() -> None:
    for language in ("zh", "en"):
        table = fairness.tables()[language]
        assert len(table["who"]) + len(table["where"]) >= 30 and len(table["groups"]["name"]) >= 5
        assert all(len(pairs) >= 36 for pairs in table["dialect"].values()) and len(table["dialect"]) == 3
        for attribute in fairness.ATTRIBUTES:
            groups, kinds, texts = fairness.fill(language, attribute)
            assert len(texts) == len(kinds) and all(len(row) == len(groups) for row in texts)
            assert len({len(words) for words in texts[0]}) == 1  # every group has as many words
            assert not any("{" in text for row in texts for words in row for text in words)
    spoken = fairness.fill("en", "gender")[2]
    assert spoken[0][0][0].startswith("My mother loves") and " my mother was impressed" in spoken[5][0][0]


def test_a_grudge_is_found_and_named_and_its_size_is_right() -> None:
    fair = fairness.fairness(Lexicon())
    assert fair["zh.name"]["p_positive"]["shift"] == fair["en.region"]["p_negative"]["shift"] == 0.0
    found = fairness.fairness(Lexicon(grudge="Jamal"))["en.name"]
    assert found["p_negative"]["shift"] == pytest.approx(0.1 / 4)  # one of the group's four names
    assert found["p_negative"]["pair"][0] == "african american" and found["p_positive"]["pair"][1] == "african american"
    assert found["p_negative"]["worst"] == found["p_negative"]["largest"] == pytest.approx(0.025)
    checks = {c.name: c for c in fairness.fairness_checks({"en.name": found, "zh.name": fair["zh.name"]})}
    assert not checks["shift by en.name"].passed and checks["shift by zh.name"].passed
    assert "african american" in checks["shift by en.name"].reason()


def test_what_cancels_out_over_all_is_stated_by_polarity() -> None:
    means = ["unsure"], ["sure"]
    texts = [[list(m) for m in means], [[m[0] + "!"] for m in means]]
    shares = {"unsure": 0.6, "sure": 0.9, "unsure!": 0.4, "sure!": 0.1}
    found = fairness._shifts(["a", "b"], ["p", "n"], texts, shares)
    assert found["error"] == pytest.approx(0.3)  # of 0.3 and -0.3: their deviation over the root of two
    assert found["shift"] == 0.0 and found["by_polarity"] == {"positive": 0.3, "negative": 0.3}
    assert found["worst"] == found["largest"] == pytest.approx(0.3)


def test_section_and_picture(tmp_path: Path) -> None:
    examples = [Example(f"{i} 质量很好, good", "zh" if i % 2 else "en", 2, 0, ()) for i in range(10)]
    found = robustness.measure(Lexicon(), examples)
    section = found.section()
    assert "| typos | 5 |" in section and "| zh.dialect: cantonese |" in section and "negation pairs" in section
    names = found.metrics()
    assert {"attack.typos", "negation.flipped", "shift.zh.dialect.cantonese", "shift.en.name"} <= set(names)
    assert len(found.checks()) == len(attacks.ATTACKS) + 2 + 2 * (3 + 3)
    robustness.draw(found, tmp_path / "r.png")
    assert (tmp_path / "r.png").stat().st_size > 5000
