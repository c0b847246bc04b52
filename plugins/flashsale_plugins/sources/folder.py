"""A folder source: one file or sub-folder a stream (JSON Lines, CSV, Parquet) and perhaps `sale_request.yaml`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.json as pajson
import pyarrow.parquet as pq
import yaml

from flashsale.errors import InputError
from flashsale.times import Window
from flashsale_plugins.sources import FAULT_COLUMN

_SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".csv")


def _csv(path: Path) -> pa.Table:
    """Every column as text: what a value is, the contract decides."""
    with path.open("rb") as handle:
        names = pacsv.open_csv(handle).schema.names
    options = pacsv.ConvertOptions(
        column_types={name: pa.string() for name in names}, strings_can_be_null=True, null_values=[""]
    )
    return pacsv.read_csv(path, convert_options=options, parse_options=pacsv.ParseOptions(newlines_in_values=True))


def _json_lines(path: Path) -> pa.Table:
    try:
        return pajson.read_json(path)
    except pa.ArrowInvalid:
        return _json_lines_one_by_one(path)


def _json_lines_one_by_one(path: Path) -> pa.Table:
    """Line by line where types disagree or a line is broken: every value as text, broken lines with their fault."""
    records: list[dict[str, str | None]] = []
    with path.open(encoding="utf-8", errors="replace") as handle:
        for number, line in enumerate(handle):
            if not line.strip():
                continue
            try:
                item = json.loads(line, parse_float=str)
                if not isinstance(item, dict):
                    raise ValueError("not an object")
                records.append({k: v if v is None else str(v) for k, v in item.items()})
            except ValueError as error:
                records.append({FAULT_COLUMN: f"line {number + 1} of {path.name} is not a JSON object ({error})"})
    names = list(dict.fromkeys(name for record in records for name in record))
    return pa.table({n: pa.array([r.get(n) for r in records], pa.string()) for n in names})


def read_file(path: Path) -> pa.Table:
    """Records of one file in its own types; an empty or damaged file is an InputError that names it."""
    if path.stat().st_size == 0:
        raise InputError(
            f"file {path.name}", "is empty (0 bytes)", "deliver it again, or remove it if there is nothing"
        )
    try:
        if path.suffix == ".parquet":
            return pq.ParquetFile(path).read()
        return _csv(path) if path.suffix == ".csv" else _json_lines(path)
    except (pa.ArrowInvalid, OSError) as error:
        kind = path.suffix.lstrip(".")
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
        found = [self.folder / f"{stream}{s}" for s in _SUFFIXES if (self.folder / f"{stream}{s}").is_file()]
        sub = self.folder / stream
        if sub.is_dir():
            found += sorted(p for p in sub.rglob("*") if p.suffix in _SUFFIXES)
        return found

    def read(self, stream: str, window: Window) -> pa.Table | None:
        """All records of the stream (the caller keeps those in the window); None where it has no file."""
        tables = [read_file(path) for path in self.files(stream)]
        if not tables:
            return None
        try:
            return pa.concat_tables(tables, promote_options="default")
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            # files that spell a column differently meet as text; the contract then reads each value
            return pa.concat_tables([_as_text(t) for t in tables], promote_options="default")

    def sale_requests(self) -> list[dict[str, Any]]:
        """The request in `sale_request.yaml`, if there is one."""
        path = self.folder / "sale_request.yaml"
        if not path.is_file():
            return []
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise InputError("sale_request.yaml", f"is not YAML ({error})", "see the example in the README") from error
        return content if isinstance(content, list) else [content]


def _as_text(table: pa.Table) -> pa.Table:
    return pa.table({name: table[name].cast(pa.string()) for name in table.column_names})
