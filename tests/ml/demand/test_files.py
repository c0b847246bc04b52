"""One panel in three formats is one panel; what is none is named."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from flashsale.errors import InputError
from ml.demand.files import moments, read_panel


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


def test_codes_are_no_numbers_and_no_code_is_none(tmp_path: Path) -> None:
    for text, ids in (("0001,1\n1,2\n", ["0001", "1"]), ("10,1\n2,2\n", [10, 2]), ("a,1\n,2\n", ["a", None])):
        (tmp_path / "p.csv").write_text("series_id,units\n" + text)
        assert read_panel(tmp_path / "p.csv")["series_id"].tolist() == ids
    with pytest.raises(InputError, match="it is a folder"):
        read_panel(tmp_path)


def test_moments_are_read_as_they_are_written() -> None:
    def said(values: list[object], *, local: bool) -> list[str]:
        return moments(pd.Series(values), local=local).astype(str).tolist()

    offset = ["2024-01-01T00:00:00+01:00", "2024-07-01T00:00:00+02:00", "2024-01-01 00:00Z"]
    assert said(offset, local=True) == ["2024-01-01", "2024-07-01", "2024-01-01"]
    assert said(offset, local=False)[0] == "2023-12-31 23:00:00"
    zoned = list(pd.date_range("2024-03-30", periods=3, tz="Europe/Berlin"))
    assert said(zoned, local=True) == ["2024-03-30", "2024-03-31", "2024-04-01"]
    assert said([date(2024, 1, 5), "2024/01/06", "05.01.2024", None, "soon"], local=True) == [
        "2024-01-05", "2024-01-06", "NaT", "NaT", "NaT",
    ]  # fmt: skip
    assert moments(pd.Series([1_700_000_000, 5]), local=False).isna().all()
