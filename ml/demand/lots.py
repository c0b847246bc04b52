"""Past offers whose price a published plan had drawn by lot, found again among the rows that are learnt from."""

from __future__ import annotations

import pandas as pd

from flashsale.errors import InputError
from ml.demand.features import LOT

OFFER = ["sku_id", "region_id", "starts_at"]
NEEDED = ["status", "allocate_units", "offer_price", "experiment_arm", "experiment_propensity",
          "experiment_other_price"]  # fmt: skip


def drawn_offers(plans: pd.DataFrame) -> pd.DataFrame:
    """Rows of published plans whose price was drawn by lot and that were on sale, `starts_at` as UTC.

    Args:
        plans: rows of `allocation_recommendations`.

    Raises:
        InputError: where a column is missing, or a drawn row has no lawful chance or other price.
    """
    missing = [name for name in [*OFFER, *NEEDED] if name not in plans]
    if missing:
        raise InputError("plans", f"column {missing[0]} is missing", "give rows of allocation_recommendations",
                         field=missing[0])  # fmt: skip
    drawn = plans[(plans["status"] == "published") & plans["experiment_arm"].notna() & (plans["allocate_units"] > 0)]
    chance, other = (drawn[name].astype(float) for name in ("experiment_propensity", "experiment_other_price"))
    for name, bad in (("experiment_propensity", ~chance.between(0.0, 1.0, inclusive="neither")),
                      ("experiment_other_price", ~(other > 0))):  # fmt: skip
        if bad.any():
            row = drawn.index.get_loc(bad.idxmax())
            raise InputError("plans", f"{name} of drawn row {row} is {drawn[name].iloc[row]}",
                             "a lot has a chance between 0 and 1 and two prices above 0", field=name)  # fmt: skip
    return drawn.assign(starts_at=pd.to_datetime(drawn["starts_at"], utc=True))


def with_lots(rows: pd.DataFrame, plans: pd.DataFrame) -> pd.DataFrame:
    """Past offers with the columns `features.LOT`, NaN where no lot drew the price; in the same order.

    Args:
        rows: past offers, one a row; found again by SKU, region and start.
        plans: rows of `allocation_recommendations`.
    """
    drawn = drawn_offers(plans)
    names = dict(zip(("offer_price", "experiment_other_price", "experiment_propensity"), LOT, strict=True))
    lots = drawn[[*OFFER, *names]].rename(columns=names).drop_duplicates(OFFER)
    starts = pd.to_datetime(rows["starts_at"], utc=True).astype(lots["starts_at"].dtype)
    found = rows[OFFER].assign(starts_at=starts).merge(lots, on=OFFER, how="left", validate="many_to_one")
    return rows.assign(**{name: found[name].astype(float).to_numpy() for name in LOT})
