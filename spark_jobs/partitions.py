"""How Spark jobs read committed partitions and commit their own, a day each, without passing data by the driver."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Output:
    """A dataset that a job commits, a partition a day; `order` sorts its rows, so that they do not hang on Spark."""

    dataset: str
    schema: pa.Schema
    order: tuple[str, ...]


#: Turns one day's rows into the tables of a job's outputs, in their order.
Finish = Callable[[str, pa.Table], Sequence[pa.Table]]


def committer(
    lake_uri: str, outputs: Sequence[Output], marks: dict[str, str], finish: Finish | None, level: str = "date"
) -> Callable[[tuple[pa.Scalar, ...], pa.Table], pa.Table]:
    """A function that commits one day's group of rows to the lake, sorted, in the executor that holds them.

    Args:
        lake_uri: the lake, reachable from every executor.
        outputs: where the day goes; the first one is counted.
        marks: watermark by day: the hash of the inputs it was made from.
        finish: makes the outputs' tables of the day and its rows; without it the rows are the one output.
        level: what the partitions are by; `date`, or another name where `day` is no day.
    """

    def commit(key: tuple[pa.Scalar, ...], rows: pa.Table) -> pa.Table:
        day = str(key[0].as_py())
        tables = finish(day, rows) if finish else [rows]
        done = []
        for output, found in zip(outputs, tables, strict=True):
            table = found.select(output.schema.names).cast(output.schema)
            table = table.sort_by([(name, "ascending") for name in output.order])
            done.append(Lake(lake_uri).write(output.dataset, f"{level}={day}", table, watermark=marks[day]))
        return pa.table({"partition": [f"{level}={day}"], "rows": [done[0].rows], "changed": [done[0].changed]})

    return commit


def commit_days(
    frame: DataFrame,
    lake: Lake,
    outputs: Sequence[Output],
    marks: dict[str, str],
    finish: Finish | None = None,
    level: str = "date",
) -> dict[str, int]:
    """Commit a frame with a column `day`, a partition a day; returns counts. Days without a row become empty.

    Only the outcome (one small row a day) reaches the driver.
    """
    commit = committer(lake.uri, outputs, marks, finish, level)
    done = frame.groupBy("day").applyInArrow(commit, COMMITTED).collect()
    for day in set(marks) - {row["partition"].removeprefix(f"{level}=") for row in done}:
        for output in outputs:
            lake.write(output.dataset, f"{level}={day}", output.schema.empty_table(), watermark=marks[day])
    return {"days": len(marks), "rows": sum(r["rows"] for r in done), "changed": sum(r["changed"] for r in done)}
