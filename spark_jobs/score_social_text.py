"""Score cleaned text with a registered model version, in the executors.

    spark-submit spark_jobs/score_social_text.py --lake URI --model DIR [--first-day D] [--last-day D]

`DIR` is a model version fetched from the registry (an MLflow model folder with `version.json`). Every distinct text is
scored once, long texts beside long ones; days this version has scored from the same clean text are left alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

sys.path.insert(0, str(Path(__file__).parents[1]))  # `spark-submit` starts the file outside its package

from flashsale.lake import Lake, Manifest
from flashsale.tables import SCORED_TEXTS
from flashsale.text_serving import model_version
from spark_jobs.model import load_model
from spark_jobs.partitions import Output, commit_days, in_range, inputs_hash
from spark_jobs.session import build_session, shared_path

if TYPE_CHECKING:
    import pandas as pd

SCORES = (
    "text_hash string, sentiment string, p_negative double, p_neutral double, p_positive double, p_intent double, "
    "spans string"
)


def scored_once(texts: DataFrame, folder: str, slices: int) -> DataFrame:
    """Scores of every distinct text: the columns of `SCORES`."""

    def score(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for frame in frames:
            found = load_model(folder).predict(frame[["text"]], params={"threads": 1})
            found.insert(0, "text_hash", frame["text_hash"].to_numpy())
            yield found

    once = texts.groupBy("text_hash").agg(F.min("clean_text").alias("text"))
    # a hash deals long and short texts to every worker alike; the model itself sorts its batch by length
    return once.repartition(slices, "text_hash").mapInPandas(score, SCORES)


def score(texts: DataFrame, folder: str, slices: int) -> DataFrame:
    """Every clean text with its scores; the columns of `SCORED_TEXTS` and `day`."""
    scores = scored_once(texts, folder, slices)
    joined = texts.join(scores, "text_hash").withColumn("model_version", F.lit(model_version(Path(folder))))
    return joined.withColumn("day", F.to_date("event_at")).select("day", *SCORED_TEXTS.names)


def pending(
    lake: Lake, dataset: str, salt: str, first: str | None, last: str | None
) -> tuple[list[Manifest], dict[str, str]]:
    """Clean days to score and each day's mark."""
    done = lake.partitions(dataset)
    inputs, marks = [], {}
    for partition, manifest in lake.partitions("text/clean").items():
        mark = inputs_hash([manifest], salt)
        if in_range(partition, first, last) and (partition not in done or done[partition].watermark != mark):
            inputs.append(manifest)
            marks[partition.removeprefix("date=")] = mark
    return inputs, marks


def run(
    spark: SparkSession, lake: Lake, folder: str, first: str | None = None, last: str | None = None
) -> dict[str, Any]:
    """Score the days that need it; returns counts and the model version."""
    version = model_version(Path(folder))
    dataset = f"text/scored/model_version={version}"
    inputs, marks = pending(lake, dataset, version, first, last)
    outcome: dict[str, Any] = {"model_version": version, "days": 0, "rows": 0, "changed": 0}
    if not marks:
        return outcome
    texts = spark.read.parquet(*[lake.address(m) for m in inputs]).where("clean_text IS NOT NULL")
    slices = spark.sparkContext.defaultParallelism
    frame = score(texts, folder, slices)
    output = Output(dataset, SCORED_TEXTS, ("event_at", "event_id"))
    return outcome | commit_days(frame, lake, [output], marks)


def main() -> None:
    """Parse the command line, run, print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lake", required=True)
    parser.add_argument("--model", required=True, type=shared_path)
    parser.add_argument("--first-day")
    parser.add_argument("--last-day")
    args = parser.parse_args()
    spark = build_session("score_social_text")
    try:
        print(json.dumps(run(spark, Lake(args.lake), args.model, args.first_day, args.last_day)), flush=True)
    finally:
        spark.stop()


if __name__ == "__main__":
    main()
