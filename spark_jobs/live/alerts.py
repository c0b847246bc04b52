"""Alerts of a running sale: pure functions of the figures so far; time is the events' own, never the clock's.

Every rule states a chance or a rate that has a reason, not a bare threshold on a count, so that small cells do not cry
wolf and large ones are not missed. One alert a rule and cell is open at a time; it is raised again when it grows more
severe, or after a pause.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import stats

from flashsale.live_tables import ALERTS, SEVERITIES
from spark_jobs.live.board import Board, Cell
from spark_jobs.live.events import STREAMS

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Band:
    """What a plan expects of a cell over the whole sale: demand's 10 % and 90 % quantiles, units."""

    low: float
    high: float


@dataclass(frozen=True)
class Sale:
    """The sale that is watched. `curve` is the share of demand by hour of the sale; None: every hour alike."""

    campaign_id: str
    starts_at: datetime
    ends_at: datetime
    bands: Mapping[tuple[str, str], Band] = field(default_factory=dict)
    curve: tuple[float, ...] | None = None

    def share_until(self, moment: datetime) -> float:
        """Expected share of the sale's demand until `moment`, 0 to 1."""
        elapsed = min(max((moment - self.starts_at) / (self.ends_at - self.starts_at), 0.0), 1.0)
        if self.curve is None:
            return elapsed
        sums = np.concatenate([[0.0], np.cumsum(self.curve)]) / sum(self.curve)
        return float(np.interp(elapsed, np.linspace(0.0, 1.0, len(sums)), sums))


@dataclass(frozen=True)
class Limits:
    """When to speak. Windows are in minutes, chances between 0 and 1."""

    window: int = 15
    stock_out_within: float = 60.0
    stock_out_chance: float = 0.9
    soon: float = 15.0
    rare: float = 1e-4
    least_negative: int = 5
    silent_minutes: int = 3
    flood_posts: int = 30
    flood_share: float = 0.2
    pause: int = 30


@dataclass(frozen=True)
class Finding:
    """A rule's finding on a cell."""

    kind: str
    severity: str
    cell: Cell
    reason: str
    value: float
    bound: float


Rule = Callable[[Board, Sale, Limits], Iterator[Finding]]


def minutes_to_stock_out(board: Board, limits: Limits) -> Floats:
    """Units left over units a minute of the window, shape (cells,); NaN where stock is unknown."""
    window = min(limits.window, max(board.minutes, 1))
    rate = (board.recent("units", window) + 0.5) / window
    return board.on_hand() / rate


def stock_outs(board: Board, sale: Sale, limits: Limits) -> Iterator[Finding]:
    """Cells that are sold out, or will most likely be before the sale ends and soon.

    Units to come are negative binomial: a Poisson count whose rate is known from the window's (Gamma posterior).
    """
    left, wait = board.on_hand(), minutes_to_stock_out(board, limits)
    window = min(limits.window, max(board.minutes, 1))
    sold, now = board.recent("units", window), board.moment()
    rest = max((sale.ends_at - now) / timedelta(minutes=1), 0.0)
    for at in np.flatnonzero(~np.isnan(left)):
        cell = board.cells[at]
        if left[at] < 1:
            if board.of("units")[at].sum() or board.of("sold_out_views")[at].sum():
                views = board.recent("sold_out_views", window)[at]
                words = f"sold out; {views:.0f} visits to the empty offer in the last {window} minutes"
                yield Finding("stock_out", "high", cell, words, 0.0, 1.0)
            continue
        if not sold[at] or wait[at] > limits.stock_out_within or rest <= 0:
            continue
        chance = float(stats.nbinom.sf(left[at] - 1, sold[at] + 0.5, window / (window + rest)))
        if chance >= limits.stock_out_chance and wait[at] < rest:
            severity = "high" if wait[at] <= limits.soon else "medium"
            until = now + timedelta(minutes=float(wait[at]))
            words = (
                f"{left[at]:.0f} left, {sold[at] / window:.2f} a minute: out at about {until:%H:%M} UTC, "
                f"{(rest - wait[at]) / 60:.1f} hours before the end"
            )
            yield Finding("stock_out_hazard", severity, cell, words, round(float(wait[at]), 1), rest)


def demand_off_band(board: Board, sale: Sale, limits: Limits) -> Iterator[Finding]:
    """Cells whose units so far the plan's band makes very unlikely; without stock, few units say nothing of demand."""
    share = sale.share_until(board.moment())
    left, total = board.on_hand(), board.of("units").sum(1)
    for at, cell in enumerate(board.cells):
        band = sale.bands.get(cell[:2])
        if band is None or board.minutes < limits.window or share <= 0:
            continue
        high, low = band.high * share, band.low * share
        if stats.poisson.sf(total[at] - 1, max(high, 1e-9)) < limits.rare:
            words = f"{total[at]:.0f} units so far where the plan's p90 is {high:.1f}"
            yield Finding("demand_above_band", "medium", cell, words, float(total[at]), high)
        elif not left[at] < 1 and stats.poisson.cdf(total[at], max(low, 1e-9)) < limits.rare:
            words = f"{total[at]:.0f} units so far where the plan's p10 is {low:.1f}"
            yield Finding("demand_below_band", "medium", cell, words, float(total[at]), low)


def negative_surges(board: Board, sale: Sale, limits: Limits) -> Iterator[Finding]:
    """Cells and topics with far more negative posts in the window than their own minutes before let expect."""
    window = min(limits.window, board.minutes)
    before = board.minutes - window
    negative, posts = board.of("negative"), board.of("posts")
    recent, past = negative[:, before:].sum(1), negative[:, :before].sum(1)
    for at in np.flatnonzero(recent >= limits.least_negative):
        rate = (past[at] + 1.0) / max(before, window)
        chance = float(
            stats.nbinom.sf(recent[at] - 1, past[at] + 1.0, max(before, window) / (max(before, window) + window))
        )
        if chance < limits.rare:
            said = posts[at, before:].sum()
            severity = "high" if recent[at] > 10 * rate * window else "medium"
            usual = rate * window
            words = f"{recent[at]:.0f} of {said:.0f} posts of the last {window} minutes are negative; {usual:.1f} usual"
            yield Finding("negative_surge", severity, board.cells[at], words, float(recent[at]), usual)


def silent_sources(board: Board, sale: Sale, limits: Limits) -> Iterator[Finding]:
    """Streams from which nothing has come for so long that their own pace makes it very unlikely."""
    for stream in STREAMS:
        rows = board.heard(stream)
        spoken = np.flatnonzero(rows)
        if not len(spoken):
            continue
        gap = board.minutes - 1 - int(spoken[-1])
        pace = len(spoken) / (int(spoken[-1]) + 1)  # share of minutes in which it spoke
        chance = (1.0 - min(pace, 0.999)) ** gap
        if gap >= limits.silent_minutes and len(spoken) >= 5 and chance < limits.rare:
            words = f"nothing from {stream} for {gap} minutes; it spoke in {pace:.0%} of the minutes before"
            yield Finding("silent_source", "high", ("", "", stream), words, float(gap), float(limits.silent_minutes))


def bot_floods(board: Board, sale: Sale, limits: Limits) -> Iterator[Finding]:
    """Cells and topics with many posts by few authors, or in few wordings."""
    window = min(limits.window, board.minutes)
    posts = board.recent("posts", window)
    for at in np.flatnonzero(posts >= limits.flood_posts):
        shares = {name: board.recent(name, window)[at] / posts[at] for name in ("authors", "wordings")}
        name, least = min(shares.items(), key=lambda pair: pair[1])
        if least <= limits.flood_share:
            words = f"{posts[at]:.0f} posts in {window} minutes, {name} only {least:.0%} of them"
            yield Finding("bot_flood", "medium", board.cells[at], words, float(least), limits.flood_share)


RULES: tuple[Rule, ...] = (stock_outs, demand_off_band, negative_surges, silent_sources, bot_floods)


class Desk:
    """Raises what the rules find: once, again when it grows worse, again after `pause` minutes."""

    def __init__(self, sale: Sale, limits: Limits | None = None) -> None:
        self.sale, self.limits = sale, limits or Limits()
        self._open: dict[tuple[str, Cell], tuple[int, datetime]] = {}

    def recall(self, alerts: pa.Table) -> None:
        """Take what an earlier run raised for raised."""
        for row in sorted(alerts.to_pylist(), key=lambda row: row["raised_at"]):
            cell = (row["sku_id"], row["region_id"], row["topic"])
            self._open[row["kind"], cell] = (SEVERITIES.index(row["severity"]), row["raised_at"])

    def judge(self, board: Board) -> pa.Table:
        """New alerts as rows of `ALERTS`, the most severe first."""
        if not board.minutes:
            return ALERTS.empty_table()
        now = board.moment()
        raised = [
            self._row(f, now) for rule in RULES for f in rule(board, self.sale, self.limits) if self._is_new(f, now)
        ]
        raised.sort(key=lambda row: (-SEVERITIES.index(row["severity"]), row["kind"], row["sku_id"], row["region_id"]))
        return pa.Table.from_pylist(raised, schema=ALERTS)

    def _is_new(self, finding: Finding, now: datetime) -> bool:
        key, rank = (finding.kind, finding.cell), SEVERITIES.index(finding.severity)
        before = self._open.get(key)
        if before and rank <= before[0] and now - before[1] < timedelta(minutes=self.limits.pause):
            return False
        self._open[key] = (rank, now)
        return True

    def _row(self, finding: Finding, now: datetime) -> dict[str, Any]:
        sku, region, topic = finding.cell
        key = "|".join([self.sale.campaign_id, finding.kind, sku, region, topic, now.isoformat()])
        return {
            "alert_id": hashlib.sha256(key.encode()).hexdigest()[:16],
            "campaign_id": self.sale.campaign_id,
            "raised_at": now,
            "kind": finding.kind,
            "severity": finding.severity,
            "sku_id": sku,
            "region_id": region,
            "topic": topic,
            "reason": finding.reason,
            "value": finding.value,
            "bound": finding.bound,
            "batch": 0,
        }
