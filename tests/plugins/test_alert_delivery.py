"""Alerts reach a real HTTP server and a real SMTP server, each once, whatever happens to the other channel."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flashsale.lake import Lake
from flashsale.live_tables import ALERTS, ALERTS_SET, mark_watch, partition_of

NOW = datetime(2026, 11, 11, 1, tzinfo=UTC)


def alert(number: int, severity: str = "high") -> dict[str, Any]:
    return {
        "alert_id": f"a{number}", "campaign_id": "c1", "raised_at": NOW, "kind": "stock_out_hazard",
        "severity": severity, "sku_id": "s1", "region_id": "east", "topic": "", "reason": "12 left", "value": 12.0,
        "bound": 60.0, "batch": number,
    }  # fmt: skip


def raise_alerts(lake: Lake, *alerts: dict[str, Any]) -> None:
    lake.write(ALERTS_SET, partition_of("c1"), pa.Table.from_pylist(list(alerts), schema=ALERTS))


@pytest.fixture()
def lake(home: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    from flashsale.settings import settings

    return Lake(settings().lake_uri)


def test_each_alert_goes_to_each_channel_once(lake: Lake) -> None:
    from flashsale_plugins.alert_delivery import deliver

    seen: dict[str, list[str]] = {"good": [], "bad": []}
    broken = [True]

    def good(given: Any) -> None:
        seen["good"].append(given["alert_id"])

    def bad(given: Any) -> None:
        if broken[0]:
            raise ConnectionError("nobody there")
        seen["bad"].append(given["alert_id"])

    channels = {"bad": bad, "good": good}
    assert deliver(lake, "c1", channels)["sent"] == {"bad": 0, "good": 0}
    raise_alerts(lake, alert(1), alert(2, "low"))
    first = deliver(lake, "c1", channels)
    assert first == {"sent": {"bad": 0, "good": 1}, "failed": {"bad": "ConnectionError: nobody there"}, "over": False}
    broken[0] = False
    mark_watch(lake, "c1", over=True)
    raise_alerts(lake, alert(1), alert(2, "low"), alert(3))
    assert deliver(lake, "c1", channels) == {"sent": {"bad": 2, "good": 1}, "failed": {}, "over": True}
    assert seen == {"good": ["a1", "a3"], "bad": ["a1", "a3"]}, "low ones stay in the table"


@pytest.fixture()
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    got: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test's output free of access logs."""

    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()


@pytest.fixture()
def mailbox() -> Iterator[tuple[int, list[bytes]]]:
    from aiosmtpd.controller import Controller

    from flashsale.local.service import free_port

    got: list[bytes] = []

    class Box:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            got.append(envelope.content)
            return "250 OK"

    controller = Controller(Box(), hostname="127.0.0.1", port=free_port())
    controller.start()
    yield controller.port, got
    controller.stop()


def test_by_airflows_own_notifiers(
    lake: Lake, webhook: tuple[str, list[Any]], mailbox: tuple[int, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from flashsale_plugins.alert_delivery import DeliverAlertsSensor

    address, posted = webhook
    port, mails = mailbox
    monkeypatch.setitem(os.environ, "AIRFLOW_CONN_FLASHSALE_ALERT_WEBHOOK", address)
    mail = {"conn_type": "smtp", "host": "127.0.0.1", "port": port,
            "extra": {"disable_ssl": True, "disable_tls": True, "from_email": "shop@shop.example"}}  # fmt: skip
    monkeypatch.setitem(os.environ, "AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(mail))
    raise_alerts(lake, alert(1))
    sensor = DeliverAlertsSensor(task_id="deliver", campaign_id="c1", mail_to="planner@shop.example")
    assert sensor.poke({}) is False, "the watch goes on"
    mark_watch(lake, "c1", over=True)
    assert sensor.poke({}) is True
    assert [p["text"] for p in posted] == ["[high] stock out hazard: s1 east: 12 left"]
    assert posted[0]["raised_at"] == NOW.isoformat()
    assert len(mails) == 1 and b"12 left" in mails[0] and b"To: planner@shop.example" in mails[0]
