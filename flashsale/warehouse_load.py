"""Lake → warehouse: committed partitions become tables of the schema `raw`, and dbt's result becomes the snapshot.

On DuckDB a stream is a view over its committed files: nothing is copied. On PostgreSQL it is a table, filled by COPY
with the partitions whose content changed. Both remember what they brought in, and say which days changed; those days
wait for a build.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

from flashsale.contracts import STREAMS, load_contract
from flashsale.errors import InputError
from flashsale.lake import Lake, Manifest
from flashsale.live_tables import LOADED
from flashsale.settings import settings
from flashsale.tables import SALE_REQUESTS, SCORED_TEXTS, TEXT_FLAGS, TRENDS, sql_type
from flashsale.warehouse_build import wait_for_build

#: Pointer to the model version whose scores the warehouse reads.
SERVED = "text/served"


@dataclass(frozen=True)
class Relation:
    """A table of schema `raw` and the committed partitions it consists of."""

    name: str
    schema: pa.Schema
    manifests: dict[str, Manifest]


def served_version(lake: Lake) -> str | None:
    """Model version whose text scores are served, or None before the first scoring."""
    manifest = lake.manifest(SERVED, "scope=current")
    return None if manifest is None else str(lake.read_one(manifest)["model_version"][0].as_py())


def relations(lake: Lake, decisions: dict[str, pa.Schema]) -> list[Relation]:
    """Every relation the warehouse loads, with what is committed of it now."""
    found = [Relation(s, load_contract(s).arrow_schema(), lake.partitions(f"raw/{s}")) for s in STREAMS]
    found.append(Relation("sale_requests", SALE_REQUESTS, lake.partitions("raw/sale_requests")))
    version = served_version(lake)
    scored = lake.partitions(f"text/scored/model_version={version}") if version else {}
    found.append(Relation("scored_texts", SCORED_TEXTS, scored))
    found.append(Relation("text_flags", TEXT_FLAGS, lake.partitions("text/clean")))
    found.append(Relation("trends", TRENDS, lake.partitions("text/trends")))
    found += [Relation(name, schema, lake.partitions(data_set)) for name, (data_set, schema) in LOADED.items()]
    found += [Relation(name, schema, lake.partitions(f"decisions/{name}")) for name, schema in decisions.items()]
    return found


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f'"{f.name}" {sql_type(f.type)}' for f in schema)


def _changed(relation: Relation, loaded: dict[tuple[str, str], str]) -> tuple[list[str], list[str]]:
    """Partitions to bring in anew, and partitions that are gone."""
    fresh = [p for p, m in relation.manifests.items() if loaded.get((relation.name, p)) != m.content_hash]
    gone = [p for name, p in loaded if name == relation.name and p not in relation.manifests]
    return fresh, gone


def _days(found: list[Relation], loaded: dict[tuple[str, str], str]) -> list[str]:
    touched = {p for r in found for side in _changed(r, loaded) for p in side}
    return sorted(p.removeprefix("date=") for p in touched if p.startswith("date="))


def load(lake: Lake, decisions: dict[str, pa.Schema]) -> dict[str, Any]:
    """Bring the lake's committed partitions into the warehouse; returns counts and the changed days.

    Raises InputError where a required stream has nothing committed: a build on it would be empty without a word.
    """
    found = relations(lake, decisions)
    for relation in found:
        if relation.name in ("catalog", "campaigns", "orders", "inventory") and not relation.manifests:
            raise InputError(f"stream {relation.name}", "nothing is committed", "run the ingest_raw_events DAG first")
    backend = _load_postgres if settings().warehouse_uri.startswith("postgresql") else _load_duckdb
    changed_days = backend(lake, found)
    return {
        "relations": len(found),
        "partitions": sum(len(r.manifests) for r in found),
        "rows": sum(m.rows for r in found for m in r.manifests.values()),
        "changed_days": len(changed_days),
        "first_changed": changed_days[0] if changed_days else None,
        "last_changed": changed_days[-1] if changed_days else None,
    }


# -- DuckDB ------------------------------------------------------------------------------------------------------


def _load_duckdb(lake: Lake, found: list[Relation]) -> list[str]:
    import duckdb

    path = settings().warehouse_path
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("BEGIN")
        connection.execute("CREATE SCHEMA IF NOT EXISTS raw")
        connection.execute("CREATE TABLE IF NOT EXISTS raw._loaded (relation text, partition text, content_hash text)")
        loaded = _loaded(connection.execute("SELECT * FROM raw._loaded").fetchall())
        changed = _days(found, loaded)
        for relation in found:
            _define_duckdb(connection, lake, relation)
        wait_for_build(connection, changed)
        rows = [(r.name, p, m.content_hash) for r in found for p, m in r.manifests.items()]
        connection.execute("DELETE FROM raw._loaded")
        if rows:
            columns = [pa.array(c) for c in zip(*rows, strict=True)]
            connection.register("brought_in", pa.table(columns, names=["relation", "partition", "content_hash"]))
            connection.execute("INSERT INTO raw._loaded SELECT * FROM brought_in")
        connection.execute("COMMIT")
    return changed


def _loaded(rows: list[tuple[Any, ...]]) -> dict[tuple[str, str], str]:
    return {(str(r[0]), str(r[1])): str(r[2]) for r in rows}


def _define_duckdb(connection: Any, lake: Lake, relation: Relation) -> None:
    """A view over committed files; an empty table where there are none; a copy where the lake is not a folder."""
    kind = connection.execute(
        "SELECT table_type FROM information_schema.tables WHERE table_schema = 'raw' AND table_name = ?",
        [relation.name],
    ).fetchone()
    if kind is not None:
        connection.execute(f"DROP {'VIEW' if kind[0] == 'VIEW' else 'TABLE'} raw.{relation.name}")
    if not relation.manifests:
        connection.execute(f"CREATE TABLE raw.{relation.name} ({_columns(relation.schema)})")
        return
    casts = ", ".join(f'CAST("{f.name}" AS {sql_type(f.type)}) AS "{f.name}"' for f in relation.schema)
    addresses = [lake.address(m) for m in relation.manifests.values()]
    if "://" in addresses[0]:
        connection.register("fetched", _rows(lake, relation, list(relation.manifests)))
        connection.execute(f"CREATE TABLE raw.{relation.name} AS SELECT {casts} FROM fetched")
        connection.unregister("fetched")
        return
    files = ", ".join("'" + a.replace("'", "''") + "'" for a in addresses)
    connection.execute(
        f"CREATE VIEW raw.{relation.name} AS SELECT {casts} FROM read_parquet([{files}], hive_partitioning = false)"
    )


def _rows(lake: Lake, relation: Relation, partitions: list[str]) -> pa.Table:
    tables = [lake.read_one(relation.manifests[p]).select(relation.schema.names) for p in partitions]
    return pa.concat_tables(tables, promote_options="permissive").cast(relation.schema)


def publish_duckdb(build: Path, snapshot: Path, schemas: tuple[str, ...] = ("marts",)) -> dict[str, Any]:
    """Copy the audited marts into a fresh file and put it in the snapshot's place in one step.

    Readers that have the old snapshot open keep it; a reader that opens after the replacement sees the new one.
    """
    import duckdb

    staged = snapshot.with_name(f".{snapshot.name}.staged")
    staged.unlink(missing_ok=True)
    staged.parent.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = {}
    with duckdb.connect(str(staged)) as connection:
        connection.execute(f"ATTACH '{build}' AS build (READ_ONLY); SET TimeZone = 'UTC'")
        for schema in schemas:
            connection.execute(f"CREATE SCHEMA {schema}")
            names = connection.execute(
                "SELECT table_name FROM duckdb_tables() WHERE database_name = 'build' AND schema_name = ? ORDER BY 1",
                [schema],
            ).fetchall()
            for (name,) in names:
                connection.execute(f"CREATE TABLE {schema}.{name} AS SELECT * FROM build.{schema}.{name}")
                row = connection.execute(f"SELECT count(*) FROM {schema}.{name}").fetchone()
                counts[name] = int(row[0]) if row else 0
        connection.execute("DETACH build")
    if not counts:
        staged.unlink()
        raise InputError("warehouse", "the build holds no marts", "run dbt build before publishing")
    os.replace(staged, snapshot)
    return {"snapshot": str(snapshot), "tables": len(counts), "rows": sum(counts.values())}


# -- PostgreSQL --------------------------------------------------------------------------------------------------


def _load_postgres(lake: Lake, found: list[Relation]) -> list[str]:
    import psycopg

    with psycopg.connect(settings().warehouse_uri) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA IF NOT EXISTS raw")
        cursor.execute("CREATE TABLE IF NOT EXISTS raw._loaded (relation text, partition text, content_hash text)")
        loaded = _loaded(cursor.execute("SELECT * FROM raw._loaded").fetchall())
        changed = _days(found, loaded)
        for relation in found:
            _define_postgres(cursor, lake, relation, loaded)
        wait_for_build(connection, changed)
        connection.commit()
    return changed


def _define_postgres(cursor: Any, lake: Lake, relation: Relation, loaded: dict[tuple[str, str], str]) -> None:
    table = f"raw.{relation.name}"
    cursor.execute(f"CREATE TABLE IF NOT EXISTS {table} (_partition text, {_columns(relation.schema)})")
    fresh, gone = _changed(relation, loaded)
    for partition in [*fresh, *gone]:
        cursor.execute(f"DELETE FROM {table} WHERE _partition = %s", [partition])
        cursor.execute("DELETE FROM raw._loaded WHERE relation = %s AND partition = %s", [relation.name, partition])
    names = ", ".join(f'"{n}"' for n in ["_partition", *relation.schema.names])
    for partition in fresh:
        rows = _rows(lake, relation, [partition])
        rows = rows.add_column(0, "_partition", pa.array([partition] * rows.num_rows, pa.string()))
        with cursor.copy(f"COPY {table} ({names}) FROM STDIN (FORMAT csv, NULL '')") as copy:
            copy.write(_csv(rows))
        cursor.execute(
            "INSERT INTO raw._loaded VALUES (%s, %s, %s)",
            [relation.name, partition, relation.manifests[partition].content_hash],
        )


def _csv(rows: pa.Table) -> bytes:
    """CSV whose nulls are bare and whose texts are quoted, so that an empty text is not a null."""
    plain = [pa.field(f.name, pa.string() if pa.types.is_timestamp(f.type) else f.type) for f in rows.schema]
    sink = io.BytesIO()
    options = pacsv.WriteOptions(include_header=False, quoting_style="needed")
    pacsv.write_csv(rows.cast(pa.schema(plain)), sink, options)
    return sink.getvalue()


def publish_postgres(schemas: tuple[str, ...] = ("marts",)) -> dict[str, Any]:
    """Swap the marts just built with the published ones, in one transaction."""
    import psycopg

    with psycopg.connect(settings().warehouse_uri) as connection, connection.cursor() as cursor:
        for schema in schemas:
            cursor.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
            cursor.execute(f"ALTER SCHEMA {schema}_build RENAME TO {schema}")
        count = cursor.execute(
            "SELECT count(*) FROM information_schema.tables WHERE table_schema = ANY(%s)", [list(schemas)]
        ).fetchone()
        connection.commit()
    return {"snapshot": "postgresql", "tables": int(count[0]) if count else 0}


def publish() -> dict[str, Any]:
    """Publish the audited build to the warehouse's readers."""
    if settings().warehouse_uri.startswith("postgresql"):
        return publish_postgres()
    return publish_duckdb(settings().warehouse_path, settings().snapshot)
