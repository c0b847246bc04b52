"""The simulated shop's HTTP contract: pages equal the folder."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from flashsale.times import parse_utc
from marketplace.server import create_app
from marketplace.shop import build_shop, write_shop
from marketplace.world import Size


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shop")
    write_shop(build_shop(Size(seed=5, skus=6, regions=2, sales=4, days=40)), path)
    return path


@pytest.fixture
def client(folder: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.delenv("MARKETPLACE_TOKEN", raising=False)
    return TestClient(create_app(folder))


def _all(client: TestClient, stream: str, **params: str) -> list[dict[str, object]]:
    records: list[dict[str, object]] = []
    cursor: str | None = None
    while True:
        query = params | ({"cursor": cursor} if cursor else {})
        page = client.get(f"/v1/{stream}", params=query).json()
        records += page["records"]
        cursor = page["next_cursor"]
        if cursor is None:
            return records


def test_pages_equal_the_folder(client: TestClient, folder: Path) -> None:
    rows = pq.read_table(folder / "orders.parquet").to_pylist()
    start, end = "2026-10-20T00:00:00Z", "2026-10-27T12:00:00Z"
    expected = [r for r in rows if parse_utc(start) <= r["event_at"] < parse_utc(end)]
    got = _all(client, "orders", **{"from": start, "to": end, "limit": "37"})
    assert 37 < len(got) == len(expected)
    for ours, theirs in zip(got, expected, strict=True):
        assert ours["event_id"] == theirs["event_id"]
        assert parse_utc(str(ours["event_at"])) == theirs["event_at"]
        assert ours["unit_price"] == str(theirs["unit_price"])
        assert (ours["quantity"], ours["campaign_id"]) == (theirs["quantity"], theirs["campaign_id"])


def test_an_empty_window_is_one_empty_page(client: TestClient) -> None:
    page = client.get("/v1/reviews", params={"from": "2030-01-01T00:00:00Z"}).json()
    assert page == {"records": [], "next_cursor": None}


def test_bad_questions_are_refused(client: TestClient) -> None:
    assert client.get("/v1/nothing").status_code == 404
    assert client.get("/v1/orders", params={"from": "yesterday"}).status_code == 400
    assert client.get("/v1/orders", params={"cursor": "-5"}).status_code == 400
    assert client.get("/v1/truth").status_code == 404


def test_token_guards_every_stream(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETPLACE_TOKEN", "s3cret")
    assert client.get("/v1/regions").status_code == 401
    assert client.get("/v1/sale_request").status_code == 401
    answer = client.get("/v1/regions", headers={"Authorization": "Bearer s3cret"})
    assert answer.status_code == 200
    assert len(answer.json()["records"]) == 2
    assert client.get("/healthz").status_code == 200


def test_request_is_served(client: TestClient) -> None:
    assert client.get("/v1/sale_request").json()["request_id"] == "2026-11-11-main"
