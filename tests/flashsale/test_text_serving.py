"""The pointer to the served scores: it moves to what exists, and a shop without text is no error."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale.text_serving import serve
from flashsale.warehouse_load import served_version


def test_the_pointer_moves_to_scores_that_exist(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    assert serve(lake, "v1") == {"model_version": "v1", "days": 0, "texts": 0, "moved": False}
    assert served_version(lake) is None
    lake.write("text/clean", "date=2026-01-01", pa.table({"clean_text": ["good"]}))
    with pytest.raises(InputError, match="version v1 has scored nothing"):
        serve(lake, "v1")
    lake.write("text/scored/model_version=v1", "date=2026-01-01", pa.table({"sentiment": ["positive"]}))
    assert serve(lake, "v1")["moved"] is True and served_version(lake) == "v1"
    assert serve(lake, "v1")["moved"] is False
