"""Asks for a re-plan when a watched sale runs out of stock or off its band: an event of an asset, with no task waiting.

A sale is asked about once a `pause` of its own time, however many alerts it raises; what was asked for is written down.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, AssetWatcher
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from flashsale.lake import Lake
from flashsale.live_tables import ALERTS_SET, ASKS, ASKS_SET, WATCHES_SET, partition_of

#: Alerts that say that the plan's units or prices may no longer be the best.
KINDS = ("stock_out", "stock_out_hazard", "demand_above_band", "demand_below_band")
PLANS = "decisions/allocation_recommendations"
Ask = dict[str, Any]


def open_asks(lake: Lake, pause: timedelta) -> list[Ask]:
    """Sales that are to be re-planned now: `plan_id`, `alert_id`, `raised_at` (ISO) of the alert that asks.

    A sale that is watched under another name than its plan's is left to the form: nobody says which plan it is.
    """
    found = []
    for partition in sorted(lake.partitions(WATCHES_SET)):
        plan_id = partition.partition("=")[2]
        watch = _rows(lake, WATCHES_SET, partition)
        if (watch and watch[0]["is_over"]) or lake.manifest(PLANS, f"plan_id={plan_id}") is None:
            continue
        alerts = [row for row in _rows(lake, ALERTS_SET, partition) if row["kind"] in KINDS]
        asked = _rows(lake, ASKS_SET, partition)
        newest = max(alerts, key=lambda row: (row["raised_at"], row["alert_id"]), default=None)
        if newest is None or (asked and newest["raised_at"] < asked[0]["raised_at"] + pause):
            continue
        found.append({"plan_id": plan_id, "alert_id": newest["alert_id"], "raised_at": newest["raised_at"].isoformat()})
    return found


def note(lake: Lake, ask: Ask) -> None:
    """Write down that a re-plan was asked for."""
    import pyarrow as pa

    from flashsale.times import parse_utc

    row = {"campaign_id": ask["plan_id"], "alert_id": ask["alert_id"], "raised_at": parse_utc(ask["raised_at"])}
    lake.write(ASKS_SET, partition_of(ask["plan_id"]), pa.Table.from_pylist([row], schema=ASKS))


def _rows(lake: Lake, dataset: str, partition: str) -> list[dict[str, Any]]:
    manifest = lake.manifest(dataset, partition)
    return lake.read_one(manifest).to_pylist() if manifest else []


class ReplanAsked(BaseEventTrigger):
    """An event for each sale that is to be re-planned; the triggerer looks every few seconds.

    One that is cut off between an event and its note asks again: a re-plan of one minute is made once.
    """

    def __init__(self, every_seconds: float = 15.0, pause_minutes: float = 30.0) -> None:
        super().__init__()
        self.every_seconds, self.pause_minutes = every_seconds, pause_minutes

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, from which the triggerer makes it again."""
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {"every_seconds": self.every_seconds, "pause_minutes": self.pause_minutes}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, tell, note, wait. Reading the lake blocks, so it happens in a thread."""
        from flashsale.settings import settings

        lake, pause = Lake(settings().lake_uri), timedelta(minutes=self.pause_minutes)
        while True:
            for ask in await asyncio.to_thread(open_asks, lake, pause):
                yield TriggerEvent(ask)
                await asyncio.to_thread(note, lake, ask)
            await asyncio.sleep(self.every_seconds)


#: A re-plan is asked for; its events hold what `open_asks` found.
REPLAN_ASKED = Asset("flashsale://lake/live/asks", watchers=[AssetWatcher(name="replan_asked", trigger=ReplanAsked())])


def replan_commands(params: Mapping[str, Any], events: Iterable[Iterable[Any]]) -> list[list[str]]:
    """The re-plans to make: the form's, or one for each sale that asked since the last run."""
    command = ["python", "-m", "ml", "allocation", "replan", "--plan-id"]
    if params.get("plan_id"):
        campaign = [f"--campaign-id={params['campaign_id']}"] if params.get("campaign_id") else []
        return [[*command, str(params["plan_id"]), *campaign]]
    asked = {(event.extra.get("payload") or {}).get("plan_id") for own in events for event in own}
    return [[*command, plan] for plan in sorted(name for name in asked if name)]
