"""A SIMULATED shop whose customers choose by a nested logit, in plain numpy; shares nothing with the platform's models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.demand.substitution import PastOffers

CATEGORIES = np.array(["audio", "books", "home", "travel"])
SLOPES = np.array([-1.2, -1.5, -1.7, -2.0])  # of utility in log price, by category
REGIONS = 3


def nested_logit(utility: np.ndarray, nest: np.ndarray, sigma: float) -> np.ndarray:
    """Shares by the textbook: within the nest by exp(u / (1 - sigma)), of the nest by its inclusive value."""
    shares = np.zeros_like(utility)
    inclusive = {}
    for g in np.unique(nest):
        weight = np.exp(utility[nest == g] / (1 - sigma))
        inclusive[g] = weight.sum(axis=0)
        shares[nest == g] = weight / weight.sum(axis=0)
    outside = 1.0 + sum(total ** (1 - sigma) for total in inclusive.values())
    for g, total in inclusive.items():
        shares[nest == g] *= total ** (1 - sigma) / outside
    return shares


@dataclass(frozen=True)
class Shop:
    """24 offers in four categories, three regions; `taste` (offers,) and `place` (offers, regions) of utility."""

    seed: int
    sigma: float
    kind: np.ndarray
    taste: np.ndarray
    place: np.ndarray
    customers: np.ndarray

    @staticmethod
    def of(seed: int, sigma: float, *, sizes_vary: bool = True) -> Shop:
        rng = np.random.default_rng([seed, 1])
        customers = 4000.0 * np.exp(rng.normal(0, 0.3, REGIONS))
        taste = rng.normal(0, 0.6 if sizes_vary else 0.0, 24)
        return Shop(seed, sigma, rng.integers(0, 4, 24), taste, rng.normal(0, 0.15, (24, REGIONS)), customers)

    def demand(self, ids: np.ndarray, luck: np.ndarray, log_price: np.ndarray) -> np.ndarray:
        """True mean units, shape (offers, regions): `luck` adds to the utility of each offer of the sale."""
        utility = -3.2 + self.taste[ids] + luck + SLOPES[self.kind[ids]] * log_price
        return nested_logit(utility[:, None] + self.place[ids], self.kind[ids], self.sigma) * self.customers

    def sales(self, count: int = 40, *, same: bool = False) -> tuple[pd.DataFrame, PastOffers]:
        """Past sales: the manager prices what will sell higher, by what is known (`buzz`) and by what nobody else knows.

        Args:
            same: every sale has all offers, else eight to thirteen of them.
        """
        rng, parts = np.random.default_rng([self.seed, 2]), []
        for sale in range(count):
            ids = np.arange(24) if same else np.sort(rng.choice(24, rng.integers(8, 14), replace=False))
            buzz, hidden = rng.normal(0, 0.4, len(ids)), rng.normal(0, 0.15, len(ids))
            log_price = np.clip(-0.2 + 0.1 * rng.normal(0, 1, len(ids)) + 0.06 * (buzz + hidden), -0.45, 0.0)
            sold = rng.poisson(self.demand(ids, buzz + hidden + rng.normal(0, 0.2), log_price))
            usual = self.taste[ids, None] + self.place[ids] + rng.normal(0, 0.15, sold.shape)
            wide = {"buzz": buzz, "category": CATEGORIES[self.kind[ids]], "log_price": log_price, "sale": sale}
            for r in range(REGIONS):
                base = 0.01 * np.exp(usual[:, r]) * self.customers[r]
                parts.append(pd.DataFrame({**wide, "sold": sold[:, r], "base": base, "region": r}))
        rows = pd.concat(parts, ignore_index=True)
        controls = pd.DataFrame({"buzz": rows.buzz, "log_base": np.log(rows.base), "category": rows.category})
        lift = np.log((rows.sold + 0.5) / rows.base).to_numpy()
        price, base = rows.log_price.to_numpy(), rows.base.to_numpy()
        return controls, PastOffers(lift, price, base, 6.0 * base, rows.sale.to_numpy(), rows.region.to_numpy())
