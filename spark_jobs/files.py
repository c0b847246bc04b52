"""Files of texts of any origin: Parquet, JSON Lines and CSV in, the same out, no row lost and none moved.

A line that cannot be read becomes a row with a reason; a file that cannot is an InputError.
"""

from __future__ import annotations

import csv
import io
import json
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flashsale import jsonlines
from flashsale.errors import InputError
from spark_jobs.arrow import whole

TEXT = "text"
#: Separator of the list of kinds in a CSV file.
LIST_SEPARATOR = ";"


@dataclass(frozen=True)
class Texts:
    """Rows as they came: every column, the texts as bytes, and why a row could not be read (None: it could)."""

    table: pa.Table
    texts: pa.Array
    reasons: list[str | None]


def read(path: Path) -> Texts:
    """Rows of a file by its suffix. Raises InputError where the file or its column `text` cannot be read."""
    if path.suffix not in READERS:
        raise InputError(f"file {path.name}", f"unknown suffix {path.suffix!r}", f"use one of {', '.join(READERS)}")
    if not path.is_file():
        raise InputError(f"file {path.name}", "is not there", "check the path given to --in")
    found = READERS[path.suffix](path)
    if TEXT not in found.table.column_names:
        columns = ", ".join(found.table.column_names) or "none"
        raise InputError(f"file {path.name}", f"no such column; found: {columns}", "name the column text", field=TEXT)
    return found


def _named_once(path: Path, names: list[str]) -> None:
    """Raises InputError where two columns have one name: one would be taken for the other."""
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"file {path.name}", "two columns have this name", "name each column once", field=name)


def _parquet(path: Path) -> Texts:
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"file {path.name}", f"no readable Parquet: {error}", "write the file anew") from error
    _named_once(path, table.column_names)
    if TEXT not in table.column_names:
        return Texts(table, pa.array([], pa.binary()), [])
    kind = table.schema.field(TEXT).type
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    textual = pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value)
    if not (textual or pa.types.is_binary(value) or pa.types.is_large_binary(value) or pa.types.is_null(value)):
        raise InputError(f"file {path.name}", f"has the type {kind}, which is no text", "cast it to string", field=TEXT)
    column = table[TEXT].cast(value) if pa.types.is_dictionary(kind) else table[TEXT]
    return Texts(table, whole(column.cast(pa.large_binary())), [None] * len(table))


def _text_of(value: Any) -> tuple[bytes | None, str | None]:
    """A cell's bytes, and the reason where it is no text. Half a surrogate pair stays a byte that is no UTF-8."""
    if value is None or isinstance(value, str):
        return (None if value is None else value.encode("utf-8", "surrogatepass")), None
    return None, "not_text"


def _assemble(rows: list[dict[str, Any]], reasons: list[str | None], names: list[str]) -> Texts:
    found = [_text_of(row.get(TEXT)) for row in rows]
    reasons = [given or reason for given, (_, reason) in zip(reasons, found, strict=True)]
    columns = [jsonlines.column([row.get(name) for row in rows]) for name in names]
    return Texts(pa.table(columns, names), pa.array([t for t, _ in found], pa.large_binary()), reasons)


def _json_lines(path: Path) -> Texts:
    rows: list[dict[str, Any]] = []
    reasons: list[str | None] = []
    names: dict[str, None] = {}
    # bytes that are no UTF-8 are carried as half surrogate pairs; lines end with \n alone
    for line in path.read_bytes().removeprefix(jsonlines.MARK).decode("utf-8", "surrogateescape").split("\n"):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        rows.append(row if isinstance(row, dict) else {})
        reasons.append(None if isinstance(row, dict) else "malformed_json")
        names.update(dict.fromkeys(rows[-1]))
    return _assemble(rows, reasons, list(names) if names else [TEXT])


def _records(lines: list[str], separator: str) -> Iterator[tuple[list[str], bool]]:
    """Records of separated lines, and whether each is whole.

    A quote that nothing closes makes one record of all lines up to the next quote, which then stands where none may:
    the first of these lines is a record that is not whole, and reading goes on with the second.
    """
    at = 0
    while at < len(lines):
        reader, begin = csv.reader((lines[i] for i in range(at, len(lines))), delimiter=separator), at
        for cells in reader:
            end, at = at, begin + reader.line_num
            if at > end + 1 and not _is_sound("".join(lines[end:at]), separator):
                yield next(csv.reader([lines[end]], delimiter=separator)), False
                at = end + 1
                break
            yield cells, True


def _is_sound(record: str, separator: str) -> bool:
    """Quotes of the record are closed, and at the end of a field."""
    try:
        list(csv.reader(io.StringIO(record, newline=""), delimiter=separator, strict=True))
    except csv.Error:
        return False
    return True


def _separated(separator: str) -> Callable[[Path], Texts]:
    def separated(path: Path) -> Texts:
        csv.field_size_limit(2**31 - 1)  # a post of a megabyte is put aside later, with a reason
        raw = path.read_bytes().removeprefix(jsonlines.MARK).decode("utf-8", "surrogateescape")
        records = _records(list(io.StringIO(raw, newline="")), separator)
        names, _ = next(records, ([TEXT], True))
        _named_once(path, names)
        rows, reasons = [], []
        for cells, complete in records:
            if cells:
                rows.append(dict(zip(names, cells, strict=False)))
                reasons.append(None if complete and len(cells) == len(names) else "malformed_row")
        return _assemble(rows, reasons, names)

    return separated


READERS: dict[str, Callable[[Path], Texts]] = {
    ".parquet": _parquet,
    **dict.fromkeys(jsonlines.SUFFIXES, _json_lines),
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
}


def write(table: pa.Table, path: Path) -> None:
    """Write a table by the file's suffix, in one step: what stood there before stays until the new file is whole."""
    if path.suffix not in READERS:
        raise InputError(f"file {path.name}", f"unknown suffix {path.suffix!r}", f"use one of {', '.join(READERS)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex}.staged")
    try:
        if path.suffix == ".parquet":
            pq.write_table(table, staged, compression="zstd")
        elif path.suffix in jsonlines.SUFFIXES:
            with staged.open("w", encoding="utf-8", newline="\n") as out:
                for batch in _readable(table).to_batches(max_chunksize=10_000):
                    out.writelines(json.dumps(r, ensure_ascii=False, default=str) + "\n" for r in batch.to_pylist())
        else:
            _write_separated(_readable(table), staged, "\t" if path.suffix == ".tsv" else ",")
        os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)


def _readable(table: pa.Table) -> pa.Table:
    """Strings that a text file can hold: bytes that are no UTF-8 become U+FFFD."""
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table[field.name].cast(field.type.value_type))
        kind = table.schema.field(i).type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
            raw = table[field.name].cast(pa.large_binary()).to_pylist()
            clean = [None if v is None else v.decode("utf-8", "replace") for v in raw]
            table = table.set_column(i, field.name, pa.array(clean, pa.large_string()))
    return table


def _write_separated(table: pa.Table, path: Path, separator: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, delimiter=separator, lineterminator="\n")
        writer.writerow(table.column_names)
        for batch in table.to_batches(max_chunksize=10_000):
            columns = [
                pc.binary_join(c, LIST_SEPARATOR)
                if pa.types.is_list(c.type) and pa.types.is_string(c.type.value_type)
                else c
                for c in batch.columns
            ]
            writer.writerows(zip(*[c.to_pylist() for c in columns], strict=True))
