"""Text cleaning: our Arrow rules inside Spark beside Spark's own chained `regexp_replace`, on real sentences.

    python benchmarks/clean.py [--quick]

Same session, same input, same replacements in the same order (the RE2 table, spelled for Java), outputs compared row by
row. Peer tuned: whole-stage code generation on, one pass over the data, no Python.
"""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import pyarrow as pa

from benchmarks.harness import arguments, compare, write


def java_pattern(pattern: str) -> str:
    """An RE2 pattern in Java's spelling: Unicode scripts have another name there."""
    named = pattern.replace(r"\p{Han}", r"\p{IsHan}")
    return re.sub(r"\\x\{([0-9a-fA-F]{4})\}", r"\\u\1", named)


def sentences(rows: int) -> list[str]:
    """Real sentences resampled with noise: identifiers, links, mentions and markup that cleaning must find."""
    from flashsale.corpora import load_sentences

    rng = random.Random(7)
    base = load_sentences()["text"].to_pylist()
    noise = [
        "",
        "",
        "",
        " @anna_1",
        " https://a.example/x?y=1",
        " 13812345678",
        " a.b@mail.example",
        " <b>x</b>",
        " #双十一#",
    ]
    return [rng.choice(base) + rng.choice(noise) for _ in range(rows)]


def main() -> None:
    """Measure and write `results/clean.json`."""
    import unicodedata

    from pyspark.sql import functions as F

    from spark_jobs.cleaning import clean_texts, rules
    from spark_jobs.session import build_session

    args = arguments(__doc__ or "")
    rows = 5_000 if args.quick else 200_000
    spark = build_session("benchmark-clean")
    spark.sparkContext.setLogLevel("ERROR")
    # NFKC is not to be had in Spark's own expressions, so both sides start from text that has it
    texts = [unicodedata.normalize("NFKC", t) for t in sentences(rows)]
    frame = spark.createDataFrame(pa.table({"id": pa.array(range(rows)), "text": texts})).repartition(2).cache()
    frame.count()

    def batches(found: Any) -> Any:
        for batch in found:
            clean = clean_texts(batch.column("text")).column("clean_text")
            yield pa.RecordBatch.from_arrays([batch.column("id"), clean], names=["id", "clean"])

    ours = frame.mapInArrow(batches, "id long, clean string")
    chained = F.col("text")
    for rule in rules():
        chained = F.regexp_replace(chained, java_pattern(rule.pattern), re.sub(r"\\(\d)", r"$\1", rule.replacement))
    peer = frame.select("id", F.trim(chained).alias("clean"))

    def run(side: Any) -> Any:
        return lambda: side.agg(F.sum(F.xxhash64("clean") % 1_000_003), F.count("clean")).collect()

    left = {r["id"]: r["clean"] for r in ours.limit(20_000).collect()}
    right = {r["id"]: r["clean"] for r in peer.where(F.col("id").isin(list(left)[:5000])).collect()}
    differ = [i for i, text in right.items() if (left[i] or "") != text]
    print(f"{len(differ)} of {len(right)} compared rows differ", file=sys.stderr)
    if len(differ) > 0.001 * len(right):
        raise AssertionError([(left[i], right[i]) for i in differ[:5]])
    result = compare("clean_vs_spark_chained", run(ours), run(peer), rounds=1 if args.quick else 5, same=None)
    spark.stop()
    write("clean", [result])


if __name__ == "__main__":
    main()
