"""The quality gate: a Great Expectations suite over one table, with data docs.

GX core runs inside our own task (its Airflow provider cannot be installed beside Airflow 3.3). Each suite has its own
docs site, so that tasks that run side by side never write the same page.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from flashsale.coerce import Faults

if TYPE_CHECKING:
    import pandas as pd

ROW = "__row__"


@dataclass
class Verdict:
    """Outcome of a suite: whether it passed, which expectations failed, which rows are to blame."""

    passed: bool
    failures: list[str] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    table_failures: list[str] = field(default_factory=list)


def _context(docs: Path | None, name: str) -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    if docs is not None:
        folder = (docs / name).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        context.add_data_docs_site(
            site_name=name,
            site_config={
                "class_name": "SiteBuilder",
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
                "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)},
            },
        )
    return context


def _checkpoint(context: Any, name: str, expectations: list[dict[str, Any]], docs: bool) -> Any:
    import great_expectations as gx
    from great_expectations.checkpoint import UpdateDataDocsAction

    asset = context.data_sources.add_pandas("tables").add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe("whole")
    suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations))
    validation = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
    actions = [UpdateDataDocsAction(name="docs", site_names=[name])] if docs else []
    return context.checkpoints.add(
        gx.Checkpoint(
            name=name,
            validation_definitions=[validation],
            actions=actions,
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": [ROW]},
        )
    )


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """A frame GX can compare: decimals as floats (exact to their two digits at these sizes), a row number beside."""
    loose = [
        pa.field(f.name, pa.float64()) if pa.types.is_decimal(f.type) else pa.field(f.name, f.type)
        for f in table.schema
    ]
    frame: pd.DataFrame = table.cast(pa.schema(loose)).to_pandas()
    return frame


def _blame(item: Any, verdict: Verdict) -> None:
    """Put a failed expectation's rows into the verdict; without rows it speaks of the whole table."""
    config, result = item.expectation_config, item.result or {}
    column = config.kwargs.get("column", "")
    rule = config.type.removeprefix("expect_").replace("_", " ")
    bounds = {k: v for k, v in config.kwargs.items() if k in {"value_set", "min_value", "max_value", "regex"}}
    reason = f"{rule} {bounds}" if bounds else rule
    rows = result.get("unexpected_index_list")
    verdict.failures.append(f"{column or 'table'}: {reason}")
    if not rows:
        detail = (item.exception_info or {}).get("exception_message") or result.get("details") or ""
        verdict.table_failures.append(f"{column or 'table'}: {reason} {detail}".strip())
        return
    for row in rows:
        value = row.get(column)
        shown = "nothing" if value is None or value != value else repr(value)[:60]
        verdict.faults.add(int(row[ROW]), column, f"{shown} fails: {reason}", f"correct {column} at the source")


def run_suite(name: str, table: pa.Table, expectations: list[dict[str, Any]], docs: Path | None = None) -> Verdict:
    """Run the expectations over the table and write the data docs page.

    Args:
        name: name of the suite and of its docs folder.
        table: the rows; money may be decimal.
        expectations: `{type, kwargs}` each.
        docs: folder of the data docs; None writes none.
    """
    frame = to_pandas(table)
    frame[ROW] = range(len(frame))
    checked = [_with_row_number(e) for e in expectations]
    context = _context(docs, name)
    outcome = _checkpoint(context, name, checked, docs is not None).run(batch_parameters={"dataframe": frame})
    verdict = Verdict(passed=bool(outcome.success))
    for validation in outcome.run_results.values():
        for item in validation.results:
            if not item.success:
                _blame(item, verdict)
    return verdict


def _with_row_number(item: dict[str, Any]) -> dict[str, Any]:
    """The gate's own row number is a column too: name it where a suite names all columns."""
    if item["type"] != "expect_table_columns_to_match_set":
        return item
    return {**item, "kwargs": {**item["kwargs"], "column_set": [*item["kwargs"]["column_set"], ROW]}}
