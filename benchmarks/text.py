"""Text at scale: cleaning beside Spark, Polars and DuckDB; near-duplicates beside Rensa; cost per row as rows grow.

    python benchmarks/text.py [--quick] [--rows N] [--model FOLDER]

**Cleaning.** Real sentences resampled with identifiers, links, mentions and markup, by default more than 1 GB of them.
The peers run the table's patterns one after another (`regexp_replace`, `str.replace_all`), in the form their engine
reads with the same meaning; DuckDB tests a rule's one literal first, which is faster there. Every row of both outputs
must be equal. Form NFKC, entities, emoji and repeated characters are not to be had in their expressions, so that texts
are given on which these change nothing: ours looks for them all the same, tells the language and the kinds masked, the
peers are spared that. Same threads on both sides. Spark gets a twentieth of the rows: it needs minutes where the others
need seconds.

**Near-duplicates.** From the same shingles; ours from the texts, Rensa once from ready lists of shingles and once from
the texts as well. Recall and precision of what is dropped, against exact Jaccard similarity of all pairs, are printed
for both. Rensa gets the fastest of several settings that come within two points of ours in the harmonic mean of both
figures, or its best.

**Scoring.** With `--model`, a fetched version of the text model: distinct sentences scored in Spark's workers, one
thread each, beside the same model in one process with as many threads. Both have it loaded; at least 99 in 100
sentences must get the same sentiment (numbers of low precision depend on what shares a batch).
"""

from __future__ import annotations

import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
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

from benchmarks.harness import Result, compare, parser, write
from flashsale.identifiers import Rule
from spark_jobs.arrow import whole
from spark_jobs.cleaning import Options, clean_texts, normalise, rules
from spark_jobs.minhash import FEW, THRESHOLD, earliest, signatures

ROWS = 6_500_000  # more than 1 GB
QUICK_ROWS = 20_000
SPARK_SHARE = 20
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
#: Rensa's settings that are tried: hash functions and bands.
SETTINGS = ((80, 20), (128, 32), (256, 64), (128, 16))
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

    result = compare("clean_vs_spark", run(ours), run(peer), rounds=rounds, same=lambda a, b: bool(a == b))
    spark.stop()
    return result


def against_engines(texts: pa.Array, rounds: int) -> list[Result]:
    """Cleaning beside Spark, Polars and DuckDB."""
    print(f"{len(texts)} texts, {texts.nbytes / 1e9:.2f} GB, {THREADS} threads")
    results = [against_spark(texts.slice(0, max(len(texts) // SPARK_SHARE, 1000)), rounds)]
    for name, side in (("clean_vs_polars", polars_side), ("clean_vs_duckdb", duckdb_side)):
        results.append(compare(name, lambda: cleaned(texts), side(texts), rounds=rounds, same=equal))
    return results


def shingles(text: str) -> list[str]:
    """Two Chinese characters or three other letters in a row, as `minhash` cuts a text, in Python."""
    letters = [c.lower()[0] for c in text if c.isalnum()]
    found = []
    for i in range(1, len(letters)):
        if letters[i - 1] >= "\u2e80" and letters[i] >= "\u2e80":
            found.append(letters[i - 1] + letters[i])
        elif i >= 2:
            found.append("".join(letters[i - 2 : i + 1]))
    return found or (["".join(letters)] if letters else [])


def reposts(rows: int, seed: int = 11) -> list[str]:
    """Distinct texts, some three of a kind: sentences with a few characters changed."""
    rng = np.random.default_rng(seed)
    pool = [t for t in sentences().to_pylist() if 12 <= len(t) <= 300][: max(rows // 3, 100)]
    found: dict[str, None] = {}
    while len(found) < rows:
        chars = list(pool[rng.integers(len(pool))])
        for _ in range(rng.integers(4)):
            at = rng.integers(len(chars))
            chars[at : at + rng.integers(2)] = rng.choice(list("ax的好 "))
        found["".join(chars)] = None
    return list(found)


def exact_drops(texts: list[str]) -> np.ndarray:
    """What is dropped when every text is held against every kept one before it, by exact Jaccard similarity."""
    sets = [set(shingles(text)) for text in texts]
    few = [len(shingles(text)) < FEW for text in texts]
    kept: list[int] = []
    dropped = np.zeros(len(texts), bool)
    for row, mine in enumerate(sets):
        bar = 1.0 if few[row] else THRESHOLD
        for other in kept:
            theirs = sets[other]
            least, most = sorted((len(mine), len(theirs)))
            if least >= bar * most and len(mine & theirs) >= bar * len(mine | theirs):
                dropped[row] = True
                break
        else:
            kept.append(row)
    return dropped


def quality(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Recall and precision of what is dropped."""
    both = float((found & truth).sum())
    return both / truth.sum(), both / found.sum()


def our_drops(texts: pa.Array) -> np.ndarray:
    """Ours, from texts to what is dropped."""
    return earliest(texts, signatures(texts)) >= 0


def rensa_drops(tokens: list[list[str]], hashes: int, bands: int) -> np.ndarray:
    """Rensa's deduplicator, from lists of shingles to what is dropped."""
    import rensa

    signed = rensa.RMinHash.from_token_sets(tokens, hashes, 42)
    kept = rensa.RMinHashDeduplicator(THRESHOLD, hashes, True, bands)
    return ~np.array(kept.add_pairs([(str(i), one) for i, one in enumerate(signed)]), bool)


def _harmonic(pair: tuple[float, float]) -> float:
    return 2 * pair[0] * pair[1] / (pair[0] + pair[1])


def rensa_setting(tokens: list[list[str]], truth: np.ndarray, aim: float) -> tuple[int, int]:
    """The fastest setting whose harmonic mean of recall and precision is within two points of `aim`, or the best."""
    tried = []
    for setting in SETTINGS:
        began = time.perf_counter()
        pair = quality(rensa_drops(tokens, *setting), truth)
        tried.append((time.perf_counter() - began, _harmonic(pair), setting))
        print(f"Rensa {setting}: recall {pair[0]:.4f}, precision {pair[1]:.4f}")
    enough = [t for t in tried if t[1] >= aim - 0.02]
    return min(enough)[2] if enough else max(tried, key=lambda t: t[1])[2]


def against_rensa(rows: int, judged: int, rounds: int) -> list[Result]:
    """Near-duplicates, on one thread each: quality on `judged` texts, time on `rows`."""
    texts = reposts(judged)
    truth = exact_drops(texts)
    pair = quality(our_drops(pa.array(texts)), truth)
    print(f"ours: recall {pair[0]:.4f}, precision {pair[1]:.4f} on {judged} texts, {truth.sum()} to drop")
    setting = rensa_setting([shingles(t) for t in texts], truth, _harmonic(pair))
    print(f"Rensa's setting: {setting[0]} hash functions in {setting[1]} bands")
    texts = reposts(rows)
    given, tokens = pa.array(texts), [shingles(t) for t in texts]

    def alike(a: np.ndarray, b: np.ndarray) -> bool:
        return float((a == b).mean()) > 0.95  # an estimate differs from the exact answer near the threshold

    def both(name: str, peer: Callable[[], np.ndarray]) -> Result:
        return compare(name, lambda: our_drops(given), peer, rounds=rounds, same=alike, work=rows, unit="texts/s")

    return [
        both("dedup_vs_rensa", lambda: rensa_drops(tokens, *setting)),
        both("dedup_vs_rensa_from_texts", lambda: rensa_drops([shingles(t) for t in texts], *setting)),
    ]


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


def growth(sizes: tuple[int, ...]) -> float:
    """Exponent of cleaning's time in the number of rows: the slope of a line through the logarithms."""
    times = []
    for rows in sizes:
        spent = 0.0
        for at in range(0, rows, PIECE):
            texts = resampled(min(PIECE, rows - at), seed=at)
            began = time.perf_counter()
            cleaned(texts)
            spent += time.perf_counter() - began
        times.append(spent)
        print(f"{rows} rows: {1e6 * spent / rows:.2f} µs a row")
    slope = np.polyfit([math.log(rows) for rows in sizes], [math.log(spent) for spent in times], 1)[0]
    return float(slope)


def main() -> None:
    """Measure and write `results/text.json`."""
    made = parser(__doc__ or "")
    made.add_argument("--rows", type=int, help=f"texts to clean (default {ROWS}, with --quick {QUICK_ROWS})")
    made.add_argument("--model", help="folder of a fetched text model, to measure scoring too")
    args = made.parse_args()
    rows = args.rows or (QUICK_ROWS if args.quick else ROWS)
    rounds = 1 if args.quick else 3
    results = against_engines(resampled(rows), rounds)
    results += against_rensa(*((4_000, 800) if args.quick else (200_000, 4_000)), rounds)
    if args.model:
        results.append(scoring(args.model, 200 if args.quick else 20_000, rounds))
    exponent = growth(QUICK_GROWTH if args.quick else GROWTH)
    print(f"cleaning: time grows with rows to the power of {exponent:.3f}")
    write("text", results, quick=args.quick)


if __name__ == "__main__":
    main()
