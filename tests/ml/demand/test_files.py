"""One panel in three formats is one panel; what is none is named."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from flashsale.errors import InputError
from ml.demand.files import read_panel


def test_formats_agree(tmp_path: Path) -> None:
    frame = pd.DataFrame({"series_id": ["a", "b"], "units": [1.5, 2.0], "in_stock": [1, 0]})
    frame.to_parquet(tmp_path / "p.parquet")
    frame.to_csv(tmp_path / "p.csv", index=False)
    frame.to_json(tmp_path / "p.jsonl", orient="records", lines=True)
    for name in ("p.parquet", "p.csv", "p.jsonl"):
        pd.testing.assert_frame_equal(read_panel(tmp_path / name), frame, check_dtype=False)


@pytest.mark.parametrize(("name", "words"), [("p.parquet", "cannot be read"), ("q.csv", "no such file")])
def test_what_is_no_panel_is_named(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "p.parquet").write_text("not Parquet")
    with pytest.raises(InputError, match=words):
        read_panel(tmp_path / name)
