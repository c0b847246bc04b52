"""Tables that `ml` publishes to the lake under `decisions/`, as Arrow schemas.

Estimates and expected values are float64; prices that customers see are decimals.
"""

from __future__ import annotations

import pyarrow as pa

from flashsale.tables import MONEY, UTC_MICROS

#: One row per campaign, SKU and region: demand as it would have been with stock to the end.
UNCONSTRAINED_DEMAND = pa.schema(
    [
        ("campaign_id", pa.string()),
        ("sku_id", pa.string()),
        ("region_id", pa.string()),
        ("units", pa.int64()),
        ("demand", pa.float64()),
        ("demand_p10", pa.float64()),
        ("demand_p90", pa.float64()),
        ("method", pa.string()),
        ("is_censored", pa.bool_()),
        ("spilled_units", pa.float64()),
    ]
)

_BOUNDED = ("incremental_demand", "incremental_sales", "incremental_revenue", "incremental_margin")

#: One row per campaign × SKU × region (`level` cell), campaign × SKU (`sku`) and campaign (`campaign`).
CAMPAIGN_SCORES = pa.schema(
    [
        ("campaign_id", pa.string()),
        ("level", pa.string()),
        ("sku_id", pa.string()),
        ("region_id", pa.string()),
        ("units_sold", pa.int64()),
        ("unconstrained_demand", pa.float64()),
        ("lost_units", pa.float64()),
        ("allocated_units", pa.int64()),
        ("leftover_units", pa.int64()),
        ("sell_through", pa.float64()),
        ("counterfactual_units", pa.float64()),
        *[(f"{name}{part}", pa.float64()) for name in _BOUNDED for part in ("", "_lower", "_upper")],
        ("pull_forward_units", pa.float64()),
        ("halo_units", pa.float64()),
        ("cannibalised_units", pa.float64()),
        ("promotion_cost", pa.float64()),
        *[(f"net_margin{part}", pa.float64()) for part in ("", "_lower", "_upper")],
        ("return_on_promotion", pa.float64()),
        ("sentiment_before", pa.float64()),
        ("sentiment_during", pa.float64()),
        ("sentiment_after", pa.float64()),
        ("placebo_p", pa.float64()),
        ("smallest_detectable_units", pa.float64()),
        ("donors", pa.int64()),
        ("pre_fit_error", pa.float64()),
        ("method", pa.string()),
        ("verdict", pa.string()),
        ("data_hash", pa.string()),
    ]
)

#: One row per plan, SKU and region.
ALLOCATION_RECOMMENDATIONS = pa.schema(
    [
        ("request_id", pa.string()),
        ("plan_id", pa.string()),
        ("sku_id", pa.string()),
        ("region_id", pa.string()),
        ("allocate_units", pa.int64()),
        ("offer_price", MONEY),
        ("promo_type", pa.string()),
        ("starts_at", UTC_MICROS),
        ("ends_at", UTC_MICROS),
        ("demand_p10", pa.float64()),
        ("demand_p50", pa.float64()),
        ("demand_p90", pa.float64()),
        ("expected_demand", pa.float64()),
        ("expected_sales", pa.float64()),
        ("expected_margin", pa.float64()),
        ("shadow_price", pa.float64()),
        ("binding_constraints", pa.string()),
        ("explanation", pa.string()),
        ("plan_value", pa.float64()),
        ("plan_bound", pa.float64()),
        ("plan_gap", pa.float64()),
        ("experiment_arm", pa.string()),
        ("experiment_propensity", pa.float64()),
        ("experiment_other_price", pa.float64()),
        ("model_version", pa.string()),
        ("text_model_version", pa.string()),
        ("data_hash", pa.string()),
        ("status", pa.string()),
        ("decided_by", pa.string()),
        ("decided_at", UTC_MICROS),
        ("reason", pa.string()),
    ]
)

#: One row per plan: its totals, its certificate, and what text was worth to it.
ALLOCATION_PLANS = pa.schema(
    [
        ("plan_id", pa.string()),
        ("request_id", pa.string()),
        ("currency", pa.string()),
        ("units", pa.int64()),
        ("expected_sales", pa.float64()),
        ("expected_profit", pa.float64()),
        ("bound", pa.float64()),
        ("gap", pa.float64()),
        ("demand_rule", pa.string()),
        ("with_text", pa.float64()),
        ("without_text", pa.float64()),
        ("text_worth", pa.float64()),
        ("text_worth_low", pa.float64()),
        ("text_worth_high", pa.float64()),
        ("shadow_prices", pa.string()),
        ("unlawful_prices_left_out", pa.int64()),
        ("experiment_skus", pa.int64()),
        ("experiment_cost", pa.float64()),
    ]
)

#: One row per published plan with prices drawn by lot whose sale is scored (`plan`), and one over all of them (`all`).
PRICE_EXPERIMENTS = pa.schema(
    [
        ("level", pa.string()),
        ("plan_id", pa.string()),
        ("skus", pa.int64()),
        ("at_lower_price", pa.int64()),
        *[(f"{what}{end}", pa.float64()) for what in ("log_ratio", "elasticity") for end in ("", "_lower", "_upper")],
        ("p", pa.float64()),
    ]
)

#: One row per re-plan of a running sale, SKU and region of what the approved plan allows (`within_limits`), changed or
#: not; and one for each cell that more would change (`within_limits` false), on top of it, which a person decides on.
REPLANS = pa.schema(
    [
        ("replan_id", pa.string()),
        ("plan_id", pa.string()),
        ("request_id", pa.string()),
        ("campaign_id", pa.string()),
        ("as_of", UTC_MICROS),
        ("sku_id", pa.string()),
        ("region_id", pa.string()),
        ("within_limits", pa.bool_()),
        ("change", pa.string()),
        *[(f"units_{name}", pa.int64()) for name in ("sold", "left", "moved", "sent", "after")],
        *[(f"price_{name}", MONEY) for name in ("now", "after")],
        *[(f"demand_{name}", pa.float64()) for name in ("p10", "p50", "p90")],
        ("planned_demand", pa.float64()),
        ("expected_demand", pa.float64()),
        *[(f"expected_sales_{name}", pa.float64()) for name in ("now", "after")],
        ("discount_given", pa.float64()),
        *[(name, pa.float64()) for name in ("expected_gain", "gain_low", "gain_high")],
        *[(f"replan_{name}", pa.float64()) for name in ("gain", "gain_low", "gain_high")],
        ("price_changes_used", pa.int64()),
        ("price_changes_allowed", pa.int64()),
        ("explanation", pa.string()),
        ("status", pa.string()),
        ("decided_by", pa.string()),
        ("decided_at", UTC_MICROS),
        ("reason", pa.string()),
    ]
)

DECISIONS: dict[str, pa.Schema] = {
    "unconstrained_demand": UNCONSTRAINED_DEMAND,
    "campaign_scores": CAMPAIGN_SCORES,
    "allocation_recommendations": ALLOCATION_RECOMMENDATIONS,
    "allocation_plans": ALLOCATION_PLANS,
    "price_experiments": PRICE_EXPERIMENTS,
    "replans": REPLANS,
}
