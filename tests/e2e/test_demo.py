"""The demo as a stranger runs it: on a folder this test writes, in other file formats, to a page in a browser."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from tests.browser import open_page
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.environ.get("FLASHSALE_E2E") != "1", reason="slow: `make e2e` runs it"),
]


def strangers_folder(shop: Path, folder: Path) -> Path:
    """The small shop's streams as somebody else would deliver them: CSV, JSON Lines, parts, one stream missing."""
    folder.mkdir()
    (folder / "sale_request.yaml").write_text((shop / "sale_request.yaml").read_text())
    for stream in ("catalog", "campaigns", "inventory"):
        pacsv.write_csv(pq.read_table(shop / f"{stream}.parquet"), folder / f"{stream}.csv")
    rows = pq.read_table(shop / "reviews.parquet").to_pylist()
    (folder / "reviews.jsonl").write_text("\n".join(json.dumps(r, default=str, ensure_ascii=False) for r in rows))
    orders = pq.read_table(shop / "orders.parquet")
    (folder / "orders").mkdir()
    pq.write_table(orders.slice(0, orders.num_rows // 2), folder / "orders" / "a.parquet")
    pq.write_table(orders.slice(orders.num_rows // 2), folder / "orders" / "b.parquet")
    for stream in ("regions", "traffic", "social_posts"):
        (folder / f"{stream}.parquet").write_bytes((shop / f"{stream}.parquet").read_bytes())
    return folder


def test_the_demo_on_a_strangers_folder(small_shop: Path, tmp_path: Path) -> None:
    source, out = strangers_folder(small_shop, tmp_path / "source"), tmp_path / "out"
    environment = {**os.environ, "FLASHSALE_HOME": str(tmp_path / "home"), "FLASHSALE_CACHE": str(ROOT / ".flashsale")}
    command = [
        sys.executable,
        "-m",
        "flashsale",
        "demo",
        "--source",
        str(source),
        "--out",
        str(out),
        "--approve-as",
        "demo",
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    plan = pq.read_table(out / "allocation_recommendations.parquet").to_pylist()
    assert {r["status"] for r in plan} == {"published"}
    assert {r["decided_by"] for r in plan} == {"demo"}
    scores = pq.read_table(out / "campaign_scores.parquet").to_pylist()
    assert len({s["campaign_id"] for s in scores}) == 10
    errors, text = open_page((out / "report.html").as_uri(), out / "report.png")
    assert errors == []
    assert "What text was worth" in text
    import duckdb

    queries = (out / "example_queries.sql").read_text().split(";")[:3]
    with duckdb.connect(str(out / "warehouse.duckdb"), read_only=True) as snapshot:
        assert all(snapshot.execute(query).fetchall() for query in queries)
