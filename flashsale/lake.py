"""The lake: partitions that are staged, flushed, checked, then committed by one small manifest.

A partition is `<lake>/<dataset>/<partition>/` with one Parquet file, named by the hash of its content, and
`manifest.json`. Readers go by manifests alone, so a half-written partition does not exist: until the manifest is
replaced, in one atomic step, the old version stays readable. Writing content that is already committed changes
nothing. Works on a local folder and on any object store fsspec knows.
"""

from __future__ import annotations

import glob
import hashlib
import io
import json
import os
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flashsale.errors import InputError

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What was committed: the file, its rows, the hash of its content, where the source stood."""

    dataset: str
    partition: str
    file: str
    rows: int
    content_hash: str
    file_hash: str
    contract_version: int
    watermark: str | None = None


@dataclass(frozen=True)
class Commit:
    """Outcome of a write; `changed` is False when the same content was already committed."""

    address: str
    rows: int
    content_hash: str
    changed: bool


def _zero(kind: pa.DataType) -> pa.Scalar:
    """A value to stand under a null, so that what lies there by chance does not count."""
    if pa.types.is_decimal(kind):
        return pa.scalar(Decimal(0), kind)
    if pa.types.is_string(kind):
        return pa.scalar("", kind)
    whole = pa.int32() if pa.types.is_date32(kind) else pa.int64()
    return pa.scalar(0, whole).cast(kind)


def _canonical(column: pa.ChunkedArray) -> list[pa.Array]:
    """A column as arrays whose bytes depend on its values alone, not on how it was built."""
    whole = column.combine_chunks()
    array = whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
    if pa.types.is_nested(array.type) or pa.types.is_null(array.type):
        return [pa.array(json.dumps(value, default=str, sort_keys=True) for value in array.to_pylist())]
    filled = pc.fill_null(array, _zero(array.type)) if array.null_count else array
    bare = pa.Array.from_buffers(array.type, len(filled), [None, *filled.buffers()[1:]], offset=filled.offset)
    return [bare, pc.is_null(array)] if array.null_count else [bare]


def _type_name(kind: pa.DataType) -> str:
    """A type's name; a list's items have one name, which Parquet gives back as another."""
    if pa.types.is_list(kind):
        return f"list<item: {_type_name(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return f"struct<{', '.join(f'{f.name}: {_type_name(f.type)}' for f in kind)}>"
    return str(kind)


def content_hash(table: pa.Table) -> str:
    """A hash of schema and rows in order: the same rows give the same hash however they are chunked or built."""
    digest = hashlib.sha256()
    for name in table.column_names:
        digest.update(f"{name}:{_type_name(table.schema.field(name).type)};".encode())
        for array in _canonical(table[name]):
            sink = io.BytesIO()
            batch = pa.record_batch([array], names=["v"])
            with pa.ipc.new_stream(sink, batch.schema) as writer:
                writer.write_batch(batch)
            digest.update(sink.getbuffer())
    return digest.hexdigest()


def _encode(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(None), sink, compression="zstd", store_schema=True)
    return sink.getvalue()


class Lake:
    """A lake at a folder or an object-store URI."""

    def __init__(self, uri: str, **storage_options: Any) -> None:
        self.uri = uri.rstrip("/")
        self.fs, self.root = fsspec.core.url_to_fs(self.uri, **storage_options)
        self.root = self.root.rstrip("/")
        self._local = "file" in (self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,))
        if self._local:  # an executor runs in a folder of its own, where a relative path means another place
            self.uri = self.root

    # -- reading ---------------------------------------------------------------------------------------------

    def manifest(self, dataset: str, partition: str) -> Manifest | None:
        """The committed manifest of a partition, or None."""
        try:
            return Manifest(**json.loads(self.fs.cat_file(self._path(dataset, partition, MANIFEST))))
        except FileNotFoundError:
            return None

    def partitions(self, dataset: str, *, depth: int = 1) -> dict[str, Manifest]:
        """Committed partitions of a dataset, by name in order; `depth` is the number of `key=value` levels."""
        base = f"{self.root}/{dataset}"
        self.fs.invalidate_cache(base)
        paths = sorted(self.fs.glob(f"{glob.escape(base)}/{'/'.join(['*=*'] * depth)}/{MANIFEST}"))
        with ThreadPoolExecutor(8) as pool:
            found = [Manifest(**json.loads(raw)) for raw in pool.map(self.fs.cat_file, paths)]
        return {m.partition: m for m in found}

    def address(self, manifest: Manifest) -> str:
        """Full address of the committed Parquet file."""
        path = self._path(manifest.dataset, manifest.partition, manifest.file)
        return path if self._local else str(self.fs.unstrip_protocol(path))

    def read(
        self, dataset: str, partitions: Iterable[str] | None = None, *, columns: list[str] | None = None, depth: int = 1
    ) -> pa.Table:
        """Rows of the committed partitions (all, or those named), in partition order.

        Raises InputError where nothing is committed: an empty answer would hide a missing step.
        """
        if partitions is None:
            manifests = list(self.partitions(dataset, depth=depth).values())
        else:
            manifests = [m for m in (self.manifest(dataset, p) for p in partitions) if m is not None]
        if not manifests:
            raise InputError(f"dataset {dataset}", f"nothing is committed in {self.uri}", "run the step that writes it")
        tables = [self.read_one(m, columns=columns) for m in manifests]
        return pa.concat_tables(tables, promote_options="default")

    def read_one(self, manifest: Manifest, *, columns: list[str] | None = None) -> pa.Table:
        """Rows of one committed partition, checked against its manifest."""
        raw = self.fs.cat_file(self._path(manifest.dataset, manifest.partition, manifest.file))
        if hashlib.sha256(raw).hexdigest() != manifest.file_hash:
            raise InputError(
                f"dataset {manifest.dataset}",
                f"file of partition {manifest.partition} does not match its manifest",
                "delete the partition's folder and run its interval again",
            )
        # not `read_table`: its data-set threads can abort a short process at its exit (apache/arrow#34314)
        return pq.ParquetFile(io.BytesIO(raw)).read(columns=columns)

    # -- writing ---------------------------------------------------------------------------------------------

    def write(
        self, dataset: str, partition: str, table: pa.Table, *, contract_version: int = 1, watermark: str | None = None
    ) -> Commit:
        """Stage, flush, check, commit. Returns what was committed and whether it differs from before.

        Of content that is already committed only the watermark moves.

        Raises InputError when the staged file does not read back as what was written.
        """
        digest = content_hash(table)
        before = self.manifest(dataset, partition)
        folder = self._path(dataset, partition)
        if before is not None and (before.content_hash, before.contract_version) == (digest, contract_version):
            if watermark is not None and watermark != before.watermark:  # else its reader would do the same work again
                self._put_manifest(folder, replace(before, watermark=watermark))
            return Commit(f"{folder}/{MANIFEST}", before.rows, digest, changed=False)
        payload = _encode(table)
        name = f"part-{digest[:16]}.parquet"
        self._put(f"{folder}/{name}", payload)
        self._check(f"{folder}/{name}", payload, table.num_rows)
        after = Manifest(
            dataset,
            partition,
            name,
            table.num_rows,
            digest,
            hashlib.sha256(payload).hexdigest(),
            contract_version,
            watermark,
        )
        self._put_manifest(folder, after)
        self._forget(folder, keep={name, before.file if before else name, MANIFEST})
        return Commit(f"{folder}/{MANIFEST}", table.num_rows, digest, changed=True)

    def _put_manifest(self, folder: str, manifest: Manifest) -> None:
        self._put(f"{folder}/{MANIFEST}", json.dumps(asdict(manifest), indent=1, sort_keys=True).encode())

    def _check(self, path: str, payload: bytes, rows: int) -> None:
        stored = self.fs.cat_file(path)
        if stored != payload or pq.read_metadata(io.BytesIO(stored)).num_rows != rows:
            raise InputError(f"staged file {path}", "does not read back as written", "check the disk and run again")

    def _put(self, path: str, payload: bytes) -> None:
        """Write a whole object in one step: no reader ever sees a part of it."""
        if not self._local:
            self.fs.pipe_file(path, payload)  # an object store shows an object only once it is complete
            return
        folder = os.path.dirname(path)
        os.makedirs(folder, exist_ok=True)
        staged = f"{path}.{uuid.uuid4().hex}.staged"
        with open(staged, "wb") as handle:
            handle.write(payload)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(staged, path)

    def _forget(self, folder: str, keep: set[str]) -> None:
        """Remove files older than the version before this one, which a reader may still be reading."""
        self.fs.invalidate_cache(folder)
        for path in self.fs.ls(folder, detail=False):
            if path.rsplit("/", 1)[-1] not in keep:
                self.fs.rm_file(path)

    def _path(self, *parts: str) -> str:
        return "/".join([self.root, *parts])
