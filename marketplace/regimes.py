"""Regimes of the simulated world: what is asked of a planner when one thing is not as usual.

The usual world has every value at its default; a regime moves one of them, so that a result tells what did it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Regime:
    """Parameters of the world that a planner cannot see.

    `choice` names how offers compete (`rivals`, `nested_logit`, `ranked_lists`, `mixed_logit`: see
    `marketplace.choice`); `text_gain` how strongly posts follow a demand shock and `text_noise` what people get
    wrong (log units); `bot_posts` the mean number of posts by bots about each SKU of a sale, whatever its demand;
    `manager_sense` price steps up for one standard deviation of the shock; `stock_factor` and `supply_factor`
    multiply the manager's stock in past sales and the supply of the next; `newcomers` is the share of SKUs launched
    late, `recent` puts their launch into the last two months; `new_region_days` opens the last region that many
    days before the next sale (0: it is old); `spill` is the share of customers who find an offer sold out and try
    another of its category; `cost_swing` is the standard deviation of log unit costs over time
    (`marketplace.costs`), `cost_pass` the share of it that the manager passes on; `lot_share` is the share of SKUs
    of a past sale whose price was drawn between the manager's and its neighbour on the ladder, as published plans
    do; `slow_days` is how much longer deliveries from the last warehouse take (`marketplace.delivery`); `baskets`
    makes a full reduction hold for baskets above a threshold alone (`marketplace.baskets`).
    """

    choice: str = "rivals"
    text_gain: float = 1.0
    text_noise: float = 0.12
    bot_posts: float = 0.0
    manager_sense: float = 0.4
    stock_factor: float = 1.0
    supply_factor: float = 1.0
    newcomers: float = 0.1
    recent: bool = False
    new_region_days: int = 0
    spill: float = 0.0
    cost_swing: float = 0.0
    cost_pass: float = 0.6
    lot_share: float = 0.0
    slow_days: float = 0.0
    baskets: bool = False

    @property
    def has_classes(self) -> bool:
        """Whether customers are of classes that differ in how much they mind a price."""
        return self.choice == "mixed_logit"


USUAL = Regime()
REGIMES = {
    "usual": USUAL,
    "nested_logit": replace(USUAL, choice="nested_logit"),
    "ranked_lists": replace(USUAL, choice="ranked_lists"),
    "customer_classes": replace(USUAL, choice="mixed_logit"),
    "weak_text": replace(USUAL, text_gain=0.3, text_noise=0.4),
    "bot_flood": replace(USUAL, bot_posts=40.0),
    "sensing_manager": replace(USUAL, manager_sense=1.2),
    "heavy_censoring": replace(USUAL, stock_factor=0.5),
    "supply_collapse": replace(USUAL, supply_factor=0.4),
    "cold_start": replace(USUAL, newcomers=0.4, recent=True),
    "new_region": replace(USUAL, new_region_days=35),
    "spill": replace(USUAL, spill=0.5),
    "cost_shock": replace(USUAL, cost_swing=0.18),
    "slow_delivery": replace(USUAL, slow_days=5.0),
    "basket_threshold": replace(USUAL, baskets=True),
    "prices_by_lot": replace(USUAL, manager_sense=1.2, lot_share=0.3),
}
