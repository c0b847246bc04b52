"""Where a sale's events come from while it runs: a folder that files are dropped into, or Kafka topics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from flashsale.errors import InputError
from flashsale.live_tables import STREAMS
from spark_jobs.live.events import contract_schema

KAFKA = "kafka://"
_FORMATS = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}


def streams(spark: SparkSession, source: str, **options: Any) -> dict[str, DataFrame]:
    """Unbounded frames by stream, with the fields of the contracts.

    Args:
        source: a folder with a sub-folder a stream (JSON Lines or Parquet; files appear whole, by a rename), or
            `kafka://host:port[,host:port]` with a topic a stream (a JSON object a message).
        options: for Kafka, settings of the client (`security.protocol`, …).

    Raises InputError where the folder has none of the streams.
    """
    if source.startswith(KAFKA):
        return {s: _topic(spark, source.removeprefix(KAFKA), s, options) for s in STREAMS}
    folder = Path(source)
    found = {s: _folder(spark, folder / s) for s in STREAMS if (folder / s).is_dir()}
    if not found:
        names = ", ".join(STREAMS)
        raise InputError(f"live source {source}", "it has no sub-folder of a stream", f"make one or more of: {names}")
    return found


def _folder(spark: SparkSession, folder: Path) -> DataFrame:
    """Files of one stream; their kind is that of the files there, JSON Lines where there is none yet."""
    kinds = {_FORMATS[p.suffix] for p in sorted(folder.iterdir()) if p.suffix in _FORMATS}
    if len(kinds) > 1:
        raise InputError(f"live source {folder}", "it mixes JSON and Parquet files", "keep one kind a stream")
    kind = kinds.pop() if kinds else "json"
    pattern = "*.parquet" if kind == "parquet" else "*.json*"
    reader = spark.readStream.schema(contract_schema(folder.name)).option("pathGlobFilter", pattern)
    return reader.format(kind).load(str(folder))


def _topic(spark: SparkSession, servers: str, stream: str, options: dict[str, Any]) -> DataFrame:
    """Messages of one topic. Spark's own connector is used where its jar is on the class path, else ours."""
    from spark_jobs.live.kafka import KafkaTopic, has_connector

    if has_connector(spark):
        reader = spark.readStream.format("kafka").options(**{f"kafka.{k}": str(v) for k, v in options.items()})
        raw = reader.option("kafka.bootstrap.servers", servers).option("subscribe", stream)
        values = raw.option("startingOffsets", "earliest").load().select(F.col("value").cast("string"))
    else:
        spark.dataSource.register(KafkaTopic)
        reader = spark.readStream.format(KafkaTopic.name()).options(**{k: str(v) for k, v in options.items()})
        values = reader.option("servers", servers).option("topic", stream).load().select("value")
    return values.select(F.from_json("value", contract_schema(stream)).alias("record")).select("record.*")
