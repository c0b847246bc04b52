"""A re-plan as rows: what changes in every cell, why in words, what that should earn, whether the plan allowed it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.allocation.replan import Replanned, discounts_given, moved_units
from ml.allocation.rest import Decision, earnings, expected_sales

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LOW, HIGH = 0.1, 0.9  # what a gain is said to lie within
OFF = 0.1  # relative distance from the plan's median from which demand is called higher or lower
PROPOSED, UNCHANGED = "proposed", "unchanged"


@dataclass(frozen=True)
class _Part:
    """One part of a re-plan: from one decision to the next; `gain` by cell and scenario, shape (s, r, scenarios)."""

    within: bool
    before: Decision
    after: Decision
    gain: Floats
    moved: Ints
    sent: Ints
    demand_after: Floats

    @staticmethod
    def of(found: Replanned, before: Decision, after: Decision, within: bool) -> _Part:
        rest, drawn = found.search.rest, found.search.checked_on
        gain = earnings(rest, after, drawn) - earnings(rest, before, drawn)
        sent = after.sent - before.sent
        soon, later = found.search.chosen_on.at(rest.factors(after.profile))
        wanted = rest.wanted + (soon + later).mean(axis=2)
        return _Part(within, before, after, gain, moved_units(after) - moved_units(before) - sent, sent, wanted)

    def changes(self) -> npt.NDArray[np.bool_]:
        """Cells with other units or another price, shape (s, r)."""
        priced = (self.after.profile != self.before.profile)[:, None]
        return (self.moved != 0) | (self.sent != 0) | priced


def replan_rows(found: Replanned) -> pd.DataFrame:
    """Rows of `REPLANS` without identifiers: every cell within the limits, and the cells that more would change."""
    nothing = Decision.nothing(found.search.rest)
    parts = [_Part.of(found, nothing, found.within, True), _Part.of(found, found.within, found.beyond, False)]
    records = [row for part in parts for row in _rows(found, part, nothing)]
    return pd.DataFrame(records)


def totals(found: Replanned) -> dict[str, Any]:
    """What a re-plan does in all: units, prices, gain in money with its interval; within the limits, and beyond."""
    nothing = Decision.nothing(found.search.rest)
    answer: dict[str, Any] = {}
    for name, before, after in (("", nothing, found.within), ("beyond_", found.within, found.beyond)):
        part = _Part.of(found, before, after, not name)
        gain = part.gain.sum(axis=(0, 1))
        answer |= {
            f"{name}units_moved": int(part.moved.clip(0).sum()),
            f"{name}units_sent": int(part.sent.sum()),
            f"{name}price_changes": int((after.profile != before.profile).sum()),
            f"{name}gain": round(float(gain.mean()), 2),
            f"{name}gain_low": round(float(np.quantile(gain, LOW)), 2),
            f"{name}gain_high": round(float(np.quantile(gain, HIGH)), 2),
        }
    return answer


def _rows(found: Replanned, part: _Part, nothing: Decision) -> list[dict[str, Any]]:
    rest, plan = found.search.rest, found.case.plan
    touched, whole = part.changes(), part.gain.sum(axis=(0, 1))
    alone, after = (expected_sales(rest, d, found.search.chosen_on) for d in (nothing, part.after))
    now, then = rest.price(rest.now), rest.price(part.after.profile)
    quantiles = np.quantile(found.demand, (LOW, 0.5, HIGH), axis=2)
    low, high = np.quantile(part.gain, (LOW, HIGH), axis=2)
    planned = np.exp(plan.log_quantiles[:, :, 1]) - 0.5
    discounts, units = discounts_given(found.case, found.running), part.after.units(rest)
    rows = []
    for i, r in np.ndindex(*rest.left.shape):
        if not (part.within or touched[i, r]):
            continue
        rows.append({
            "as_of": found.running.clock, "sku_id": plan.offers.sku_ids[i], "region_id": plan.offers.region_ids[r],
            "within_limits": part.within, "change": _kind(part, i, r),
            "units_sold": int(rest.sold[i, r]), "units_left": int(rest.left[i, r]),
            "units_moved": int(part.moved[i, r]), "units_sent": int(part.sent[i, r]), "units_after": int(units[i, r]),
            "price_now": float(now[i]), "price_after": float(then[i]),
            "demand_p10": float(quantiles[0, i, r]), "demand_p50": float(quantiles[1, i, r]),
            "demand_p90": float(quantiles[2, i, r]), "planned_demand": max(float(planned[i, r]), 0.0),
            "expected_demand": float(part.demand_after[i, r]),
            "expected_sales_now": float(alone[i, r]), "expected_sales_after": float(after[i, r]),
            "discount_given": float(discounts[i, r]),
            "expected_gain": float(part.gain[i, r].mean()),
            "gain_low": float(low[i, r]), "gain_high": float(high[i, r]),
            "replan_gain": float(whole.mean()), "replan_gain_low": float(np.quantile(whole, LOW)),
            "replan_gain_high": float(np.quantile(whole, HIGH)),
            "price_changes_used": found.used, "price_changes_allowed": found.allowed,
            "explanation": _words(found, part, i, r, float(alone[i, r])),
            "status": PROPOSED if touched[i, r] else UNCHANGED,
        })  # fmt: skip
    return rows


def _kind(part: _Part, i: int, r: int) -> str:
    """`none`, `price`, `units`, or both with a `+`."""
    kinds = ["price"] if part.after.profile[i] != part.before.profile[i] else []
    kinds += ["units"] if part.moved[i, r] or part.sent[i, r] else []
    return "+".join(kinds) or "none"


def _words(found: Replanned, part: _Part, i: int, r: int, alone: float) -> str:
    """One or a few plain sentences about a cell."""
    rest, region = found.search.rest, found.case.plan.offers.region_ids[r]
    left, moved, sent = int(rest.left[i, r]), int(part.moved[i, r]), int(part.sent[i, r])
    stock = f"{left} units are left and {alone:.0f} would sell if nothing changed"
    words = []
    if moved < 0:
        words.append(f"Take {-moved} out of {region}: {stock}; elsewhere they are likelier to sell.")
    if moved > 0:
        words.append(f"Bring {moved} into {region} from where they are likelier to stay: {stock}.")
    if sent > 0:
        words.append(f"Send {sent} of the supply that the plan kept back to {region}: {stock}.")
    before, after = (float(rest.price(d.profile)[i]) for d in (part.before, part.after))
    if before != after:
        way = "Raise" if after > before else "Lower"
        words.append(f"{way} the price from {before:.2f} to {after:.2f}: {_stands(found, i)}.")
    if not words:
        return f"Leave it: {stock}; no change that the plan allows earns {found.search.least:.2f} more."
    if not part.within:
        words.append("The approved plan did not allow this; a person decides.")
    return " ".join([*words, _demand(found, i, r)])


def _stands(found: Replanned, i: int) -> str:
    """How far a SKU's stock goes, all regions together."""
    wanted = (found.search.chosen_on.soon + found.search.chosen_on.later)[i].mean()
    wanted, left = wanted * found.search.rest.left.shape[1], int(found.search.rest.left[i].sum())
    return f"{left} units are left in all regions for a demand of {wanted:.0f} still to come"


def _demand(found: Replanned, i: int, r: int) -> str:
    """What the sale so far says of a cell's demand, beside the plan."""
    p10, p50, p90 = np.quantile(found.demand[i, r], (LOW, 0.5, HIGH))
    planned = max(float(np.exp(found.case.plan.log_quantiles[i, r, 1]) - 0.5), 0.0)
    off = "above" if p50 > (1 + OFF) * planned else "below" if p50 < (1 - OFF) * planned else "as in"
    seen = "" if found.running.stocked[i, r, -1] else "; it is sold out, so its sales are a lower bound"
    return (
        f"Demand of the whole sale is put at {p50:.0f} ({p10:.0f} to {p90:.0f}), {off} the plan's {planned:.0f}{seen}."
    )
