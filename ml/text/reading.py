"""The canonical reading: one way of writing, out of many, before a text is cut into pieces.

A small model that met hardly any traditional characters, emoji or dialect words takes them for signs of what stood
beside them. The reading folds them: traditional characters become simplified (OpenCC's `t2s`, character by character),
an emoji that judges becomes a word of the text's language and any other goes, control characters, variation selectors
and skin tones go, a character is repeated three times at most, the commonest words and set phrases of six dialects
become standard speech, and all places become the same one (`rules/reading.yaml`), as do all given names; words for
family and persons become one that says no sex (`rules/people.yaml`). Unicode's NFKC follows, in the tokenizer's own
normaliser.

`table` is all a model needs to read so; it lies in the model folder as `scorer.READING`, and `scorer.Reading` applies
it wherever the folder is used. A folder without that file reads texts as they come.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from flashsale.errors import InputError
from flashsale.simplified import readable, simplified
from ml.text import scorer
from ml.text.data import LANGUAGES

if TYPE_CHECKING:
    from tokenizers import Tokenizer

RULES = Path(__file__).parent / "rules" / "reading.yaml"
PEOPLE = RULES.with_name("people.yaml")
_QUOTES = {"’": "'", "‘": "'", "ʼ": "'"}
_GROUPS = 10
_RUN = r"([^\s\d])\1{3,}"  # digits excepted: 10000 is no 1000
_KEPT = "\t\n\r©®™℠"


@lru_cache(maxsize=1)
def table() -> dict[str, Any]:
    """The reading as a model folder keeps it.

    `characters` maps single characters, `signs` are emoji and unseen characters, `rest` is a pattern of runs of one
    character and of signs; each language has a pair: a pattern of its spoken phrases in lower case, and what is read in
    the stead of a phrase or sign. A run has no such words and is cut to three.
    Raises InputError that names the entry of a file of rules that cannot be used.
    """
    raw = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    faces = {face: row for row in raw["faces"] for face in row["of"].split()}
    signs = dict.fromkeys([*silent(), *faces], "")
    found: dict[str, Any] = {"characters": turned() | _QUOTES, "signs": "".join(sorted(signs))}
    found["rest"] = rf"{_RUN}|[{_ranges(signs)}]"
    for language in LANGUAGES:
        spoken = places(raw["places"][language]) | people(language) | phrases(raw, language)
        judging = {face: f" {row[language]} " for face, row in faces.items()}
        found[language] = [_pattern(spoken, language), spoken | signs | judging]
    return found


def phrases(raw: dict[str, Any], language: str) -> dict[str, str]:
    """What is read for spoken words as the reading meets them, of all dialects of a language; the first of two counts.

    OpenCC turns some characters of spoken Cantonese too, so both forms of an entry are one. A standard word for a
    member of a family is read as `people` has it. Raises InputError.
    """
    found: dict[str, str] = {}
    characters, (finder, kin) = str.maketrans(turned()), _kin(language)
    for spoken, standard in _entries(raw, language):
        read = standard if spoken == standard else finder.sub(lambda match: kin[match.group()], standard)
        found.setdefault(spoken.lower().translate(characters), read)
    return found


def _entries(raw: dict[str, Any], language: str) -> Iterator[tuple[str, str]]:
    """Both sides of every entry of a language's dialects, then of every adjective in every turn that takes any."""
    for dialect, line in raw[language].items():
        yield from _sides(RULES, f"{language}.{dialect}", line)
    graded = dict(raw.get("graded", {}).get(language, {"any": ""}))
    common = [(word.strip(), word.strip()) for word in graded.pop("any").split(";")]
    for dialect, given in graded.items():
        field = f"graded.{language}.{dialect}"
        own = list(_sides(RULES, f"{field}.words", given["words"]))
        for turn, standard in _sides(RULES, f"{field}.turns", given["turns"]):
            yield from ((turn.format(word), standard.format(read)) for word, read in [*own, *common])


def places(known: dict[str, str]) -> dict[str, str]:
    """The one place that all places of a language are read as, by place; words in which one is hidden by themselves."""
    return _as_one(known["of"], known)


def people(language: str) -> dict[str, str]:
    """What is read for given names, and for words that say a sex, by name and word; protected words by themselves."""
    known = _people()[language]
    return _as_one(known["names"], known) | _kin(language)[1]


def _as_one(names: str, known: dict[str, str]) -> dict[str, str]:
    found = {name.strip().lower(): known["as"] for name in names.split(";")}
    kept = (word.strip() for word in known["kept"].split(";")) if "kept" in known else ()
    return found | {word: word for word in kept}


@lru_cache(maxsize=1)
def _people() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(PEOPLE.read_text(encoding="utf-8"))
    return found


@lru_cache(maxsize=2)
def _kin(language: str) -> tuple[re.Pattern[str], dict[str, str]]:
    """What finds the words of a language that say a sex, and what each is read as."""
    kin = dict(_sides(PEOPLE, f"{language}.kin", _people()[language]["kin"]))
    return re.compile(_pattern(kin, language)), kin


def _sides(path: Path, field: str, line: str) -> Iterator[tuple[str, str]]:
    """Both sides of each `written=read`; raises InputError where one is missing."""
    for entry in line.split(";"):
        written, _, read = entry.strip().partition("=")
        if not written or not read:
            problem = f"the entry {entry.strip()!r} has not two sides"
            raise InputError(f"file {path.name}", problem, "write spoken=standard", field=field)
        yield written, read


@lru_cache(maxsize=1)
def turned() -> dict[str, str]:
    """Chinese characters and their simplified forms, those left out that no tokenizer could read."""
    return {given: new for given, new in simplified().items() if len(new) == 1 and readable(new)}


@lru_cache(maxsize=1)
def silent() -> tuple[str, ...]:
    """Characters that are left out: emoji, what changes an emoji's look, control and other unseen characters."""
    import emoji

    parts = {char for sequence in emoji.EMOJI_DATA for char in sequence}
    dropped = {char for char in parts if unicodedata.category(char) in ("So", "Sk", "Mn", "Me", "Cf", "Cn")}
    dropped |= {chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cc", "Cf")}
    dropped |= {chr(code) for code in (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))}
    return tuple(sorted(dropped - set(_KEPT)))


def _pattern(words: Iterable[str], language: str) -> str:
    """A pattern for whole words, or for Chinese words anywhere, the longest first.

    Words that begin alike share their beginning. Python's matcher tries alternatives one by one, so Chinese words are
    split into `_GROUPS` by their first character: five times as fast as one list.
    """
    if language != "zh":
        return rf"(?<![\w'])(?:{_branch(_tree(words))})(?![\w'])"
    tree = _tree(words)
    heads, size = sorted(tree), -(-len(tree) // _GROUPS)
    groups = [heads[at : at + size] for at in range(0, len(heads), size)]
    parts = [f"(?=[{_escaped(group)}]){_branch({head: tree[head] for head in group})}" for group in groups]
    return f"(?=[{_escaped(heads)}])(?:{'|'.join(parts)})"


def _ranges(characters: Iterable[str]) -> str:
    """The inside of a character class; neighbours make a range, since the matcher walks emoji one by one otherwise."""
    codes = set(map(ord, characters))
    starts = sorted(code for code in codes if code - 1 not in codes)
    ends = sorted(code for code in codes if code + 1 not in codes)
    return "".join(f"{re.escape(chr(a))}-{re.escape(chr(b))}" for a, b in zip(starts, ends, strict=True))


def _escaped(characters: Iterable[str]) -> str:
    return "".join(map(re.escape, characters))


def _tree(words: Iterable[str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for word in words:
        at = tree
        for char in word:
            at = at.setdefault(char, {})
        at[""] = {}
    return tree


def _branch(tree: dict[str, Any]) -> str:
    ways = [re.escape(char) + _branch(below) for char, below in sorted(tree.items()) if char]
    if not ways:
        return ""
    inner = ways[0] if len(ways) == 1 and "" not in tree else f"(?:{'|'.join(ways)})"
    return f"{inner}?" if "" in tree else inner


def tokenizer_of(base: Path, reading: str) -> Tokenizer | scorer.Reading:
    """The tokenizer of a base model's folder behind a reading (`canonical`), or as it is (`none`)."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(base / scorer.TOKENIZER))
    return tokenizer if reading == "none" else scorer.Reading(tokenizer, table())


def plain(tokenizer: Tokenizer | scorer.Reading) -> Tokenizer:
    """The tokenizer behind a reading."""
    return tokenizer.tokenizer if isinstance(tokenizer, scorer.Reading) else tokenizer


def write(folder: Path) -> Path:
    """Write the reading into a model folder; returns the file."""
    path = folder / scorer.READING
    path.write_text(json.dumps(table(), ensure_ascii=False, sort_keys=True), encoding="utf-8")
    return path
