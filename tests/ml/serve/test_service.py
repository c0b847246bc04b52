"""The service over real connections: scores, joined calls, logs, metrics, the contract, a second router."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pandas as pd
import pytest
from fastapi import APIRouter, Request
from prometheus_client.parser import text_string_to_metric_families

from flashsale.errors import InputError
from ml.serve.app import Service
from ml.serve.engine import Loaded, rows_of
from ml.serve.logs import LOGGER, JsonLines, masked
from tests.ml.serve.conftest import TOKEN, Running, running

TEXTS = ["the battery good", "性价比很好", None, "", "the battery good", "很差, the phone bad"]


@pytest.fixture
def lines() -> Any:
    """What the service logs while a test runs, as it would be written."""
    written: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(self.format(record))

    handler = Keep()
    handler.setFormatter(JsonLines())
    logger = logging.getLogger(LOGGER)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield written
    logger.removeHandler(handler)


def test_scores_are_the_scorers_in_order(shared: Running, scorer: Any) -> None:
    answer = shared.score(*TEXTS)
    assert answer.status_code == 200 and answer.json()["model_version"] == "tiny-v1"
    found = answer.json()["scores"]
    assert len(found) == len(TEXTS) and found[0] == found[4] != found[1]
    for blank in (found[2], found[3]):
        assert blank.pop("spans") == [] and set(blank.values()) == {None}
    wanted = rows_of(scorer.score(TEXTS))
    for row in (0, 1, 5):
        for name, value in wanted[row].items():
            assert found[row][name] == (pytest.approx(value, abs=2e-4) if name.startswith("p_") else value)
    assert shared.client.get("/v1/model").json() == {"model_version": "tiny-v1"}


def test_concurrent_requests_share_calls_and_keep_their_answers(scorer: Any) -> None:
    texts = [f"{'the phone good 性价比 bad 电池 书 很差'[i % 19 :]} {i * i}" for i in range(40)]
    numbers = ("p_negative", "p_neutral", "p_positive", "p_intent")
    wanted = [[row[name] for name in numbers] for row in rows_of(scorer.score(texts))]
    apart = [max(abs(a - b) for a, b in zip(x, y, strict=True)) for i, x in enumerate(wanted) for y in wanted[:i]]
    assert sum(distance > 1e-3 for distance in apart) > 0.9 * len(apart)  # else a mix-up would not be seen
    with running(Loaded(scorer.score, "tiny-v1"), window_ms=20) as service:
        with ThreadPoolExecutor(40) as pool:
            answers = list(pool.map(lambda text: service.score(text).json()["scores"], texts))
        for found, row in zip(answers, wanted, strict=True):
            assert len(found) == 1 and [found[0][name] for name in numbers] == pytest.approx(row, abs=2e-4)
        calls = service.metric("batch_texts_count")
        assert 0 < calls < 40 and service.metric("batch_requests_sum") == 40


def test_equal_texts_of_several_requests_are_scored_once(scorer: Any) -> None:
    seen: list[list[str | None]] = []
    hold = threading.Event()

    def score(texts: Sequence[str | None]) -> pd.DataFrame:
        seen.append(list(texts))
        hold.wait(10)
        return scorer.score(texts)  # type: ignore[no-any-return]

    with running(Loaded(score, "tiny-v1")) as service, ThreadPoolExecutor(6) as pool:
        first = pool.submit(service.score, "good")
        _until(lambda: seen)
        later = [pool.submit(service.score, "bad", "good") for _ in range(5)]
        _until(lambda: service.metric("queue_texts") == 10)
        hold.set()
        assert {job.result().status_code for job in [first, *later]} == {200}
    assert seen == [["good"], ["bad", "good"]]


def test_a_short_text_is_answered_before_a_long_one_beside_it(scorer: Any) -> None:
    hold, again = threading.Event(), threading.Event()
    calls: list[int] = []

    def score(texts: Sequence[str | None]) -> pd.DataFrame:
        calls.append(len(texts))
        (hold if len(calls) == 1 else again).wait(10 if len(calls) != 2 else 0)
        return scorer.score(texts)  # type: ignore[no-any-return]

    model = Loaded(score, "tiny-v1", lambda texts: [len(text) for text in texts])
    with running(model) as service, ThreadPoolExecutor(3) as pool:
        first = pool.submit(service.score, "good")
        _until(lambda: calls)
        long = pool.submit(service.score, "很好的手机" * 40)
        _until(lambda: service.metric("queue_texts") == 1)
        short = pool.submit(service.score, "bad", None)
        _until(lambda: service.metric("queue_texts") == 3)
        hold.set()
        assert first.result().status_code == short.result().status_code == 200
        assert not long.done()
        again.set()
        assert long.result().status_code == 200
        assert calls == [1, 2, 1] and service.metric("batch_requests_count") == 2


def test_a_text_that_breaks_the_model_fails_alone(scorer: Any, lines: list[str]) -> None:
    hold = threading.Event()

    def score(texts: Sequence[str | None]) -> pd.DataFrame:
        hold.wait(10)
        if "poison 13812345678" in texts:
            raise RuntimeError("cannot read poison 13812345678")
        return scorer.score(texts)  # type: ignore[no-any-return]

    with running(Loaded(score, "tiny-v1")) as service, ThreadPoolExecutor(6) as pool:
        first = pool.submit(service.score, "good")
        _until(lambda: service.service.in_flight == 1)
        jobs = [pool.submit(service.score, text) for text in ("bad", "poison 13812345678", "good", "电池")]
        _until(lambda: service.metric("queue_texts") == 4)
        hold.set()
        assert [job.result().status_code for job in [first, *jobs]] == [200, 200, 500, 200, 200]
        assert "poison" not in jobs[1].result().text
        assert service.score("good").status_code == 200
    assert "RuntimeError" in "".join(lines) and "poison" not in "".join(lines)


def test_a_full_queue_says_so_and_charges_nothing(scorer: Any) -> None:
    hold = threading.Event()

    def score(texts: Sequence[str | None]) -> pd.DataFrame:
        hold.wait(10)
        return scorer.score(texts)  # type: ignore[no-any-return]

    slow = {"max_texts": 4, "queue_texts": 4, "burst_texts": 9, "texts_per_second": 0.001}
    with running(Loaded(score, "tiny-v1"), **slow) as service, ThreadPoolExecutor(3) as pool:
        one = pool.submit(service.score, "good")
        _until(lambda: service.service.in_flight == 1 and service.metric("queue_texts") == 0)
        two = pool.submit(service.score, *["bad"] * 4)
        _until(lambda: service.metric("queue_texts") == 4)
        refused = [service.score("one more", "and more", "and more") for _ in range(4)]
        assert {(answer.status_code, answer.headers["Retry-After"]) for answer in refused} == {(503, "1")}
        hold.set()
        assert one.result().status_code == two.result().status_code == 200
        assert service.score(*["bad"] * 4).status_code == 200  # 9 in all: the refused ones were given back
        assert service.score("bad").status_code == 429
        assert service.metric("refusals_total", reason="queue") == 4


def test_who_gave_up_is_not_scored(scorer: Any) -> None:
    hold = threading.Event()
    seen: list[str | None] = []

    def score(texts: Sequence[str | None]) -> pd.DataFrame:
        seen.extend(texts)
        hold.wait(10)
        return scorer.score(texts)  # type: ignore[no-any-return]

    with running(Loaded(score, "tiny-v1"), max_texts=4, queue_texts=4) as service, ThreadPoolExecutor(2) as pool:
        one = pool.submit(service.score, "good")
        _until(lambda: seen)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(service.url + "/v1/score", json={"texts": ["given up"] * 4}, headers=headers, timeout=0.3)
        _until(lambda: service.service.in_flight == 1)
        two = pool.submit(service.score, "bad")  # finds room, although four texts seemed to wait
        _until(lambda: service.metric("queue_texts") == 1)
        hold.set()
        assert one.result().status_code == two.result().status_code == 200
        assert seen == ["good", "bad"] and service.metric("requests_total", path="/v1/score", status="499") == 1


def test_logs_hold_no_text_and_no_identifier(shared: Running, lines: list[str]) -> None:
    secret = "my number is 13812345678 and a.b@mail.example"
    shared.score(secret, "身份证11010119900307123X")
    shared.client.post("/v1/score", json={"texts": [secret], secret: 1})
    shared.client.get("/v1/orders/202601010001/buyer%2013812345678/a.b@mail.example")
    shared.client.get("/v1/model", params={"phone": "13812345678", "a.b@mail.example": "1", "token": TOKEN})
    shared.client.get("/v1/１３８１２３４５６７８%0aforged")
    httpx.get(shared.url + "/whoever/13812345678")
    httpx.post(shared.url + "/v1/score", headers={"Authorization": "Bearer 13812345678"}, content=secret.encode())
    found = [json.loads(line) for line in lines]
    assert [line["status"] for line in found] == [200, 422, 404, 200, 404, 401, 401]
    everything = "\n".join(lines)
    assert not re.search(r"1381234|my number|mail\.example|1101011990|20260101|whoever", everything)
    assert TOKEN not in everything
    assert {line["event"] for line in found} == {"request"} and len({line["request_id"] for line in found}) == 7
    first = found[0]
    assert (first["path"], first["caller"], first["texts"]) == ("/v1/score", "us", 2) and first["ms"] > 0
    assert found[2]["path"] == "/v1/orders/<number>/buyer <phone>/<email>"
    assert found[3]["parameters"] == ["phone", "<email>", "token"]
    assert found[4]["path"] == "/v1/<phone> forged"


def test_other_peoples_messages_are_masked_too() -> None:
    record = logging.LogRecord("uvicorn.error", logging.WARNING, "x.py", 1, "bad %s", ("13812345678\nforged",), None)
    line = json.loads(JsonLines().format(record))
    assert line["event"] == "bad <phone> forged" and line["logger"] == "uvicorn.error"
    assert masked("x" * 195 + " 13812345678").endswith(" <pho")  # cut after masking, never through a number


def test_metrics_tell_what_happened(scorer: Any) -> None:
    with running(Loaded(scorer.score, "tiny-v1")) as service:
        service.score("good", "bad")
        service.client.get("/v1/what")
        httpx.post(service.url + "/v1/score")
        text = service.client.get("/metrics").text
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    def value(name: str, **labels: str) -> float:
        return samples[(f"flashsale_serve_{name}", tuple(sorted(labels.items())))]

    assert value("requests_total", path="/v1/score", status="200") == 1
    assert value("requests_total", path="/v1/score", status="401") == 1
    assert value("requests_total", path="other", status="404") == 1
    assert value("request_seconds_count", path="/v1/score") == 2
    assert value("texts_total", caller="us") == value("batch_texts_sum") == 2
    assert value("batch_texts_count") == value("model_seconds_count") == 1
    assert value("queue_texts") == value("reload_failures_total", stage="load") == 0
    assert value("model_info", version="tiny-v1") == 1
    assert value("refusals_total", reason="token") == 1
    assert ("process_resident_memory_bytes", ()) in samples


def test_the_contract_is_valid_and_its_examples_hold(shared: Running) -> None:
    from openapi_schema_validator import OAS31Validator
    from openapi_spec_validator import validate

    contract = httpx.get(shared.url + "/openapi.json").json()
    validate(contract)
    assert contract["info"]["version"] == "1"
    assert set(contract["paths"]) == {"/v1/score", "/v1/model", "/healthz", "/readyz", "/metrics"}
    score = contract["paths"]["/v1/score"]["post"]
    assert set(score["responses"]) == {"200", "401", "413", "422", "429", "503"} and score["security"]
    schemas = contract["components"]["schemas"]
    assert "HTTPValidationError" not in schemas  # FastAPI's own shape is never sent
    for name in ("ScoreRequest", "ScoreResponse", "ProblemResponse"):
        for example in schemas[name]["examples"]:
            OAS31Validator({**schemas[name], "components": contract["components"]}).validate(example)
    asked = schemas["ScoreRequest"]["examples"][0]
    assert shared.client.post("/v1/score", json=asked).status_code == 200


def test_a_second_router_stands_behind_the_same_door(scorer: Any) -> None:
    def assist(service: Service) -> APIRouter:
        router = APIRouter()

        @router.post("/assist")
        async def answer(request: Request) -> dict[str, Any]:
            found = await service.engine.score(["good"])
            if await request.json() == {"fail": True}:
                raise InputError("question", "it asks for nothing", "ask something", field="question")
            return {"caller": request.state.caller, "score": found.rows[0]}

        return router

    with running(Loaded(scorer.score, "tiny-v1"), routers=(assist,)) as service:
        assert httpx.post(service.url + "/v1/assist").status_code == 401
        answer = service.client.post("/v1/assist", json={})
        assert answer.json()["caller"] == "us" and answer.json()["score"]["sentiment"]
        refused = service.client.post("/v1/assist", json={"fail": True})
        assert refused.status_code == 422 and refused.json()["error"]["field"] == "question"
        assert service.metric("requests_total", path="/v1/assist", status="200") == 1


def _until(done: Any) -> None:
    from tests.ml.serve.conftest import wait_for

    wait_for(lambda: bool(done()))
