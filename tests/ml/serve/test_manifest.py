"""The Kubernetes manifest says what the code does: command, ports, paths, grace, metrics, settings."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import yaml

from ml.serve.cli import add_parser
from ml.serve.metrics import Metrics
from ml.serve.settings import ServeSettings, serve_settings
from tests.conftest import ROOT
from tests.ml.serve.conftest import Running

FILE = ROOT / "docker" / "kubernetes" / "text-service.yaml"
PARTS: dict[str, dict[str, Any]] = {part["kind"]: part for part in yaml.safe_load_all(FILE.read_text())}
POD = PARTS["Deployment"]["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]
ENVIRONMENT = {entry["name"]: entry.get("value") for entry in CONTAINER["env"]}


@pytest.fixture
def asked() -> argparse.Namespace:
    """The manifest's command as the command line reads it."""
    assert CONTAINER["command"][:4] == ["python", "-m", "ml", "serve"]
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return parser.parse_args(CONTAINER["command"][3:])


def test_the_command_and_the_settings_are_known(asked: argparse.Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = "FLASHSALE_SERVE_"
    ours = {name: value for name, value in ENVIRONMENT.items() if name.startswith(prefix)}
    assert {name.removeprefix(prefix).lower() for name in ours} <= set(ServeSettings.model_fields)
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    found = serve_settings(host=asked.host, port=asked.port)
    assert not found.on_loopback and found.tokens == Path("/etc/flashsale/tokens")
    assert asked.threads == int(CONTAINER["resources"]["limits"]["cpu"])


def test_ports_and_paths_are_the_services_own(asked: argparse.Namespace, shared: Running) -> None:
    (port,) = CONTAINER["ports"]
    assert port["containerPort"] == asked.port
    assert PARTS["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    probes = {kind: CONTAINER[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
    assert {kind: probe["path"] for kind, probe in probes.items()} == {
        "startup": "/readyz",
        "readiness": "/readyz",
        "liveness": "/healthz",
    }
    for probe in probes.values():
        assert probe["port"] == port["name"] and shared.client.get(probe["path"]).status_code == 200


def test_the_grace_period_holds_the_whole_drain() -> None:
    sleep = int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    readiness = CONTAINER["readinessProbe"]
    assert sleep >= readiness["periodSeconds"] * readiness["failureThreshold"]
    drain = float(ENVIRONMENT["FLASHSALE_SERVE_DRAIN_SECONDS"])
    assert POD["terminationGracePeriodSeconds"] >= sleep + drain + 3


def test_the_pod_can_write_nowhere_but_its_own_folders() -> None:
    assert POD["securityContext"]["runAsNonRoot"] and not POD["automountServiceAccountToken"]
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    assert f"--uid {POD['securityContext']['runAsUser']} " in dockerfile
    own = CONTAINER["securityContext"]
    assert (
        own["readOnlyRootFilesystem"] and not own["allowPrivilegeEscalation"] and own["capabilities"]["drop"] == ["ALL"]
    )
    writable = {mount["mountPath"] for mount in CONTAINER["volumeMounts"] if not mount.get("readOnly")}
    assert {ENVIRONMENT["FLASHSALE_HOME"], ENVIRONMENT["HOME"]} == writable
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert CONTAINER["image"] == compose["x-platform"]["image"]


def test_the_autoscaler_reads_what_the_service_tells(shared: Running) -> None:
    scaler = PARTS["HorizontalPodAutoscaler"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == PARTS["Deployment"]["metadata"]["name"]
    assert "replicas" not in PARTS["Deployment"]["spec"] and scaler["minReplicas"] >= 2
    by_kind = {metric["type"]: metric for metric in scaler["metrics"]}
    assert by_kind["Resource"]["resource"]["target"]["averageUtilization"] == 70
    queue = by_kind["Pods"]["pods"]
    assert f"\n{queue['metric']['name']} ".encode() in Metrics().text()
    limits = serve_settings()
    assert int(queue["target"]["averageValue"]) == limits.batch_texts < limits.queue_texts
    assert scaler["behavior"]["scaleDown"]["stabilizationWindowSeconds"] > 60
