"""Panels come as Parquet, CSV or JSON Lines and go as such: one reader for all of them, one refusal of faulty rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from flashsale import jsonlines
from flashsale.errors import InputError

CODES = ("series_id", "class_id")  # columns that name things, whatever digits they are written with


def refuse_faults(subject: str, faults: Iterable[tuple[str, pd.Series, str]]) -> None:
    """Raise InputError about the first faulty row: each fault is a field, which rows have it, and the words for it."""
    for name, bad, words in faults:
        if bad.any():
            row = int(np.flatnonzero(bad.to_numpy())[0])
            raise InputError(subject, words, "correct the record", field=name, row=row)


def read_panel(path: Path) -> pd.DataFrame:
    """The file's rows. Raises InputError where it is not there or cannot be read as what its ending says."""
    subject = f"panel {path}"
    if path.is_dir():
        raise InputError(subject, "it is a folder", "give one file")
    if not path.is_file():
        raise InputError(subject, "there is no such file", "check the path")
    try:
        if path.suffix.lower() == ".csv":
            table = _read_csv(path)
        elif jsonlines.is_one(path):
            table = jsonlines.table(jsonlines.read(path))
        else:
            table = pq.ParquetFile(path).read()  # read_table may abort at exit, arrow#34314
    except (pa.ArrowException, OSError) as error:
        raise InputError(subject, f"it cannot be read: {error}", "give Parquet, .csv or .jsonl") from error
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _read_csv(path: Path) -> pa.Table:
    """Names of series are read as they stand, since 0001 is no 1; plain whole numbers alone become such."""
    kept = pacsv.ConvertOptions(column_types=dict.fromkeys(CODES, pa.string()), strings_can_be_null=True)
    table = pacsv.read_csv(path, convert_options=kept)
    for name in set(CODES) & set(table.column_names):
        known = table[name].drop_null().unique().to_pylist()
        if known and all(code.isascii() and code.isdigit() and str(int(code)) == code for code in known):
            try:
                table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.int64()))
            except pa.ArrowInvalid:  # more digits than an integer has
                continue
    return table


def numbers(values: pd.Series) -> pd.Series:
    """A column as floats, NaN where a value is no number; decimals and booleans are numbers."""
    plain = values.astype(object) if isinstance(values.dtype, pd.CategoricalDtype) else values
    return pd.to_numeric(plain, errors="coerce").astype("float64").reset_index(drop=True)


def moments(values: pd.Series, *, local: bool) -> pd.Series:
    """Moments without a zone, NaT where a value is none; text has to begin with the year, numbers are none.

    Args:
        local: a zoned moment keeps the clock of its zone, since a day is a day where it was lived; else it is in UTC.
    """
    plain = values.astype(object) if isinstance(values.dtype, pd.CategoricalDtype) else values
    plain = plain.reset_index(drop=True)
    if pd.api.types.is_numeric_dtype(plain) or pd.api.types.is_bool_dtype(plain):
        return pd.Series(pd.NaT, index=plain.index, dtype="datetime64[ns]")
    if not pd.api.types.is_datetime64_any_dtype(plain):
        plain = _parsed(plain, local=local)
    if plain.dt.tz is None:
        return plain
    return plain.dt.tz_localize(None) if local else plain.dt.tz_convert("UTC").dt.tz_localize(None)


def _parsed(values: pd.Series, *, local: bool) -> pd.Series:
    texts = values.map(lambda value: value if value is None or isinstance(value, str) else _iso(value))
    if local:  # the clock as it is written, whatever zone follows
        texts = texts.str.replace(r"(?<=[T ]\d\d:\d\d)(:\d\d(?:\.\d+)?)?\s*(?:Z|[+-]\d\d:?\d\d)$", r"\1", regex=True)
    texts = texts.where(texts.str.match(r"\s*\d{4}(?:\D|\d{4})").fillna(False))  # of 05.01.2024 either may be the month
    return pd.to_datetime(texts, format="mixed", errors="coerce", utc=not local)


def _iso(value: Any) -> str | None:
    say: Callable[[], str] | None = getattr(value, "isoformat", None)
    return say() if say is not None and value is not pd.NaT else None


def write_panel(frame: pd.DataFrame, path: Path) -> None:
    """Write CSV or JSON Lines where the file's ending says so, else Parquet; whole or not at all."""
    check_out(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{os.getpid()}.staged")
    try:
        if path.suffix.lower() == ".csv":
            frame.to_csv(staged, index=False, lineterminator="\n")
        elif jsonlines.is_one(path):
            with staged.open("w", encoding="utf-8", newline="\n") as out:
                out.writelines(map(jsonlines.line, pa.Table.from_pandas(frame, preserve_index=False).to_pylist()))
        else:
            frame.to_parquet(staged, index=False)
        os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)


def check_out(path: Path, *, folder: bool = False) -> None:
    """Raise InputError where a result could not be written there, before anything is computed; creates nothing."""
    subject = f"result {path}"
    if folder and path.is_file():
        raise InputError(subject, "it is a file", "name a folder")
    if not folder and path.is_dir():
        raise InputError(subject, "it is a folder", "name a file")
    home = path.absolute() if folder else path.absolute().parent
    there = next(place for place in (home, *home.parents) if os.path.lexists(place))
    if not there.is_dir():
        raise InputError(subject, f"it cannot be written: {there} is no folder", "name another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(subject, f"it cannot be written: {there} may not be written to", "name another place")
