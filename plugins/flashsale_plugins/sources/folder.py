"""A folder source: one file or sub-folder a stream (JSON Lines, CSV, Parquet) and perhaps `sale_request.yaml`."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from flashsale import jsonlines
from flashsale.errors import InputError
from flashsale.times import Window
from flashsale.yaml_text import read_yaml
from flashsale_plugins.sources import FAULT_COLUMN
from flashsale_plugins.sources.text import exact, joined, text_table

SUFFIXES = (".parquet", ".csv", *jsonlines.SUFFIXES)
CHUNK = 100_000  # records held as objects at a time


def _csv(path: Path) -> pa.Table:
    """Every column as text: what a value is, the contract decides."""
    with path.open("rb") as handle:
        names = pacsv.open_csv(handle).schema.names
    options = pacsv.ConvertOptions(
        column_types={name: pa.string() for name in names}, strings_can_be_null=True, null_values=[""]
    )
    table = pacsv.read_csv(path, convert_options=options, parse_options=pacsv.ParseOptions(newlines_in_values=True))
    last = table.slice(table.num_rows - 1).to_pylist() if table.num_rows else []
    if any("\n" in value for row in last for value in row.values() if value):
        _check_quotes(path)
    return table


def _check_quotes(path: Path) -> None:
    """InputError where a quote that opens a value is never closed: the value would hold the rest of the file."""
    start = 1
    with path.open(encoding="utf-8", newline="") as handle:
        rows = csv.reader(handle, strict=True)
        try:
            for _ in rows:
                start = rows.line_num + 1
        except csv.Error as error:
            if "end of data" not in str(error):
                return  # other readers' rules for quotes inside a value: Arrow has read it by its own
            words = f"a quote that is opened in the record from line {start} on is never closed"
            raise InputError(f"file {path.name}", words, "close it, or double it if it is part of the value") from error


def _json_lines(path: Path) -> pa.Table:
    """Line by line: every value as the text it was written as, broken lines with their fault."""
    tables: list[pa.Table] = []
    records: list[dict[str, Any]] = []
    with path.open("rb") as handle:
        for number, line in enumerate(handle, start=1):
            text = line.removeprefix(jsonlines.MARK) if number == 1 else line
            if text.strip():
                records.append(_record(text, f"line {number} of {path.name}"))
            if len(records) == CHUNK:
                tables.append(text_table(records))
                records = []
    if records or not tables:
        tables.append(text_table(records))
    table = pa.concat_tables(tables, promote_options="default")
    if table.column_names == [FAULT_COLUMN]:
        raise InputError(f"file {path.name}", str(table[FAULT_COLUMN][0]), "write one JSON object a line, in UTF-8")
    return table


def _record(line: bytes, where: str) -> dict[str, Any]:
    try:
        item = exact(line.decode("utf-8"))
        if not isinstance(item, dict):
            raise ValueError("it holds a list" if isinstance(item, list) else "it is no object")
    except UnicodeDecodeError:
        return {FAULT_COLUMN: f"{where} is not UTF-8"}
    except (ValueError, RecursionError) as error:
        return {FAULT_COLUMN: f"{where} is not a JSON object ({error})"}
    return item


def _parquet(path: Path) -> pa.Table:
    return pq.ParquetFile(path).read()


_READERS = {"parquet": _parquet, "csv": _csv}


def read_file(path: Path) -> pa.Table:
    """Records of one file in its own types; an empty or damaged file is an InputError that names it."""
    kind = path.suffix.lower().lstrip(".")
    try:
        if path.stat().st_size == 0:
            raise InputError(
                f"file {path.name}", "is empty (0 bytes)", "deliver it again, or remove it if there is nothing"
            )
        table = _READERS.get(kind, _json_lines)(path)
        twice = [name for name, count in Counter(table.column_names).items() if count > 1]
        if twice:
            raise InputError(f"file {path.name}", "the column stands twice", "keep one of the two", field=twice[0])
        return table
    except (pa.ArrowException, UnicodeError, OSError) as error:
        raise InputError(
            f"file {path.name}", f"is not readable {kind} ({error})", "deliver the whole file again"
        ) from error


class FolderSource:
    """A folder of files; every read reads the stream whole, since files carry no index of time."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise InputError(f"source {folder}", "there is no such folder", "give a folder with one file a stream")

    def files(self, stream: str) -> list[Path]:
        """The stream's files in order."""
        named = f"{stream}."
        found: list[Path] = []
        for path in sorted(self.folder.iterdir()):
            name = path.name.lower()
            if path.is_dir() and (name == stream or (name.startswith(named) and _kind_of(path))):
                found += sorted(_under(path))
            elif name == stream or name.startswith(named):
                found.append(_readable(path))
        return found

    def read(self, stream: str, window: Window) -> pa.Table | None:
        """All records of the stream (the caller keeps those in the window); None where it has no file."""
        tables = [read_file(path) for path in self.files(stream)]
        return joined(tables) if tables else None

    def sale_requests(self) -> list[dict[str, Any]]:
        """The request in `sale_request.yaml`, if there is one."""
        path = self.folder / "sale_request.yaml"
        if not path.is_file():
            return []
        content = read_yaml(path, path.name)
        return content if isinstance(content, list) else [content]


def _kind_of(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _readable(path: Path) -> Path:
    """The path itself; InputError for a file that would otherwise be left out without a word."""
    if not path.is_file():
        raise InputError(f"file {path.name}", "is no file, or a link to nothing", "deliver the file, or remove it")
    if not _kind_of(path):
        remedy = f"give one of {', '.join(SUFFIXES)}, not packed, or remove it"
        raise InputError(f"file {path.name}", "has an ending that nobody reads", remedy)
    return path


def _under(folder: Path) -> Iterator[Path]:
    """Files of a stream's folder, links to folders followed; names that begin with `.` or `_` are others' marks."""
    seen: set[Path] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        inside = [Path(place) / name for name in folders if name[0] not in "._"]
        folders[:] = [path.name for path in inside if path.resolve() not in seen]
        seen |= {path.resolve() for path in inside}
        yield from (_readable(Path(place) / name) for name in names if name[0] not in "._")
