"""Features of an offer that were known when it was planned, and nothing later.

Rows come from `feat_demand`, whose columns are cut at `cutoff_at`. This module adds what past sales showed
once stock-outs are corrected (only sales that ended before the row's cutoff), and the action asked for: price,
promotion type, start hour. Every function is pure; rows keep their order.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.demand.instruments import Moves, lot_moves
from ml.demand.relatives import microseconds, of_relatives

Floats = npt.NDArray[np.float64]

CELL = ["campaign_id", "sku_id", "region_id"]
PLANNED_SKU = ["row_kind", "campaign_id", "sku_id"]  # a SKU in one planning, over its regions
TEXT = [
    "text_log_count", "text_burst", "text_sentiment", "text_sentiment_change", "text_negative", "text_log_intent",
    "text_intent_share", "post_days", "post_log_count", "post_sentiment", "post_log_intent", "post_intent_share",
]  # fmt: skip
PLAIN = [
    "log_base", "log_base_change", "log_region_share", "log_list_price", "margin_share", "log_age", "start_weekday",
    "duration_hours", "views_per_unit", "view_burst", "carts_per_view", "favourites_7d", "notify_me_7d",
    "past_sale_count", "days_since_last_sale", "last_discount", "last_sold_out", "lag_last_lift", "lag_mean_lift",
    "lag_sku_lift", "lag_category_lift", "lag_shop_lift",
]  # fmt: skip
ACTION = ["start_evening", "start_night", "log_rivals_price", "rivals", "rival_discount"]
CATEGORICAL = ["category", "promo_type"]
LOT = ("lot_price", "lot_other_price", "lot_chance")  # of offers whose price was drawn: see `ml.demand.lots`
MOST_PAST_SALES, MOST_AGE_DAYS = 6.0, 365.0
PRIOR_POSTS = 4.0  # posts without a word that a count starts with: a handful says little about demand
FLOOR_UNITS = 0.1  # least baseline units a day a ratio is taken over


def feature_names(with_text: bool) -> list[str]:
    """Columns the level head sees, categorical ones last."""
    return PLAIN + ACTION + (TEXT if with_text else []) + CATEGORICAL


def base_units(rows: pd.DataFrame, history: pd.DataFrame | None = None) -> Floats:
    """Baseline units that the sale's hours would have sold without it, shape (rows,), never zero.

    A SKU's level over its regions is that of the last 28 days, its split over them that of 182 (`regional_units`). A
    cell without its own history takes its share of the SKU's; of a SKU that never sold, what its relatives let expect
    (`ml.demand.relatives`); else the median of its category in these rows.

    Args:
        history: past cells (see `past_cells`); without their `log_daily_units` relatives tell nothing.
    """
    own = regional_units(rows)
    regions = rows.groupby(PLANNED_SKU)["region_id"].transform("count").to_numpy()
    spread = rows["base_units_28d_all"].to_numpy(dtype=np.float64) / np.maximum(regions, 1)
    daily = np.where(own > 0, own, spread)
    if history is not None and "log_daily_units" in history and not (daily > 0).all():
        alike = np.exp(of_relatives(rows, history, "log_daily_units"))
        daily = np.where((daily > 0) | np.isnan(alike), daily, alike)
    known = pd.Series(np.where(daily > 0, daily, np.nan), index=rows.index)
    usual = known.groupby(rows["category"]).transform("median").fillna(known.median()).fillna(1.0)
    daily = np.where(daily > 0, daily, usual)
    return np.asarray(np.maximum(daily, FLOOR_UNITS) * rows["duration_hours"].to_numpy(np.float64) / 24.0)


def regional_units(rows: pd.DataFrame) -> Floats:
    """Baseline units a day of each cell, shape (rows,); 0 where the SKU sold nothing.

    What a cell sells in four weeks is a small count, and its scatter is what a region would get too much or too little
    of. A SKU's split over regions moves slowly, so that it is taken from a longer time, as top-down forecasts do (Gross
    and Sohl 1990). Rows without `base_units_182d`, of tables older than that column, keep their own four weeks.
    """
    month = _num(rows, "base_units_28d")
    if "base_units_182d" not in rows:
        return month
    long = pd.Series(np.nan_to_num(_num(rows, "base_units_182d")), index=rows.index)
    offer = [rows[name] for name in PLANNED_SKU]
    level = pd.Series(np.nan_to_num(month), index=rows.index).groupby(offer).transform("sum")
    whole = long.groupby(offer).transform("sum")
    return np.asarray((level * long / whole.where(whole > 0)).fillna(0.0), dtype=np.float64)


def usual_looks(rows: pd.DataFrame) -> Floats:
    """Views of an offer's page that the sale's hours would have drawn without it, shape (rows,); 0 where unseen.

    The busier of the last seven and the last 28 days counts: a source that went quiet for days is no lack of customers.
    """
    daily = np.maximum(_num(rows, "views_7d") / 7.0, _num(rows, "views_28d") / 28.0)
    return np.asarray(np.nan_to_num(daily) * _num(rows, "duration_hours") / 24.0, dtype=np.float64)


def past_cells(rows: pd.DataFrame, demand: Floats) -> pd.DataFrame:
    """Rows of past offers with what later ones learn from them.

    Returns:
        The rows with `log_daily_units`, what a cell sold a day outside of sales (NaN where nothing), `base_units`, and
        `lift`, the log of unconstrained demand over them.
    """
    own = regional_units(rows)
    past = rows.assign(log_daily_units=np.log(np.where(own > 0, own, np.nan)))
    base = base_units(rows, past)
    return past.assign(base_units=base, lift=log_lift(demand, base))


def past_lifts(rows: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """Log lifts of unconstrained demand over baseline in sales that ended before each row's cutoff.

    Args:
        rows: `sku_id`, `region_id`, `category`, `cutoff_at`.
        history: one row a past cell: `sku_id`, `region_id`, `category`, `ends_at`, `lift` (log).

    Returns:
        `lag_last_lift`, `lag_mean_lift` (same SKU and region), `lag_sku_lift`, `lag_category_lift`,
        `lag_shop_lift`; NaN where there is none.
    """
    cutoffs = pd.to_datetime(rows["cutoff_at"], utc=True)
    result = pd.DataFrame(index=rows.index, columns=["lag_last_lift", "lag_mean_lift"], dtype=np.float64)
    own = _lags(rows, cutoffs, history, ["sku_id", "region_id"])
    result["lag_last_lift"], result["lag_mean_lift"] = own["last"], own["mean"]
    result["lag_sku_lift"] = _lags(rows, cutoffs, history, ["sku_id"])["mean"]
    result["lag_category_lift"] = _lags(rows, cutoffs, history, ["category"])["mean"]
    result["lag_shop_lift"] = _lags(rows, cutoffs, history, [])["mean"]
    return result


def _lags(rows: pd.DataFrame, cutoffs: pd.Series, history: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Last and mean lift of each row's group before its cutoff, by running sums in order of time."""
    past = history.sort_values("ends_at", kind="stable").reset_index(drop=True)
    whole = pd.concat([past[keys], rows[keys]], ignore_index=True).astype(str)
    code = whole.groupby(keys, sort=False).ngroup().to_numpy() if keys else np.zeros(len(whole), dtype=np.int64)
    old, new = code[: len(past)], code[len(past) :]
    order = np.argsort(old, kind="stable")  # by group, and in order of time within it
    lift, ends = past["lift"].to_numpy(dtype=np.float64)[order], microseconds(past["ends_at"])[order]
    moments, when = np.unique(ends, return_inverse=True)
    place = old[order] * (len(moments) + 1) + when
    first = np.searchsorted(place, new * (len(moments) + 1), side="left")
    until = np.searchsorted(moments, microseconds(cutoffs), side="right")
    last = np.searchsorted(place, new * (len(moments) + 1) + until, side="left")
    count, sums = last - first, np.append(0.0, np.cumsum(lift))
    seen = count > 0
    newest = np.append(lift, np.nan)[np.where(seen, last - 1, len(lift))]
    mean = np.where(seen, (sums[last] - sums[first]) / np.maximum(count, 1), np.nan)
    return pd.DataFrame({"last": newest, "mean": mean}, index=rows.index)


def design(rows: pd.DataFrame, history: pd.DataFrame, base: Floats) -> pd.DataFrame:
    """All features of offers, text ones included; the caller chooses columns by `feature_names`.

    Args:
        rows: `feat_demand` rows with an action in each: `offer_price`, `promo_type`.
        history: past cells (see `past_cells`).
        base: `base_units` of the rows.
    """
    out = pd.DataFrame(index=rows.index)
    daily = base * 24.0 / rows["duration_hours"].to_numpy(np.float64)
    out["log_base"] = np.log(daily)
    out["log_base_change"] = np.log((_num(rows, "base_units_7d") + 0.5) / (daily + 0.5))
    out["log_region_share"] = np.log((daily + 0.1) / (_num(rows, "base_units_28d_all") + 0.4))
    out["log_list_price"] = np.log(_num(rows, "list_price"))
    out["margin_share"] = 1.0 - _num(rows, "unit_cost") / _num(rows, "list_price")
    out["log_age"] = np.log1p(np.clip(_num(rows, "age_days"), 0.0, MOST_AGE_DAYS))
    for name in ("start_weekday", "duration_hours", "favourites_7d", "notify_me_7d", "days_since_last_sale"):
        out[name] = _num(rows, name)
    # Counters that only grow would be read beyond anything the model has seen: they are capped.
    out["past_sale_count"] = np.minimum(_num(rows, "past_sale_count"), MOST_PAST_SALES)
    start = _num(rows, "start_hour")
    out["start_evening"], out["start_night"] = _hour_window(start, 10, 16), _hour_window(start, 17, 23)
    views = _num(rows, "views_7d")
    out["views_per_unit"] = np.log((views + 1.0) / (7.0 * daily + 1.0))
    out["view_burst"] = np.log((views + 1.0) / (_num(rows, "views_28d") / 4.0 + 1.0))
    out["carts_per_view"] = _num(rows, "carts_7d") / (views + 5.0)
    out["last_discount"] = 1.0 - _num(rows, "last_sale_price") / _num(rows, "list_price")
    out["last_sold_out"] = _num(rows, "last_sale_sold_out")
    out = out.join(past_lifts(rows, history)).join(_rivals(rows)).join(_text(rows))
    for name in CATEGORICAL:
        out[name] = rows[name].astype(str)
    return out


def log_price_ratio(rows: pd.DataFrame) -> Floats:
    """log(offer price / list price), shape (rows,)."""
    return np.asarray(np.log(_num(rows, "offer_price") / _num(rows, "list_price")), dtype=np.float64)


def price_moves(rows: pd.DataFrame) -> Moves:
    """What moved past prices besides expected demand: unit costs, and lots where the columns `LOT` are there."""
    cost, listed, price = (_num(rows, name) for name in ("unit_cost", "list_price", "offer_price"))
    drawn, other, chance = (_num(rows, name) if name in rows else np.full(len(rows), np.nan) for name in LOT)
    lot, centre = lot_moves(np.where(np.isfinite(drawn), drawn, price), other, chance, listed)
    log_cost = np.log(np.where(cost > 0, cost, np.nan))
    return Moves(log_cost, np.asarray(np.log(listed)), rows["sku_id"].to_numpy(), lot, centre)


def log_lift(demand: Floats, base: Floats) -> Floats:
    """log((demand + 0.5) / base): what the level head learns, and the lags remember."""
    return np.asarray(np.log((demand + 0.5) / base), dtype=np.float64)


def _hour_window(hour: Floats, first: int, last: int) -> Floats:
    """1 where the UTC start hour lies in a window; demand over the day is no straight line in the hour."""
    return np.asarray((hour >= first) & (hour <= last), dtype=np.float64)


def _num(rows: pd.DataFrame, name: str) -> Floats:
    return np.asarray(rows[name].astype("float64").to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)


def _rivals(rows: pd.DataFrame) -> pd.DataFrame:
    """Competing offers, those of the same sale, region and category: their mean price ratio, number, discounts summed.

    The relative price is own ratio over rivals' ratio. Own price belongs to the response head alone, so that a price on
    the ladder is not counted twice; the rivals' part of it stands here. The mean over all of a sale's offers would
    hardly differ between past sales: its weight would be luck, and a deeper ladder far outside of what they had.
    """
    ratio = pd.Series(np.exp(log_price_ratio(rows)), index=rows.index)
    kind = [rows[name] for name in ("row_kind", "campaign_id", "region_id", "category")]
    rivals = ratio.groupby(kind).transform("count") - 1
    others = ratio.groupby(kind).transform("sum") - ratio
    mean = (others / rivals.where(rivals > 0)).fillna(1.0)
    return pd.DataFrame(
        {"log_rivals_price": np.log(mean), "rivals": rivals, "rival_discount": rivals - others}, index=rows.index
    )


def _text(rows: pd.DataFrame) -> pd.DataFrame:
    """What people wrote: all texts of a week, and posts since the SKU's last sale began (`post_days`, 7 at most).

    Reviews speak of what was bought, and what was written before the last sale began looked forward to that one; both
    would blur what the posts say of the sale to come. Counts and shares are shrunk as a gamma prior worth `PRIOR_POSTS`
    posts would shrink a Poisson rate (Clayton and Kaldor 1987).
    """
    posts, wanting = _num(rows, "post_count"), _num(rows, "post_intent_sum")
    week, month = _num(rows, "text_count_7d"), _num(rows, "text_count_28d")
    intent = _num(rows, "intent_sum_7d")
    return pd.DataFrame(
        {
            "text_log_count": np.log1p(week),
            "text_burst": np.log((week + 1.0) / (month / 4.0 + 1.0)),
            "text_sentiment": _num(rows, "sentiment_7d"),
            "text_sentiment_change": _num(rows, "sentiment_7d") - _num(rows, "sentiment_28d"),
            "text_negative": _num(rows, "negative_share_7d"),
            "text_log_intent": np.log1p(intent),
            "text_intent_share": intent / (week + 2.0),
            "post_days": _num(rows, "post_days"),
            "post_log_count": np.log(posts + PRIOR_POSTS),
            "post_sentiment": _num(rows, "post_sentiment_sum") / (posts + PRIOR_POSTS),
            "post_log_intent": np.log(wanting + PRIOR_POSTS),
            "post_intent_share": wanting / (posts + PRIOR_POSTS),
        },
        index=rows.index,
    )
