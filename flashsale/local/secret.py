"""Secrets of the local stack: made once, kept in files only their owner reads, never printed but the UI's login."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path


def secret(home: Path, name: str, *, fernet: bool = False) -> str:
    """The secret called `name`, made on first use. `fernet`: 32 bytes in URL-safe base64."""
    path = home / "secrets" / name
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        value = base64.urlsafe_b64encode(os.urandom(32)).decode() if fernet else secrets.token_urlsafe(32)
        staged = path.with_name(f".{name}.{os.getpid()}")
        descriptor = os.open(staged, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as handle:
            handle.write(value)
        os.replace(staged, path)  # whole or not at all: an empty secret would be one that anybody knows
    return path.read_text()
