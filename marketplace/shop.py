"""Build one simulated shop and write it as a folder source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from flashsale.corpora import load_sentences
from marketplace import events, future, texts
from marketplace.sales import Cells, Lines, Schedule, run_sales, schedule
from marketplace.world import Size, World, build_world


@dataclass(frozen=True)
class Shop:
    """Everything a simulated shop gives away (`streams`, `request`) and what it keeps to itself (`truth`).

    `plans` is what earlier published plans had drawn by lot; a platform has it in its own lake, not from a stream.
    """

    streams: dict[str, pa.Table]
    request: dict[str, Any]
    truth: dict[str, pa.Table]
    plans: pa.Table


@dataclass(frozen=True)
class Played:
    """A world whose past sales have run, and the sale that is asked for next."""

    world: World
    plan: Schedule
    cells: Cells
    lines: Lines
    sale: future.NextSale


def play(size: Size) -> Played:
    """Build a world and run its past sales."""
    world = build_world(size)
    plan = schedule(world)
    cells, lines = run_sales(world, plan)
    return Played(world, plan, cells, lines, future.next_sale(world, cells))


def build_shop(size: Size, sentences: pa.Table | None = None) -> Shop:
    """One simulated shop; the same size and sentences give the same rows.

    Args:
        size: what to build, and the seed.
        sentences: labelled sentences; by default the public corpora.
    """
    return make_shop(play(size), sentences)


def make_shop(played: Played, sentences: pa.Table | None = None) -> Shop:
    """What a world that was played gives away, and its truth."""
    pool = texts.build_pool(load_sentences() if sentences is None else sentences)
    world, plan, cells, lines, sale = played.world, played.plan, played.cells, played.lines, played.sale
    orders = events.all_orders(world, cells, lines)
    streams = {
        "catalog": events.catalog_table(world),
        "regions": events.region_table(world),
        "campaigns": events.campaign_table(world, plan, cells),
        "orders": events.order_table(world, cells, orders),
        "traffic": events.traffic_table(world, cells, lines, orders),
        "inventory": events.inventory_table(world, cells, lines),
        **texts.text_tables(world, cells, lines, orders, pool, sale.announced()),
    }
    truth = {
        "campaign_cells": future.cell_truth(world, plan, cells),
        "next_sale": future.true_means(world, sale),
        "products": future.product_truth(world, sale),
    }
    return Shop(streams, future.request(world, sale), truth, future.past_plans(world, cells))


def write_shop(shop: Shop, out: Path) -> dict[str, int]:
    """Write a folder source: a Parquet file a stream, `sale_request.yaml`, and `truth/` for examiners.

    Returns rows by stream. The same shop gives the same bytes.
    """
    (out / "truth").mkdir(parents=True, exist_ok=True)
    for name, table in shop.streams.items():
        pq.write_table(table, out / f"{name}.parquet", compression="zstd")
    for name, table in shop.truth.items():
        pq.write_table(table, out / "truth" / f"{name}.parquet", compression="zstd")
    header = "# The next sale of a SIMULATED shop; written by `python -m marketplace write`.\n"
    body = yaml.safe_dump(shop.request, sort_keys=False, allow_unicode=True)
    (out / "sale_request.yaml").write_text(header + body, encoding="utf-8")
    return {name: table.num_rows for name, table in shop.streams.items()}
