"""A planted burst is found on its day; a weekly rhythm, a spam farm and a machine are not."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from flashsale.authors import authors
from flashsale.lake import Lake
from flashsale.tables import TRENDS
from spark_jobs.duplicates import mark_authors, mark_repeats
from spark_jobs.topics import topics, topics_of

FIRST, DAYS, BURST = date(2026, 1, 1), 36, 33
NOUNS, VERBS, WORDS = (
    line.split()
    for line in (
        "battery screen charger parcel colour button speaker camera cable sleeve price courier box manual case",
        "arrived broke shines works fits feels looks sounds lasts scratches bends charges slips",
        "nicely quickly badly slowly today again really outside inside mostly almost simply twice",
    )
)
FARM = "best cheap followers visit our channel for golden vouchers and win a shiny golden voucher"


def ordinary(rng: np.random.Generator) -> str:
    """A sentence that hardly repeats another."""
    parts = [rng.choice(words) for _ in range(3) for words in (NOUNS, VERBS, WORDS)]
    return " ".join(parts)


def said(number: int, rng: np.random.Generator) -> list[tuple[str, str, str]]:
    """Author, SKU and text of one day's posts, in order of time."""
    rows = [(f"a{number}-{i}", ("s1", "s2")[i % 2], ordinary(rng)) for i in range(60)]
    if number % 7 == 3:  # every week
        rows += [(f"w{number}-{i}", "s1", f"{ordinary(rng)} weekend") for i in range(14)]
    if number == BURST:
        rows += [(f"b{i}", "s1", f"{ordinary(rng)} swollen gasket") for i in range(9)]
        rows += [(f"f{i}", "s1", FARM) for i in range(40)]  # many authors, one text
        rows += [("machine", "s1", f"{ordinary(rng)} jackpot") for i in range(12)]  # one author, many texts a minute
    return rows


def clean_day(number: int, rows: list[tuple[str, str, str]]) -> pa.Table:
    """The day as `clean_social_text` hands it to the trends, marked by its own functions."""
    from spark_jobs.clean_social_text import OUT

    start = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC) + timedelta(days=number)
    step = [timedelta(seconds=5 if author == "machine" else 60) for author, _, _ in rows]
    at = [start + sum(step[: i + 1], timedelta()) for i in range(len(rows))]
    table = pa.table({
        "event_id": [f"{number:02}-{i:03}" for i in range(len(rows))],
        "event_at": pa.array(at, pa.timestamp("us", tz="UTC")),
        "author_id": [row[0] for row in rows],
        "sku_id": pa.array([row[1] for row in rows], pa.string()),
        "clean_text": [row[2] for row in rows],
    })  # fmt: skip
    marked = mark_repeats(table, [])
    marked = mark_authors(marked, authors(marked))
    columns = {name: marked[name] if name in marked.column_names else None for name in OUT.names}
    columns["language"] = pa.array(["en"] * len(rows))
    columns["text_hash"] = pa.array([f"hash of {row[2]}" for row in rows])
    return pa.table(
        [pa.nulls(len(rows), f.type) if columns[f.name] is None else columns[f.name] for f in OUT], schema=OUT
    )


def catalog(**categories: str) -> pa.Table:
    at = pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * len(categories), pa.timestamp("us", tz="UTC"))
    names = ["event_id", "event_at", "sku_id", "category"]
    return pa.table([[f"c-{s}" for s in categories], at, list(categories), list(categories.values())], names=names)


@pytest.fixture(scope="module")
def lake(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    from spark_jobs.detect_trends import run

    made = Lake(str(tmp_path_factory.mktemp("trends") / "lake"))
    made.write("raw/catalog", "date=2026-01-01", catalog(s1="phones", s2="tents"))
    rng = np.random.default_rng(3)
    for number in range(DAYS):
        made.write("text/clean", f"date={FIRST + timedelta(days=number)}", clean_day(number, said(number, rng)))
    done = run(spark, made)
    assert (done["days"], done["changed"]) == (DAYS, 1)  # of days without a trend there is nothing to change
    return made


def test_the_burst_is_found_on_its_day_and_nothing_else_is(lake: Lake) -> None:
    found = lake.read("text/trends")
    assert found.schema.equals(TRENDS)
    rows = found.to_pylist()
    assert {(r["trend_date"], r["category"]) for r in rows} == {(FIRST + timedelta(days=BURST), "phones")}
    assert {"swollen", "gasket", "swollen gasket"} <= {r["term"] for r in rows}
    assert all("swollen" in r["term"] or "gasket" in r["term"] for r in rows)
    one = next(r for r in rows if r["term"] == "swollen gasket")
    # 30 ordinary texts, the nine and the farm's one; the machine's do not count
    assert (one["texts"], one["category_texts"]) == (9, 40)
    assert one["ratio"] == pytest.approx(9 / one["expected"]) and one["expected"] < 0.1
    assert one["score"] == pytest.approx(np.log2(10 / (one["expected"] + 1)))
    assert one["p_value"] <= one["q_value"] <= 0.02
    assert one["example_hash"].startswith("hash of ") and "swollen gasket" in one["example_hash"]
    assert {(r["topic"], r["topic_texts"]) for r in rows} == {("swollen gasket", 9)}  # nine texts say it all


def test_terms_of_the_same_texts_are_one_topic() -> None:
    texts = {"gasket": {"1", "2", "3", "4"}, "swollen gasket": {"1", "2", "3", "4"}, "leaks": {"3", "4", "9"},
             "jackpot": {"4", "7", "8"}, "rain": {"7", "8", "9", "10", "11"}}  # fmt: skip
    scores = {"gasket": 2.0, "swollen gasket": 2.0, "leaks": 1.5, "jackpot": 1.2, "rain": 1.1}
    assert topics(texts, scores) == {"gasket": "swollen gasket", "swollen gasket": "swollen gasket",
                                     "leaks": "swollen gasket", "jackpot": "jackpot", "rain": "jackpot"}  # fmt: skip
    rows = [
        {"day": FIRST, "category": "c", "term": t, "score": scores[t], "text_hash": h} for t in texts for h in texts[t]
    ]
    found = topics_of(pa.Table.from_pylist(rows)).to_pylist()
    assert {(r["topic"], r["topic_texts"]) for r in found} == {("swollen gasket", 5), ("jackpot", 6)}
    assert [r["term"] for r in found] == sorted(texts)


def test_the_rhythm_and_the_farm_were_there_to_be_found(lake: Lake) -> None:
    """Without weekdays and without marks they would be trends: the test above can fail."""
    week = lake.read("text/terms", [f"date={FIRST + timedelta(days=31)}"]).to_pylist()
    assert next(r for r in week if r["term"] == "weekend")["texts"] == 14
    rows = lake.read("text/clean", [f"date={FIRST + timedelta(days=BURST)}"]).to_pylist()
    assert sum("golden" in r["clean_text"] for r in rows) == 40 and sum(r["is_bot_like"] for r in rows) == 12
    day = lake.read("text/terms", [f"date={FIRST + timedelta(days=BURST)}"]).to_pylist()
    counted = {r["term"]: r["texts"] for r in day if r["term"]}
    assert counted["golden"] == 1 and "jackpot" not in counted


def test_running_again_does_nothing_and_doing_it_anew_gives_the_same(spark: Any, lake: Lake, tmp_path: Path) -> None:
    from spark_jobs.detect_trends import run

    assert run(spark, lake) == {"days": 0, "rows": 0, "changed": 0}
    other = Lake(str(tmp_path / "lake"))
    for dataset in ("text/clean", "raw/catalog"):
        for partition, manifest in lake.partitions(dataset).items():
            other.write(dataset, partition, lake.read_one(manifest))
    day = str(FIRST + timedelta(days=BURST))
    assert run(spark, other, day, day)["days"] == 1
    mine = lake.manifest("text/trends", f"date={day}")
    assert mine is not None and other.manifest("text/trends", f"date={day}") == mine
    assert len(other.partitions("text/terms")) == 29  # the day and those it is judged by


def test_a_changed_day_and_a_changed_category_are_judged_again(spark: Any, lake: Lake, tmp_path: Path) -> None:
    from spark_jobs.detect_trends import run

    other = Lake(str(tmp_path / "lake"))
    for dataset in ("text/clean", "raw/catalog", "text/terms", "text/trends"):
        for partition, manifest in lake.partitions(dataset).items():
            other.write(dataset, partition, lake.read_one(manifest), watermark=manifest.watermark)
    assert run(spark, other)["days"] == 0
    last = f"date={FIRST + timedelta(days=DAYS - 1)}"
    other.write("text/clean", last, other.read("text/clean", [last]).slice(1))
    assert run(spark, other) == {"days": 1, "rows": 0, "changed": 0}
    other.write("raw/catalog", "date=2026-01-02", catalog(s1="phones", s2="phones"))
    assert run(spark, other)["days"] == DAYS
