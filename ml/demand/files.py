"""Panels come as Parquet, CSV or JSON Lines: one reader for all of them, and one refusal of faulty rows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.json as pajson
import pyarrow.parquet as pq

from flashsale.errors import InputError


def refuse_faults(subject: str, faults: Iterable[tuple[str, pd.Series, str]]) -> None:
    """Raise InputError about the first faulty row: each fault is a field, which rows have it, and the words for it."""
    for name, bad, words in faults:
        if bad.any():
            row = int(np.flatnonzero(bad.to_numpy())[0])
            raise InputError(subject, words, "correct the record", field=name, row=row)


def read_panel(path: Path) -> pd.DataFrame:
    """The file's rows. Raises InputError where it is not there or cannot be read as what its ending says."""
    subject = f"panel {path}"
    if not path.is_file():
        raise InputError(subject, "there is no such file", "check the path")
    try:
        if path.suffix == ".csv":
            table = pacsv.read_csv(path)
        elif path.suffix in (".jsonl", ".json"):
            table = pajson.read_json(path)
        else:
            table = pq.ParquetFile(path).read()  # read_table may abort at exit, arrow#34314
    except (pa.ArrowException, OSError) as error:
        raise InputError(subject, f"it cannot be read: {error}", "give Parquet, .csv or .jsonl") from error
    frame: pd.DataFrame = table.to_pandas()
    return frame
