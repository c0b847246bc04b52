"""Airflow's public REST API, as far as the demo and `make up` need it."""

from __future__ import annotations

import time
from typing import Any

import requests

from flashsale.errors import InputError
from flashsale.pools import POOL_SLOTS


class AirflowApi:
    """A client that logs in by itself; every call raises InputError with Airflow's own words."""

    def __init__(self, base: str, user: str, password: str) -> None:
        self.base, self.user, self.password = base, user, password
        self._session = requests.Session()

    def _login(self) -> None:
        answer = requests.post(
            f"{self.base}/auth/token", json={"username": self.user, "password": self.password}, timeout=30
        )
        if answer.status_code not in (200, 201):
            raise InputError("Airflow login", f"{answer.status_code} {answer.text[:200]}", "check user and password")
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        """One call of `/api/v2<path>`; JSON answer."""
        for attempt in range(3):
            if "Authorization" not in self._session.headers:
                self._login()
            answer = self._session.request(method, f"{self.base}/api/v2{path}", timeout=60, **kwargs)
            if answer.status_code == 401:
                del self._session.headers["Authorization"]
            elif answer.status_code < 500 or method != "GET":
                break
            time.sleep(0.5 * attempt)
        if answer.status_code >= 400:
            raise InputError(f"Airflow {method} {path}", f"{answer.status_code} {answer.text[:400]}", "read the answer")
        return answer.json() if answer.content else {}

    def healthy(self) -> bool:
        """Scheduler and DAG processor have a heartbeat."""
        try:
            found = self.call("GET", "/monitor/health")
        except (InputError, requests.RequestException):
            return False
        return all(found[part]["status"] == "healthy" for part in ("scheduler", "dag_processor"))

    def create_pools(self) -> None:
        """Make the pools the DAGs name; those that exist are left as they are."""
        existing = {p["name"] for p in self.call("GET", "/pools", params={"limit": 100})["pools"]}
        for name, (slots, words) in POOL_SLOTS.items():
            if name not in existing:
                body = {"name": name, "slots": slots, "description": words, "include_deferred": False}
                self.call("POST", "/pools", json=body)

    def wait_for_dags(self, wanted: set[str], timeout: float = 120) -> None:
        """Wait until every DAG is parsed; raises InputError with the import errors otherwise."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            found = {d["dag_id"] for d in self.call("GET", "/dags", params={"limit": 100})["dags"]}
            if wanted <= found:
                return
            time.sleep(0.5)
        errors = self.call("GET", "/importErrors")["import_errors"]
        raise InputError(
            "DAGs",
            f"missing {sorted(wanted - found)}: {[e['stack_trace'][-300:] for e in errors]}",
            "mend the DAG files",
        )

    def unpause(self, dag_id: str) -> None:
        """Let the DAG run."""
        self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def pause(self, dag_id: str) -> None:
        """Keep the DAG from running until it is let."""
        self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": True})

    def unpause_all(self, wanted: set[str] | None = None) -> None:
        """Let every DAG run, once all are parsed."""
        from flashsale.local.environment import ROOT

        names = wanted or {p.stem for p in (ROOT / "dags").glob("*.py")}
        self.wait_for_dags(names)
        for name in sorted(names):
            self.unpause(name)

    def trigger(self, dag_id: str, run_id: str, conf: dict[str, Any] | None = None) -> str:
        """Start a run by hand; returns its id."""
        body = {"dag_run_id": run_id, "conf": conf or {}, "logical_date": None}
        return str(self.call("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def end_open_runs(self, dag_id: str) -> None:
        """Fail the runs a crashed command left open, so that they do not stand before the next one."""
        for run in self.runs(dag_id):
            if run["state"] in ("queued", "running"):
                self.call("PATCH", f"/dags/{dag_id}/dagRuns/{run['dag_run_id']}", json={"state": "failed"})

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Runs of the DAG, newest first."""
        found = self.call("GET", f"/dags/{dag_id}/dagRuns", params={"order_by": "-run_after", "limit": 50})
        return list(found["dag_runs"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Task instances of a run."""
        found = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", params={"limit": 500})
        return list(found["task_instances"])

    def log(self, task: dict[str, Any]) -> str:
        """The text log of a task instance's last try."""
        run = f"/dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}"
        path = f"{run}/taskInstances/{task['task_id']}/logs/{task['try_number']}"
        found = self.call("GET", path, params={"map_index": task["map_index"]})
        content = found.get("content", [])
        return "\n".join(str(line.get("event", line)) if isinstance(line, dict) else str(line) for line in content)

    def waiting_reviews(self) -> list[dict[str, Any]]:
        """Reviews that wait for a person's answer."""
        found = self.call("GET", "/dags/~/dagRuns/~/hitlDetails", params={"response_received": False, "limit": 50})
        return list(found["hitl_details"])

    def answer_review(self, review: dict[str, Any], option: str, reason: str, *, override: bool = False) -> None:
        """Answer a review as the logged-in user; `override` is given where its form asks for it."""
        task = review["task_instance"]
        path = (
            f"/dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}"
            f"/{task['map_index']}/hitlDetails"
        )
        form: dict[str, Any] = {"reason": reason}
        if asks_override(review):
            form["override"] = override
        self.call("PATCH", path, json={"chosen_options": [option], "params_input": form})


def asks_override(review: dict[str, Any]) -> bool:
    """Whether the review's form lets the reviewer override a gate."""
    return "override" in (review.get("params") or {})
