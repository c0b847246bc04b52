"""Hands alerts of a running sale to people: a webhook, a mail. Each alert goes to each channel once.

What was handed over is written down after each hand-over, so a task that dies repeats at most the alert it was at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow.sdk import BaseSensorOperator

from flashsale.lake import Lake
from flashsale.live_tables import (
    ALERTS_SET,
    DELIVERIES,
    DELIVERIES_SET,
    SEVERITIES,
    WATCHES_SET,
    partition_of,
)

Channel = Callable[[Mapping[str, Any]], None]
WEBHOOK = "flashsale_alert_webhook"


def deliver(lake: Lake, campaign_id: str, channels: Mapping[str, Channel], least: str = "medium") -> dict[str, Any]:
    """Hand over what is new; returns counts by channel and whether the sale's watch is over.

    Args:
        channels: by name; one that raises keeps its alert for the next time, the others go on.
        least: the least severity that is handed over.
    """
    partition = partition_of(campaign_id)
    over = _rows(lake, WATCHES_SET, partition)
    alerts = [
        a for a in _rows(lake, ALERTS_SET, partition) if SEVERITIES.index(a["severity"]) >= SEVERITIES.index(least)
    ]
    done = {(row["alert_id"], row["channel"]) for row in _rows(lake, DELIVERIES_SET, partition)}
    sent, failed = dict.fromkeys(channels, 0), dict.fromkeys(channels, "")
    for alert in alerts:
        for name, send in channels.items():
            if (alert["alert_id"], name) in done or failed[name]:
                continue
            try:
                send(alert)
            except Exception as error:  # whatever is wrong with one channel, the others are served
                failed[name] = f"{type(error).__name__}: {error}"[:300]
                continue
            sent[name] += 1
            done.add((alert["alert_id"], name))
            _record(lake, partition, done)
    return {"sent": sent, "failed": {k: v for k, v in failed.items() if v}, "over": bool(over and over[0]["is_over"])}


def _rows(lake: Lake, dataset: str, partition: str) -> list[dict[str, Any]]:
    manifest = lake.manifest(dataset, partition)
    return lake.read_one(manifest).to_pylist() if manifest else []


def _record(lake: Lake, partition: str, done: set[tuple[str, str]]) -> None:
    import pyarrow as pa

    rows = [{"alert_id": alert, "channel": channel} for alert, channel in sorted(done)]
    lake.write(DELIVERIES_SET, partition, pa.Table.from_pylist(rows, schema=DELIVERIES))


def worded(alert: Mapping[str, Any]) -> str:
    """One line for a person."""
    where = " ".join(part for part in (alert["sku_id"], alert["region_id"], alert["topic"]) if part)
    kind = str(alert["kind"]).replace("_", " ")
    return f"[{alert['severity']}] {kind}: {where or alert['campaign_id']}: {alert['reason']}"


class DeliverAlertsSensor(BaseSensorOperator):
    """Hands over alerts while a sale is watched; done when the watch is over and everything is handed over.

    A webhook is the connection `flashsale_alert_webhook`; mail goes to `mail_to` by the connection `smtp_default`.
    Channels that are not set up are left out.
    """

    template_fields = ("campaign_id", "mail_to")

    def __init__(self, *, campaign_id: str, mail_to: str = "", least: str = "medium", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.campaign_id, self.mail_to, self.least = campaign_id, mail_to, least

    def poke(self, context: Any) -> bool:
        from flashsale.settings import settings

        outcome = deliver(Lake(settings().lake_uri), self.campaign_id, self._channels(context), self.least)
        if any(outcome["sent"].values()) or outcome["failed"]:
            self.log.info("%s", outcome)
        return bool(outcome["over"]) and not outcome["failed"]

    def _channels(self, context: Any) -> dict[str, Channel]:
        channels: dict[str, Channel] = {}
        if self._is_set(WEBHOOK):
            channels["webhook"] = lambda alert: self._post(alert, context)
        if self.mail_to:
            channels["mail"] = lambda alert: self._mail(alert, context)
        return channels

    @staticmethod
    def _is_set(connection: str) -> bool:
        from airflow.sdk import Connection
        from airflow.sdk.exceptions import AirflowNotFoundException

        try:
            Connection.get(connection)
        except AirflowNotFoundException:
            return False
        return True

    def _post(self, alert: Mapping[str, Any], context: Any) -> None:
        from airflow.providers.http.notifications.http import HttpNotifier

        plain = {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in alert.items()}
        HttpNotifier(http_conn_id=WEBHOOK, json=plain | {"text": worded(alert)}).notify(context)

    def _mail(self, alert: Mapping[str, Any], context: Any) -> None:
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier

        line = worded(alert)
        SmtpNotifier(to=self.mail_to, subject=line[:120], html_content=f"<p>{line}</p>").notify(context)
