"""Scoring in the executors, with a registered-looking model that counts letters instead of a BERT."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flashsale.lake import Lake
from flashsale.tables import SCORED_TEXTS

SCRIPT = """
import mlflow
import pandas as pd

class Letters(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        texts = model_input["text"]
        assert texts.is_unique  # equal texts must come once
        share = texts.str.len() / 100
        return pd.DataFrame({
            "sentiment": "positive", "p_negative": 0.0, "p_neutral": 1 - share, "p_positive": share,
            "p_intent": share / 2, "spans": "[]",
        })

mlflow.models.set_model(Letters())
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow model folder as `ml registry fetch` leaves it."""
    import mlflow
    import pandas as pd
    from mlflow.models import infer_signature

    folder = tmp_path_factory.mktemp("fetched")
    (folder / "letters.py").write_text(SCRIPT)
    frame = pd.DataFrame({"text": ["a"]})
    signature = infer_signature(frame, pd.DataFrame({"sentiment": ["x"]}), {"threads": 0})
    mlflow.pyfunc.save_model(
        str(folder / "model"), python_model=str(folder / "letters.py"), signature=signature, pip_requirements=["mlflow"]
    )
    (folder / "model" / "version.json").write_text(json.dumps({"label": "flashsale-text-v3", "run_id": "0123456789"}))
    return folder / "model"


def _clean_day(lake: Lake, day: int, texts: list[str | None]) -> None:
    from spark_jobs.clean_social_text import OUT

    rows = []
    for i, text in enumerate(texts):
        row: dict[str, Any] = dict.fromkeys(OUT.names)
        row |= {"event_id": f"{day}-{i}", "event_at": datetime(2026, 1, day, i, tzinfo=UTC), "stream": "reviews"}
        row |= {"sku_id": "s1", "language": "en", "clean_text": text, "text_hash": text and f"hash of {text}"}
        row |= {"likes": i, "reposts": 0}
        rows.append(row)
    lake.write("text/clean", f"date=2026-01-0{day}", pa.Table.from_pylist(rows, schema=OUT))


def test_days_are_scored_once_and_every_row_keeps_its_place(spark: Any, model: Path, tmp_path: Path) -> None:
    from spark_jobs.score_social_text import run

    lake = Lake(str(tmp_path / "lake"))
    _clean_day(lake, 5, ["good phone", "bad", "good phone", None])
    _clean_day(lake, 6, ["good phone"])
    dataset = "text/scored/model_version=flashsale-text-v3-01234567"
    done = run(spark, lake, str(model))
    assert done == {"model_version": "flashsale-text-v3-01234567", "days": 2, "rows": 4, "changed": 2}
    table = lake.read(dataset)
    assert table.schema.equals(SCORED_TEXTS)
    rows = {row["event_id"]: row for row in table.to_pylist()}
    assert sorted(rows) == ["5-0", "5-1", "5-2", "6-0"]  # a text that was put aside has no score
    assert rows["5-0"]["p_positive"] == rows["5-2"]["p_positive"] == rows["6-0"]["p_positive"] == pytest.approx(0.10)
    assert rows["5-1"]["p_intent"] == pytest.approx(0.015) and rows["5-2"]["likes"] == 2

    before = lake.partitions(dataset)
    assert run(spark, lake, str(model))["days"] == 0
    _clean_day(lake, 6, ["bad"])
    again = run(spark, lake, str(model))
    assert (again["days"], again["rows"], again["changed"]) == (1, 1, 1)
    assert lake.partitions(dataset)["date=2026-01-05"] == before["date=2026-01-05"]
