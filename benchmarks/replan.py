"""What re-planning a running sale is worth: profit beside the same plan left alone, on simulated shops.

    python benchmarks/replan.py [--quick] [--seeds 20] [--first-seed 2000] [--times 2] [--regime usual]

Each shop's plan is made from its decision tables; then the sale runs, customer by customer, and is re-planned from what
the watch would have seen. The same customers meet the plan left alone. `ratio` is the profit re-planned over that of
the plan left alone, summed over shops; its interval is a bootstrap over shops. `ours` and `peer` are mean profits a
shop. `foreseen` are sales in which the plan's own median comes to pass: there nothing should change.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd

from benchmarks.harness import Result, machine, parser, write
from flashsale.request import load_request
from marketplace.exam.arrivals import Arrivals, draw_arrivals
from marketplace.exam.judge import read_plan
from marketplace.exam.running import Change, Run, run_sale
from marketplace.exam.table import Action, Sale, make_sale
from marketplace.marts import build_marts
from marketplace.regimes import REGIMES
from marketplace.shop import make_shop, play
from marketplace.world import Size, generator
from ml.allocation.folder import inputs_from, past_demand, reference_prices
from ml.allocation.plan import make_plan, plan_rows, with_experiment
from ml.allocation.published import Published, read_published
from ml.allocation.replan import Case, Options, Step, moved_units, replan
from ml.demand import level
from ml.demand.unconstrain import sale_curves

#: Minutes after the last offer's start at which a sale is re-planned, price changes at most, by name.
EVERY_THREE = tuple(range(180, 1440, 180))
POLICIES: dict[str, tuple[tuple[int, ...], int]] = {
    "at_3_hours": ((180,), 2),
    "at_6_hours": ((360,), 2),
    "at_12_hours": ((720,), 2),
    "every_3_hours": (EVERY_THREE, 2),
    "every_3_hours_units_alone": (EVERY_THREE, 0),
}


@dataclass(frozen=True)
class Planned:
    """A shop with its published plan, and the customers who will come."""

    sale: Sale
    plan: Published
    correlation: dict[str, float]
    curves: Any
    chosen: list[Action]
    arrivals: Arrivals
    seed: int

    def case(self, run: Run, minute: int, steps: Sequence[Step]) -> Case:
        """What a re-plan sees when so many minutes are closed."""
        return Case("simulated", self.plan, self.correlation, self.curves, run.minutes(self.sale, minute), steps)


def plan_shop(size: Size, times: int, *, experiment: bool = True) -> Planned:
    """Draw a shop, plan its next sale from its decision tables, draw the customers of `times` repetitions."""
    played = play(size)
    shop = make_shop(played)
    sale = make_sale(played.world, played.sale, shop.request)
    request, frames = load_request(dict(shop.request)), build_marts(shop)
    inputs = inputs_from(request, frames, past_demand(frames))
    data = level.training_set(inputs.history, inputs.history["demand"].to_numpy(float))
    heads = level.fit(data, with_text=True, seed=size.seed)
    made = make_plan(inputs, heads, size.seed)
    rows = plan_rows(inputs, with_experiment(made, request, size.seed) if experiment else made, None)
    plan = read_published("simulated", rows.assign(status="published"), inputs, heads, size.seed)
    cells = frames["performance"].merge(frames["products"][["sku_id", "category"]], on="sku_id")
    first = rows.iloc[:: len(inputs.regions)].merge(inputs.rows.groupby("sku_id")["category"].first().reset_index())
    curves = sale_curves(cells, frames["hours"], first, request.duration_hours)
    chosen = read_plan(sale, rows, request, reference_prices(inputs.rows)).chosen
    arrivals = draw_arrivals(generator(size.seed, "re-plan played"), sale.largest_means(), times)
    return Planned(sale, plan, dict(heads.notes["correlation"]), curves, chosen, arrivals, size.seed)


def play_policy(
    shop: Planned, minutes: Sequence[int], options: Options, repetition: int
) -> tuple[Run, list[dict[str, Any]]]:
    """A sale re-planned at these minutes after its last start, as within the limits, and what each re-plan did."""
    opening = int((max(shop.plan.offers.starts_at) - shop.plan.offers.begins).total_seconds()) // 60
    steps: list[Step] = []
    changes: list[Change] = []
    done = []
    run = run_sale(shop.sale, shop.chosen, shop.plan.units, shop.arrivals, changes, repetition)
    for minute in (opening + m for m in minutes):
        found = replan(shop.case(run, minute, steps), options)
        decision, moved = found.within, moved_units(found.within)
        changed = int((decision.profile != found.search.rest.now).sum())
        value = found.search.checked(decision) - found.search.checked(type(decision).nothing(found.search.rest))
        done.append({"minute": minute, "units": int(decision.into.sum()), "prices": changed, "gain": value})
        if not changed and not moved.any():
            continue
        actions = [(round(100 * float(own[a])), *action[1:])
                   for own, a, action in zip(shop.plan.prices, decision.profile, shop.chosen, strict=True)]  # fmt: skip
        arrive = minute + round(options.transfer_hours * 60)
        changes += [Change(minute, actions, -decision.out), Change(arrive, None, decision.into)]
        steps.append(Step(found.running.clock, decision.profile, moved, changed))
        run = run_sale(shop.sale, shop.chosen, shop.plan.units, shop.arrivals, changes, repetition)
    return run, done


def compare(shop: Planned, times: int) -> list[dict[str, Any]]:
    """Profits of every policy beside the plan left alone, a row a policy and repetition."""
    rows = []
    for k in range(times):
        alone = run_sale(shop.sale, shop.chosen, shop.plan.units, shop.arrivals, (), k).profit / 100.0
        for name, (minutes, most) in POLICIES.items():
            run, done = play_policy(shop, minutes, Options(shop.seed, changes=most, ask_beyond=False), k)
            rows.append({"seed": shop.seed, "policy": name, "alone": alone, "profit": run.profit / 100.0,
                         "units": sum(d["units"] for d in done), "prices": sum(d["prices"] for d in done),
                         "foretold": sum(d["gain"] for d in done)})  # fmt: skip
    return rows


def _result(name: str, rows: pd.DataFrame) -> Result:
    shops = rows.groupby("seed")[["profit", "alone"]].mean().to_numpy()
    picks = np.random.default_rng(0).integers(0, len(shops), (4000, len(shops)))
    drawn = shops[picks].sum(axis=1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    ours, peer = (float(x) for x in shops.mean(axis=0))
    return Result(f"replan_{name}", ours / peer, float(low), float(high), ours, peer, "money a shop", machine())


def _summary(rows: pd.DataFrame) -> str:
    """Means over sales by policy: profits, what re-plans foretold they would add, units moved, prices changed."""
    shown = ["alone", "profit", "foretold", "units", "prices"]
    means = rows.groupby("policy", sort=False)[shown].mean().assign(shops=rows["seed"].nunique())
    return str(means.assign(gained=means["profit"] - means["alone"]).round(2).to_string())


def main() -> None:
    """Measure and write `results/replan.json`."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--seeds", type=int, default=20, help="simulated shops")
    arguments.add_argument("--first-seed", type=int, default=2000)
    arguments.add_argument("--times", type=int, default=2, help="sales of each shop")
    arguments.add_argument("--regime", choices=list(REGIMES), default="usual")
    args = arguments.parse_args()
    small = Size(skus=8, regions=3, sales=14, days=100) if args.quick else Size()
    seeds, times = (2, 1) if args.quick else (args.seeds, args.times)
    rows: list[dict[str, Any]] = []
    for seed in range(args.first_seed, args.first_seed + seeds):
        shop = plan_shop(replace(small, seed=seed, regime=REGIMES[args.regime]), times)
        rows += compare(shop, times)
        print(_summary(pd.DataFrame(rows)), file=sys.stderr, flush=True)
    frame = pd.DataFrame(rows)
    print(_summary(frame))
    results = [_result(str(name), part) for name, part in frame.groupby("policy", sort=False)]
    write("replan" if args.regime == "usual" else f"replan_{args.regime}", results, quick=args.quick)


if __name__ == "__main__":
    main()
