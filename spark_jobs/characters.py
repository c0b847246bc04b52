"""Tables of characters for the kernels: what each code point becomes, and what each HTML entity stands for.

A code point has one class. `KEEP`: it stays. `DROP`: it goes (control, zero width, bidirectional marks, variation
selectors). `SPACE`: it is white space. `MAP`: it becomes the code points listed for it (form NFKC). `EMOJI`: it becomes
its English name between colons. `HARD`: its form NFKC hangs on its neighbours (combining marks, Korean letters), so
Python's own composes the whole text.
"""

from __future__ import annotations

import html
import unicodedata
from dataclasses import dataclass
from functools import cache
from html.entities import html5
from typing import Any

import numpy as np
from numpy.typing import NDArray

CODE_POINTS = 0x110000
KEEP, DROP, SPACE, MAP, EMOJI, HARD = range(6)
#: Half of a flag: two of them, in a row, name a country.
FLAG_A = 0x1F1E6

_HANGUL_VOWELS_AND_TAILS = (0x1161, 0x11FF)


@dataclass(frozen=True)
class Characters:
    """`kind[c]` is the class of code point c; `chars[start[c] : start[c] + size[c]]` what it becomes.

    `entity_hashes` are sorted FNV-1a hashes of entity names, `entity_chars` one or two code points each (0: none).
    """

    kind: NDArray[np.uint8]
    start: NDArray[np.int32]
    size: NDArray[np.uint8]
    chars: NDArray[np.int32]
    flags: NDArray[np.int32]
    entity_hashes: NDArray[np.uint64]
    entity_chars: NDArray[np.int32]


def fnv1a(raw: bytes) -> int:
    """The 64-bit FNV-1a hash, as the kernels compute it."""
    value = 0xCBF29CE484222325
    for byte in raw:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def _composes(char: str) -> bool:
    """Whether a character may join the one before it in form NFKC."""
    return (
        unicodedata.combining(char) != 0
        or _HANGUL_VOWELS_AND_TAILS[0] <= ord(char) <= _HANGUL_VOWELS_AND_TAILS[1]
        or char in _second_parts()
    )


@cache
def _second_parts() -> frozenset[str]:
    """Characters that stand second in some canonical decomposition."""
    pairs = (unicodedata.decomposition(chr(c)).split() for c in _may_change())
    return frozenset(chr(int(p[1], 16)) for p in pairs if len(p) == 2 and not p[0].startswith("<"))


@cache
def _may_change() -> tuple[int, ...]:
    """Code points that are not kept for what they are.

    Surrogates, private use and what is not assigned stay; of Chinese characters, none changes outside the blocks of
    compatibility forms. Emoji may be newer than Python's own tables of what is assigned.
    """
    emoji = range(0x1F000, 0x20000)
    spans = ((0x80, 0x4E00), (0xA000, 0xD800), (0xF900, 0x20000), (0x2F800, 0x30000), (0xE0000, 0xF0000))
    return tuple(
        c for first, end in spans for c in range(first, end) if c in emoji or unicodedata.category(chr(c)) != "Cn"
    )


def _dropped(char: str) -> bool:
    code = ord(char)
    return (
        (unicodedata.category(char) in ("Cc", "Cf"))  # includes NUL, bidirectional marks, zero widths, tags
        or 0xFE00 <= code <= 0xFE0F  # variation selectors
        or 0xE0100 <= code <= 0xE01EF
        or 0x1F3FB <= code <= 0x1F3FF  # skin tones
        or code == 0x20E3  # the box of a keycap
        or code in (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0)  # fillers without ink
    )


def _names() -> tuple[dict[int, str], list[str]]:
    """English names of single-character emoji, and of the 26 × 26 flags."""
    import emoji

    data: dict[str, dict[str, Any]] = emoji.EMOJI_DATA
    single: dict[int, str] = {}
    flags = [""] * 676
    for text, entry in data.items():
        name = entry["en"].strip(":").replace("’", "'")
        bare = text.replace("\ufe0f", "")
        if len(bare) == 1 and ord(bare) >= 0x2300 and not _dropped(bare):
            single[ord(bare)] = name
        elif len(bare) == 2 and all(FLAG_A <= ord(c) < FLAG_A + 26 for c in bare):
            flags[(ord(bare[0]) - FLAG_A) * 26 + ord(bare[1]) - FLAG_A] = name
    return single, flags


def _becomes(char: str, names: dict[int, str]) -> tuple[int, str]:
    """Class of a character and what it becomes."""
    if char.isspace() or char in "\u2028\u2029":
        return SPACE, ""
    if _dropped(char):
        return DROP, ""
    plain = unicodedata.normalize("NFKC", char)
    if _composes(char) or any(_composes(c) for c in plain):
        return HARD, ""
    if plain != char:
        return MAP, "".join(" " if c.isspace() else c for c in plain if not _dropped(c))
    if ord(char) in names:
        return EMOJI, f":{names[ord(char)]}:"
    return KEEP, ""


def _entities() -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    named = {name[:-1]: text for name, text in html5.items() if name.endswith(";")}
    hashes = np.array([fnv1a(name.encode()) for name in named], np.uint64)
    chars = np.array([[ord(t[0]), ord(t[1]) if len(t) > 1 else 0] for t in named.values()], np.int32)
    order = np.argsort(hashes)
    return hashes[order], chars[order]


#: What numbers 128 to 159 of numeric entities mean: Windows' characters, as browsers read them.
WINDOWS = np.array([ord(html.unescape(f"&#{c};") or "\0") for c in range(128, 160)], np.int32)


@cache
def characters() -> Characters:
    """The tables; made once a process (half a second)."""
    kind = np.zeros(CODE_POINTS, np.uint8)
    start = np.zeros(CODE_POINTS, np.int32)
    size = np.zeros(CODE_POINTS, np.uint8)
    chars: list[int] = []
    names, flag_names = _names()
    for code in _may_change():
        found, text = _becomes(chr(code), names)
        kind[code] = found
        start[code], size[code] = len(chars), len(text)
        chars.extend(map(ord, text))
    for code in range(0x80):
        found, _ = _becomes(chr(code), {})
        kind[code] = found
    flags = np.zeros((676, 2), np.int32)
    for i, name in enumerate(flag_names):
        flags[i] = len(chars), len(name) + 2 if name else 0
        if name:
            chars.extend(map(ord, f":{name}:"))
    return Characters(kind, start, size, np.array(chars, np.int32), flags, *_entities())
