"""One candidate shop, from its drawing to the marks of every planner."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from flashsale.errors import InputError
from flashsale.request import SaleRequest, load_request
from marketplace.exam.arrivals import Arrivals, draw_arrivals
from marketplace.exam.judge import Plan, broken, judge, plan_rows, read_plan
from marketplace.exam.lawful import reference_prices
from marketplace.exam.oracle import Answer, best_plan
from marketplace.exam.rules import RULES, within_limits
from marketplace.exam.table import Sale, make_sale
from marketplace.marts import build_marts
from marketplace.shop import make_shop, play
from marketplace.world import Size, generator

PLATFORM = {"with_text": ("shop", "text"), "without_text": ("shop", "plain"), "shuffled_text": ("shuffled", "text")}
PLANNERS = (*RULES, "without_text", "with_text", "shuffled_text", "true_distribution", "clairvoyant")
TEXT_COLUMNS = ("text_count", "sentiment", "negative_share", "intent", "post_")
PLAYED, KNOWN = 20, 200  # repetitions that plans are judged on; scenarios the true distribution is known by


@dataclass(frozen=True)
class Paper:
    """What is examined: the shop's size, seed and regime, the folder for its tables, scores of texts."""

    size: Size
    folder: Path
    scores: Path | None = None


def sit(paper: Paper) -> dict[str, Any]:
    """Draw a shop, let everyone plan, play the sale.

    Returns:
        `seed`, `marks` (by planner, as `judge` gives them) and `corrected` (how well hidden demand was found: sums of
        truth, error and absolute error over sold-out cells).
    """
    played = play(paper.size)
    shop = make_shop(played)
    sale = make_sale(played.world, played.sale, shop.request)
    request = load_request(dict(shop.request))
    scores = None if paper.scores is None else pq.ParquetFile(paper.scores).read()
    frames = build_marts(shop, scores)
    _hand_out(paper.folder, frames, request, shop.plans, paper.size.seed)
    _ask_platform(paper)
    past = _frame(paper.folder / "shop" / "demand.parquet")
    limits = Limits(request, reference_prices(shop.streams["orders"], request, frames))
    plans = {**_by_rule(sale, frames, past, limits), **_by_platform(paper.folder, sale, limits)}
    marks = _mark(sale, plans, limits, paper.size.seed)
    truth = shop.truth["campaign_cells"].to_pandas().merge(past, on=["campaign_id", "sku_id", "region_id"])
    hidden = truth[truth["is_censored"]]
    error = hidden["demand"] - hidden["expected_demand"]
    corrected = {"cells": len(hidden), "truth": float(hidden["expected_demand"].sum()), "error": float(error.sum()),
                 "absolute": float(error.abs().sum())}  # fmt: skip
    return {"seed": paper.size.seed, "marks": marks, "corrected": corrected}


def _hand_out(folder: Path, frames: dict[str, pd.DataFrame], request: SaleRequest, plans: pa.Table, seed: int) -> None:
    """Two folders of decision tables: the shop's, and one whose texts are dealt to other SKUs of the same sale."""
    shuffled = {**frames, "features": shuffle_text(frames["features"], seed)}
    for name, tables in (("shop", frames), ("shuffled", shuffled)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "request.json").write_text(request.canonical_json(), encoding="utf-8")
        pq.write_table(plans, folder / name / "plans.parquet")
        for table in ("performance", "hours", "features", "products", "regions"):
            pq.write_table(
                pa.Table.from_pandas(tables[table], preserve_index=False), folder / name / f"{table}.parquet"
            )


def shuffle_text(features: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Text columns of another SKU of the same sale, drawn by lot: as many words, no knowledge."""
    out, rng = features.copy(), generator(seed, "shuffled texts")
    columns = [name for name in features if str(name).startswith(TEXT_COLUMNS)]
    for _, sale in features.groupby(["row_kind", "campaign_id"], sort=True):
        names = np.sort(sale["sku_id"].unique())
        other = dict(zip(names, rng.permutation(names), strict=True))
        own = sale.groupby("sku_id")[columns].first()  # texts are about a SKU, the same in all its regions
        out.loc[sale.index, columns] = own.loc[sale["sku_id"].map(other)].to_numpy()
    return out


def _ask_platform(paper: Paper) -> None:
    """The platform plans in a process of its own: it sees the folders and nothing else."""
    for name in ("shop", "shuffled"):
        kinds = [kind for folder, kind in PLATFORM.values() if folder == name]
        command = [sys.executable, "-m", "ml", "allocation", "plan-folder", "--seed", str(paper.size.seed), "--in",
                   str(paper.folder / name), "--kinds", *kinds]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            words = (done.stderr.strip().splitlines() or ["no word"])[-1]
            raise InputError(f"exam of seed {paper.size.seed}", f"the platform gave no plan: {words}",
                             f"run it by hand on {paper.folder / name}")  # fmt: skip


def _by_rule(sale: Sale, frames: dict[str, pd.DataFrame], past: pd.DataFrame, limits: Limits) -> dict[str, Plan]:
    asked, plans = _asked(frames, limits.request), {}
    for name, rule in RULES.items():
        plan = Plan(sale.managers(), within_limits(sale, rule(sale, asked, past)))
        count = broken(plan_rows(plan, limits.request), limits.request, limits.prices)
        plans[name] = replace(plan, violations=count)
    return plans


def _by_platform(folder: Path, sale: Sale, limits: Limits) -> dict[str, Plan]:
    return {
        name: read_plan(sale, _frame(folder / where / f"plan_{kind}.parquet"), limits.request, limits.prices)
        for name, (where, kind) in PLATFORM.items()
    }


@dataclass(frozen=True)
class Limits:
    """What every plan is audited by: the request, and reference prices by SKU."""

    request: SaleRequest
    prices: dict[str, tuple[float, float]]

    def audited(self, sale: Sale, answer: Answer, arrivals: Arrivals) -> Plan:
        """An oracle's answer as a plan, with the limits it broke by the customers it was made for.

        Promotion budget and minimum service speak of expected sales. Who knows the distribution expects the mean of his
        scenarios; who knows the very customers expects what happens, so the money he gives away counts as it is paid.
        """
        plan = Plan(answer.chosen, answer.units)
        demand = arrivals.demand(sale.means(plan.chosen))
        sales = np.minimum(plan.units[:, :, None], demand).mean(axis=2)
        # A service nobody could hold with this supply is no limit (see `units_for`): its rows say nothing of demand.
        rows = plan_rows(plan, self.request, sales, demand.mean(axis=2) if answer.served else None)
        return replace(plan, violations=broken(rows, self.request, self.prices))


def _mark(sale: Sale, plans: dict[str, Plan], limits: Limits, seed: int) -> dict[str, dict[str, float]]:
    """Marks of all plans, and of the planners who know; violations of the clairvoyant are those of all repetitions."""
    largest = sale.largest_means()
    played = draw_arrivals(generator(seed, "exam played"), largest, PLAYED)
    known = draw_arrivals(generator(seed, "exam known"), largest, KNOWN)
    starts = [list(chosen) for chosen in dict.fromkeys(tuple(plan.chosen) for plan in plans.values())]
    truly = best_plan(sale, known, starts)
    marks = {name: judge(sale, plan, played) for name, plan in plans.items()}
    marks["true_distribution"] = judge(sale, limits.audited(sale, truly, known), played)
    foreseen = []
    for k in range(played.repetitions):
        alone = played.only(k)
        answer = best_plan(sale, alone, [truly.chosen])
        foreseen.append(judge(sale, limits.audited(sale, answer, alone), alone))
    marks["clairvoyant"] = {name: float(np.mean([mark[name] for mark in foreseen])) for name in foreseen[0]}
    marks["clairvoyant"]["violations"] = float(sum(mark["violations"] for mark in foreseen))
    return marks


def _asked(frames: dict[str, pd.DataFrame], request: SaleRequest) -> pd.DataFrame:
    """The request's feature rows in its order of SKUs and regions."""
    rows = frames["features"][frames["features"]["row_kind"] == "request"].set_index(["sku_id", "region_id"])
    order = [(s.sku_id, r.region_id) for s in request.skus for r in request.regions]
    return rows.loc[order].reset_index()


def _frame(path: Path) -> pd.DataFrame:
    frame: pd.DataFrame = pq.ParquetFile(path).read().to_pandas()
    return frame
