"""Identifiers of people in running text: one table of patterns for everyone who has to hide them.

The engine is RE2 through Arrow: it cannot be made to backtrack, so no text can stall a job or a log line.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml

IDENTIFIERS_FILE = Path(__file__).with_name("identifiers.yaml")


@dataclass(frozen=True)
class Rule:
    """One replacement; `mask` names the kind of identifier it hides, None where it hides none."""

    name: str
    pattern: str
    replacement: str
    mask: str | None
    example: tuple[str, str]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Rule:
        """A rule as it stands in a table: name, pattern, with, mask, example {in, out}."""
        example = raw["example"]["in"], raw["example"]["out"]
        return cls(raw["name"], raw["pattern"], raw["with"], raw.get("mask"), example)


@cache
def identifiers() -> tuple[Rule, ...]:
    """The rules of the table, in order."""
    return tuple(Rule.of(raw) for raw in yaml.safe_load(IDENTIFIERS_FILE.read_text(encoding="utf-8"))["rules"])


def mask_identifiers(text: str) -> str:
    """`text` in Unicode form NFKC with every known kind of identifier replaced by its name, as in `<phone>`.

    Half a surrogate pair, which no UTF-8 can hold, becomes a question mark.
    """
    plain = unicodedata.normalize("NFKC", text).encode("utf-8", "replace").decode()
    now = pa.array([plain], pa.string())
    for rule in identifiers():
        now = pc.replace_substring_regex(now, pattern=rule.pattern, replacement=rule.replacement)
    return str(now[0].as_py())
