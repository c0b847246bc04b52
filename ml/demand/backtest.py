"""Time-ordered backtest: fit on the sales before an origin, forecast the next ones, move on.

The target is unconstrained demand, itself an estimate where a cell sold out. The seed article's model sees the
stock sent, as it was written to; the platform's does not need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.demand import level, linear
from ml.demand.heads import group_of

Floats = npt.NDArray[np.float64]

CELL = ["campaign_id", "sku_id", "region_id"]
FIRST_ORIGIN = 0.5  # share of sales that stand before the first origin
ORIGINS = 4
LEAST_SALES = 6
SLACK = 0.05
COVERAGE_BAND = 0.10
MODELS = ("model", "model_without_text", "linear", "last_sale", "proportional")


@dataclass(frozen=True)
class Backtest:
    """Forecasts of held-out sales beside what was wanted, and their summary by model.

    Each row of `forecasts` says its `sale` (position in time), its `origin` (sales the fit knew) and its `group`
    (`ml.demand.heads.group_of`). Both frames are empty where there were too few sales.
    """

    forecasts: pd.DataFrame
    summary: pd.DataFrame

    def metrics(self) -> dict[str, float]:
        """Flat numbers such as `wape_model`, `bias_linear`, `coverage_model`."""
        rows = self.summary.to_dict("records")
        flat = {f"{row['metric']}_{row['model']}": float(row["value"]) for row in rows}
        return {name: round(value, 6) for name, value in flat.items() if np.isfinite(value)}


def backtest(rows: pd.DataFrame, demand: Floats, *, with_text: bool, seed: int) -> Backtest:
    """Rolling-origin forecasts of the later half of the sales.

    Args:
        rows: `feat_demand` rows of kind `campaign`; their order does not matter.
        demand: unconstrained units, shape (rows,).
        with_text: whether the column `model` may use text; `model_without_text` never does.
        seed: of the boosters.
    """
    data = level.training_set(rows, demand)
    sales = int(data.order.max()) + 1
    if sales < LEAST_SALES:
        return Backtest(pd.DataFrame(), pd.DataFrame({"model": [], "metric": [], "value": []}))
    parts = [_one_origin(rows, demand, data, a, b, with_text, seed) for a, b in origins(sales)]
    forecasts = pd.concat(parts, ignore_index=True)
    return Backtest(forecasts, summarise(forecasts))


def origins(sales: int) -> list[tuple[int, int]]:
    """For each origin the number of sales known there, and the position after the last sale forecast from it."""
    cuts = np.unique(np.linspace(max(3, round(sales * FIRST_ORIGIN)), sales, ORIGINS + 1).astype(int))
    return list(pairwise(cuts.tolist()))


def _one_origin(
    rows: pd.DataFrame, demand: Floats, data: level.Training, first: int, end: int, with_text: bool, seed: int
) -> pd.DataFrame:
    before, test = data.order < first, (data.order >= first) & (data.order < end)
    past = level.training_set(rows[before], demand[before])
    out = rows.loc[test, CELL].assign(demand=demand[test], sale=data.order[test], origin=first)
    out["group"] = group_of(data.frame[test])
    for name, text in (("model", with_text), ("model_without_text", False)):
        heads = level.fit(past, with_text=text, seed=seed)
        quantiles = heads.forecast(data.frame[test])
        out[name] = quantiles["p50"]
        out[f"{name}_p10"], out[f"{name}_p90"] = quantiles["p10"], quantiles["p90"]
    out["linear"] = linear.train(rows[before], demand[before]).predict(rows[test])
    out["last_sale"], out["proportional"] = _naive(rows[test], rows[before], demand[before])
    return out


def _naive(test: pd.DataFrame, past: pd.DataFrame, demand: Floats) -> tuple[Floats, Floats]:
    """Units of the last sale, and baseline times the shop's usual lift; the second stands in where there is no last."""
    base = _daily_base(past) * past["duration_hours"].to_numpy(np.float64) / 24.0
    lift = float(demand.sum() / max(base.sum(), 1e-9))
    usual = _daily_base(test) * test["duration_hours"].to_numpy(np.float64) / 24.0 * lift
    last = test["last_sale_units"].astype("float64").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isnan(last), usual, last), usual


def _daily_base(rows: pd.DataFrame) -> Floats:
    return np.maximum(rows["base_units_28d"].to_numpy(dtype=np.float64), 0.1)


def summarise(forecasts: pd.DataFrame) -> pd.DataFrame:
    """WAPE, bias (sum of forecasts over sum of demand, less 1) and coverage of p10 to p90, by model."""
    truth = forecasts["demand"].to_numpy(dtype=np.float64)
    total = max(float(truth.sum()), 1e-9)
    rows: list[dict[str, Any]] = []
    for name in MODELS:
        guess = forecasts[name].to_numpy(dtype=np.float64)
        rows.append({"model": name, "metric": "wape", "value": float(np.abs(guess - truth).sum()) / total})
        rows.append({"model": name, "metric": "bias", "value": float(guess.sum()) / total - 1.0})
        if f"{name}_p10" in forecasts:
            rows.append({"model": name, "metric": "coverage", "value": float(covered(forecasts, name).mean())})
    return pd.DataFrame(rows)


def covered(forecasts: pd.DataFrame, name: str = "model") -> npt.NDArray[np.bool_]:
    """Whether each row's demand lies within a model's p10 and p90, rounded outwards to whole units; shape (rows,)."""
    truth = forecasts["demand"].to_numpy(dtype=np.float64)
    low, high = (forecasts[f"{name}_{q}"].to_numpy(dtype=np.float64) for q in ("p10", "p90"))
    return np.asarray((truth >= np.floor(low)) & (truth <= np.ceil(high)), dtype=np.bool_)


def calibrated(metrics: dict[str, float]) -> bool | None:
    """Whether the 80 % interval's coverage lies within `COVERAGE_BAND` of 0.8; None where no backtest was made."""
    coverage = metrics.get("coverage_model")
    return None if coverage is None else abs(coverage - 0.8) <= COVERAGE_BAND


def gate(metrics: dict[str, float], champion: dict[str, float] | None = None) -> dict[str, Any]:
    """Whether a candidate may go to review: it beats the linear model, both naive ones and the champion, and covers.

    Args:
        metrics: of the candidate, from `Backtest.metrics`.
        champion: the metrics that the champion's own backtest left, over the sales of its time; the candidate may
            not be worse by more than `SLACK`, since the sales differ.

    Coverage of the nominal 80 % interval must lie within 10 points: a few hundred correlated rows measure it no
    finer, and both numbers are shown to the reviewer.
    """
    if "wape_model" not in metrics:
        return {"passed": False, "reasons": ["too few past sales for a backtest"]}
    reasons = [
        f"WAPE {metrics['wape_model']:.3f} does not beat {rival} ({metrics[f'wape_{rival}']:.3f})"
        for rival in ("linear", "last_sale", "proportional")
        if metrics["wape_model"] >= metrics[f"wape_{rival}"]
    ]
    if champion and metrics["wape_model"] > champion.get("wape_model", np.inf) * (1.0 + SLACK):
        reasons.append(f"WAPE {metrics['wape_model']:.3f} is worse than the champion's {champion['wape_model']:.3f}")
    if calibrated(metrics) is False:
        reasons.append(f"the 80 % interval covers {metrics['coverage_model']:.2f}")
    return {"passed": not reasons, "reasons": reasons}
