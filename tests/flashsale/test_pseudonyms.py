"""Keyed pseudonyms: stable under one key, unlinkable under another, never the identifier."""

from __future__ import annotations

import hashlib
import hmac
import stat
from pathlib import Path

import pyarrow as pa

from flashsale.pseudonyms import pseudonym, pseudonymise
from flashsale.settings import pseudonym_key


def test_a_pseudonym_is_the_keyed_hash_of_its_name_space() -> None:
    oracle = hmac.new(b"key", b"user:alice", hashlib.sha256).hexdigest()[:32]
    assert pseudonym("alice", "user_id", b"key") == f"u_{oracle}"
    assert pseudonym("alice", "user_id", b"other") != pseudonym("alice", "user_id", b"key")
    assert pseudonym("alice", "author_id", b"key") != pseudonym("alice", "user_id", b"key")


def test_a_column_keeps_order_repeats_and_nulls() -> None:
    column = pa.chunked_array([["a", None], ["b", "a"]])
    hidden = pseudonymise(column, "user_id", b"key").to_pylist()
    assert hidden[0] == hidden[3] != hidden[2]
    assert hidden[1] is None and "a" not in hidden


def test_the_key_is_made_once_and_only_its_owner_reads_it(home: Path) -> None:
    key = pseudonym_key()
    path = home / "secrets" / "pseudonym.key"
    assert pseudonym_key() == key == path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
