"""The compiled kernels against Python's own Unicode, HTML and UTF-8."""

from __future__ import annotations

import html
import random
import re
import unicodedata
from html.entities import html5

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_jobs.arrow import buffers
from spark_jobs.characters import DROP, EMOJI, SPACE, characters
from spark_jobs.cleaning import Options, normalise
from spark_jobs.kernels import INVALID, decode

KEEP_EMOJI = Options(keep_emoji=True)


def normal(texts: list[str]) -> list[str]:
    return normalise(pa.array(texts, pa.string()), KEEP_EMOJI)[0].to_pylist()


def expected(text: str) -> str:
    """Form NFKC without what has no ink, by Python; white space made one, no more than three of a character."""
    kind = characters().kind
    seen = [" " if kind[ord(c)] == SPACE else c for c in text if kind[ord(c)] != DROP]
    plain = "".join(c for c in unicodedata.normalize("NFKC", "".join(seen)) if kind[ord(c)] != DROP)
    return re.sub(r"([^0-9 ])\1{3,}", r"\1\1\1", " ".join(plain.split()))


def test_every_character_takes_its_form() -> None:
    every = [f"x{chr(c)}y" for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000]
    found = normal(every)
    wrong = [(hex(ord(t[1])), f, expected(t)) for t, f in zip(every, found, strict=True) if f != expected(t)]
    assert not wrong, wrong[:20]


def test_characters_that_join_take_their_form_together() -> None:
    rng = random.Random(3)
    pool = [chr(c) for c in range(0xA0, 0x3400) if unicodedata.normalize("NFKC", chr(c)) != chr(c)]
    pool += ["e", "か", "ᄀ", "ᅡ", "ᆨ", "\u0301", "\u3099", "ﾞ", "ｶ", "好"]
    texts = ["".join(f"{c}" for c in rng.sample(pool, 6)) for _ in range(3000)]
    wrong = [(t, f) for t, f in zip(texts, normal(texts), strict=True) if f != expected(t)]
    assert not wrong, wrong[:5]


def test_entities_are_pythons() -> None:
    names = [name for name in html5 if name.endswith(";")]
    texts = [f"x&{name}y" for name in names] + [f"x&#{c};y" for c in range(32, 3000)] + ["x&#x4F60;y", "x&#X4f60;y"]
    found = normal(texts)
    wrong = [
        (t, f, expected(html.unescape(t)))
        for t, f in zip(texts, found, strict=True)
        if f != expected(html.unescape(t)) and "&amp;" not in t and "&#38;" not in t and "&AMP;" not in t
    ]
    assert not wrong, wrong[:10]


@pytest.mark.parametrize(
    "text", ["&;", "&#;", "&#x;", "&nosuchname;", "&amp", "a & b", "&#1234567890;", "&", "&#x110000"]
)
def test_what_is_no_entity_stays(text: str) -> None:
    assert normal([text]) == [text]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=12))
def test_utf8_is_pythons(raw: bytes) -> None:
    _, flags = normalise(pa.array([raw]), KEEP_EMOJI)
    try:
        raw.decode("utf-8")
        valid = True
    except UnicodeDecodeError:
        valid = False
    if b"\0" not in raw:
        assert bool(flags[0] & INVALID) == (not valid)


def test_code_points_are_pythons() -> None:
    text = "".join(chr(c) for c in (0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF))
    data = np.frombuffer(text.encode(), np.uint8)
    at, found = 0, []
    while at < len(data):
        code, width = decode(data, at, len(data))
        found.append(chr(code))
        at += width
    assert "".join(found) == text


def test_growth_has_room() -> None:
    grows = max(np.flatnonzero(characters().kind == EMOJI), key=lambda c: characters().size[c])
    found = normalise(pa.array([f"{chr(grows)}a" * 2000] * 3 + ["\ufdfa" * 3000], pa.string()), Options())[0]
    name = "".join(map(chr, characters().chars[characters().start[grows] :][: characters().size[grows]]))
    assert found[0].as_py() == " ".join([name, "a"] * 2000)
    assert found[2] == found[0] and len(buffers(found)[0]) == 5


def test_no_more_than_three_in_a_row() -> None:
    assert normal(["！！!!!", "aaaa aaaa", "1111111", "哈哈哈哈", "a" * 99, "..", "&lt;" * 9]) == [
        "!!!", "aaa aaa", "1111111", "哈哈哈", "aaa", "..", "<<<",
    ]  # fmt: skip
