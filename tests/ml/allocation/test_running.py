"""A running sale read from the watch's minutes: stock, time in stock, the clock, and input that cannot be used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from flashsale.errors import InputError
from ml.allocation.running import Offers, Running, Sent, read_running
from tests.ml.allocation.small_sale import HOURS, REGIONS, START, minutes_of, small_sale

UNITS = np.full((1, 3), 10)


def _offers(later: float = 0.0) -> Offers:
    start = START + pd.Timedelta(hours=later)
    return Offers(
        ["a", "b"], REGIONS, [START, start], [START + pd.Timedelta(hours=HOURS), start + pd.Timedelta(hours=HOURS)]
    )


def _read(rows: list[dict[str, Any]], later: float = 0.0) -> Running:
    frame = pd.DataFrame([{"units": 0, "cancelled_units": 0, "on_hand": np.nan, "sku_id": "a", "region_id": "east",
                           **row, "minute": START + pd.Timedelta(minutes=row["minute"])} for row in rows])  # fmt: skip
    return read_running("s", _offers(later), frame, [Sent(START, np.full((2, 3), 10))])


def test_the_clock_is_the_newest_minute_and_that_minute_is_not_counted() -> None:
    found = _read([{"minute": 5, "units": 3}, {"minute": 9, "units": 4}])
    assert found.clock == START + pd.Timedelta(minutes=9) and found.minutes == 9
    assert found.sold[0, 0] == 3 and found.left[0, 0] == 7


def test_sold_out_minutes_are_not_time_in_stock_and_a_reading_overrules_what_was_sent() -> None:
    found = _read([{"minute": 10, "units": 10}, {"minute": 30, "region_id": "west", "on_hand": 4}, {"minute": 60}])
    assert found.stocked[0, 0].sum() == 11 and found.left[0, 0] == 0
    assert found.left[0, 2] == 4 and found.stocked[0, 2].all()
    gone = _read([{"minute": 10, "units": 2, "on_hand": 0}, {"minute": 60}])  # other units had gone elsewhere
    assert gone.stocked[0, 0].sum() == 11 and gone.left[0, 0] == 0


def test_a_cancelled_unit_is_back_in_stock() -> None:
    found = _read([{"minute": 1, "units": 10}, {"minute": 20, "cancelled_units": 2}, {"minute": 30}])
    assert found.sold[0, 0] == 8 and found.left[0, 0] == 2
    assert found.stocked[0, 0].sum() == 2 + 9


def test_an_offer_that_starts_later_is_not_on_sale_before() -> None:
    found = _read([{"minute": 30, "sku_id": "b", "units": 2}, {"minute": 90}], later=1.0)
    assert not found.stocked[1, :, :60].any() and found.stocked[1, :, 60:].all()
    assert found.sold[1, 0] == 0  # sold before its own start, at another price


def test_stock_that_was_moved_counts_from_when_it_was() -> None:
    frame = minutes_of(small_sale([[20.0] * 3], UNITS), 6, [[10, 0, 0]])
    moved = [Sent(START, np.full((2, 3), 10)), Sent(START + pd.Timedelta(hours=3), np.array([[5, -5, 0], [0, 0, 0]]))]
    found = read_running("s", _offers(), frame, moved)
    assert found.left[0].tolist() == [5, 5, 10]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "the watch has written none"),
        ([{"minute": 0}], "no minute of it is closed"),
        ([{"minute": HOURS * 60}], "it ended"),
        ([{"minute": 5, "units": -1}, {"minute": 9}], r"'units', row 0: -1 is below 0"),
        ([{"minute": 5, "sku_id": "z"}], "none of their rows is about"),
    ],
)
def test_what_cannot_be_used_is_named(rows: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(InputError, match=words):
        if rows:
            _read(rows)
        read_running(
            "s",
            _offers(),
            pd.DataFrame(columns=["minute", "sku_id", "region_id", "units", "cancelled_units", "on_hand"]),
            [],
        )


def test_a_missing_column_and_a_moment_that_is_none_are_named() -> None:
    good = minutes_of(small_sale([[20.0] * 3], UNITS), 6, [[1, 0, 0]])
    with pytest.raises(InputError, match="'on_hand'.*lack this column"):
        read_running("s", _offers(), good.drop(columns="on_hand"), [])
    bad = good.assign(minute=good["minute"].astype(object))
    bad.loc[0, "minute"] = "noon"
    with pytest.raises(InputError, match="'minute', row 0: it is no moment"):
        read_running("s", _offers(), bad, [])


def test_a_minute_that_stands_twice_is_refused_and_not_counted_twice() -> None:
    rows = [{"minute": 1, "units": 3}, {"minute": 2, "units": 2}, {"minute": 9}]
    assert _read(rows).sold[0].sum() == 5
    with pytest.raises(InputError, match="field 'minute', row 3: the minute stands twice"):
        _read([*rows, rows[0]])


def test_a_sale_of_which_nothing_has_sold_is_known_by_its_topics() -> None:
    """Rows of a watched topic name no SKU: the sale runs, its shelves are as they were sent."""
    topic = {"sku_id": None, "region_id": None, "topic": "service"}
    found = _read([{"minute": 5, **topic}, {"minute": 9, **topic}])
    assert found.minutes == 9 and not found.sold.any()
    assert (found.left == 10).all() and found.stocked.all()
