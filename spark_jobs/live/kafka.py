"""Kafka topics as a Python data source (Spark 4), over confluent-kafka, for where Spark's connector is out of reach.

Offsets are the query's own (its checkpoint), not a consumer group's: after a crash the same range is read again, which
is what makes counts exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition

_PATIENCE = 15.0
_OWN = ("servers", "topic", "path")


class Range(InputPartition):  # type: ignore[misc]
    """Messages of one partition, from `start` up to but not including `end`."""

    def __init__(self, partition: int, start: int, end: int) -> None:
        super().__init__(partition)
        self.partition, self.start, self.end = partition, start, end


class KafkaTopic(DataSource):  # type: ignore[misc]
    """A topic's messages: `partition`, `offset`, `value` (text)."""

    @classmethod
    def name(cls) -> str:
        """The format's name."""
        return "flashsale_kafka"

    def schema(self) -> str:
        """Columns of a message."""
        return "partition int, offset long, value string"

    def streamReader(self, schema: Any) -> KafkaReader:
        """The reader of an unbounded topic."""
        return KafkaReader(dict(self.options))


class KafkaReader(DataSourceStreamReader):  # type: ignore[misc]
    """Plans ranges of offsets on the driver, reads them in the workers.

    Args:
        options: `servers`, `topic`, and settings of the client.
    """

    def __init__(self, options: dict[str, str]) -> None:
        self.servers, self.topic = options["servers"], options["topic"]
        self.client = {key: value for key, value in options.items() if key not in _OWN}

    def initialOffset(self) -> dict[str, int]:
        """The oldest message of every partition."""
        return {name: low for name, (low, _) in self._bounds().items()}

    def latestOffset(self) -> dict[str, int]:
        """One past the newest message of every partition."""
        return {name: high for name, (_, high) in self._bounds().items()}

    def partitions(self, start: dict[str, int], end: dict[str, int]) -> Sequence[InputPartition]:
        """One range a partition that has something new; a partition that is new itself is read from its start."""
        return [Range(int(p), start.get(p, 0), stop) for p, stop in end.items() if stop > start.get(p, 0)]

    def read(self, partition: InputPartition) -> Iterator[tuple[int, int, str | None]]:
        """Messages of a range, in order. Raises RuntimeError where the broker no longer has them all."""
        from confluent_kafka import TopicPartition

        consumer = self._consumer()
        try:
            consumer.assign([TopicPartition(self.topic, partition.partition, partition.start)])
            at = partition.start
            while at < partition.end:
                messages = consumer.consume(min(1000, partition.end - at), timeout=_PATIENCE)
                if not messages:
                    raise RuntimeError(f"topic {self.topic}: no message from offset {at} on within {_PATIENCE:.0f} s")
                for message in messages:
                    if message.error():
                        raise RuntimeError(f"topic {self.topic}: {message.error()}")
                    at = message.offset() + 1
                    if message.offset() < partition.end:
                        value = message.value()
                        yield partition.partition, message.offset(), value and value.decode("utf-8", "replace")
        finally:
            consumer.close()

    def _bounds(self) -> dict[str, tuple[int, int]]:
        from confluent_kafka import TopicPartition

        consumer = self._consumer()
        try:
            known = consumer.list_topics(self.topic, timeout=_PATIENCE).topics[self.topic]
            if known.error:
                raise RuntimeError(f"topic {self.topic}: {known.error}")
            return {
                str(p): consumer.get_watermark_offsets(TopicPartition(self.topic, p), timeout=_PATIENCE)
                for p in sorted(known.partitions)
            }
        finally:
            consumer.close()

    def _consumer(self) -> Any:
        from confluent_kafka import Consumer

        settings = {"bootstrap.servers": self.servers, "group.id": f"flashsale-{self.topic}"}
        return Consumer(settings | {"enable.auto.commit": False, "auto.offset.reset": "earliest"} | self.client)


def has_connector(spark: SparkSession) -> bool:
    """Whether Spark's own Kafka connector is on the class path."""
    try:
        spark._jvm.java.lang.Class.forName(  # the loader of the session knows jars that came by --packages
            "org.apache.spark.sql.kafka010.KafkaSourceProvider",
            False,
            spark._jvm.Thread.currentThread().getContextClassLoader(),
        )
    except Exception:  # py4j wraps ClassNotFoundException
        return False
    return True
