"""Titles of the catalog as the text model reads them: vectors that tell a new SKU's relatives before any of it is sold.

A title's vector is the mean of the encoder's states over its pieces, centred and scaled as the model's own sentence
heads read it, of unit length, in 16-bit floats. Every title is embedded once for a model version and kept in the lake.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flashsale.lake import Lake
from flashsale.tables import TITLE_VECTORS, TITLES
from ml.text.pooled import pool, unit
from ml.text.score import locate
from ml.text.scorer import Scorer


def embed(scorer: Scorer, titles: Sequence[str]) -> npt.NDArray[np.float16]:
    """Unit vectors of titles, shape (titles, hidden).

    One at a time: what stands beside a text in a batch changes its last bits, and a title has the same vector always.
    """
    heads = {name: scorer.heads[name].float().cpu().numpy() for name in ("sentence_centre", "sentence_scale")}
    pooled = [pool(scorer, [title])[0] for title in titles]
    read = (np.stack(pooled) - heads["sentence_centre"]) / heads["sentence_scale"]
    return np.asarray(unit(read), dtype="<f2")


def embed_titles(lake: Lake, model: str | None, threads: int | None) -> dict[str, Any]:
    """Embed the catalog's titles that this model version has not embedded yet, and commit all it knows.

    Args:
        lake: its `raw/catalog` is read (all versions of every SKU), `text/titles` written, a partition a model version.
        model: as `ml.text.score.locate` takes it.
        threads: CPU threads; None leaves PyTorch's setting alone.

    Returns the version, how many titles it has and how many of these are new. Raises InputError where there is no such
    model.
    """
    folder, version = locate(model)
    partition = f"model_version={version}"
    kept = lake.manifest(TITLES, partition)
    known = TITLE_VECTORS.empty_table() if kept is None else lake.read_one(kept)
    fresh = sorted(_titles(lake) - set(known["title"].to_pylist()))
    if fresh:
        vectors = embed(Scorer(folder, threads=threads, precision="fp32"), fresh)
        added = pa.table([fresh, [vector.tobytes() for vector in vectors]], schema=TITLE_VECTORS)
        known = pa.concat_tables([known, added]).sort_by("title")
        lake.write(TITLES, partition, known)
    return {"model_version": version, "titles": known.num_rows, "embedded": len(fresh)}


def _titles(lake: Lake) -> set[str]:
    if not lake.partitions("raw/catalog"):
        return set()
    return {title for title in lake.read("raw/catalog", columns=["title"])["title"].to_pylist() if title.strip()}
