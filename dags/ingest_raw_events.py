"""### Raw events into the lake

Pulls every stream of the interval from the configured source, sends it through its quality gate and commits one
partition a day; bad records go to quarantine with their reason. Two days before the interval are read again for
late records; only partitions whose content changed are published anew.

*Daily* for the day that ended; *backfill* any range from the UI; *by form* a whole history in one run (first and
last day). A stream that fails does not stop the others: the run ends red, what was good is committed.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param, task
from airflow.sdk.exceptions import AirflowSkipException

from flashsale.contracts import STREAMS
from flashsale_plugins.dag_parts import RAW_EVENTS, RAW_TEXT, START, Pool, Tag, default_args, every
from flashsale_plugins.operators import IngestStreamOperator, configured_source
from flashsale_plugins.steps import events_summary, text_summary

with DAG(
    dag_id="ingest_raw_events",
    doc_md=__doc__,
    schedule=every("ingest_raw_events", "0 2 * * *"),
    start_date=START,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(pool=Pool.INGEST),
    tags=[Tag.INGEST],
    params={
        "first_day": Param(
            None,
            type=["null", "string"],
            format="date",
            title="First day (UTC)",
            description="Load from this day on instead of the run's interval",
        ),
        "last_day": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Last day (UTC)",
            description="Last day, included",
        ),
        "late_days": Param(2, type="integer", minimum=0, maximum=60, title="Days read again for late records"),
    },
):
    load_stream = IngestStreamOperator.partial(
        task_id="load_stream",
        start="{{ params.first_day or data_interval_start }}",
        end="{{ macros.ds_add(params.last_day, 1) if params.last_day else data_interval_end }}",
        late_days="{{ 0 if params.first_day else params.late_days }}",
        map_index_template="{{ task.stream }}",
    ).expand(stream=list(STREAMS))

    @task
    def load_requests() -> dict[str, Any]:
        """Check and commit the source's sale requests."""
        from flashsale.lake import Lake
        from flashsale.settings import settings
        from flashsale_plugins.ingest import ingest_requests

        return {"requests": ingest_requests(configured_source(), Lake(settings().lake_uri))}

    @task(outlets=[RAW_EVENTS], trigger_rule="all_done")
    def announce_events(results: Any) -> dict[str, Any]:
        """Tell the features that events are in, unless a stream they need failed."""
        totals, failed = events_summary(results)
        if failed:
            raise AirflowSkipException(f"not announced, these streams failed: {', '.join(failed)}")
        return totals

    @task(outlets=[RAW_TEXT], trigger_rule="all_done")
    def announce_text(results: Any) -> dict[str, Any]:
        """Tell the text pipeline that texts are in."""
        return text_summary(results)

    @task
    def check_streams(results: Any) -> int:
        """Runs only when every stream succeeded, so that a failed stream ends the run red."""
        return len(list(results))

    requests = load_requests()
    requests >> announce_events(load_stream.output)
    announce_text(load_stream.output)
    check_streams(load_stream.output)
