"""Small steps of DAGs that are neither a command nor an operator; plain functions, tested without Airflow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flashsale.contracts import STREAMS, load_contract
from flashsale_plugins.ingest import REQUIRED

TEXT_STREAMS = tuple(s for s in STREAMS if load_contract(s).text)


def summarise(results: Iterable[dict[str, Any]], streams: Iterable[str]) -> dict[str, Any]:
    """Totals over the streams that arrived, and the names of those that failed or that the source does not have."""
    arrived = {r["stream"]: r for r in results if r is not None}
    wanted = list(streams)
    return {
        "rows": sum(arrived[s]["rows"] for s in wanted if s in arrived),
        "quarantined": sum(arrived[s]["quarantined"] for s in wanted if s in arrived),
        "changed": sum(arrived[s]["changed"] for s in wanted if s in arrived and "changed" in arrived[s]),
        "failed": [s for s in wanted if s not in arrived],
        "missing": [s for s in wanted if s in arrived and arrived[s]["missing"]],
    }


def events_summary(results: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """Totals over the streams that are not text, and the required ones among them that failed."""
    totals = summarise(results, [s for s in STREAMS if s not in TEXT_STREAMS])
    return totals, [s for s in totals["failed"] if s in REQUIRED]


def text_summary(results: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Totals over the streams of text."""
    return summarise(results, TEXT_STREAMS)
