"""Traditional Chinese characters and their simplified forms: OpenCC's `t2s`, for whoever folds one into the other."""

from __future__ import annotations

from functools import cache
from typing import Any

#: Blocks of Chinese characters, compatibility forms among them.
_BLOCKS = (range(0x3400, 0xA000), range(0xF900, 0xFB00), range(0x20000, 0x2FA20))


@cache
def simplifier() -> Any:
    """OpenCC's converter, which also chooses by phrase."""
    import opencc

    return opencc.OpenCC("t2s")


@cache
def simplified() -> dict[str, str]:
    """The simplified form of every Chinese character that has one.

    Some forms (a few of everyday Cantonese) are not `readable`.
    """
    chars = [chr(code) for block in _BLOCKS for code in block]
    plain = simplifier().convert("\n".join(chars)).split("\n")
    return {given: turned for given, turned in zip(chars, plain, strict=True) if given != turned}


def readable(char: str) -> bool:
    """Whether a character lies in Unicode's first plane; few fonts and no tokenizer of ours know those beyond it."""
    return char <= "\uffff"
