"""Keyed pseudonyms: people's identifiers as HMAC-SHA256 under the platform's key.

Without the key a pseudonym cannot be linked to a person, not even by hashing every known identifier. One field
family shares one name space, so that a customer is the same pseudonym in orders, traffic and reviews.
"""

from __future__ import annotations

import hashlib
import hmac

import pyarrow as pa
import pyarrow.compute as pc

#: Field name → name space. `author_id` is a person of a platform, not of the shop.
NAMESPACES = {"user_id": "user", "author_id": "author", "session_id": "session", "conversation_id": "conversation"}


def pseudonym(value: str, field: str, key: bytes) -> str:
    """The pseudonym of one identifier: 16 bytes of HMAC-SHA256 in hexadecimal, after the name space's letter."""
    space = NAMESPACES[field]
    digest = hmac.new(key, f"{space}:{value}".encode(), hashlib.sha256).hexdigest()
    return f"{space[0]}_{digest[:32]}"


def pseudonymise(column: pa.ChunkedArray, field: str, key: bytes) -> pa.Array:
    """Pseudonyms of a whole column; every distinct identifier is computed once, nulls stay null."""
    encoded = pc.dictionary_encode(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
    array = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0)
    names = pa.array([pseudonym(v, field, key) for v in array.dictionary.to_pylist()], pa.string())
    return pc.take(names, array.indices)
