"""`python -m spark_jobs <command> …`: jobs on single files, for trying and testing.

Progress goes to stderr; the last line of stdout is one JSON object. A wrong input ends with code 2 and a message that
says what to do.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flashsale.errors import InputError

#: Columns that may name a row, the first one present is taken.
ROW_IDS = ("event_id", "id")


def clean_file(source: Path, target: Path, *, simplify: bool, keep_emoji: bool, threads: int) -> dict[str, Any]:
    """Clean every text of a file; same rows, same order, all columns kept; returns counts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from spark_jobs.arrow import whole
    from spark_jobs.cleaning import CLEANED, Options, clean_texts
    from spark_jobs.files import read, write
    from spark_jobs.minhash import roots

    found = read(source)
    cleaned = clean_texts(found.texts, Options(simplify, keep_emoji), threads=threads)
    columns = {name: whole(cleaned[name]) for name in CLEANED.names}
    unread = pa.array(found.reasons, pa.string())
    columns["quarantine_reason"] = pc.coalesce(unread, columns["quarantine_reason"])
    kept = pc.is_null(columns["quarantine_reason"])
    for name in ("clean_text", "language"):
        columns[name] = pc.if_else(kept, columns[name], pa.scalar(None, pa.string()))
    columns["duplicate_of"] = _duplicates(columns["clean_text"], _row_ids(found.table), roots, threads)
    table = found.table
    for name in ("clean_text", "language", "masked", "duplicate_of", "quarantine_reason", "sentences"):
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, columns[name])
    write(table, target)
    reasons = Counter(r for r in columns["quarantine_reason"].to_pylist() if r)
    duplicates = len(table) - columns["duplicate_of"].null_count
    return {"rows": len(table), "duplicates": duplicates, "quarantined": dict(sorted(reasons.items()))}


def _row_ids(table: Any) -> Any:
    """What names each row: its `event_id` or `id`, else its position."""
    import pyarrow as pa
    import pyarrow.compute as pc

    places = pa.array(range(len(table)), pa.int64()).cast(pa.string())
    for name in ROW_IDS:
        if name in table.column_names:
            return pc.coalesce(table[name].cast(pa.string()), places).combine_chunks()
    return places


def _duplicates(texts: Any, ids: Any, roots: Any, threads: int) -> Any:
    """For every row the id of the earlier row whose text it repeats; null where there is none."""
    import numpy as np
    import pyarrow as pa

    rows = np.flatnonzero(texts.is_valid().to_numpy(zero_copy_only=False))
    first = rows[roots(texts.take(pa.array(rows)), threads)] if len(rows) else rows
    keeper = np.full(len(texts), -1)
    keeper[rows] = np.where(first == rows, -1, first)
    return ids.take(pa.array(keeper, mask=keeper < 0))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 2 for a wrong input."""
    parser = argparse.ArgumentParser(prog="python -m spark_jobs", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    clean = commands.add_parser("clean", help="clean, mask and deduplicate a file with a column `text`")
    clean.add_argument("--in", dest="source", type=Path, required=True, help="Parquet, JSON Lines, CSV or TSV")
    clean.add_argument("--out", dest="target", type=Path, required=True, help="same formats, by suffix")
    clean.add_argument("--simplify", action="store_true", help="traditional Chinese becomes simplified")
    clean.add_argument("--keep-emoji", action="store_true", help="emoji stay instead of becoming their names")
    clean.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args(arguments)
    try:
        done = clean_file(
            args.source, args.target, simplify=args.simplify, keep_emoji=args.keep_emoji, threads=args.threads
        )
    except InputError as error:
        print(f"wrong input: {error}", file=sys.stderr)
        return 2
    print(json.dumps(done, ensure_ascii=False), flush=True)
    return 0
