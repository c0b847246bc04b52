"""How the offers of one sale compete for customers.

First version: every rival offer of the same category takes demand in proportion to its discount. The
function is the seam for a nested-logit choice model: offers in, one multiplier per offer out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

RIVAL_PULL = 0.6


def competition_factors(price_ratio: Floats, category: Ints, pull: float = RIVAL_PULL) -> Floats:
    """Multiplier on each offer's demand caused by the other offers of the same sale.

    Args:
        price_ratio: offer price over list price, shape (offers,).
        category: category index of each offer, shape (offers,).
        pull: strength of one rival's discount (0 switches competition off).

    Returns:
        Multipliers in (0, 1], shape (offers,): 1 / (1 + pull x sum of the rivals' discounts).
    """
    discount = 1.0 - price_ratio
    same = category[:, None] == category[None, :]
    rivals = same @ discount - discount
    return np.asarray(1.0 / (1.0 + pull * np.clip(rivals, 0.0, None)), dtype=np.float64)
