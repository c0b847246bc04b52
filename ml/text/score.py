"""Scoring a file: same rows, same order, the model's columns added."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

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
_JSON = (".jsonl", ".ndjson", ".json")


def read_texts(path: Path) -> pa.Table:
    """Return a Parquet or JSON Lines file. Raises InputError where it cannot be scored."""
    subject = f"file {path.name}"
    if not path.is_file():
        raise InputError(subject, "it is not there", "name a Parquet or JSON Lines file")
    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path)
        elif path.suffix in _JSON:
            table = _read_json_lines(path)
        else:
            raise InputError(subject, f"its ending {path.suffix!r} is unknown", "give .parquet or .jsonl")
    except (pa.ArrowException, OSError) as error:
        raise InputError(subject, f"it cannot be read: {error}", "write it again, whole") from error
    if "text" not in table.column_names:
        raise InputError(subject, "the column is missing", "add a column of strings named text", field="text")
    kind = table.schema.field("text").type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise InputError(subject, f"it is {kind}, not string", "write the texts as strings", field="text")
    return table


def _read_json_lines(path: Path) -> pa.Table:
    if path.stat().st_size == 0:
        return pa.table({"text": pa.array([], pa.string())})
    return pyarrow.json.read_json(path, parse_options=pyarrow.json.ParseOptions(newlines_in_values=False))


def write_table(table: pa.Table, path: Path) -> None:
    """Write Parquet or JSON Lines by the file's ending; the file appears whole or not at all."""
    if path.suffix not in (".parquet", *_JSON):
        raise InputError(f"file {path.name}", f"its ending {path.suffix!r} is unknown", "give .parquet or .jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{os.getpid()}.staged")
    try:
        if path.suffix == ".parquet":
            pq.write_table(table, staged, compression="zstd")
        else:
            frame = table.to_pandas(types_mapper=None)
            frame.to_json(staged, orient="records", lines=True, force_ascii=False, date_format="iso")
        os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)


def score_file(source: Path, target: Path, *, model: str | None, threads: int | None) -> dict[str, Any]:
    """Score `source` into `target`; returns rows, seconds, rows a second and the model's label.

    `model` is a registry URI or name, or a folder (an MLflow model or a model folder); default: the champion.
    Columns of the same names in the input are replaced.
    """
    table = read_texts(source)
    write_table(table.slice(0, 0), _probe(target))
    _probe(target).unlink()
    folder, label = locate(model)
    from ml.text.scorer import Scorer

    scorer = Scorer(folder, threads=threads)
    began = time.monotonic()
    texts = table["text"].to_pylist()
    frame = scorer.score(texts)
    frame["model_version"] = label
    seconds = time.monotonic() - began
    scored = pa.Table.from_pandas(frame, schema=ADDED, preserve_index=False)
    kept = table.select([name for name in table.column_names if name not in ADDED.names])
    for field in ADDED:
        kept = kept.append_column(field, scored[field.name])
    write_table(kept, target)
    rate = len(texts) / max(seconds, 1e-9)
    print(f"scored {len(texts)} texts in {seconds:.1f} s, {rate:.0f} a second", file=sys.stderr, flush=True)
    return {
        "rows": len(texts),
        "seconds": round(seconds, 2),
        "rows_per_second": round(rate, 1),
        "model_version": label,
        "out": str(target),
    }


def locate(model: str | None) -> tuple[Path, str]:
    """Return the model folder and the label of a model named by URI, registry name or folder."""
    import hashlib

    from flashsale.text_serving import model_version
    from ml import registry
    from ml.text.pipeline import MODEL
    from ml.text.scorer import MANIFEST

    if model is None:
        root = registry.fetch_champion(MODEL)
    else:
        root = Path(model) if Path(model).is_dir() else registry.fetch(model)
    folder = registry.model_folder(root)
    if not (folder / MANIFEST).is_file():
        raise InputError(f"model {model}", "the folder holds no text model", "name one that `text train` wrote")
    if (root / registry.VERSION_FILE).is_file():
        return folder, model_version(root)
    return folder, "local-" + hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()[:12]


def _probe(target: Path) -> Path:
    """A sibling of the target: trying to write it first finds a bad place before minutes of scoring."""
    return target.with_name(f".{target.stem}.probe{target.suffix}")
