"""A tiny simulated sale, as its examiner sees it."""

from __future__ import annotations

import pytest

from marketplace.exam.table import Sale, make_sale
from marketplace.future import next_sale, request
from marketplace.sales import run_sales, schedule
from marketplace.world import Size, build_world

TINY = Size(seed=3, skus=4, regions=2, sales=6, days=60)


@pytest.fixture(scope="module")
def sale() -> Sale:
    world = build_world(TINY)
    cells, _ = run_sales(world, schedule(world))
    asked = next_sale(world, cells)
    return make_sale(world, asked, request(world, asked))
