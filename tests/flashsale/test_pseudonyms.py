"""Keyed pseudonyms: stable under one key, unlinkable under another, never the identifier."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flashsale.errors import InputError
from flashsale.pseudonyms import pseudonym, pseudonymise
from flashsale.settings import pseudonym_key, settings


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


def _key_of(folder: str, gate: Any, found: Any) -> None:
    os.environ["FLASHSALE_HOME"] = folder
    settings.cache_clear()
    gate.wait()
    found.put(pseudonym_key())


def test_processes_that_come_at_once_find_one_key(tmp_path: Path) -> None:
    world = get_context("fork")
    for k in range(15):
        gate, found = world.Barrier(2), world.Queue()
        pair = [world.Process(target=_key_of, args=(str(tmp_path / str(k)), gate, found)) for _ in range(2)]
        for one in pair:
            one.start()
        keys = {found.get(timeout=20) for _ in pair}
        for one in pair:
            one.join()
        assert len(keys) == 1 and len(keys.pop()) == 64
        assert [p.name for p in (tmp_path / str(k) / "secrets").iterdir()] == ["pseudonym.key"]


def test_an_empty_key_file_is_no_key(home: Path) -> None:
    (home / "secrets").mkdir(parents=True)
    (home / "secrets" / "pseudonym.key").write_bytes(b"")
    with pytest.raises(InputError, match="pseudonym key: its file is empty"):
        pseudonym_key()
