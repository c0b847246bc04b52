"""Folders whose every file is named, with its hash, in a manifest: altered or missing files are refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from flashsale.errors import InputError

MANIFEST = "assistant.json"
FORMAT = 1


def seal(folder: Path, facts: dict[str, Any]) -> None:
    """Write the manifest: `facts` and the SHA-256 of every file below the folder."""
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in _names(folder)}
    written = {"format": FORMAT, **facts, "files": hashes}
    (folder / MANIFEST).write_text(json.dumps(written, indent=1, sort_keys=True, ensure_ascii=False), encoding="utf-8")


def unseal(folder: Path) -> dict[str, Any]:
    """The manifest, after every file was checked. Raises InputError where one is altered, missing or new."""
    subject = f"assistant {folder.name}"
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files: dict[str, str] = manifest["files"]
        known = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(subject, f"it has no readable {MANIFEST}", "name a folder `assistant build` wrote") from error
    if known != FORMAT:
        raise InputError(subject, f"its format is {known!r}, not {FORMAT}", "build it again", field="format")
    for name in sorted(set(files) | set(_names(folder))):
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != files.get(name):
            raise InputError(subject, "the file is not what was built", "build or copy it again", field=name)
    return manifest


def _names(folder: Path) -> list[str]:
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return sorted(name for name in found if name != MANIFEST)
