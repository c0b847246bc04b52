"""Scoring a file: same rows, same order, the model's columns added."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flashsale import jsonlines
from flashsale.errors import InputError

ADDED = pa.schema(
    [
        ("sentiment", pa.string()),
        ("p_negative", pa.float64()),
        ("p_neutral", pa.float64()),
        ("p_positive", pa.float64()),
        ("p_intent", pa.float64()),
        ("spans", pa.string()),
        ("model_version", pa.string()),
    ]
)


def read_texts(path: Path) -> pa.Table:
    """Return a Parquet or JSON Lines file. Raises InputError where it cannot be scored."""
    subject = _subject(path)
    if not path.is_file():
        raise InputError(subject, "it is not there", "name a Parquet or JSON Lines file")
    if jsonlines.is_one(path):
        rows = jsonlines.read(path)
        table = jsonlines.table(rows, () if rows else ["text"])
    else:
        table = _read_parquet(path)
    if "text" not in table.column_names:
        raise InputError(subject, "the column is missing", "add a column of strings named text", field="text")
    kind = table.schema.field("text").type
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    textual = pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value)
    if not (textual or pa.types.is_null(kind)):
        raise InputError(subject, f"it is {kind}, not string", "write the texts as strings", field="text")
    return table


def _read_parquet(path: Path) -> pa.Table:
    _known(path)
    try:
        table = pq.read_table(path)
        names = table.column_names
        table["text"].validate(full=True) if names.count("text") == 1 else None
    except (pa.ArrowException, OSError) as error:
        raise InputError(_subject(path), f"it cannot be read: {error}", "write it again, whole") from error
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(_subject(path), "two columns have this name", "name each column once", field=twice)
    return table


def writable(path: Path, schema: pa.Schema | None = None) -> None:
    """Try whether a file can be written there; finds a bad place before minutes of work. Raises InputError."""
    _known(path)
    if path.is_dir():
        raise InputError(_subject(path), "it is a folder", "name a file")
    for field in schema or () if jsonlines.is_one(path) else ():
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            raise InputError(_subject(path), "bytes have no JSON", "leave them out, or write Parquet", field=field.name)
    probe(path)


def probe(path: Path) -> None:
    """Try whether a file or a folder can be made there. Raises InputError."""
    trial = path.with_name(f".{path.stem}.{os.getpid()}.probe")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise InputError(_subject(path), f"it cannot be written: {error}", "name another place") from error


def write_table(table: pa.Table, path: Path) -> None:
    """Write Parquet or JSON Lines by the file's ending; the file appears whole or not at all."""
    writable(path, table.schema)
    with _staged(path) as staged:
        if jsonlines.is_one(path):
            _write_lines((row for batch in _without_nan(table).to_batches() for row in batch.to_pylist()), staged, path)
        else:
            pq.write_table(table, staged, compression="zstd")


def _write_lines(rows: Iterable[dict[str, Any]], staged: Path, path: Path) -> None:
    try:
        with staged.open("w", encoding="utf-8", newline="\n") as out:
            out.writelines(map(jsonlines.line, rows))
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(_subject(path), f"a value has no JSON: {error}", "write Parquet") from error


def _without_nan(table: pa.Table) -> pa.Table:
    """JSON knows no number that is none: null stands for it."""
    for at, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            known = pc.if_else(pc.is_finite(table[at]), table[at], pa.scalar(None, field.type))
            table = table.set_column(at, field, known)
    return table


@contextmanager
def _staged(path: Path) -> Iterator[Path]:
    staged = path.with_name(f".{path.name}.{os.getpid()}.staged")
    try:
        yield staged
        os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)


def _subject(path: Path) -> str:
    return f"file {path.name}"


def _known(path: Path) -> None:
    if path.suffix.lower() != ".parquet" and not jsonlines.is_one(path):
        raise InputError(_subject(path), f"its ending {path.suffix!r} is unknown", "give .parquet or .jsonl")


def score_file(source: Path, target: Path, *, model: str | None, threads: int | None) -> dict[str, Any]:
    """Score `source` into `target`; returns rows, seconds, rows a second and the model's label.

    `model` is a registry URI or name, or a folder (an MLflow model or a model folder); default: the champion. Columns
    of the same names in the input are replaced, which stderr says; where `target` is `source`, they are refused.
    """
    table = read_texts(source)
    writable(target, table.schema)
    _say_replaced(table, source, target)
    folder, label = locate(model)
    from ml.text.scorer import Scorer

    try:
        scorer = Scorer(folder, threads=threads)
    except ValueError as error:
        raise InputError(f"model {folder.name}", str(error), "fetch or train it again") from error
    began = time.monotonic()
    texts = table["text"].to_pylist()
    frame = scorer.score(texts)
    frame["model_version"] = label
    seconds = time.monotonic() - began
    _write_scored(source, target, table, pa.Table.from_pandas(frame, schema=ADDED, preserve_index=False))
    rate = len(texts) / max(seconds, 1e-9)
    print(f"scored {len(texts)} texts in {seconds:.1f} s, {rate:.0f} a second", file=sys.stderr, flush=True)
    return {
        "rows": len(texts),
        "seconds": round(seconds, 2),
        "rows_per_second": round(rate, 1),
        "model_version": label,
        "out": str(target),
    }


def _say_replaced(table: pa.Table, source: Path, target: Path) -> None:
    replaced = [name for name in table.column_names if name in ADDED.names]
    if replaced and target.exists() and target.samefile(source):
        problem = f"scores would take the place of its columns {', '.join(replaced)}, for good"
        raise InputError(_subject(source), problem, "rename them, or write to another file")
    if replaced:
        print(f"columns of the input that scores replace: {', '.join(replaced)}", file=sys.stderr, flush=True)


def _write_scored(source: Path, target: Path, table: pa.Table, scored: pa.Table) -> None:
    """Every column as it came, then the scores. From JSON Lines to JSON Lines the objects themselves are kept."""
    if jsonlines.is_one(source) and jsonlines.is_one(target):
        given = jsonlines.read(source)
        kept = ({name: value for name, value in row.items() if name not in ADDED.names} for row in given)
        with _staged(target) as staged:
            merged = ({**row, **added} for row, added in zip(kept, scored.to_pylist(), strict=True))
            _write_lines(merged, staged, target)
        return
    kept_names = [name for name in table.column_names if name not in ADDED.names]
    whole = table.select(kept_names)
    if len(kept_names) < table.num_columns:  # what pandas noted of a column that is replaced is true no more
        noted = {key: value for key, value in (table.schema.metadata or {}).items() if key != b"pandas"}
        whole = whole.replace_schema_metadata(noted)
    for field in ADDED:
        whole = whole.append_column(field, scored[field.name])
    write_table(whole, target)


def locate(model: str | None) -> tuple[Path, str]:
    """Return the model folder and the label of a model named by URI, registry name or folder."""
    import hashlib

    from flashsale.text_serving import model_version
    from ml import registry
    from ml.text.pipeline import MODEL
    from ml.text.scorer import MANIFEST

    if model is None:
        root = registry.fetch_champion(MODEL)
    elif Path(model).is_dir():
        root = Path(model)
    elif not registry.is_set():
        raise InputError(f"model {model}", "there is no such folder, and no registry is set", "name a model's folder")
    else:
        root = registry.fetch(model)
    folder = registry.model_folder(root)
    if not (folder / MANIFEST).is_file():
        raise InputError(f"model {model}", "the folder holds no text model", "name one that `text train` wrote")
    if (root / registry.VERSION_FILE).is_file():
        return folder, model_version(root)
    return folder, "local-" + hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()[:12]
