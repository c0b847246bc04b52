"""English Amazon snippets and tweets with mean human ratings, from vaderSentiment's source archive.

The wheel leaves the ground truth out; the source archive has it in a nested archive. Nothing is unpacked
to disk. Ratings: mean of about 20 raters each, -4 (most negative) to 4 (most positive), Hutto and Gilbert
2014.
"""

from __future__ import annotations

import html
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

from flashsale.errors import InputError

SOURCE_AMAZON = "vader-amazon"
SOURCE_TWEETS = "vader-tweets"
ARCHIVE = "vaderSentiment-3.3.2.tar.gz"
NEUTRAL_BAND = 0.5
"""Ratings strictly inside (-0.5, 0.5) are neutral.

A rater's smallest step is 1, so a mean below 0.5 says that most raters saw nothing. The band keeps about a
fifth of both files as neutral; at 0.2 it would be a tenth, at 1.0 more than a third.
"""

_NESTED = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_FILES = (
    (SOURCE_AMAZON, "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt"),
    (SOURCE_TWEETS, "hutto_ICWSM_2014/tweets_GroundTruth.txt"),
)


def archive_path(packages_dir: Path | None = None) -> Path:
    """Return where the downloaded source archive lies.

    Raises InputError, with the command that fetches it, where it does not.
    """
    if packages_dir is None:
        from flashsale.settings import settings

        packages_dir = settings().packages_dir
    path = packages_dir / ARCHIVE
    if not path.is_file():
        raise InputError(
            "corpus vader",
            f"{ARCHIVE} is not in {packages_dir}",
            f"run `python -m pip download --no-deps --no-binary :all: --dest {packages_dir} vaderSentiment==3.3.2`",
        )
    return path


def sentiment_of(rating: float) -> str:
    """Return negative, neutral or positive for a mean rating in [-4, 4]."""
    if rating <= -NEUTRAL_BAND:
        return "negative"
    return "positive" if rating >= NEUTRAL_BAND else "neutral"


def read_ratings(packages_dir: Path | None = None) -> Iterator[tuple[str, str, str, float]]:
    """Yield (source, document, raw text, mean rating) in file order.

    `document` is the review that an Amazon snippet was cut from, or the tweet's number. HTML entities,
    which the tweets carry, are resolved. Raises InputError for a missing or damaged archive.
    """
    path = archive_path(packages_dir)
    try:
        with tarfile.open(path) as outer:
            nested = _member(outer, _NESTED)
        with tarfile.open(fileobj=io.BytesIO(nested)) as inner:
            files = [(source, _member(inner, name)) for source, name in _FILES]
    except (tarfile.TarError, KeyError, EOFError, OSError) as error:
        raise InputError(
            "corpus vader", f"{path.name} cannot be read: {error}", "delete it and download it again"
        ) from error
    for source, content in files:
        for line in content.decode("utf-8").splitlines():
            number, rating, text = line.split("\t", 2)
            yield source, number.split("_")[0], html.unescape(text), float(rating)


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    extracted = archive.extractfile(name)
    if extracted is None:
        raise KeyError(name)
    return extracted.read()
