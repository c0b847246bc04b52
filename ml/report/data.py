"""What the report shows, gathered from the lake, the warehouse and the registry; no picture is made here."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from flashsale import warehouse
from flashsale.lake import Lake
from flashsale.request import load_request
from flashsale.settings import settings


@dataclass(frozen=True)
class ReportData:
    """Frames and figures of one report.

    Attributes:
        sales: one row a past sale: starts_at, units, demand, demand_p10, demand_p90, censored share.
        scores: campaign level of `campaign_scores`, in the order of the sales.
        plan: the plan's rows.
        summary: the plan's totals and what text was worth to it.
        regions: space of each region, as the request sets it.
        text_metrics: metrics of the served text model, by name.
        demand_metrics: backtest metrics of the demand model, by name.
        notes: what could not be shown, in words.
    """

    sales: pd.DataFrame
    scores: pd.DataFrame
    plan: pd.DataFrame
    summary: dict[str, Any]
    regions: pd.DataFrame
    text_metrics: dict[str, float] = field(default_factory=dict)
    demand_metrics: dict[str, float] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def gather(plan_id: str) -> ReportData:
    """Everything the report of a plan shows; InputError where the plan is unknown."""
    lake = Lake(settings().lake_uri)
    plan: pd.DataFrame = lake.read("decisions/allocation_recommendations", [f"plan_id={plan_id}"]).to_pandas()
    summary = lake.read("decisions/allocation_plans", [f"plan_id={plan_id}"]).to_pylist()[0]
    summary["shadow_prices"] = json.loads(summary["shadow_prices"])
    scores: pd.DataFrame = lake.read("decisions/campaign_scores").to_pandas()
    dates: pd.DataFrame = warehouse.read("SELECT campaign_id, starts_at FROM marts.dim_campaigns").to_pandas()
    scores = scores[scores["level"] == "campaign"].merge(dates, on="campaign_id").sort_values("starts_at")
    stored = lake.read("raw/sale_requests", [f"request_id={summary['request_id']}"])["request_json"][0].as_py()
    asked = load_request(stored).regions
    regions = pd.DataFrame(
        {"region_id": [r.region_id for r in asked], "capacity_units": [r.capacity_units for r in asked]}
    )
    text, text_label = _metrics("flashsale-text")
    demand, demand_label = _metrics("flashsale-demand")
    notes = [f"No champion of {name}: its quality is not shown." for name, label in
             (("flashsale-text", text_label), ("flashsale-demand", demand_label)) if label is None]  # fmt: skip
    if summary.get("demand_rule") == "mean":  # plans made before it was kept do not say
        notes.append("Past intervals of the demand model did not hold: the plan is for mean demand and past errors.")
    return ReportData(
        sales=_sales(lake, dates), scores=scores, plan=plan, summary=summary, regions=regions, text_metrics=text,
        demand_metrics=demand, labels={"text": text_label or "none", "demand": demand_label or "none"}, notes=notes,
    )  # fmt: skip


def _sales(lake: Lake, dates: pd.DataFrame) -> pd.DataFrame:
    """Units and corrected demand of every sale, in the order of time."""
    cells: pd.DataFrame = lake.read("decisions/unconstrained_demand").to_pandas()
    grouped = cells.groupby("campaign_id").agg(
        units=("units", "sum"), demand=("demand", "sum"), low=("demand_p10", "sum"), high=("demand_p90", "sum"),
        censored=("is_censored", "mean"),
    )  # fmt: skip
    return grouped.reset_index().merge(dates, on="campaign_id").sort_values("starts_at").reset_index(drop=True)


def _metrics(name: str) -> tuple[dict[str, float], str | None]:
    """Metrics of a champion's run and its label; nothing where there is no champion."""
    from ml import registry, tracking

    found = registry.champion(name)
    if found is None:
        return {}, None
    return dict(tracking.client().get_run(found.run_id).data.metrics), found.label
