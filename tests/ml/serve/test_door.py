"""Who may ask and how much: tokens, rate, size, unusable bodies, settings; over real connections."""

from __future__ import annotations

import hashlib
import socket
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest

from flashsale.errors import InputError
from ml.serve.engine import Loaded
from ml.serve.limits import RateLimit
from ml.serve.refusal import Refusal
from ml.serve.settings import serve_settings
from ml.serve.tokens import Tokens, load_tokens, read_tokens
from tests.ml.serve.conftest import OTHER, TOKEN, Running, running

TEXTS = ["the battery good", "性价比很好", None, "", "the battery good", "很差, the phone bad"]


def raw(service: Running, request: bytes) -> bytes:
    """The whole answer to bytes on a connection of their own."""
    host, _, port = service.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while more := connection.recv(65536):
            answer += more
    return answer


def test_only_known_tokens_may_ask(shared: Running) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        for method, path in (("POST", "/v1/score"), ("GET", "/v1/model"), ("GET", "/nothing")):
            answer = httpx.request(method, shared.url + path, headers=headers, content=b"{}")
            assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
            assert "Authorization: Bearer" in answer.json()["error"]["remedy"]
    for path in ("/healthz", "/readyz", "/openapi.json", "/metrics"):
        assert httpx.get(shared.url + path).status_code == 200
    other = httpx.post(shared.url + "/v1/score", headers={"Authorization": f"bearer {OTHER}"}, json={"texts": ["good"]})
    assert other.status_code == 200
    assert shared.metric("texts_total", caller="them") == 1


def test_a_stranger_is_refused_before_the_body_is_read(shared: Running) -> None:
    answer = raw(shared, b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 401") and b"connection: close" in answer.lower()


def test_metrics_beyond_loopback_need_the_token(scorer: Any) -> None:
    with running(Loaded(scorer.score, "tiny-v1"), host="0.0.0.0") as service:
        assert httpx.get(service.url + "/metrics").status_code == 401
        assert service.client.get("/metrics").status_code == 200


def test_token_files(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = hashlib.sha256(b"secret").hexdigest()
    path = tmp_path / "tokens"
    path.write_text(f"# callers\n\nanalyst:{digest.upper()}\n")
    assert read_tokens(path).caller("Bearer secret") == "analyst"
    assert read_tokens(path).caller(f"Bearer {digest}") is None  # who reads the file has no token yet
    for text, message in (
        (f"a:{digest}\nb:plain-token", "row 2: it is not a name"),
        (f"a:{digest}\na:{digest}", "row 2: the name a stands there twice"),
        ("# nobody\n", "names nobody"),
        (f"a:{hashlib.sha256(b'').hexdigest()}", "row 1: it is the hash of an empty token"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message) as caught:
            read_tokens(path)
        assert "plain-token" not in str(caught.value)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        read_tokens(path)
    path.write_text(f"\ufeffanalyst:{digest}\n", encoding="utf-8")
    assert read_tokens(path).caller("Bearer secret") == "analyst", "some editors mark a file as UTF-8"
    with pytest.raises(InputError, match="not there"):
        load_tokens(tmp_path / "absent")
    nothing = Tokens({"local": hashlib.sha256(b"").hexdigest()})
    assert [nothing.caller(header) for header in ("Bearer", "Bearer ", "bearer\t")] == [None] * 3

    own = load_tokens(None)
    file = home / "secrets" / "serve.token"
    said = capsys.readouterr().err
    assert str(file) in said and file.read_text() not in said
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert own.caller(f"Bearer {file.read_text()}") == load_tokens(None).caller(f"Bearer {file.read_text()}") == "local"
    file.write_text("\n")
    with pytest.raises(InputError, match="it is empty"):
        load_tokens(None)


def test_rate_limit_by_token(scorer: Any) -> None:
    with running(Loaded(scorer.score, "tiny-v1"), max_texts=8, burst_texts=10, texts_per_second=4) as service:
        assert service.score(*["good"] * 8).status_code == 200
        refused = service.score(*["good"] * 8)
        assert refused.status_code == 429 and 1 <= int(refused.headers["Retry-After"]) <= 2
        assert refused.json()["error"]["field"] == "texts" and "4 texts a second" in refused.text
        them = {"Authorization": f"Bearer {OTHER}"}
        assert service.client.post("/v1/score", json={"texts": ["good"]}, headers=them).status_code == 200
        assert service.metric("refusals_total", reason="rate") == 1


def test_the_bucket_fills_at_its_rate_up_to_its_burst() -> None:
    now = 0.0
    limit = RateLimit(10, 20, clock=lambda: now)
    limit.take("us", 20)
    with pytest.raises(Refusal) as caught:
        limit.take("us", 11)
    assert caught.value.retry_after == 2
    now = 1.1
    limit.take("us", 11)
    now = 1000.0
    limit.take("us", 20)
    with pytest.raises(Refusal):
        limit.take("us", 1)


def test_large_requests_are_refused_with_field_and_row(scorer: Any) -> None:
    limits = {"max_texts": 3, "max_characters": 20, "max_bytes": 500}
    with running(Loaded(scorer.score, "tiny-v1"), **limits) as service:
        many = service.score("a", "b", "c", "d")
        assert many.status_code == 413 and many.json()["error"]["problem"] == "there are 4 texts, more than 3"
        long = service.score("a", None, "x" * 21)
        assert long.status_code == 422
        assert long.json()["error"] == {
            "field": "texts",
            "row": 2,
            "problem": "it has 21 characters, more than 20",
            "remedy": "cut it, or leave it out",
        }
        assert service.score("很" * 20).status_code == 200  # characters, not bytes
        declared = service.score("x" * 600)
        assert declared.status_code == 413 and declared.json()["error"]["field"] == "body"
        chunked = service.client.post("/v1/score", content=iter([b'{"texts": ["', b"x" * 300, b"x" * 300, b'"]}']))
        assert chunked.status_code == 413 and chunked.headers["connection"] == "close"
        small = service.client.post(
            "/v1/score", content=iter([b'{"texts": ', b'["good"]}']), headers={"Content-Type": "application/json"}
        )
        assert small.status_code == 200
        endless = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n" % TOKEN.encode()
        endless += b"Transfer-Encoding: chunked\r\n\r\n" + b"100\r\n" + b"x" * 256 + b"\r\n100\r\n" + b"x" * 256
        assert raw(service, endless + b"\r\n").startswith(b"HTTP/1.1 413")  # no last chunk was ever sent


def test_a_body_that_does_not_come_is_not_waited_for(scorer: Any) -> None:
    with running(Loaded(scorer.score, "tiny-v1"), body_seconds=0.2) as service:
        head = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n" % TOKEN.encode()
        assert raw(service, head + b"Content-Length: 40\r\n\r\n{").startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    ("body", "field", "row", "problem"),
    [
        (b'{"texts": ["good", 5]}', "texts", 1, "string"),
        (b'{"texts": []}', "texts", None, "at least 1"),
        (b'{"texts": "good"}', "texts", None, "list"),
        (b'{"text": ["good"]}', "texts", None, "required"),
        (b'{"texts": ["good"], "call 13812345678": 1}', "call <phone>", None, "not permitted"),
        (b'{"texts": ["good"', "body", None, "not JSON"),
        (b'{"texts": ["\\ud800"]}', "texts", 0, "surrogate"),
        (b"[" * 100_000, "body", None, ""),
        (b"\xff\xfe", "body", None, ""),
    ],
)
def test_unusable_bodies_name_the_place(
    shared: Running, body: bytes, field: str, row: int | None, problem: str
) -> None:
    answer = shared.client.post("/v1/score", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    error = answer.json()["error"]
    assert (error["field"], error["row"]) == (field, row)
    assert problem in error["problem"] and error["remedy"] and "13812345678" not in answer.text


def test_settings_that_cannot_work_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="could never be served"):
        serve_settings(burst_texts=1)
    monkeypatch.setenv("FLASHSALE_SERVE_WINDOW_MS", "soon")
    with pytest.raises(InputError, match="FLASHSALE_SERVE_WINDOW_MS") as caught:
        serve_settings()
    assert caught.value.field == "window_ms"
    monkeypatch.setenv("FLASHSALE_SERVE_WINDOW_MS", "7")
    assert serve_settings().window_ms == 7 and serve_settings(window_ms=0).window_ms == 0
