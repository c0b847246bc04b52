"""The command `flashsale`: health of the machine, the local stack, the demo, the warehouse's steps."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
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
    from flashsale.text_serving import model_version, serve

    return serve(_lake(), model_version(Path(args.model)))


def _explain(args: argparse.Namespace) -> dict[str, Any]:
    if args.text is not None and not args.plan:
        from flashsale.explaining import explain

        return explain(args.text, model=args.model)
    if args.text is not None or len(args.plan) != 3:
        raise InputError("explain", "it is not clear what", "give --text TEXT, or a plan, a SKU and a region")
    from flashsale.plans import explain_cell

    return explain_cell(*args.plan)


def _what_if(args: argparse.Namespace) -> dict[str, Any]:
    from flashsale.plans import what_if

    return what_if(args.plan, args.changes)


def _replay(args: argparse.Namespace) -> dict[str, Any]:
    from flashsale.replay.run import replay

    seed = settings().seed if args.seed is None else args.seed
    found = replay(
        args.events,
        args.request,
        args.out,
        with_text=not args.without_text,
        seed=seed,
        text_model=args.text_model,
        work=args.work,
    )
    return {"out": str(args.out), "missing_streams": list(found["missing_streams"]), **found["plan"]}


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
    _add_plans(sub)
    sub.add_parser("up", help="start Airflow, MLflow and the simulated shop on loopback").set_defaults(func=_up)
    sub.add_parser("down", help="stop everything `up` started").set_defaults(func=_down)
    sub.add_parser("status", help="what runs, and where").set_defaults(func=_status)
    serve = sub.add_parser("serve-text", help="let the warehouse read the scores of a model version")
    serve.add_argument("--model", required=True, help="folder of the fetched model version")
    serve.set_defaults(func=_serve_text)
    explain = sub.add_parser("explain", help="why a plan sends these units, or which words made the model say so")
    explain.add_argument("plan", nargs="*", metavar="PLAN SKU REGION", help="a replay's folder or plan id, and a cell")
    explain.add_argument("--text", help="one text")
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


def _add_plans(sub: Any) -> None:
    words = "the whole loop on a folder of events and one request, without a scheduler"
    replay = sub.add_parser("replay", help=words)
    replay.add_argument("--events", type=Path, required=True, help="folder source: one file or sub-folder a stream")
    replay.add_argument("--request", type=Path, required=True, help="YAML file of the sale request")
    replay.add_argument("--out", type=Path, required=True, help="folder of the plan, the scores and plan.json")
    replay.add_argument("--without-text", action="store_true", help="plan without what people write")
    replay.add_argument("--text-model", type=Path, help="folder of a text model; default: the champion last fetched")
    replay.add_argument("--seed", type=int, help="of every random step; default: the setting")
    replay.add_argument("--work", type=Path, help="keep lake, warehouse and log in this new folder")
    replay.set_defaults(func=_replay)
    change = sub.add_parser("what-if", help="a stored plan under a changed request, beside itself; stores nothing")
    change.add_argument("plan", help="the --out folder of a replay, or a plan id of the lake")
    words = "for example stock_budget=90000, regions.east.capacity_units=400 or skus.sku-003.prices=[59.9]; repeatable"
    change.add_argument("--set", dest="changes", action="append", required=True, metavar="PATH=VALUE", help=words)
    change.set_defaults(func=_what_if)


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
