"""Keeps a sale's figures and alerts in the lake, batch by batch, so that a kill loses nothing and repeats nothing.

Both tables are one partition a sale, written anew with each batch that changes them: alerts first, since somebody waits
for them. A batch that Spark runs again after a crash finds its own alerts by their batch number and takes them back
before it judges.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame

from flashsale.lake import Lake
from flashsale.live_tables import (
    ALERTS,
    ALERTS_SET,
    MINUTES,
    MINUTES_SET,
    STANDING,
    STANDING_SET,
    mark_watch,
    partition_of,
)
from spark_jobs.live.alerts import Desk, Limits, Sale, minutes_to_stock_out
from spark_jobs.live.board import KEY, Board


@dataclass
class Watcher:
    """Takes Spark's changed minutes and writes `live/minutes`, `live/standing` and `live/alerts` of one sale.

    `seconds` holds, by batch, how long it took from its figures to its written alerts.
    """

    lake: Lake
    sale: Sale
    limits: Limits = field(default_factory=Limits)
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.board = Board(self.sale.starts_at)
        self.desk = Desk(self.sale, self.limits)
        self._rows = ALERTS.empty_table()
        self._minutes: pa.Table | None = None
        self._restored = False
        self._told = 0.0  # when the last batch's alerts were written

    @property
    def partition(self) -> str:
        """The sale's partition in every data set."""
        return partition_of(self.sale.campaign_id)

    @property
    def raised(self) -> int:
        """Alerts raised so far, those before a restart counted in."""
        return int(self._rows.num_rows)

    def mark(self, *, over: bool) -> None:
        """Say whether the watch goes on: what delivers alerts waits for its end."""
        mark_watch(self.lake, self.sale.campaign_id, over=over)

    def on_batch(self, changed: DataFrame, batch: int) -> None:
        """What `foreachBatch` calls; `changed` are minutes as `spark_jobs.live.events.minutes` gives them."""
        rows = changed.toArrow()  # figures by minute and cell, a few a cell; events never leave the executors
        began = time.perf_counter()
        self.take(rows, batch)
        self.seconds.append(self._told - began)

    def take(self, rows: pa.Table, batch: int) -> pa.Table:
        """Put the minutes in, raise and write; returns the new alerts."""
        if not self._restored:
            self._restore(batch)
        self.board.take(rows)
        raised = self.desk.judge(self.board)
        if raised.num_rows:
            numbered = pa.array([batch] * raised.num_rows, pa.int64())
            raised = raised.set_column(ALERTS.get_field_index("batch"), ALERTS.field("batch"), numbered)
            self._rows = pa.concat_tables([self._rows, raised])
            self.lake.write(ALERTS_SET, self.partition, self._rows)
        self._told = time.perf_counter()
        self._keep(rows)
        self.lake.write(STANDING_SET, self.partition, self.standing())
        return raised

    def _restore(self, batch: int) -> None:
        """Figures and alerts of earlier batches, where an earlier run was cut off."""
        self._restored = True
        kept = self.lake.manifest(MINUTES_SET, self.partition)
        if kept is not None:
            self._minutes = self.lake.read_one(kept)
            self.board.take(self._minutes)
        alerts = self.lake.manifest(ALERTS_SET, self.partition)
        if alerts is not None:
            known = self.lake.read_one(alerts)
            self._rows = known.filter(pc.less(known["batch"], batch))
            self.desk.recall(self._rows)

    def _keep(self, rows: pa.Table) -> None:
        """The newest value of every minute and cell."""
        if not rows.num_rows:
            return
        self._minutes = newest(self._minutes, with_ratios(rows, self.sale.campaign_id))
        self.lake.write(MINUTES_SET, self.partition, self._minutes)

    def standing(self) -> pa.Table:
        """Rows of `STANDING`: what is left, for how long, and what the plan expected until now."""
        now, share = self.board.moment(), self.sale.share_until(self.board.moment())
        units, left = self.board.of("units").sum(1), self.board.on_hand()
        wait = minutes_to_stock_out(self.board, self.limits)
        rows = []
        for at, (sku, region, topic) in enumerate(self.board.cells):
            if topic or not region:
                continue
            band = self.sale.bands.get((sku, region))
            known = not np.isnan(left[at])
            rows.append({
                "campaign_id": self.sale.campaign_id, "as_of": now, "sku_id": sku, "region_id": region,
                "units": int(units[at]), "left": float(left[at]) if known else None,
                "minutes_to_stock_out": round(float(wait[at]), 2) if known else None,
                "demand_low": band.low * share if band else None, "demand_high": band.high * share if band else None,
            })  # fmt: skip
        rows.sort(key=lambda row: (row["sku_id"], row["region_id"]))
        return pa.Table.from_pylist(rows, schema=STANDING)


def newest(before: pa.Table | None, rows: pa.Table) -> pa.Table:
    """One row a minute and cell, the later one where both tables have it, in the order of the key."""
    key = [*KEY, "minute"]
    if before is not None:
        marked = rows.select(key).append_column("again", pa.array([True] * rows.num_rows))
        joined = before.join(marked, key, join_type="left outer")
        before = joined.filter(pc.is_null(joined["again"])).select(rows.column_names)
        rows = pa.concat_tables([before.cast(rows.schema), rows])
    return rows.sort_by([(name, "ascending") for name in key]).combine_chunks()


def with_ratios(rows: pa.Table, campaign_id: str) -> pa.Table:
    """Rows of `MINUTES` of minutes as Spark gave them; a share of nothing is null."""
    orders, views, posts = (rows[name].cast(pa.float64()) for name in ("orders", "views", "posts"))
    mood = pc.subtract(rows["positive"], rows["negative"]).cast(pa.float64())
    columns = {name: rows[name] for name in rows.column_names} | {
        "campaign_id": pa.array([campaign_id] * rows.num_rows, pa.string()),
        "revenue": pc.divide(rows["revenue_cents"].cast(pa.float64()), 100.0),
        "conversion": pc.divide(orders, pc.if_else(pc.greater(views, 0), views, None)),
        "sentiment_mean": pc.divide(mood, pc.if_else(pc.greater(posts, 0), posts, None)),
    }
    return pa.table([columns[name] for name in MINUTES.names], names=MINUTES.names).cast(MINUTES)
