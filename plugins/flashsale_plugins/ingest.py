"""One stream of one interval: pull → pseudonymise → gate → commit, with what fails set aside in quarantine."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flashsale.coerce import Faults, coerce, find_duplicates, find_future, split
from flashsale.contracts import Contract, load_contract
from flashsale.contracts.derive import expectations
from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale.pseudonyms import pseudonymise
from flashsale.request import SaleRequest, load_request
from flashsale.tables import SALE_REQUESTS
from flashsale.times import Window
from flashsale_plugins.gate import run_suite
from flashsale_plugins.sources import FAULT_COLUMN, Source

#: Streams without which no sale can be planned; the others may be missing, and the run says so.
REQUIRED = ("catalog", "campaigns", "orders", "inventory")
#: A stream with more bad records than this share is not committed at all: its source is broken, not a few rows.
MAX_BAD_SHARE = 0.2


@dataclass(frozen=True)
class Gatekeeper:
    """What the gate needs beside the records."""

    lake: Lake
    key: bytes
    latest: datetime
    docs: Path | None = None


def ingest_stream(source: Source, stream: str, window: Window, keeper: Gatekeeper) -> dict[str, Any]:
    """Load one stream of the window; returns counts and the days whose content changed.

    Raises InputError where the stream as a whole cannot be used; nothing of it is committed then, and what was set
    aside lies in quarantine.
    """
    contract = load_contract(stream)
    raw = source.read(stream, window)
    if raw is None:
        if stream in REQUIRED:
            raise InputError(f"stream {stream}", "the source has no such stream", f"deliver it: {contract.grain}")
        return {"stream": stream, "missing": True, "rows": 0, "quarantined": 0, "changed_days": []}
    if raw.num_rows == 0:
        return {"stream": stream, "missing": False, "rows": 0, "quarantined": 0, "changed_days": []}
    # what no contract names may be anybody's data: it reaches neither the lake nor quarantine
    known = {*contract.arrow_schema().names, FAULT_COLUMN}
    raw = raw.select([name for name in raw.column_names if name in known])
    raw = _without_people(raw, contract, keeper.key)
    good, bad, seen = _gate(raw, contract, window, keeper)
    _quarantine(keeper.lake, stream, bad, window)
    if seen and bad.num_rows > MAX_BAD_SHARE * seen:
        raise InputError(
            f"stream {stream}",
            f"{bad.num_rows} of {seen} records are bad: {_reasons(bad)}",
            "mend the source; the records lie in quarantine",
            field=bad["field"][0].as_py(),
            row=bad["row"][0].as_py(),
        )
    changed = _commit(keeper.lake, contract, good)
    return {
        "stream": stream,
        "missing": False,
        "rows": good.num_rows,
        "quarantined": bad.num_rows,
        "changed_days": [d.isoformat() for d in changed],
        "reasons": _reasons(bad),
    }


def _without_people(raw: pa.Table, contract: Contract, key: bytes) -> pa.Table:
    """Identifiers of people become pseudonyms before anything else sees them, quarantine included."""
    for name in contract.person_fields:
        if name in raw.column_names:
            try:
                named = raw[name].cast(pa.string())
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                words = f"its values are no text ({raw[name].type})"
                raise InputError(f"stream {contract.stream}", words, "send one id a record", field=name) from error
            hidden = pseudonymise(pc.if_else(pc.equal(named, ""), None, named), name, key)
            raw = raw.set_column(raw.column_names.index(name), name, hidden)
    return raw


def _gate(raw: pa.Table, contract: Contract, window: Window, keeper: Gatekeeper) -> tuple[pa.Table, pa.Table, int]:
    """Good rows, quarantine rows, and how many records the window held."""
    table, faults = coerce(raw, contract)
    if FAULT_COLUMN in raw.column_names:
        for row, words in enumerate(raw[FAULT_COLUMN].to_pylist()):
            if words is not None:
                faults.by_row[row] = ("record", words, "send one JSON object a line")
    inside = _in_window(table, window)
    table, raw, faults = _keep(table, raw, faults, inside)
    find_future(table, keeper.latest, faults)
    for row, name, remedy in _broken_rules(table, contract):
        faults.add(row, name, f"breaks the rule {name}", remedy)
    find_duplicates(table, faults)  # after the others: a bad record does not stand for its later, good twin
    fine, bad = split(table, raw, faults)
    if fine.num_rows:
        origin = [r for r in range(table.num_rows) if r not in faults.by_row]
        verdict = run_suite(f"raw_{contract.stream}", fine, expectations(contract), keeper.docs)
        if verdict.table_failures:
            raise InputError(f"stream {contract.stream}", "; ".join(verdict.table_failures), "mend the source")
        for row, fault in verdict.faults.by_row.items():
            faults.by_row[origin[row]] = fault
        if verdict.faults.by_row:
            fine, bad = split(table, raw, faults)
    return fine.cast(contract.arrow_schema()), bad, table.num_rows


def _in_window(table: pa.Table, window: Window) -> pa.Array:
    """Rows of the window; a row whose time cannot be read belongs to no other window, so it counts here."""
    kind = pa.timestamp("us", tz="UTC")
    at = table["event_at"].combine_chunks()
    inside = pc.and_(pc.greater_equal(at, pa.scalar(window.start, kind)), pc.less(at, pa.scalar(window.end, kind)))
    return pc.fill_null(inside, True)


def _keep(table: pa.Table, raw: pa.Table, faults: Faults, mask: pa.Array) -> tuple[pa.Table, pa.Table, Faults]:
    if pc.all(mask).as_py():
        return table, raw, faults
    kept = pa.array(np.flatnonzero(mask.to_numpy(zero_copy_only=False)), pa.int64())
    if not faults.by_row:
        return table.take(kept), raw.take(kept), faults
    place = {old: new for new, old in enumerate(kept.to_pylist())}
    moved = Faults({place[row]: fault for row, fault in faults.by_row.items() if row in place})
    return table.take(kept), raw.take(kept), moved


def _broken_rules(table: pa.Table, contract: Contract) -> list[tuple[int, str, str]]:
    """Rows that break a rule between fields, judged by DuckDB on the contract's own SQL."""
    if not contract.row_rules:
        return []
    import duckdb

    found: list[tuple[int, str, str]] = []
    with duckdb.connect() as connection:
        connection.register("records", table.append_column("__row__", pa.array(range(table.num_rows))))
        for rule in contract.row_rules:
            rows = connection.execute(f"SELECT __row__ FROM records WHERE NOT ({rule.sql})").fetchall()
            found += [(row, rule.name, rule.remedy) for (row,) in rows]
    return found


def _reasons(bad: pa.Table) -> str:
    counts = Counter(f"{f}: {r}" for f, r in zip(bad["field"].to_pylist(), bad["reason"].to_pylist(), strict=True))
    return "; ".join(f"{words} ({n})" for words, n in counts.most_common(3))


def quarantine_of(window: Window) -> str:
    """Partition of what was set aside of an interval."""
    return f"interval={window.start:%Y-%m-%d}_{window.end:%Y-%m-%d}"


def _quarantine(lake: Lake, stream: str, bad: pa.Table, window: Window) -> None:
    """Write the set-aside records of the interval; a clean rerun empties what an earlier run set aside."""
    partition = quarantine_of(window)
    if bad.num_rows or lake.manifest(f"quarantine/{stream}", partition) is not None:
        lake.write(f"quarantine/{stream}", partition, bad)


def _commit(lake: Lake, contract: Contract, good: pa.Table) -> list[date]:
    """Commit one partition a UTC day; returns the days whose content changed."""
    ordered = good.sort_by([("event_at", "ascending"), ("event_id", "ascending")])
    days = pc.cast(ordered["event_at"], pa.date32()).combine_chunks()
    changed: list[date] = []
    start = 0
    for item in pc.value_counts(days).to_pylist():
        day, count = item["values"], item["counts"]
        table = ordered.slice(start, count)
        start += count
        mark = table["event_at"][count - 1].as_py().isoformat()
        done = lake.write(
            f"raw/{contract.stream}", f"date={day}", table, contract_version=contract.version, watermark=mark
        )
        if done.changed:
            changed.append(day)
    return changed


def ingest_requests(source: Source, lake: Lake) -> list[str]:
    """Check all of the source's sale requests, then commit them (request × SKU × region); returns their ids."""
    checked: dict[str, SaleRequest] = {}
    for number, raw in enumerate(source.sale_requests()):
        if not isinstance(raw, dict):
            words = "is not a mapping of fields"
            raise InputError("sale request", words, "give request_id, skus, regions …", row=number)
        request = load_request(raw)
        if request.request_id in checked:
            raise InputError(
                f"sale request {request.request_id}", "it stands more than once in the source", "keep one",
                field="request_id", row=number,
            )  # fmt: skip
        checked[request.request_id] = request
    for name, request in checked.items():
        table = pa.Table.from_pylist(_request_rows(request), SALE_REQUESTS)
        lake.write("raw/sale_requests", f"request_id={name}", table)
    return list(checked)


def _request_rows(request: SaleRequest) -> list[dict[str, Any]]:
    return [
        {
            "request_id": request.request_id,
            "sku_id": sku.sku_id,
            "region_id": region.region_id,
            "starts_at": request.start_slots[0],
            "duration_hours": request.duration_hours,
            "as_of": request.as_of,
            "unit_cost": sku.unit_cost,
            "request_json": request.canonical_json(),
        }
        for sku in request.skus
        for region in request.regions
    ]


def window_of(start: datetime, end: datetime, late_days: int) -> Window:
    """Whole UTC days of an interval, with the days before it that are read again for late records."""
    first = start.astimezone(UTC).date() - timedelta(days=late_days)
    last = (end.astimezone(UTC) - timedelta(microseconds=1)).date()
    return Window.of_days(first, max(first, last))
