"""Each rule speaks when it should, keeps quiet on an ordinary sale, and is heard once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from flashsale.live_tables import ALERTS, COUNTS, KEY, STREAMS
from spark_jobs.live.alerts import Band, Desk, Limits, Sale, minutes_to_stock_out
from spark_jobs.live.board import Board

BEGAN = datetime(2026, 11, 11, tzinfo=UTC)
CELL = ("sku-1", "east", "")


def sale(**more: Any) -> Sale:
    return Sale("c1", BEGAN, BEGAN + timedelta(hours=10), **more)


def minute(number: int, cell: tuple[str, str, str] = CELL, **figures: float) -> dict[str, Any]:
    """One minute of one cell as Spark hands it over; what is not given is 0, stock unread."""
    row: dict[str, Any] = dict(zip(KEY, cell, strict=True)) | dict.fromkeys(COUNTS, 0) | {"on_hand": None}
    row |= {f"rows_{stream}": 0 for stream in STREAMS} | {"minute": BEGAN + timedelta(minutes=number)}
    return row | figures


def table(rows: list[dict[str, Any]]) -> pa.Table:
    types = {"minute": pa.timestamp("us", tz="UTC")} | dict.fromkeys(KEY, pa.string())
    return pa.table({name: pa.array([row[name] for row in rows], types.get(name, pa.int64())) for name in rows[0]})


def board_of(rows: list[dict[str, Any]]) -> Board:
    made = Board(BEGAN)
    made.take(table(rows))
    return made


def kinds(board: Board, of: Sale | None = None) -> dict[str, tuple[str, str]]:
    found = Desk(of or sale()).judge(board)
    assert found.schema.equals(ALERTS)
    return {row["kind"]: (row["severity"], row["reason"]) for row in found.to_pylist()}


def test_stock_left_and_the_time_it_lasts() -> None:
    rows = [minute(0, on_hand=100, units=4)] + [minute(n, units=2) for n in range(1, 21)]
    board = board_of(rows)
    assert board.on_hand()[0] == 100 - 2 - 40  # half of the reading's own minute is taken off
    assert minutes_to_stock_out(board, Limits())[0] == pytest.approx(58 / (30.5 / 15))
    severity, reason = kinds(board)["stock_out_hazard"]
    assert severity == "medium" and reason.startswith("58 left, 2.00 a minute: out at about 00:49 UTC")
    assert "stock_out_hazard" not in kinds(board_of([minute(0, on_hand=5000, units=4), *rows[1:]]))
    ending = Sale("c1", BEGAN, BEGAN + timedelta(minutes=40))
    assert "stock_out_hazard" not in kinds(board, ending), "what is left lasts until the end"


def test_a_reading_replaces_what_was_reckoned_and_sold_out_is_said() -> None:
    rows = [
        minute(0, on_hand=100),
        *[minute(n, units=1) for n in range(1, 10)],
        minute(10, on_hand=0, sold_out_views=7),
    ]
    assert kinds(board_of(rows))["stock_out"][1].startswith("sold out; 7 visits")
    assert board_of([*rows, minute(11, on_hand=40)]).on_hand()[0] == 40.0


def test_demand_off_its_band_unless_the_shelf_is_empty() -> None:
    plan = sale(bands={CELL[:2]: Band(200.0, 400.0)})
    steady = [minute(n, units=1) for n in range(60)]  # an hour of ten: p10 to p90 are 20 to 40 until now
    assert not {k for k in kinds(board_of([*steady[:1], minute(59, units=30)]), plan) if k.startswith("demand")}
    high = kinds(board_of([*steady, minute(59, units=31)]), plan)
    assert high["demand_above_band"] == ("medium", "90 units so far where the plan's p90 is 40.0")
    low = board_of([minute(0, units=1), minute(59, units=1)])
    assert kinds(low, plan)["demand_below_band"][1] == "2 units so far where the plan's p10 is 20.0"
    empty = board_of([minute(0, units=1, on_hand=1), minute(59, on_hand=0)])
    assert "demand_below_band" not in kinds(empty, plan)
    front = sale(bands=plan.bands, curve=(9.0, 1, 0, 0, 0, 0, 0, 0, 0, 0))
    assert front.share_until(BEGAN + timedelta(hours=1)) == pytest.approx(0.9)


def test_a_surge_of_negative_posts_and_a_flood_of_bots() -> None:
    topic = ("", "", "brand")
    calm = [minute(n, topic, posts=2, negative=int(n % 10 == 0), authors=2, wordings=2) for n in range(120)]
    assert not kinds(board_of(calm))
    angry = [minute(n, topic, posts=4, negative=3, authors=4, wordings=4) for n in range(120, 130)]
    severity, reason = kinds(board_of([*calm, *angry]))["negative_surge"]
    assert severity == "high" and reason == "30 of 50 posts of the last 15 minutes are negative; 1.7 usual"
    bots = [minute(n, topic, posts=20, authors=1, wordings=20) for n in range(120, 126)]
    assert kinds(board_of([*calm, *bots]))["bot_flood"][1].endswith("authors only 17% of them")


def test_a_source_that_falls_silent() -> None:
    both = [minute(n, rows_orders=3, rows_traffic=9) for n in range(30)]
    quiet = [minute(n, rows_traffic=9) for n in range(30, 36)]
    assert "silent_source" not in kinds(board_of([*both, *quiet[:2]]))
    severity, reason = kinds(board_of([*both, *quiet]))["silent_source"]
    assert severity == "high" and reason == "nothing from orders for 6 minutes; it spoke in 100% of the minutes before"


def test_an_ordinary_sale_raises_next_to_nothing() -> None:
    """Ten simulated cells of ten hours, plentiful stock, Poisson demand inside its band, one post in eight negative."""
    rng = np.random.default_rng(4)
    desk, cells = Desk(sale(bands={(f"s{i}", "east"): Band(500.0, 700.0) for i in range(10)})), range(10)
    board, raised = Board(BEGAN), 0
    for number in range(300):
        posts = rng.poisson(1.0, 10)
        rows = [
            minute(number, (f"s{i}", "east", ""), units=int(rng.poisson(1.0)), posts=int(posts[i]), authors=int(posts[i]),
                   wordings=int(posts[i]), negative=int(rng.binomial(posts[i], 1 / 8)), rows_orders=1, rows_traffic=1,
                   rows_inventory=1, on_hand=5000)
            for i in cells
        ]  # fmt: skip
        board.take(table(rows))
        raised += desk.judge(board).num_rows
    assert raised <= 3


def test_an_alert_is_raised_once_until_it_grows_or_time_goes_by() -> None:
    desk, board = Desk(sale()), Board(BEGAN)

    def judged(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
        board.take(table(rows))
        return [(row["kind"], row["severity"]) for row in desk.judge(board).to_pylist()]

    assert judged([minute(0, on_hand=100, units=4), *[minute(n, units=2) for n in range(1, 21)]]) == [
        ("stock_out_hazard", "medium")
    ]
    assert judged([minute(21, units=2)]) == []
    assert judged([minute(n, units=4) for n in range(22, 30)]) == [("stock_out_hazard", "high")]
    again = Desk(sale())
    again.recall(Desk(sale()).judge(board))
    assert again.judge(board).num_rows == 0, "what an earlier run raised is not raised again"


def test_a_batch_that_comes_twice_changes_nothing() -> None:
    rows = [minute(n, units=n) for n in range(5)]
    once, twice = board_of(rows), board_of(rows)
    twice.take(table(rows))
    assert np.array_equal(once.of("units"), twice.of("units"))
    assert board_of([minute(-5, units=9), *rows]).of("units").sum() == 10  # before the sale began
