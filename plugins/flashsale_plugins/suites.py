"""Great Expectations suites of what the platform itself makes: features before training, plans before publishing."""

from __future__ import annotations

from typing import Any

Expectation = dict[str, Any]


def _of(kind: str, column: str, **kwargs: Any) -> Expectation:
    return {"type": kind, "kwargs": {"column": column, **kwargs}}


def _not_null(*columns: str) -> list[Expectation]:
    return [_of("expect_column_values_to_not_be_null", c) for c in columns]


def _between(column: str, low: float | None = None, high: float | None = None) -> Expectation:
    return _of("expect_column_values_to_be_between", column, min_value=low, max_value=high)


#: `marts.feat_demand` before a model reads it.
FEATURES: list[Expectation] = [
    {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}},
    {
        "type": "expect_compound_columns_to_be_unique",
        "kwargs": {"column_list": ["row_kind", "campaign_id", "sku_id", "region_id"]},
    },
    *_not_null("campaign_id", "sku_id", "region_id", "cutoff_at", "starts_at", "category"),
    _of("expect_column_values_to_be_in_set", "row_kind", value_set=["campaign", "request"]),
    {
        "type": "expect_column_pair_values_a_to_be_greater_than_b",
        "kwargs": {"column_A": "starts_at", "column_B": "cutoff_at", "or_equal": True},
    },
    _between("duration_hours", 0.01, 24 * 62),
    _between("list_price", 0.01),
    _between("unit_cost", 0),
    _between("sentiment_7d", -1, 1),
    _between("negative_share_7d", 0, 1),
    *[
        _between(c, 0)
        for c in (
            "base_units_28d",
            "base_units_182d",
            "views_7d",
            "text_count_7d",
            "intent_sum_7d",
            "post_count",
            "past_sale_count",
        )
    ],
]

#: `decisions/allocation_recommendations` of one plan before it is published.
RECOMMENDATIONS: list[Expectation] = [
    {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}},
    {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["plan_id", "sku_id", "region_id"]}},
    *_not_null("plan_id", "sku_id", "region_id", "allocate_units", "offer_price", "starts_at", "status"),
    _of("expect_column_values_to_be_of_type", "allocate_units", type_="int64"),
    _between("allocate_units", 0),
    _between("offer_price", 0.01),
    _of("expect_column_values_to_be_in_set", "status", value_set=["proposed", "approved", "rejected", "published"]),
    {
        "type": "expect_column_pair_values_a_to_be_greater_than_b",
        "kwargs": {"column_A": "demand_p90", "column_B": "demand_p10", "or_equal": True},
    },
]

#: `decisions/replans` of one re-plan before anything of it is applied; its limits are `PLAN_LIMITS`' like.
REPLANS: list[Expectation] = [
    {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}},
    {
        "type": "expect_compound_columns_to_be_unique",
        "kwargs": {"column_list": ["replan_id", "sku_id", "region_id", "within_limits"]},
    },
    *_not_null("replan_id", "plan_id", "as_of", "sku_id", "region_id", "within_limits", "change", "status"),
    *_not_null("units_after", "price_now", "price_after", "expected_gain", "gain_low", "gain_high", "explanation"),
    *[_between(c, 0) for c in ("units_sold", "units_left", "units_sent", "units_after", "discount_given")],
    *[_between(c, 0.01) for c in ("price_now", "price_after")],
    _of("expect_column_values_to_be_in_set", "change", value_set=["none", "price", "units", "price+units"]),
    _of(
        "expect_column_values_to_be_in_set", "status",
        value_set=["unchanged", "proposed", "applied", "approved", "rejected"],
    ),
    *[
        {
            "type": "expect_column_pair_values_a_to_be_greater_than_b",
            "kwargs": {"column_A": high, "column_B": low, "or_equal": True},
        }
        for high, low in (("gain_high", "gain_low"), ("demand_p90", "demand_p10"))
    ],
]  # fmt: skip

#: The plan's limits, one row a limit (`flashsale.plan_limits`): budgets, supply, space, service, lawful prices.
PLAN_LIMITS: list[Expectation] = [
    {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}},
    *_not_null("limit", "used", "most"),
    {
        "type": "expect_column_pair_values_a_to_be_greater_than_b",
        "kwargs": {"column_A": "most", "column_B": "used", "or_equal": True},
    },
]
