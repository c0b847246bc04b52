"""How Spark jobs read committed partitions and commit their own, a day each, without passing data by the driver."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import pyarrow as pa
from pyspark.sql import DataFrame

from flashsale.lake import Lake, Manifest

#: What a committing task answers: one row a partition.
COMMITTED = "partition string, rows long, changed boolean"


def inputs_hash(manifests: Iterable[Manifest], salt: str) -> str:
    """One hash for a set of committed inputs and the code that reads them: equal means nothing is to be done."""
    parts = sorted(f"{m.dataset}/{m.partition}:{m.content_hash}" for m in manifests)
    return hashlib.sha256("\n".join([salt, *parts]).encode()).hexdigest()


def in_range(partition: str, first: str | None, last: str | None) -> bool:
    """A `date=…` partition lies between the two days, both included and both optional."""
    day = partition.removeprefix("date=")
    return (first is None or day >= first) and (last is None or day <= last)


def committer(
    lake_uri: str, dataset: str, schema: pa.Schema, order: list[str], marks: dict[str, str]
) -> Callable[[tuple[pa.Scalar, ...], pa.Table], pa.Table]:
    """A function that commits one day's group of rows to the lake, sorted, in the executor that holds them.

    Args:
        lake_uri: the lake, reachable from every executor.
        dataset: where the day goes.
        schema: columns and types of the committed table.
        order: sort keys that make the content independent of how Spark split the work.
        marks: watermark by day: the hash of the inputs it was made from.
    """

    def commit(key: tuple[pa.Scalar, ...], rows: pa.Table) -> pa.Table:
        day = str(key[0].as_py())
        table = rows.select(schema.names).cast(schema).sort_by([(name, "ascending") for name in order])
        done = Lake(lake_uri).write(dataset, f"date={day}", table, watermark=marks[day])
        return pa.table({"partition": [f"date={day}"], "rows": [done.rows], "changed": [done.changed]})

    return commit


def commit_days(
    frame: DataFrame, lake: Lake, dataset: str, schema: pa.Schema, order: list[str], marks: dict[str, str]
) -> dict[str, int]:
    """Commit a frame with a column `day`, a partition a day; returns counts. Days without a row become empty.

    Only the outcome (one small row a day) reaches the driver.
    """
    commit = committer(lake.uri, dataset, schema, order, marks)
    done = frame.groupBy("day").applyInArrow(commit, COMMITTED).collect()
    for day in set(marks) - {row["partition"].removeprefix("date=") for row in done}:
        lake.write(dataset, f"date={day}", schema.empty_table(), watermark=marks[day])
    return {"days": len(marks), "rows": sum(r["rows"] for r in done), "changed": sum(r["changed"] for r in done)}
