"""Who asks for a re-plan, and how often: alerts of a watched sale, once a pause of its own time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from flashsale.decision_tables import ALLOCATION_RECOMMENDATIONS
from flashsale.lake import Lake
from flashsale.live_tables import ALERTS, ALERTS_SET, mark_watch, partition_of
from flashsale_plugins.replan_asks import REPLAN_ASKED, ReplanAsked, note, open_asks, replan_commands

NOON = datetime(2026, 11, 11, 12, tzinfo=UTC)
PAUSE = timedelta(minutes=30)


@pytest.fixture()
def lake(tmp_path: Path) -> Lake:
    made = Lake(str(tmp_path))
    row = dict.fromkeys(ALLOCATION_RECOMMENDATIONS.names) | {"plan_id": "p"}
    made.write(
        "decisions/allocation_recommendations",
        "plan_id=p",
        pa.Table.from_pylist([row], schema=ALLOCATION_RECOMMENDATIONS),
    )
    return made


def _alert(lake: Lake, *raised: tuple[str, int], name: str = "p") -> None:
    rows: list[dict[str, Any]] = [
        {
            **dict.fromkeys(ALERTS.names),
            "alert_id": f"{kind}{at}",
            "kind": kind,
            "raised_at": NOON + timedelta(minutes=at),
        }
        for kind, at in raised
    ]
    lake.write(ALERTS_SET, partition_of(name), pa.Table.from_pylist(rows, schema=ALERTS))
    mark_watch(lake, name, over=False)


def test_a_sale_asks_once_a_pause(lake: Lake) -> None:
    _alert(lake, ("stock_out_hazard", 0), ("demand_above_band", 1))
    asked = open_asks(lake, PAUSE)
    assert [(a["plan_id"], a["alert_id"]) for a in asked] == [("p", "demand_above_band1")]
    note(lake, asked[0])
    assert open_asks(lake, PAUSE) == []
    _alert(lake, ("demand_above_band", 1), ("stock_out", 30))
    assert open_asks(lake, PAUSE) == []
    _alert(lake, ("demand_above_band", 1), ("stock_out", 31))
    assert [a["alert_id"] for a in open_asks(lake, PAUSE)] == ["stock_out31"]


def test_other_alerts_other_sales_and_a_sale_that_is_over_do_not_ask(lake: Lake) -> None:
    _alert(lake, ("negative_surge", 0), ("silent_source", 5))
    _alert(lake, ("stock_out", 0), name="no plan of this name")
    assert open_asks(lake, PAUSE) == []
    _alert(lake, ("stock_out", 0))
    mark_watch(lake, "p", over=True)
    assert open_asks(lake, PAUSE) == []


def test_the_trigger_tells_and_notes(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flashsale.settings import settings

    monkeypatch.setenv("FLASHSALE_LAKE", str(tmp_path))
    settings.cache_clear()
    _alert(lake, ("stock_out", 0))

    async def events() -> list[Any]:
        found: list[Any] = []
        trigger = ReplanAsked(every_seconds=0.01).run()
        found.append((await asyncio.wait_for(trigger.__anext__(), 10)).payload)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(trigger.__anext__(), 0.3)
        return found

    assert [event["plan_id"] for event in asyncio.run(events())] == ["p"]
    settings.cache_clear()


def test_the_trigger_is_made_again_from_what_it_serialises() -> None:
    path, arguments = REPLAN_ASKED.watchers[0].trigger.serialize()
    assert path == "flashsale_plugins.replan_asks.ReplanAsked"
    assert ReplanAsked(**arguments).serialize() == (path, arguments)


def test_commands_are_the_forms_or_one_a_sale() -> None:
    events = [[SimpleNamespace(extra={"from_trigger": True, "payload": {"plan_id": p}}) for p in ("b", "a", "b")],
              [SimpleNamespace(extra={})]]  # fmt: skip
    assert [command[-1] for command in replan_commands({}, events)] == ["a", "b"]
    form = replan_commands({"plan_id": "c", "campaign_id": "sale"}, events)
    assert [command[-2:] for command in form] == [["c", "--campaign-id=sale"]]
    assert replan_commands({"plan_id": None}, []) == []
