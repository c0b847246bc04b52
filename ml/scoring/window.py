"""The days of one sale: those it touches, those before that a counterfactual is learnt from, those around it."""

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
    first = starts_at.tz_convert("UTC").tz_localize(None).normalize()
    last = (ends_at.tz_convert("UTC").tz_localize(None) - pd.Timedelta(microseconds=1)).normalize()
    if first < days[0] or last > days[-1]:
        raise InputError(
            "daily sales", f"they run from {days[0]:%Y-%m-%d} to {days[-1]:%Y-%m-%d}, the sale from {first:%Y-%m-%d} "
            f"to {last:%Y-%m-%d}", "give the days that are missing, or score the sale once they are known",
            field="sales_date",
        )  # fmt: skip
    day = pd.Timedelta(days=1)
    learnt_to = first - WAIT_DAYS * day
    before = (days < learnt_to) & (days >= learnt_to - PRE_DAYS * day)
    waiting = (days >= learnt_to) & (days < first)
    after = (days > last) & (days <= last + POST_DAYS * day)
    return Window(np.asarray(before), np.asarray((days >= first) & (days <= last)), np.asarray(waiting | after))
