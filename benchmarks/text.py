"""Text at scale: cleaning beside Spark, Polars and DuckDB; near-duplicates beside Rensa; cost per row as rows grow.

    python benchmarks/text.py [--quick] [--rows N] [--rounds N] [--part clean|dedup|score|growth …]
        [--model FOLDER] [--score-rows N]

A part is measured by itself with `--part` (repeatable); what the results hold of the others stays. Without it all are,
scoring where a model is given. A model of minutes will do: `python -m ml text train --config demo --out FOLDER`.

**Cleaning.** Real sentences resampled with identifiers, links, mentions and markup, by default more than 1 GB of them.
The peers run the table's patterns one after another (`regexp_replace`, `str.replace_all`), in the form their engine
reads with the same meaning; DuckDB tests a rule's one literal first, which is faster there. Every row of both outputs
must be equal. Form NFKC, entities, emoji and repeated characters are not to be had in their expressions, so that texts
are given on which these change nothing: ours looks for them all the same, tells the language and the kinds masked, the
peers are spared that. Same threads on both sides. DuckDB and Spark, which need ten times as long, get a tenth and a
hundredth of the rows, and so do we beside them; the unit of a result says how many.

**Near-duplicates.** From the same shingles; ours from the texts, Rensa once from ready lists of shingles and once from
the texts as well. Recall and precision of what is dropped, against exact Jaccard similarity of all pairs, are printed
for both. Rensa gets the fastest of several settings that come within two points of ours in the harmonic mean of both
figures, or its best.

**Scoring.** With `--model`, a fetched version of the text model: distinct sentences scored in Spark's workers, one
thread each, beside the same model in one process with as many threads. Both have it loaded; at least 99 in 100
sentences must get the same sentiment (numbers of low precision depend on what shares a batch).

**Growth.** Cost per row from 10^5 to 10^7 rows, once; `clean_growth` states the exponent of the time in the rows beside
1.05, without an interval.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
THREADS = os.cpu_count() or 1
os.environ["POLARS_MAX_THREADS"] = str(THREADS)
os.environ["FLASHSALE_SPARK_MASTER"] = f"local[{THREADS}]"

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.harness import Result, compare, machine, parser, write
from benchmarks.near_duplicates import against_rensa
from flashsale.identifiers import Rule
from spark_jobs.arrow import whole
from spark_jobs.cleaning import Options, clean_texts, normalise, rules

ROWS = 6_500_000  # more than 1 GB
QUICK_ROWS = 20_000
#: Of the rows, one in so many goes to a peer that is so much slower; not fewer than `LEAST_ROWS`.
SPARK_SHARE, DUCKDB_SHARE = 100, 10
LEAST_ROWS = 20_000
ROUNDS = 2
#: Distinct sentences to score.
SCORED, QUICK_SCORED = 2_000, 200
#: The exponent of time in rows that counts as flat.
FLAT = 1.05
PARTS = ("clean", "dedup", "score", "growth")
GROWTH = (100_000, 1_000_000, 10_000_000)
QUICK_GROWTH = (2_000, 20_000)
#: Rows made and cleaned at a time where there are many: an array of strings ends at 2 GB.
PIECE = 1_000_000
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
PLAIN = Options(keep_emoji=True)


@cache
def sentences() -> pa.Array:
    """The corpus's sentences on which everything but the patterns changes nothing."""
    from flashsale.corpora import load_sentences

    once = normalise(whole(load_sentences()["text"]), PLAIN)[0]
    again = normalise(once, PLAIN)[0]
    return once.filter(pc.and_(pc.equal(once, again), pc.greater(pc.utf8_length(once), 0)))


def resampled(rows: int, seed: int = 7) -> pa.Array:
    """Sentences drawn with replacement, each with a piece of noise."""
    rng = np.random.default_rng(seed)
    drawn = sentences().take(pa.array(rng.integers(0, len(sentences()), rows)))
    noise = pa.array(NOISE).take(pa.array(rng.integers(0, len(NOISE), rows)))
    return pc.binary_join_element_wise(drawn, noise, "")


def patterns() -> Iterator[tuple[Rule, str]]:
    """The rules that a regular expression can say whole, and their replacement with `\\1`."""
    for rule in rules():
        if rule.check is None:  # a check digit is no matter for a pattern; the sentences hold no card
            yield rule, rule.replacement


def _ascii_classes(pattern: str) -> str:
    """`\\d` and `\\s` as RE2 reads them, spelled out."""
    inside = re.sub(r"\[(?:[^\]\\]|\\.)*\]", lambda m: m[0].replace(r"\d", "0-9").replace(r"\s", r"\t\n\f\r "), pattern)
    return inside.replace(r"\d", "[0-9]").replace(r"\s", r"[\t\n\f\r ]")


def rust_pattern(pattern: str) -> str:
    """An RE2 pattern as Rust's engine reads it with the same meaning: `\\b` knows ASCII letters alone."""
    return _ascii_classes(pattern.replace(r"\b", r"(?-u:\b)"))


def java_pattern(pattern: str) -> str:
    """An RE2 pattern as Java reads it with the same meaning.

    Java 17's `\\b` knows Chinese letters too, so it is spelled out: at the start of a branch a word begins, anywhere
    else one ends. Scripts have another name.
    """
    begins = re.sub(r"(^(?:\(\?[is]+\))?|\||\((?:\?[a-z]*:)?)\\b", r"\1(?<![0-9A-Za-z_])(?=[0-9A-Za-z_])", pattern)
    both = begins.replace(r"\b", r"(?<=[0-9A-Za-z_])(?![0-9A-Za-z_])")
    return _ascii_classes(both).replace(r"\p{Han}", r"\p{IsHan}")


def cleaned(texts: pa.Array, threads: int = THREADS) -> pa.ChunkedArray:
    """Ours: the clean texts, null where nothing is left."""
    return clean_texts(texts, PLAIN, threads=threads)["clean_text"]


def equal(ours: pa.ChunkedArray, peer: pa.ChunkedArray) -> bool:
    """Every row of both outputs is the same."""
    return bool(pc.fill_null(ours, "").equals(peer.cast(pa.string())))


def polars_side(texts: pa.Array) -> Callable[[], pa.ChunkedArray]:
    """Polars: a chain of `str.replace_all` on its streaming engine, which spreads rows over threads."""
    import polars as pl

    column = pl.col("text")
    for rule, replacement in patterns():
        column = column.str.replace_all(rust_pattern(rule.pattern), re.sub(r"\\(\d)", r"${\1}", replacement))
    chain = column.str.replace_all(" +", " ").str.strip_chars(" ")
    frame = pl.from_arrow(pa.table({"text": texts}))

    def run() -> pa.ChunkedArray:
        return frame.lazy().select(chain).collect(engine="streaming").to_arrow()["text"]

    return run


def duckdb_side(texts: pa.Array) -> Callable[[], pa.ChunkedArray]:
    """DuckDB: nested `regexp_replace`, each behind a test for the rule's literal where it has just one."""
    import duckdb

    query = "SELECT text FROM texts"
    for rule, replacement in patterns():
        call = f"regexp_replace(text, {_quoted(rule.pattern)}, {_quoted(replacement)}, 'g')"
        if len(rule.needs) == 1:
            call = f"CASE WHEN contains(text, {_quoted(rule.needs[0])}) THEN {call} ELSE text END"
        query = f"SELECT {call} AS text FROM ({query})"
    query = f"SELECT trim(regexp_replace(text, ' +', ' ', 'g')) AS text FROM ({query})"
    connection = duckdb.connect(config={"threads": THREADS})
    connection.register("texts", pa.table({"text": texts}))

    def run() -> pa.ChunkedArray:
        return connection.execute(query).to_arrow_table()["text"]

    return run


def _quoted(words: str) -> str:
    return "'" + words.replace("'", "''") + "'"


def against_spark(texts: pa.Array, rounds: int) -> Result:
    """Ours inside Spark (`mapInArrow`) beside Spark's own chained `regexp_replace`, in one session."""
    from pyspark.sql import functions as F

    from spark_jobs.clean_social_text import _gathered
    from spark_jobs.session import build_session

    spark = build_session("benchmark-text")
    spark.sparkContext.setLogLevel("ERROR")
    rows = pa.table({"id": pa.array(range(len(texts)), pa.int64()), "text": texts})
    frame = spark.createDataFrame(rows).repartition(THREADS).cache()
    frame.count()

    def batches(found: Any) -> Any:
        for batch in _gathered(found):
            clean = whole(cleaned(batch.column("text"), 1)).fill_null("")
            yield pa.RecordBatch.from_arrays([batch.column("id"), clean], names=["id", "clean"])

    ours = frame.mapInArrow(batches, "id long, clean string")
    chained = F.col("text")
    for rule, replacement in patterns():
        chained = F.regexp_replace(chained, java_pattern(rule.pattern), re.sub(r"\\(\d)", r"$\1", replacement))
    peer = frame.select("id", F.trim(F.regexp_replace(chained, " +", " ")).alias("clean"))
    differ = ours.withColumnRenamed("clean", "other").join(peer, "id").where("clean <> other").limit(5).collect()
    if differ:
        raise AssertionError(f"the two sides do not agree: {differ}")

    def run(side: Any) -> Callable[[], Any]:
        return lambda: side.agg(F.sum(F.xxhash64("clean") % 1_000_003), F.count("clean")).collect()

    unit = f"s for {len(texts):,} rows"
    result = compare("clean_vs_spark", run(ours), run(peer), rounds=rounds, same=lambda a, b: bool(a == b), unit=unit)
    spark.stop()
    return result


def against_engines(texts: pa.Array, rounds: int) -> list[Result]:
    """Cleaning beside Spark, Polars and DuckDB."""
    print(f"{len(texts)} texts, {texts.nbytes / 1e9:.2f} GB, {THREADS} threads", flush=True)

    def beside(name: str, side: Callable[[pa.Array], Callable[[], pa.ChunkedArray]], given: pa.Array) -> Result:
        unit = f"s for {len(given):,} rows"
        return compare(name, lambda: cleaned(given), side(given), rounds=rounds, same=equal, unit=unit)

    return [
        against_spark(_share(texts, SPARK_SHARE), rounds),
        beside("clean_vs_polars", polars_side, texts),
        beside("clean_vs_duckdb", duckdb_side, _share(texts, DUCKDB_SHARE)),
    ]


def _share(texts: pa.Array, one_in: int) -> pa.Array:
    """The first texts, one in so many, but enough that what is done once does not decide."""
    return pa.concat_arrays([texts.slice(0, max(len(texts) // one_in, LEAST_ROWS))])


def scoring(folder: str, rows: int, rounds: int) -> Result:
    """The text model in Spark's workers beside the same model outside, on the same distinct sentences."""
    import pandas as pd

    from spark_jobs.model import load_model
    from spark_jobs.score_social_text import scored_once
    from spark_jobs.session import build_session

    texts = pc.unique(resampled(rows)).to_pylist()
    names = [f"{number:09}" for number in range(len(texts))]
    spark = build_session("benchmark-scoring")
    spark.sparkContext.setLogLevel("ERROR")
    frame = spark.createDataFrame(pa.table({"text_hash": names, "clean_text": texts})).repartition(THREADS).cache()
    frame.count()
    given = pd.DataFrame({"text": texts})

    def inside() -> dict[str, str]:
        found = scored_once(frame, folder, THREADS).select("text_hash", "sentiment").toArrow()
        return dict(zip(found["text_hash"].to_pylist(), found["sentiment"].to_pylist(), strict=True))

    def outside() -> dict[str, str]:
        found = load_model(folder).predict(given, params={"threads": THREADS})
        return dict(zip(names, found["sentiment"], strict=True))

    def alike(a: dict[str, str], b: dict[str, str]) -> bool:
        return a.keys() == b.keys() and sum(a[n] == b[n] for n in a) >= 0.99 * len(a)

    name, sides = "score_in_spark_vs_outside", {"work": len(texts), "unit": "sentences/s"}
    try:
        return compare(name, inside, outside, rounds=rounds, same=alike, **sides)
    finally:
        spark.stop()


@contextmanager
def served(folder: str) -> Iterator[str]:
    """A model folder as the registry gives one; what `ml text train` wrote is put into such a one for as long."""
    if (Path(folder) / "MLmodel").exists():
        yield folder
        return
    import mlflow
    import pandas as pd
    from mlflow.models import infer_signature

    from ml.text.scorer import COLUMNS

    answer = pd.DataFrame([{name: "" if name in ("sentiment", "spans") else 0.0 for name in COLUMNS}])
    with tempfile.TemporaryDirectory() as scratch:
        mlflow.pyfunc.save_model(
            f"{scratch}/model",
            python_model=str(Path(__file__).parents[1] / "ml" / "text" / "scorer.py"),
            artifacts={"model": folder},
            signature=infer_signature(pd.DataFrame({"text": ["a"]}), answer, {"threads": 0}),
            pip_requirements=["mlflow"],
        )
        yield f"{scratch}/model"


def growth(sizes: tuple[int, ...]) -> Result:
    """Exponent of cleaning's time in the number of rows, the slope of a line through the logarithms, beside `FLAT`."""
    cleaned(resampled(sizes[0], seed=1))  # patterns and dictionaries are made ready once
    times = []
    for rows in sizes:
        spent = 0.0
        for at in range(0, rows, PIECE):
            texts = resampled(min(PIECE, rows - at), seed=at)
            began = time.perf_counter()
            cleaned(texts)
            spent += time.perf_counter() - began
        times.append(spent)
        print(f"{rows} rows: {1e6 * spent / rows:.2f} µs a row", flush=True)
    slope = float(np.polyfit([math.log(rows) for rows in sizes], [math.log(spent) for spent in times], 1)[0])
    print(f"cleaning: time grows with rows to the power of {slope:.3f}")
    ratio = FLAT / slope
    return Result("clean_growth", ratio, ratio, ratio, slope, FLAT, f"exponent, {sizes[0]:,} to {sizes[-1]:,} rows",
                  machine())  # fmt: skip


def measured(part: str, args: argparse.Namespace, rounds: int) -> list[Result]:
    """One part's results."""
    if part == "clean":
        return against_engines(resampled(args.rows or (QUICK_ROWS if args.quick else ROWS)), rounds)
    if part == "dedup":
        return against_rensa(sentences().to_pylist(), *((4_000, 800) if args.quick else (60_000, 4_000)), rounds)
    if part == "score":
        rows = args.score_rows or (QUICK_SCORED if args.quick else SCORED)
        with served(args.model) as folder:
            return [scoring(folder, rows, rounds)]
    return [growth(QUICK_GROWTH if args.quick else GROWTH)]


def main() -> None:
    """Measure and write `results/text.json`, part by part."""
    made = parser(__doc__ or "")
    made.add_argument("--rows", type=int, help=f"texts to clean (default {ROWS}, with --quick {QUICK_ROWS})")
    made.add_argument("--rounds", type=int, help=f"default {ROUNDS}, with --quick 1")
    made.add_argument("--part", action="append", choices=PARTS, help="measure this part alone; repeatable")
    made.add_argument("--model", help="folder of a trained or fetched text model, to measure scoring too")
    made.add_argument(
        "--score-rows", type=int, help=f"sentences to score (default {SCORED}, with --quick {QUICK_SCORED})"
    )
    args = made.parse_args()
    if "score" in (args.part or ()) and not args.model:
        made.error("--part score needs --model")
    rounds = args.rounds or (1 if args.quick else ROUNDS)
    for part in args.part or [p for p in PARTS if p != "score" or args.model]:
        write("text", measured(part, args, rounds), quick=args.quick, others=True)


if __name__ == "__main__":
    main()
