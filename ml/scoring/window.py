"""The days of one sale and of its offers: touched ones, those a counterfactual is learnt from, those around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from flashsale.errors import InputError
from ml.scoring.panel import Panel

Bools = npt.NDArray[np.bool_]

PRE_DAYS = 42  # days before the sale that counterfactuals are learnt from
WAIT_DAYS = 3  # days before the start in which customers already wait
POST_DAYS = 7  # days after the end in which sales pulled forward are missing
DAY = pd.Timedelta(days=1)


@dataclass(frozen=True)
class Window:
    """Day positions of one sale, as masks over the panel's days."""

    before: Bools
    during: Bools
    around: Bools  # waiting days before, and days after the end


def window_of(panel: Panel, starts_at: pd.Timestamp, ends_at: pd.Timestamp) -> Window:
    """Days of a sale: those it touches, the learnt ones before, those around it; all within the panel.

    Raises InputError where the panel lacks a day of the sale: what was sold on it would count as nothing.
    """
    days = panel.days
    first, last = _touched(starts_at, ends_at)
    if first < days[0] or last > days[-1]:
        raise InputError(
            "daily sales", f"they run from {days[0]:%Y-%m-%d} to {days[-1]:%Y-%m-%d}, the sale from {first:%Y-%m-%d} "
            f"to {last:%Y-%m-%d}", "give the days that are missing, or score the sale once they are known",
            field="sales_date",
        )  # fmt: skip
    learnt_to = first - WAIT_DAYS * DAY
    before = np.asarray((days < learnt_to) & (days >= learnt_to - PRE_DAYS * DAY))
    return Window(before, *_days(panel, first, last))


def own_days(panel: Panel, offers: pd.DataFrame) -> tuple[Bools, Bools]:
    """Days that each offer touches, and those around them; shape (offers, days) each.

    Offers of one sale may start days apart: the days of the others are no days of theirs.
    """
    spans = [
        _touched(pd.Timestamp(a), pd.Timestamp(b)) for a, b in zip(offers["starts_at"], offers["ends_at"], strict=True)
    ]
    known = {span: _days(panel, *span) for span in set(spans)}
    during, around = (np.array([known[span][k] for span in spans]) for k in (0, 1))
    return during, around


def usual_length(during: Bools) -> int:
    """Days that an offer touches, on the mean; `during` of shape (offers, days)."""
    return max(round(float(during.sum(axis=1).mean())), 1)


def _touched(starts_at: pd.Timestamp, ends_at: pd.Timestamp) -> tuple[pd.Timestamp, pd.Timestamp]:
    """First and last day (UTC) between two moments."""
    ends = ends_at.tz_convert("UTC").tz_localize(None) - pd.Timedelta(microseconds=1)
    return starts_at.tz_convert("UTC").tz_localize(None).normalize(), ends.normalize()


def _days(panel: Panel, first: pd.Timestamp, last: pd.Timestamp) -> tuple[Bools, Bools]:
    """Days from first to last, and those around them: customers wait before, sales pulled forward are missing after."""
    days = panel.days
    waiting = (days >= first - WAIT_DAYS * DAY) & (days < first)
    after = (days > last) & (days <= last + POST_DAYS * DAY)
    return np.asarray((days >= first) & (days <= last)), np.asarray(waiting | after)
