"""Forecasts of SKUs that never sold: relatives beside the median of the category (`ml.demand.relatives`).

    python benchmarks/cold_start.py [--quick] [--warehouse NAME] [--text-model FOLDER] [--splits 6]

A third of the SKUs, by lot, lose everything that was known of them; their offers in the later half of the sales are
forecast, in two steps, from the others' sales before. Some of these are cold in the fit as well, as in a shop that
lists new goods. Rows are a simulated shop's, or those of the published warehouse (of The Complete Journey, say). `ours`
and `peer` are WAPE; `ratio` is peer over ours, summed over the splits, its interval that of single splits. With a text
model, relatives by title too, and by titles dealt to other SKUs, which should tell nothing.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.harness import Result, machine, parser, write
from ml.demand import features as ft
from ml.demand import level, relatives

Floats = npt.NDArray[np.float64]
ZERO = (
    "base_units_7d", "base_units_28d", "base_units_28d_all", "base_units_182d", "views_7d", "views_28d",
    "carts_7d", "favourites_7d", "notify_me_7d", "past_sale_count",
)  # fmt: skip
GONE = ("last_sale_units", "mean_sale_units", "last_sale_price", "last_sale_sold_out", "days_since_last_sale")
YOUNG_DAYS = 3.0


def simulated_rows(quick: bool, seed: int, skus: int = 20) -> pd.DataFrame:
    """Past offers of a simulated shop with their demand."""
    from marketplace.marts import build_marts
    from marketplace.shop import make_shop, play
    from marketplace.world import Size
    from ml.allocation.folder import past_demand, past_offers

    size = Size(seed=seed, sales=16, days=160) if quick else Size(seed=seed, skus=skus)
    frames = build_marts(make_shop(play(size)))
    return past_offers(frames, past_demand(frames))


def title_vectors(rows: pd.DataFrame, model: Path) -> dict[str, bytes]:
    """Vector of each title by a text model."""
    from ml.text.scorer import Scorer
    from ml.text.titles import embed

    names = sorted(rows["title"].unique())
    found = embed(Scorer(model, threads=1, precision="fp32"), names)
    return {name: vector.tobytes() for name, vector in zip(names, found, strict=True)}


def forgotten(rows: pd.DataFrame, skus: npt.NDArray[Any]) -> pd.DataFrame:
    """The rows as they would be had these SKUs just been listed."""
    out, new = rows.copy(), rows["sku_id"].isin(skus)
    for name in ZERO:
        out[name] = out[name].where(~new, 0)
    for name in GONE:
        out[name] = out[name].astype("float64").where(~new)
    return out.assign(age_days=out["age_days"].where(~new, YOUNG_DAYS))


def misses(rows: pd.DataFrame, split: int) -> Floats:
    """Sum of absolute errors and of demand over the cold SKUs' offers of one split, shape (2,)."""
    rng = np.random.default_rng(split)
    skus = np.sort(rows["sku_id"].unique())
    cold = rng.choice(skus, len(skus) // 3, replace=False)
    others = np.setdiff1d(skus, cold)
    listed = rng.choice(others, len(others) // 6, replace=False)
    rank = rows["campaign_id"].map(rows.groupby("campaign_id")["starts_at"].min().rank(method="first"))
    sales, found = int(rank.max()), np.zeros(2)
    for first, end in pairwise((sales // 2, 3 * sales // 4, sales)):
        known = forgotten(rows[(rank <= first) & ~rows["sku_id"].isin(cold)], listed)
        asked = forgotten(rows[(rank > first) & (rank <= end)], cold)
        demand = known["demand"].to_numpy(dtype=np.float64)
        heads = level.fit(level.training_set(known, demand), with_text=False, seed=split)
        past = ft.past_cells(known, demand)
        base = ft.base_units(asked, past)
        frame = ft.design(asked, past, base)
        frame["base_units"], frame["log_price_ratio"] = base, ft.log_price_ratio(asked)
        judged = asked["sku_id"].isin(cold).to_numpy()
        error = heads.forecast(frame)["p50"] - asked["demand"]
        found += [float(error[judged].abs().sum()), float(asked["demand"][judged].sum())]
    return found


def without_relatives(rows: pd.DataFrame, split: int) -> Floats:
    """As `misses`, where nobody has relatives."""
    usual, relatives.LEAST_SKUS = relatives.LEAST_SKUS, len(rows)
    try:
        return misses(rows, split)
    finally:
        relatives.LEAST_SKUS = usual


def compared(name: str, peer: list[Floats], ours: list[Floats]) -> Result:
    """WAPE of both sides over all splits."""
    before, after = np.sum(peer, axis=0), np.sum(ours, axis=0)
    single = [(a[0] / a[1]) / (b[0] / b[1]) for a, b in zip(peer, ours, strict=True)]
    low, high = np.quantile(single, [0.025, 0.975])
    mine, other = after[0] / after[1], before[0] / before[1]
    return Result(name, other / mine, float(low), float(high), float(mine), float(other), "WAPE", machine())


def main() -> None:
    """Measure and write `results/cold_start.json`."""
    words = parser(__doc__ or "")
    words.add_argument(
        "--warehouse", metavar="NAME", help="rows of the published warehouse, under this name in results"
    )
    words.add_argument("--text-model", type=Path, help="folder of a text model: titles tell too")
    words.add_argument("--splits", type=int, default=6, help="draws of the SKUs that lose their past")
    args = words.parse_args()
    source = args.warehouse or "simulated"
    if args.warehouse:
        from ml.demand.tables import learning_rows

        rows = learning_rows()[0].drop(columns=relatives.VECTOR, errors="ignore")
    else:
        rows = simulated_rows(args.quick, seed=7, skus=60)
    splits = range(1 if args.quick else args.splits)
    peer = [without_relatives(rows, split) for split in splits]
    results = [compared(f"cold_start_{source}_vs_category", peer, [misses(rows, split) for split in splits])]
    if args.text_model:
        told = title_vectors(rows, args.text_model)
        dealt = dict(zip(told, np.random.default_rng(1).permutation(list(told)), strict=True))
        for name, titles in (("titles", rows["title"]), ("dealt_titles", rows["title"].map(dealt))):
            given = rows.assign(**{relatives.VECTOR: titles.map(told).astype(object)})
            found = [misses(given, split) for split in splits]
            results.append(compared(f"cold_start_{source}_{name}_vs_category", peer, found))
    write("cold_start", results, quick=args.quick, others=True)


if __name__ == "__main__":
    main()
