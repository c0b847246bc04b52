"""Text cleaning: our Arrow rules inside Spark beside Spark's own chained `regexp_replace`, on real sentences.

    python benchmarks/clean.py [--quick]

Same session, same rows, the same replacements in the same order; every row of both outputs is compared. The peer is
tuned: one pass without Python, generated code, each pattern in the form Java reads fastest for the same meaning.
"""

from __future__ import annotations

import html
import random
import re
import sys
import unicodedata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import pyarrow as pa

from benchmarks.harness import compare, parser, write

NOISE = (
    "",
    "",
    "",
    " @anna_1",
    " https://a.example/x?y=1",
    " 13812345678",
    " a.b@mail.example",
    " <b>x</b>",
    " #双十一#",
    " 010-12345678",
)


def java_pattern(pattern: str) -> str:
    """An RE2 pattern as Java reads it with the same meaning.

    RE2's `\\b` knows ASCII letters alone, Java 17's also Chinese ones: before a word it becomes "no ASCII word
    character before", after one "none after". RE2's `\\s` lacks the vertical tab, Unicode scripts have another name.
    """
    after = re.sub(r"\\b(?=$|\|)", r"(?![0-9A-Za-z_])", pattern)
    before = after.replace(r"\b", r"(?<![0-9A-Za-z_])")
    inside = re.sub(r"\[(?:[^\]\\]|\\.)*\]", lambda m: m[0].replace(r"\s", r"\t\n\f\r "), before)
    spaces = inside.replace(r"\s", r"[\t\n\f\r ]").replace(r"\p{Han}", r"\p{IsHan}")
    return re.sub(r"\\x\{([0-9a-fA-F]{4})\}", r"\\u\1", spaces)


def sentences(rows: int) -> list[str]:
    """Real sentences resampled with identifiers, links, mentions and markup that cleaning must find.

    Form NFKC and HTML entities are not to be had in Spark's own expressions, so both sides are given texts in that form
    and without entities.
    """
    from flashsale.corpora import load_sentences

    rng = random.Random(7)
    plain = [unicodedata.normalize("NFKC", html.unescape(t)) for t in load_sentences()["text"].to_pylist()]
    base = [text for text in plain if html.unescape(text) == text]
    return [rng.choice(base) + rng.choice(NOISE) for _ in range(rows)]


def arrow_side(frame: Any) -> Any:
    """Ours: the rules as Arrow kernels over whole batches."""
    from spark_jobs.cleaning import clean_texts

    def batches(found: Any) -> Any:
        for batch in found:
            clean = clean_texts(batch.column("text")).column("clean_text")
            yield pa.RecordBatch.from_arrays([batch.column("id"), clean.fill_null("")], names=["id", "clean"])

    return frame.mapInArrow(batches, "id long, clean string")


def spark_side(frame: Any) -> Any:
    """The peer: the same table of rules as Spark expressions.

    Ours also names the language and the kinds of identifiers that were masked; the peer is spared both.
    """
    from pyspark.sql import functions as F

    from spark_jobs.cleaning import rules

    chained = F.col("text")
    for rule in rules():
        chained = F.regexp_replace(chained, java_pattern(rule.pattern), re.sub(r"\\(\d)", r"$\1", rule.replacement))
    return frame.select("id", F.regexp_replace(chained, r"(?U)^\s+|\s+$", "").alias("clean"))


def main() -> None:
    """Measure and write `results/clean.json`."""
    from pyspark.sql import functions as F

    from spark_jobs.session import build_session

    args = parser(__doc__ or "").parse_args()
    rows = 5_000 if args.quick else 40_000
    spark = build_session("benchmark-clean")
    spark.sparkContext.setLogLevel("ERROR")
    frame = (
        spark.createDataFrame(pa.table({"id": pa.array(range(rows)), "text": sentences(rows)})).repartition(2).cache()
    )
    frame.count()
    ours, peer = arrow_side(frame), spark_side(frame)
    differ = ours.withColumnRenamed("clean", "other").join(peer, "id").where("clean <> other").limit(5).collect()
    if differ:
        raise AssertionError(f"the two sides do not agree: {differ}")

    def run(side: Any) -> Any:
        return lambda: side.agg(F.sum(F.xxhash64("clean") % 1_000_003), F.count("clean")).collect()

    result = compare(
        "clean_vs_spark_regexp_replace",
        run(ours),
        run(peer),
        rounds=1 if args.quick else 3,
        same=lambda a, b: a == b,
    )
    spark.stop()
    write("clean", [result], quick=args.quick)


if __name__ == "__main__":
    main()
