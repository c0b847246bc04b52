"""Panels come as Parquet, CSV or JSON Lines: one reader for all of them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.json as pajson
import pyarrow.parquet as pq

from flashsale.errors import InputError


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
