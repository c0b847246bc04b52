"""What suppliers charge: unit costs that move by SKU and time, whatever customers want.

A cost moves nobody's demand but by the price, of which the manager passes a part on: an instrument for the price.
"""

from __future__ import annotations

import numpy as np

from marketplace.choice import Floats, Ints

COST_DAYS = 14  # days that one delivery contract lasts; a new one brings a new cost
CONTRACT_MEMORY = 0.7  # correlation of a SKU's cost with that of the contract before
RATIO_LIMITS = (0.5, 0.98)  # offer price over list price: a sale is dearer than its cost, and still a sale


def cost_paths(rng: np.random.Generator, cost_cents: Ints, days: int, swing: float) -> Ints:
    """Unit cost of each SKU under each contract, whole tens of cents, shape (SKUs, contracts).

    Log costs go their own way around the usual cost (an autoregression of order one).

    Args:
        rng: of the costs alone.
        cost_cents: usual unit cost, shape (SKUs,).
        days: days to be covered.
        swing: standard deviation of the log cost; 0 gives one contract at the usual cost.
    """
    if swing <= 0:
        return cost_cents[:, None].copy()
    noise = rng.normal(0.0, swing, (len(cost_cents), -(-days // COST_DAYS)))
    move = noise.copy()
    for k in range(1, noise.shape[1]):
        move[:, k] = CONTRACT_MEMORY * move[:, k - 1] + np.sqrt(1.0 - CONTRACT_MEMORY**2) * noise[:, k]
    move = np.clip(move, -2.0 * swing, 2.0 * swing)
    return np.round(cost_cents[:, None] * np.exp(move), -1).astype(np.int64)


def passed_on(ratio: Floats, cost: Ints, usual: Ints, share: float) -> Floats:
    """Price ratios after the manager has passed on a share of the log cost's move, within `RATIO_LIMITS`.

    Args:
        ratio: offer price over list price as it would be at usual costs.
        cost, usual: unit cost today and usually, cents, same shape.
        share: 0 passes nothing on, 1 all of it.
    """
    moved = ratio * np.exp(share * np.log(cost / usual))
    return np.asarray(np.clip(moved, *RATIO_LIMITS), dtype=np.float64)
