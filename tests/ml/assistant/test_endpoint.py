"""`POST /v1/assist` over real connections, behind the text service's own door."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ml.assistant.assistant import Assistant
from ml.assistant.router import assist_router
from ml.serve.engine import Loaded
from tests.ml.assistant.conftest import PLANTED
from tests.ml.serve.conftest import Running, running, wait_for

Built = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def assistant(built: Built) -> Assistant:
    return Assistant.load(built[0], threads=1)


@pytest.fixture(scope="module")
def desk(assistant: Assistant, scorer: Any) -> Iterator[Running]:
    routers = (assist_router(assistant, threads=1),)
    with running(Loaded(scorer.score, "tiny-v2"), routers=routers, max_characters=300, burst_texts=256) as service:
        yield service


def test_it_says_what_the_assistant_says(desk: Running, assistant: Assistant) -> None:
    for body in (
        {"text": "我的快递到哪了", "context": {"order_id": "A-17"}},
        {"text": "where is my parcel", "language": "zh"},
        {"text": PLANTED},
    ):
        answer = desk.client.post("/v1/assist", json=body)
        assert answer.status_code == 200 and answer.headers["x-request-id"]
        asked = {name: value for name, value in body.items() if name != "text"}
        assert answer.json() == assistant.ask(str(body["text"]), **asked).as_dict()  # type: ignore[arg-type]
    kinds = sum(desk.metric("assist_replies_total", kind=kind) for kind in ("answer", "retrieved", "hand_over"))
    assert kinds == 3 == desk.metric("texts_total", caller="us")
    assert desk.metric("requests_total", path="/v1/assist", status="200") == 3


def test_it_keeps_the_encoder_it_was_built_with(desk: Running, scorer: Any, folders: tuple[Path, Path]) -> None:
    from ml.text.scorer import Scorer

    body = {"text": "优惠券用不了"}
    before = desk.client.post("/v1/assist", json=body).json()
    desk.service.engine.swap(Loaded(Scorer(folders[1], threads=1, precision="fp32").score, "tiny-v3"))
    assert desk.client.get("/v1/model").json() == {"model_version": "tiny-v3"}
    after = desk.client.post("/v1/assist", json=body).json()
    assert after == before and after["model_version"] == "tiny-v1"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": " "}, "text"),
        ({"text": "x" * 301}, "text"),
        ({"text": "x", "language": "fr"}, "language"),
        ({"text": "x", "context": {"order_id": "x" * 201}}, "context"),
        ({"text": "x", "context": {f"n{at}": "x" for at in range(33)}}, "context"),
        ({"text": "x", "context": {"order_id": 7}}, "context.order_id"),
        ({"text": "x", "more": 1}, "more"),
        ({}, "text"),
    ],
)
def test_wrong_messages_are_refused_without_repeating_them(desk: Running, body: dict[str, Any], field: str) -> None:
    answer = desk.client.post("/v1/assist", json=body)
    error = answer.json()["error"]
    assert answer.status_code == 422 and error["field"] == field and error["problem"] and error["remedy"]
    assert "x" * 50 not in answer.text


def test_strangers_and_the_hasty_are_refused(assistant: Assistant, scorer: Any) -> None:
    given = {"texts_per_second": 0.01, "burst_texts": 2, "max_texts": 2}
    with running(Loaded(scorer.score, "tiny"), routers=(assist_router(assistant),), **given) as service:
        stranger = httpx.post(service.url + "/v1/assist", json={"text": "hi"})
        assert stranger.status_code == 401
        codes = [service.client.post("/v1/assist", json={"text": "hi"}).status_code for _ in range(3)]
        assert codes == [200, 200, 429]
        paths = service.client.get("/openapi.json").json()["paths"]
        assert set(paths["/v1/assist"]["post"]["responses"]) >= {"200", "401", "413", "422", "429", "503"}


def test_nothing_a_customer_wrote_is_logged(desk: Running, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="flashsale.serve"):
        desk.client.post("/v1/assist", json={"text": "call 13812345678", "context": {"order_id": "SECRET-1"}})
        wait_for(lambda: any("/v1/assist" in str(record.__dict__) for record in caplog.records))  # after the answer
    written = " ".join(str(record.__dict__) for record in caplog.records)
    assert "/v1/assist" in written and "13812345678" not in written and "SECRET-1" not in written


def test_the_service_is_started_with_an_assistant(built: Built, folders: tuple[Path, Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ml", "serve", "--model", str(folders[0]), "--port", "0", "--threads", "1"]
    environment = os.environ | {"FLASHSALE_HOME": str(tmp_path), "FLASHSALE_SERVE_LINGER_SECONDS": "0"}
    process = subprocess.Popen(
        [*command, "--assistant", str(built[0])],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        lines = (json.loads(line) for line in process.stderr if line.startswith("{"))
        url = next(line["url"] for line in lines if line["event"] == "listening")
        token = (tmp_path / "secrets" / "serve.token").read_text().strip()
        headers, until = {"Authorization": f"Bearer {token}"}, time.monotonic() + 30
        while time.monotonic() < until:
            try:
                answer = httpx.post(f"{url}/v1/assist", json={"text": "退货"}, headers=headers, timeout=20)
                break
            except httpx.ConnectError:
                time.sleep(0.1)
        assert answer.status_code == 200 and answer.json()["model_version"] == "tiny-v1"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0
