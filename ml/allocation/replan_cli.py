"""`python -m ml allocation replan …`: re-plan a running sale, apply what its plan allowed, decide on the rest."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from flashsale.settings import settings
from ml.allocation.decision_arguments import add_decision


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands; each sets `func`, which returns what is printed as JSON."""
    replan = commands.add_parser("replan", help="what to change in a running sale: units of what is left, a few prices")
    whose = replan.add_mutually_exclusive_group(required=True)
    whose.add_argument("--plan-id", help="the published plan that the sale carries out")
    whose.add_argument("--in", dest="folder", type=Path, help="folder with inputs/, plan.parquet and minutes.parquet")
    replan.add_argument("--campaign-id", help="as which the sale is watched; by default the plan's id")
    replan.add_argument(
        "--inputs", type=Path, help="folder that `plan --keep` wrote, instead of the one kept by itself"
    )
    replan.add_argument(
        "--least-gain", type=float, metavar="SHARE",
        help="of what a SKU should earn on average in the rest: what a change of one SKU must add (default: 0.036)",
    )  # fmt: skip
    replan.add_argument(
        "--transfer-hours", type=float, metavar="HOURS",
        help="until a moved unit can be sold in its new region (default: 2)",
    )  # fmt: skip
    replan.set_defaults(func=_replan)
    apply = commands.add_parser("replan-apply", help="audit a re-plan and apply what the approved plan allowed")
    apply.add_argument("--replan-id", required=True)
    apply.set_defaults(func=_apply)
    decide = commands.add_parser("replan-decide", help="record a person's decision on what goes beyond the plan")
    decide.add_argument("--replan-id", required=True)
    add_decision(decide)
    decide.set_defaults(func=_decide)
    show = commands.add_parser("replan-show", help="what of a re-plan waits for a person, in words")
    show.add_argument("--replan-id", required=True)
    show.set_defaults(func=_show)
    waiting = commands.add_parser("replan-open", help="re-plans in which something waits for a person")
    waiting.set_defaults(func=_open)


def _replan(args: argparse.Namespace) -> dict[str, Any]:
    from ml.allocation import replan_store
    from ml.allocation.replan import Options

    given = {"least_gain": args.least_gain, "transfer_hours": args.transfer_hours}
    for name, value in given.items():
        _at_least_nothing(name, value)
    options = Options(settings().seed, **{name: value for name, value in given.items() if value is not None})
    if args.folder:
        answer = replan_store.make(replan_store.read_folder(args.folder), options)
        replan_store.write_folder(args.folder, answer)
        return _answer(answer)
    answer = replan_store.make(replan_store.gather(args.plan_id, args.campaign_id, args.inputs), options)
    written = replan_store.write(answer)
    return _answer(answer) | {"written": written}


def _at_least_nothing(name: str, value: float | None) -> None:
    from flashsale.errors import InputError

    if value is not None and not 0.0 <= value < float("inf"):
        raise InputError("re-plan", f"{value} is no such amount", "give a number of 0 or more", field=name)


def _answer(answer: Any) -> dict[str, Any]:
    from ml.allocation.replan_rows import totals

    request = answer.found.case.plan.inputs.request
    return {
        "replan_id": answer.replan_id,
        "plan_id": str(answer.rows["plan_id"].iloc[0]),
        "as_of": answer.found.running.clock.isoformat(),
        "currency": request.currency,
        "units_sold": int(answer.found.running.sold.sum()),
        "units_left": int(answer.found.running.left.sum()),
        "price_changes_before": answer.found.used,
        "price_changes_allowed": answer.found.allowed,
        **totals(answer.found),
        "waits_for_a_person": bool((~answer.rows["within_limits"]).any()),
    }


def _apply(args: argparse.Namespace) -> dict[str, Any]:
    from ml.allocation import replan_store

    rows = replan_store.apply(args.replan_id)
    return {
        "replan_id": args.replan_id,
        "applied": int((rows["status"] == replan_store.APPLIED).sum()),
        "waits_for_a_person": bool((~rows["within_limits"] & (rows["status"] == replan_store.PROPOSED)).any()),
    }


def _decide(args: argparse.Namespace) -> dict[str, Any]:
    from ml.allocation import replan_store

    rows = replan_store.decide(args.replan_id, args.decision, args.by, args.reason)
    return {"replan_id": args.replan_id, "status": args.decision, "rows": int((~rows["within_limits"]).sum())}


def _show(args: argparse.Namespace) -> dict[str, Any]:
    from ml.allocation import replan_store

    rows = replan_store.read(args.replan_id)
    beyond = rows[~rows["within_limits"]]
    names = ("replan_gain", "replan_gain_low", "replan_gain_high")
    totals = {name: round(float(beyond[name].iloc[0]), 2) for name in names} if len(beyond) else {}
    return {"replan_id": args.replan_id, **totals, "lines": replan_store.worded(args.replan_id)}


def _open(args: argparse.Namespace) -> dict[str, Any]:
    from ml.allocation import replan_store

    return {"replans": replan_store.open_replans()}
