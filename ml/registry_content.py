"""What a model version holds, by one digest: who trains may still write to the files of its runs after a promotion."""

from __future__ import annotations

import hashlib
from pathlib import Path

#: Written beside a version's files when it is downloaded: its name and number, which a promotion changes.
_NOTES = frozenset({"registered_model_meta", "version.json"})


def content_digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of a downloaded version's files, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in _NOTES):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
