"""Cleaning rules: every rule's own example, the golden table through Spark, bad input, time that stays linear."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from flashsale.contracts import load_contract
from flashsale.lake import Lake
from spark_jobs import cleaning
from spark_jobs.cleaning import MAX_CHARACTERS, Options, clean_texts, rules, table

#: Reviews and posts as people write them.
PLAIN = [
    "这款手机真的很好用,拍照清楚,电池也耐用,客服态度不错,推荐大家购买!",
    "物流很快,第二天就到了,包装完好,就是价格比双十一贵了50元,有点后悔买早了。",
    "Bought it for my wife and she loves it, the colour is exactly as shown in the pictures. 5 stars!",
    "@anna_1 你看这个 https://shop.example/p?id=1 才199.00元,#双十一# 真便宜 😂",
    "订单号:202601010001 还没到,电话13812345678,邮箱a.b@mail.example,麻烦快点处理一下,谢谢",
] * 60

GOLDEN = yaml.safe_load(Path(__file__).with_name("golden").joinpath("clean.yaml").read_text(encoding="utf-8"))


def cleaned(*texts: str | None) -> list[dict[str, Any]]:
    return clean_texts(pa.array(texts, pa.string())).to_pylist()


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.name)
def test_every_rule_shows_what_it_does(rule: Any) -> None:
    given, expected = rule.example
    assert cleaned(given)[0]["clean_text"] == expected
    if rule.mask:
        assert cleaned(given)[0]["masked"] == [rule.mask]


@pytest.mark.parametrize("row", table()["characters"] + table()["limits"], ids=lambda row: row["name"])
def test_every_row_of_the_other_tables_does_what_it_says(row: dict[str, Any]) -> None:
    example = row["example"]
    if "in_hex" in example:
        given: str | bytes = bytes.fromhex(example["in_hex"])
    else:
        given = example["in"] if "in" in example else example["repeat"][0] * example["repeat"][1]
    options = Options(simplify=row.get("option") == "simplify")
    found = clean_texts(pa.array([given]), options).to_pylist()[0]
    assert (found["clean_text"], found["quarantine_reason"]) == (example.get("out"), example.get("reason"))


def test_emoji_stay_where_that_is_wanted() -> None:
    found = clean_texts(pa.array(["好👍🏽👍👍👍👍 a"]), Options(keep_emoji=True)).to_pylist()[0]
    assert found["clean_text"] == "好👍👍👍 a"


def test_long_and_missing_texts_have_a_reason() -> None:
    found = cleaned("x" * (MAX_CHARACTERS + 1), None, "\u200b", "好" * 400_000, "好" * MAX_CHARACTERS)
    assert [f["quarantine_reason"] for f in found] == ["too_long", "empty", "empty", "too_long", None]
    assert [f["clean_text"] for f in found[:4]] == [None] * 4


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.large_binary()], ids=str)
def test_slices_and_kinds_of_arrays_make_no_difference(kind: pa.DataType) -> None:
    texts = [row["text"] for row in GOLDEN]
    whole = clean_texts(pa.array(texts, pa.string()).cast(kind)).to_pylist()
    assert clean_texts(pa.array(["x", *texts], pa.string()).cast(kind).slice(1)).to_pylist() == whole
    assert [r for text in texts for r in clean_texts(pa.array([text], pa.string()).cast(kind)).to_pylist()] == whole
    assert len(clean_texts(pa.array([], kind))) == 0


def test_threads_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = pa.array([row["text"] for row in GOLDEN] * 4, pa.string())
    whole = clean_texts(texts)
    monkeypatch.setattr(cleaning, "SLICE", 5)
    assert clean_texts(texts, threads=3).equals(whole)


LANGUAGES = {
    "zh": ["这个App的UI设计very good", "iPhone 15 Pro Max 手机壳很好", "這個產品很好", "美の颜面膜很好用", "电话13812345678联系"],
    "en": ["great phone", "naïve café décor was lovely", "Works well!", "see https://shop.example/好 it is fine"],
    "other": [
        "Le produit est très bon et la qualité est parfaite", "Das ist sehr gut", "El producto llegó rápido y bien",
        "Questo prodotto è ottimo", "この商品はとても良いです", "電池が長持ちします", "이 제품은 정말 좋아요", "Очень хороший товар",
        "สินค้าดีมาก", "12345 !!!", "👍👍",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("language", "text"), [(k, t) for k, texts in LANGUAGES.items() for t in texts])
def test_languages(language: str, text: str) -> None:
    assert cleaned(text)[0]["language"] == language


def test_corpus_languages_are_told() -> None:
    from flashsale.corpora import load_sentences

    rows = load_sentences().slice(0, 4000)
    told = clean_texts(rows["text"].combine_chunks()).column("language").to_pylist()
    pairs = [(a, b) for a, b in zip(rows["language"].to_pylist(), told, strict=True) if b]
    assert sum(a == b for a, b in pairs) > 0.995 * len(pairs)


def test_sentences_are_counted() -> None:
    texts = ["好。很好!真的?!", "It costs 3.50 at shop. Fine", "...", "one", ""]
    assert [row["sentences"] for row in cleaned(*texts)] == [3, 2, 0, 1, 0]


def test_masks_in_the_text_itself_are_no_masks() -> None:
    assert cleaned("a <phone> b")[0] == cleaned("a  b")[0]


def test_simplified_texts_change_nothing_else() -> None:
    texts = pa.array(["這個頭髮", "great", "很好", "乾隆皇帝的頭髮", "嗰個袋好靚"], pa.string())
    assert clean_texts(texts, Options(simplify=True)).column("clean_text").to_pylist() == [
        "这个头发", "great", "很好", "乾隆皇帝的头发", "嗰个袋好靓",
    ]  # fmt: skip


BOMBS = {
    "letters": "a" * 4500, "less": "<" * 4500, "and": "&" * 4500, "at": "@" * 4500, "digits": "1" * 4500,
    "a@": "a@" * 2200, "hashes": "#" * 4500, "urls": "http://" * 600, "spaces": " " * 4500, "dots": "a." * 2200,
    "plus": "+1-" * 1500, "dashes": "1-" * 2200, "tags": "<a" * 2200, "entities": "&amp" * 1100, "colons": "0:" * 2200,
    "roads": "路" * 4500, "cities": "北京市" * 1500, "evil": "(a+)+$" * 700 + "!", "bidi": "\u202e好" * 2200,
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_hostile_texts_do_not_stall(bomb: str) -> None:
    """Far from what backtracking costs; the figures themselves (below 2) are in docs/benchmarks.md."""
    plain = [text for text in PLAIN if len(text) > 30]
    slow = [BOMBS[bomb]] * 60

    def per_byte(texts: list[str]) -> float:
        array = pa.array(texts, pa.string())
        best = float("inf")
        for _ in range(5):
            began = time.process_time()
            clean_texts(array)
            best = min(best, time.process_time() - began)
        return best / array.nbytes

    assert per_byte(slow) < 10 * per_byte(plain)


def put(lake: Lake, day: datetime, rows: list[dict[str, Any]]) -> None:
    """Commit golden rows as raw streams of one day."""
    for stream in ("reviews", "social_posts", "support_messages"):
        schema = load_contract(stream).arrow_schema()
        table = []
        for i, row in enumerate(rows):
            if row["stream"] == stream:
                blank = {f.name: "x" if pa.types.is_string(f.type) else 1 for f in schema}
                table.append(
                    {**blank, "event_id": row["id"], "event_at": day + timedelta(seconds=i), "text": row["text"]}
                )
        if table:
            lake.write(f"raw/{stream}", f"date={day:%Y-%m-%d}", pa.Table.from_pylist(table, schema=schema))


def test_golden_table_through_spark(spark: Any, tmp_path: Path) -> None:
    from spark_jobs.clean_social_text import OUT, run

    lake = Lake(str(tmp_path / "lake"))
    put(lake, datetime(2026, 1, 5, tzinfo=UTC), GOLDEN)
    assert run(spark, lake) == {"days": 1, "rows": len(GOLDEN), "changed": 1}
    table = lake.read("text/clean")
    assert table.schema.equals(OUT)
    found = {r["event_id"]: r for r in table.to_pylist()}
    for row in GOLDEN:
        got = found[row["id"]]
        assert got["clean_text"] == row["clean"], row
        assert got["language"] == row["language"], row
        assert got["masked"] == row["masked"], row
        assert got["duplicate_of"] == row.get("duplicate_of"), row
        assert got["quarantine_reason"] == row.get("reason"), row
    assert found["a2"]["repost_count"] == 2 and found["a1"]["repost_count"] == 0


def test_only_changed_days_are_cleaned_again(spark: Any, tmp_path: Path) -> None:
    from spark_jobs.clean_social_text import run

    lake = Lake(str(tmp_path / "lake"))
    first, second = datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 1, 6, tzinfo=UTC)
    put(lake, first, GOLDEN)
    put(lake, second, GOLDEN[:3])
    assert run(spark, lake, last="2026-01-05")["days"] == 1
    assert run(spark, lake)["days"] == 1
    before = lake.partitions("text/clean")
    assert run(spark, lake)["days"] == 0
    put(lake, second, GOLDEN[:2])
    assert run(spark, lake) == {"days": 1, "rows": 2, "changed": 1}
    assert lake.partitions("text/clean")["date=2026-01-05"] == before["date=2026-01-05"]


def test_the_sku_and_the_counts_come_along(spark: Any, tmp_path: Path) -> None:
    from spark_jobs.clean_social_text import run

    lake = Lake(str(tmp_path / "lake"))
    put(lake, datetime(2026, 1, 5, tzinfo=UTC), [GOLDEN[0], GOLDEN[1]])
    run(spark, lake)
    rows = {r["stream"]: r for r in lake.read("text/clean").to_pylist()}
    assert rows["reviews"]["sku_id"] == "x" and rows["reviews"]["likes"] == 0
    assert rows["social_posts"]["likes"] == 1 and rows["social_posts"]["reposts"] == 1


def test_a_text_of_yesterday_is_found_again(spark: Any, tmp_path: Path) -> None:
    from spark_jobs.clean_social_text import WINDOW_DAYS, run

    lake = Lake(str(tmp_path / "lake"))
    days = [datetime(2026, 1, 5, tzinfo=UTC) + timedelta(days=d) for d in (0, WINDOW_DAYS - 1, WINDOW_DAYS)]
    near = [row for row in GOLDEN if row["id"] in ("b5", "b6")]
    for i, day in enumerate(days):
        put(lake, day, [{**row, "id": f"{row['id']}-{i}"} for row in near])
    run(spark, lake)
    rows = {row["event_id"]: row for row in lake.read("text/clean").to_pylist()}
    assert [rows[f"b6-{i}"]["duplicate_of"] for i in range(3)] == ["b5-0", "b5-0", "b5-1"]  # beyond the window anew
    assert [rows[f"b5-{i}"]["repost_count"] for i in range(3)] == [1, 3, 3]
    assert lake.read("text/duplicates").num_rows == 3  # one row a day, with its copies
    put(lake, days[0], near[:1])  # a correction of the first day reaches the second, which saw it, and not the third
    assert run(spark, lake)["days"] == 2 and run(spark, lake)["days"] == 0


def test_an_author_who_repeats_one_text_is_marked(spark: Any, tmp_path: Path) -> None:
    from spark_jobs.clean_social_text import run

    lake = Lake(str(tmp_path / "lake"))
    posts = [{"id": f"s{i}", "stream": "social_posts", "text": "buy now, the best price of the year"} for i in range(9)]
    put(lake, datetime(2026, 1, 5, tzinfo=UTC), [*posts, *GOLDEN[:1]])
    run(spark, lake)
    (author,) = lake.read("text/authors").to_pylist()
    assert author == {"author_id": "x", "posts": 9, "repeats": 8, "most_in_a_minute": 9, "is_bot_like": True}
    flags = {r["stream"]: r["is_bot_like"] for r in lake.read("text/clean").to_pylist()}
    assert flags == {"social_posts": True, "reviews": False}
