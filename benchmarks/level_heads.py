"""The demand model's level beside boosted trees that learn it whole: L1 on log(units / base), and Tweedie on units.

    python benchmarks/level_heads.py [--quick] [--shops 4] [--warehouse NAME]

The same rolling-origin forecasts of the later half of the sales (`ml.demand.backtest`), from the same features, text
included; the peers see the price ratio as a feature beside, and choose their rounds by folds of whole sales. Rows are
simulated shops' (seeds 1, 2, …), or with `--warehouse` those of the published warehouse. `ours` and `peer` are WAPE of
the median, of Tweedie's the mean; `ratio` is peer over ours, over all shops or sales, its interval a bootstrap over
the sales forecast.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import lightgbm
import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.cold_start import simulated_rows
from benchmarks.harness import Result, machine, parser, write
from ml.demand import features as ft
from ml.demand import level
from ml.demand.backbone import FOLDS, fit_encoder, fold_of
from ml.demand.backtest import origins

Floats = npt.NDArray[np.float64]
TREES: dict[str, Any] = {**level.PARAMETERS, "min_data_in_leaf": 20, "seed": 1}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "l1": {"objective": "regression_l1"},
    "tweedie": {"objective": "tweedie", "tweedie_variance_power": 1.3},
}
ROUNDS = (50, 100, 200, 400)


def boosted(kind: str, data: level.Training, demand: Floats, train: npt.NDArray[np.bool_]) -> Floats:
    """Forecasts in units of all rows by trees fitted on `train`, shape (rows,)."""
    names = [*ft.feature_names(True), "log_price_ratio"]
    encoder = fit_encoder(data.frame.loc[train, names], ft.CATEGORICAL)
    x, base = encoder.coded(data.frame[names]), np.log(data.frame["base_units"].to_numpy(dtype=np.float64))
    middle = float(np.median(data.lift[train]))  # signs that are all alike would split nothing
    target = data.lift if kind == "l1" else demand
    start = np.full(len(base), middle) if kind == "l1" else base

    def fitted(rows: npt.NDArray[np.bool_], rounds: int) -> lightgbm.Booster:
        matrix = lightgbm.Dataset(x[rows], target[rows], init_score=start[rows], params={"verbose": -1})
        return lightgbm.train({**TREES, **OBJECTIVES[kind]}, matrix, rounds)

    def units(booster: lightgbm.Booster, rows: npt.NDArray[np.bool_], rounds: int) -> Floats:
        raw = np.asarray(booster.predict(x[rows], raw_score=True, num_iteration=rounds))
        return np.maximum(np.exp(raw + base[rows] + middle) - 0.5, 0.0) if kind == "l1" else np.exp(raw + base[rows])

    fold, places = np.full(len(demand), -1), np.flatnonzero(train)
    fold[places] = fold_of(data.sales[places], FOLDS)
    missed = np.zeros(len(ROUNDS))
    for k in range(FOLDS):
        held = fold == k
        booster = fitted(train & ~held, ROUNDS[-1])
        missed += [float(np.abs(units(booster, held, r) - demand[held]).sum()) for r in ROUNDS]
    rounds = ROUNDS[int(np.argmin(missed))]
    return units(fitted(train, rounds), np.ones(len(demand), dtype=np.bool_), rounds)


def forecasts(rows: pd.DataFrame) -> pd.DataFrame:
    """Held-out demand and its forecasts, one row an offer: `sale`, `demand`, `ours`, `l1`, `tweedie`."""
    demand = rows["demand"].to_numpy(dtype=np.float64)
    data = level.training_set(rows, demand)
    parts = []
    for first, end in origins(int(data.order.max()) + 1):
        train, test = data.order < first, (data.order >= first) & (data.order < end)
        heads = level.fit(level.training_set(rows[train], demand[train]), with_text=True, seed=1)
        found = {"sale": data.sales[test], "demand": demand[test], "ours": heads.forecast(data.frame[test])["p50"]}
        parts.append(pd.DataFrame({**found, **{kind: boosted(kind, data, demand, train)[test] for kind in OBJECTIVES}}))
    return pd.concat(parts, ignore_index=True)


def compared(name: str, kind: str, found: pd.DataFrame) -> Result:
    """WAPE of both sides over all offers, and the ratio's bootstrap over sales."""
    misses = pd.DataFrame({side: (found[side] - found["demand"]).abs() for side in ("ours", kind)})
    by_sale = misses.groupby([found["shop"], found["sale"]]).sum().to_numpy()
    drawn = np.random.default_rng(1).integers(0, len(by_sale), (2000, len(by_sale)))
    sums = by_sale[drawn].sum(axis=1)
    low, high = np.quantile(sums[:, 1] / sums[:, 0], [0.025, 0.975])
    ours, peer = misses.sum() / found["demand"].sum()
    return Result(f"level_{name}_vs_{kind}", peer / ours, float(low), float(high), ours, peer, "WAPE", machine())


def main() -> None:
    """Measure and write `results/level_heads.json`."""
    words = parser(__doc__ or "")
    words.add_argument("--shops", type=int, default=4, help="simulated shops")
    words.add_argument("--warehouse", metavar="NAME", help="rows of the published warehouse, so named in results")
    args = words.parse_args()
    if args.warehouse:
        from ml.demand.tables import learning_rows

        shops = [learning_rows()[0]]
    else:
        shops = [simulated_rows(args.quick, seed) for seed in range(1, 2 if args.quick else args.shops + 1)]
    found = pd.concat([forecasts(rows).assign(shop=at) for at, rows in enumerate(shops)], ignore_index=True)
    results = [compared(args.warehouse or "simulated", kind, found) for kind in OBJECTIVES]
    write("level_heads", results, quick=args.quick, others=True)


if __name__ == "__main__":
    main()
