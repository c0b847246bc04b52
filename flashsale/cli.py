"""The command `flashsale`: health of the machine, the local stack, the demo, the warehouse's steps."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from flashsale.errors import InputError
from flashsale.settings import settings


def _lake() -> Any:
    from flashsale.lake import Lake

    return Lake(settings().lake_uri)


def _load(_: argparse.Namespace) -> dict[str, Any]:
    from flashsale.decision_tables import DECISIONS
    from flashsale.warehouse_load import load

    return load(_lake(), DECISIONS)


def _build(_: argparse.Namespace) -> dict[str, Any]:
    from flashsale.warehouse_build import build

    return build()


def _publish(_: argparse.Namespace) -> dict[str, Any]:
    from flashsale.warehouse_load import publish

    return publish()


def _refresh_decisions(args: argparse.Namespace) -> dict[str, Any]:
    from flashsale import dbt

    if settings().warehouse_uri.startswith("postgresql"):  # all marts are swapped, so all are built
        return _load(args) | _build(args) | _publish(args)
    return _load(args) | dbt.run("build", "--select", "tag:decisions") | _publish(args)


def _freshness(_: argparse.Namespace) -> dict[str, Any]:
    from flashsale import dbt

    return dbt.freshness()


def _serve_text(args: argparse.Namespace) -> dict[str, Any]:
    from pathlib import Path

    from flashsale.text_serving import model_version, serve

    return serve(_lake(), model_version(Path(args.model)))


def _explain(args: argparse.Namespace) -> dict[str, Any]:
    from flashsale.explaining import explain

    return explain(args.text, model=args.model)


def _doctor(args: argparse.Namespace) -> dict[str, Any]:
    from flashsale.doctor import examine, show

    findings = examine()
    show(findings)
    if any(f.level == "fail" for f in findings):
        raise InputError("this machine", "is not ready", "follow the remedies above")
    return {"checks": len(findings), "warnings": sum(f.level == "warn" for f in findings)}


def _demo(args: argparse.Namespace) -> dict[str, Any]:
    from flashsale.local.demo import run_demo

    return run_demo(source=args.source, out=args.out, approve_as=args.approve_as)


def _up(_: argparse.Namespace) -> dict[str, Any]:
    from flashsale.local.service import up

    return up()


def _down(_: argparse.Namespace) -> dict[str, Any]:
    from flashsale.local.service import down

    return down()


def _status(_: argparse.Namespace) -> dict[str, Any]:
    from flashsale.local.service import status

    return status()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="flashsale", description=__doc__)
    sub = top.add_subparsers(dest="command", required=True)
    sub.add_parser("doctor", help="check Python, Java, memory, disk and ports").set_defaults(func=_doctor)
    demo = sub.add_parser("demo", help="run the whole loop once through a real Airflow")
    demo.add_argument("--source", default="simulated", help="`simulated`, `completejourney`, or a folder source")
    demo.add_argument("--out", default="out", help="folder of the results")
    demo.add_argument(
        "--approve-as",
        default=None,
        metavar="NAME",
        help="answer the reviews with yes under this name; without it the demo waits for a person",
    )
    demo.set_defaults(func=_demo)
    sub.add_parser("up", help="start Airflow, MLflow and the simulated shop on loopback").set_defaults(func=_up)
    sub.add_parser("down", help="stop everything `up` started").set_defaults(func=_down)
    sub.add_parser("status", help="what runs, and where").set_defaults(func=_status)
    serve = sub.add_parser("serve-text", help="let the warehouse read the scores of a model version")
    serve.add_argument("--model", required=True, help="folder of the fetched model version")
    serve.set_defaults(func=_serve_text)
    explain = sub.add_parser("explain", help="which words of a text made the model say so")
    explain.add_argument("--text", required=True, help="one text")
    explain.add_argument("--model", help="models:/<name>/<version>, a name or a folder; default: the champion")
    explain.set_defaults(func=_explain)
    warehouse = sub.add_parser("warehouse", help="load, build, publish, freshness").add_subparsers(
        dest="step", required=True
    )
    for name, func, words in (
        ("load", _load, "bring committed partitions into the warehouse"),
        ("build", _build, "dbt build: models and tests"),
        ("publish", _publish, "publish the audited build in one step"),
        ("freshness", _freshness, "streams whose newest record is older than their contract allows"),
        ("refresh-decisions", _refresh_decisions, "load, build and publish the marts over decisions alone"),
    ):
        warehouse.add_parser(name, help=words).set_defaults(func=func)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 2 for a wrong input."""
    args = parser().parse_args(arguments)
    try:
        answer = args.func(args)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; what was started has been ended", file=sys.stderr)
        return 130
    print(json.dumps(answer, ensure_ascii=False, default=str), flush=True)
    return 0
