"""Audits of tables the platform made, as plain functions: Airflow's operator and the command line run the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from flashsale.lake import Lake
    from flashsale.request import SaleRequest


def features_table(*, published: bool) -> pa.Table:
    """`feat_demand` of the published snapshot, or of the build that is about to be published."""
    from flashsale import warehouse
    from flashsale.settings import settings

    if published:
        return warehouse.read("SELECT * FROM marts.feat_demand")
    if settings().warehouse_uri.startswith("postgresql"):
        return warehouse.read("SELECT * FROM marts_build.feat_demand")
    import duckdb

    with duckdb.connect(str(settings().warehouse_path), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute("SELECT * FROM marts.feat_demand").to_arrow_table()


def audit_features(*, published: bool) -> dict[str, Any]:
    """Run the feature suite; raises InputError with the failed expectations."""
    from flashsale_plugins.suites import FEATURES

    return _audit("features", features_table(published=published), FEATURES)


def audit_plan(plan_id: str) -> dict[str, Any]:
    """Run the recommendation suites over one plan; raises InputError with the failed expectations."""
    from flashsale.lake import Lake
    from flashsale.plan_limits import plan_limits
    from flashsale.reference_prices import reference_prices
    from flashsale.settings import settings
    from flashsale_plugins.suites import PLAN_LIMITS, RECOMMENDATIONS

    lake = Lake(settings().lake_uri)
    rows = lake.read("decisions/allocation_recommendations", [f"plan_id={plan_id}"])
    request = _request_of(lake, rows)
    checked = _audit("recommendations", rows, RECOMMENDATIONS)
    limits = plan_limits(rows, request, reference_prices(request))
    return checked | _audit("plan_limits", limits, PLAN_LIMITS) | {"plan_id": plan_id}


def audit_replan(replan_id: str) -> dict[str, Any]:
    """Run the re-plan suites over one re-plan; raises InputError with the failed expectations."""
    from flashsale.lake import Lake
    from flashsale.reference_prices import reference_prices
    from flashsale.replan_limits import earlier_replans, replan_limits
    from flashsale.settings import settings
    from flashsale_plugins.suites import PLAN_LIMITS, REPLANS

    lake = Lake(settings().lake_uri)
    rows = lake.read("decisions/replans", [f"replan_id={replan_id}"])
    plan_id = rows["plan_id"][0].as_py()
    plan = lake.read("decisions/allocation_recommendations", [f"plan_id={plan_id}"])
    request = _request_of(lake, rows)
    earlier = earlier_replans(lake, plan_id, rows["as_of"][0].as_py())
    checked = _audit("replans", rows, REPLANS)
    limits = replan_limits(rows, plan, earlier, request, reference_prices(request))
    return checked | _audit("replan_limits", limits, PLAN_LIMITS) | {"replan_id": replan_id}


def _request_of(lake: Lake, rows: pa.Table) -> SaleRequest:
    """The stored request that a plan's or a re-plan's rows answer."""
    from flashsale.request import load_request

    partition = f"request_id={rows['request_id'][0].as_py()}"
    return load_request(lake.read("raw/sale_requests", [partition])["request_json"][0].as_py())


def _audit(name: str, table: pa.Table, suite: list[dict[str, Any]]) -> dict[str, Any]:
    from flashsale.errors import InputError
    from flashsale.settings import settings
    from flashsale_plugins.gate import run_suite

    verdict = run_suite(name, table, suite, settings().docs_dir)
    if not verdict.passed:
        first = min(verdict.faults.by_row.items(), default=(None, ("", "", "")))
        raise InputError(
            f"{name} audit",
            "; ".join(verdict.failures),
            "see the data docs, mend the step before",
            field=first[1][0] or None,
            row=first[0],
        )
    return {"suite": name, "rows": table.num_rows, "expectations": len(suite)}
