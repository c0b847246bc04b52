"""`python -m ml scoring …`: what is still to do, and the scores themselves."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from flashsale.errors import InputError
from flashsale.settings import settings


def add_parser(sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group's commands; each sets `func`, which returns what is printed as JSON."""
    group = sub.add_parser("scoring", help="score finished sales against what would have happened")
    commands = group.add_subparsers(dest="command", required=True)
    pending = commands.add_parser("pending", help="sales without a current score, requests without a plan")
    pending.add_argument("--all", action="store_true", help="every ended sale, scored or not")
    pending.add_argument("--request-id", help="this request alone, even if planned")
    pending.set_defaults(func=_pending)
    score = commands.add_parser("score", help="score sales and publish the scores")
    score.add_argument("--campaigns", help="comma-separated; by default those without a current score")
    score.set_defaults(func=_score)
    arms = commands.add_parser("arms", help="what prices drawn by lot say about demand, by published plan and over all")
    arms.set_defaults(func=_arms)


def _pending(args: argparse.Namespace) -> dict[str, Any]:
    from ml.scoring import tables

    campaigns = tables.pending_campaigns(tables.read_material(), args.all)
    requests = tables.open_requests(args.request_id)
    return {"batches": tables.batches(campaigns), "requests": requests, "campaigns": len(campaigns)}


def _score(args: argparse.Namespace) -> dict[str, Any]:
    from ml.scoring import tables
    from ml.scoring.panel import build_panel
    from ml.scoring.score import score_campaign

    material = tables.read_material()
    known = set(material.offers["campaign_id"])
    names = [n for n in (args.campaigns or "").split(",") if n] or tables.pending_campaigns(material, False)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"sale {unknown[0]}", "it has not ended in the data, or is unknown", "see `scoring pending`")
    panel = build_panel(material.daily)
    verdicts: dict[str, int] = {}
    changed = rows = 0
    for name in names:
        offers = material.offers[material.offers["campaign_id"] == name]
        scores = score_campaign(panel, offers, material.signals, material.products, material.warehouses)
        commit = tables.write_scores(name, tables.campaign_hash(material, name), scores)
        changed, rows = changed + int(commit.changed), rows + commit.rows
        verdict = str(scores.loc[scores["level"] == "campaign", "verdict"].iloc[0])
        verdicts[verdict] = verdicts.get(verdict, 0) + 1
        print(f"{name}: {verdict}", file=sys.stderr)
    return {"campaigns": len(names), "rows": rows, "changed": changed, "verdicts": verdicts}


def _arms(args: argparse.Namespace) -> dict[str, Any]:
    from ml.scoring import tables
    from ml.scoring.arms import readings

    drawn = tables.drawn_prices()
    found = readings(drawn, settings().seed)
    commit = tables.write_readings(found)
    answer = found[-1] if found else {"skus": 0}
    if "p" not in answer:
        which = "no SKU" if drawn.empty else "only one of the two arms"
        answer |= {"note": f"{which} of a published plan with prices by lot has a scored sale yet"}
    return {**answer, "plans": max(len(found) - 1, 0), "changed": commit.changed}
