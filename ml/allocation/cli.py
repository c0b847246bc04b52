"""`python -m ml allocation …`: plan a request, record the decision, publish; re-plan a running sale."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from flashsale.settings import settings
from ml.allocation import replan_cli
from ml.allocation.decision_arguments import add_decision


def add_parser(sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group's commands; each sets `func`, which returns what is printed as JSON."""
    group = sub.add_parser("allocation", help="plan the next sale, decide, publish")
    commands = group.add_subparsers(dest="command", required=True)
    plan = commands.add_parser("plan", help="units, prices, promotions and hours for a stored sale request")
    plan.add_argument("--request-id", required=True)
    plan.add_argument("--without-text", action="store_true", help="plan on the model without text features")
    plan.add_argument("--model", help="registered demand model or model folder instead of the champion")
    plan.add_argument("--keep", type=Path, help="also keep what the plan was solved from here (must not exist)")
    plan.add_argument(
        "--time-limit", type=float, default=float("inf"), metavar="SECONDS",
        help="for each plan (with text, without): answer with the best so far and its gap (may differ from run to run)",
    )  # fmt: skip
    plan.set_defaults(func=_plan)
    folder = commands.add_parser("plan-folder", help="plan from folders of decision tables, without lake or registry")
    folder.add_argument("--in", dest="folders", type=Path, nargs="+", required=True, help="folders to plan, in turn")
    folder.add_argument("--kinds", nargs="+", choices=("text", "plain"), default=["text"], help="with texts, without")
    folder.add_argument("--seed", type=int, default=None, help="by default the platform's")
    folder.set_defaults(func=_plan_folder)
    change = commands.add_parser("what-if", help="a stored plan under a changed request, beside itself; stores nothing")
    whose = change.add_mutually_exclusive_group(required=True)
    whose.add_argument("--plan-id", help="a plan of the lake, solved again on the warehouse as it is now")
    whose.add_argument("--inputs", type=Path, help="folder that `plan --keep` wrote")
    change.add_argument("--set", dest="settings", action="append", required=True, metavar="PATH=VALUE")
    change.set_defaults(func=_what_if)
    decide = commands.add_parser("decide", help="record a planner's decision")
    decide.add_argument("--plan-id", required=True)
    add_decision(decide)
    decide.set_defaults(func=_decide)
    publish = commands.add_parser("publish", help="audit an approved plan and publish it")
    publish.add_argument("--plan-id", required=True)
    publish.set_defaults(func=_publish)
    replan_cli.add_commands(commands)


def _plan(args: argparse.Namespace) -> dict[str, Any]:
    from ml.allocation import store
    from ml.allocation.plan import held_out_profit, make_plan, plan_rows, with_experiment

    sources = store.gather(args.request_id, args.model)
    inputs, models, seed = sources.inputs, sources.models, settings().seed
    kind = "plain" if args.without_text else "text"
    plan_id = f"{args.request_id}-{kind}-{sources.data_hash[:10]}"
    print(f"planning {args.request_id}: {len(inputs.request.skus)} SKUs", file=sys.stderr)
    with_text = make_plan(inputs, models.with_text, seed, args.time_limit)
    without = make_plan(inputs, models.without_text, seed, args.time_limit)
    profits = held_out_profit(inputs, models.with_text, [with_text, without], seed)
    chosen, twin = (without, None) if args.without_text else (with_text, without)
    chosen = with_experiment(chosen, inputs.request, seed)
    rows = plan_rows(inputs, chosen, twin).assign(
        request_id=args.request_id,
        plan_id=plan_id,
        plan_value=chosen.solution.value,
        plan_bound=chosen.solution.bound,
        plan_gap=chosen.solution.gap,
        model_version=models.labels[not args.without_text],
        text_model_version=None if args.without_text else sources.text_model_version,
        data_hash=sources.data_hash,
        status=store.PROPOSED,
        decided_by=None,
        decided_at=None,
        reason=None,
    )
    faults = store.violations(rows, inputs.request)
    if faults:
        raise RuntimeError("the planner broke its own limits: " + "; ".join(faults))
    status = store.status_of(plan_id)
    if status in (None, store.PROPOSED):  # a decided plan keeps its decision
        store.write_plan(plan_id, rows)
    answer = _answer(plan_id, status or store.PROPOSED, rows, chosen, inputs, profits)
    store.write_summary(plan_id, answer)
    store.keep_for_sale(sources, plan_id, plain=args.without_text)
    if args.keep:
        store.keep_inputs(args.keep, sources, plan_id, plain=args.without_text)
    return answer


def _answer(plan_id: str, status: str, rows: Any, chosen: Any, inputs: Any, profits: list[Any]) -> dict[str, Any]:
    """Totals of a plan in money; with and without text are judged in the same new scenarios of one model."""
    import numpy as np

    worth = profits[0] - profits[1]
    error = 1.96 * float(worth.std(ddof=1)) / np.sqrt(len(worth))
    names = chosen.problem.limit_names
    return {
        "plan_id": plan_id,
        "request_id": inputs.request.request_id,
        "status": status,
        "currency": inputs.request.currency,
        "rows": len(rows),
        "units": int(rows["allocate_units"].sum()),
        "expected_sales": round(float(rows["expected_sales"].sum()), 1),
        "expected_profit": round(float(rows["expected_margin"].sum()), 2),
        "bound": round(chosen.solution.bound, 2),
        "gap": round(chosen.solution.gap, 6),
        "demand_rule": chosen.rule,
        "with_text": round(float(profits[0].mean()), 2),
        "without_text": round(float(profits[1].mean()), 2),
        "text_worth": round(float(worth.mean()), 2),
        "text_worth_low": round(float(worth.mean()) - error, 2),
        "text_worth_high": round(float(worth.mean()) + error, 2),
        "shadow_prices": {
            name: round(float(price), 4)
            for name, price in zip(names, chosen.solution.multipliers, strict=True)
            if price > 1e-6
        },
        "unlawful_prices_left_out": len(inputs.ladder.dropped),
        "experiment_skus": len(chosen.experiment.arms),
        "experiment_cost": round(chosen.experiment.cost, 2),
    }


def _plan_folder(args: argparse.Namespace) -> dict[str, Any]:
    from ml.allocation.folder import plan_folder

    seed = settings().seed if args.seed is None else args.seed
    return {str(folder): plan_folder(folder, tuple(args.kinds), seed) for folder in args.folders}


def _what_if(args: argparse.Namespace) -> dict[str, Any]:
    from ml.allocation import keep, store
    from ml.allocation.whatif import what_if

    kept = keep.read(args.inputs) if args.inputs else store.kept_again(args.plan_id)
    return what_if(kept, args.settings)


def _decide(args: argparse.Namespace) -> dict[str, Any]:
    from ml.allocation import store

    frame = store.decide(args.plan_id, args.decision, args.by, args.reason)
    return {"plan_id": args.plan_id, "status": str(frame["status"].iloc[0]), "by": args.by}


def _publish(args: argparse.Namespace) -> dict[str, Any]:
    from ml.allocation import store

    frame = store.publish(args.plan_id)
    status = str(frame["status"].iloc[0])
    if status != store.PUBLISHED:
        print(f"plan {args.plan_id} was {status}: nothing is published", file=sys.stderr)
    return {
        "plan_id": args.plan_id,
        "status": status,
        "published": status == store.PUBLISHED,
        "units": int(frame["allocate_units"].sum()),
    }
