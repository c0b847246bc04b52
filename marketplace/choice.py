"""How the offers of one sale compete for customers.

Four worlds; three share a seam: offers with the demand each would have alone, one multiplier on it out. The fourth has
customers of several classes, who do not agree on what an offer is worth. A planner is not told which world it is in.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

RIVAL_PULL = 0.6
NEST = 0.55  # 1: rivals of a category compete no more than others do; towards 0: they are the same to customers
LISTED_SHARE = 0.5  # of customers who would first look at one rival of the category
MOST_OF_MARKET = 0.9  # of a region's customers that one offer alone could win
CLASS_SHARES = np.array([0.5, 0.5])  # of demand at list price: those who mind the price, those who are loyal
CLASS_PULLS = np.array([1.6, 0.4])  # each class's elasticity over the category's; their mean by share is 1


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


def nested_logit_factors(alone: Floats, category: Ints, market: float, nest: float = NEST) -> Floats:
    """Multipliers of a nested logit (Williams 1977) whose nests are the categories; not buying is a nest of its own.

    An offer alone wins `alone` of `market` customers, which fixes its weight w = alone / (market - alone). Together,
    a nest is worth S = (sum w^(1/nest))^nest, its offers share S / (1 + sum of all S) by w^(1/nest).

    Args:
        alone: mean demand of each offer if it were the only one, shape (offers,), units.
        category: category index of each offer.
        market: customers of the region, in units they could buy.
        nest: dissimilarity of a nest's offers, in (0, 1].

    Returns:
        Multipliers in (0, 1], shape (offers,); an offer alone has 1.
    """
    won = np.minimum(alone, MOST_OF_MARKET * market)
    weight = (won / (market - won)) ** (1.0 / nest)
    same = category[:, None] == category[None, :]
    inclusive = same @ weight
    value = inclusive**nest
    firsts = np.unique(category, return_index=True)[1]
    share = weight / np.maximum(inclusive, 1e-300) * value / (1.0 + value[firsts].sum())
    return np.asarray(np.where(alone > 0, share * market / np.maximum(won, 1e-300), 1.0), dtype=np.float64)


def ranked_list_factors(alone: Floats, price_ratio: Floats, category: Ints, listed: float = LISTED_SHARE) -> Floats:
    """Multipliers where customers go down a list: no logit fits them.

    A share `listed` of each offer's customers would first look at one rival of its category, each rival as often, and
    take it if its discount beats what they ask for, which is uniform between 0 and 40 %. They are won by the rival.

    Args:
        alone: mean demand of each offer if it were the only one, shape (offers,), units.
        price_ratio: offer price over list price.
        category: category index of each offer.
        listed: share of customers with a rival on top of their list.

    Returns:
        Multipliers, shape (offers,); above 1 where more are won than lost. The sum of demand stays as it is.
    """
    taken = np.clip((1.0 - price_ratio) / 0.4, 0.0, 1.0)
    rival = (category[:, None] == category[None, :]) & ~np.eye(len(category), dtype=bool)
    rivals = np.maximum(rival.sum(axis=1), 1)
    lost = alone * listed * (rival @ taken) / rivals
    won = listed * taken * (rival @ (alone / rivals))
    return np.asarray(np.where(alone > 0, (alone - lost + won) / np.maximum(alone, 1e-300), 1.0), dtype=np.float64)


def mixed_logit_means(listed: Floats, ratio: Floats, elasticity: Floats, market: float) -> Floats:
    """Mean demand by class of customers, each a plain logit of its own: a mixed logit (McFadden and Train 2000).

    Of an offer's customers at list price a class has its `CLASS_SHARES`; at price ratio p it would win that times
    p ^ (-elasticity x `CLASS_PULLS`) of them alone. So the offer's own elasticity is the category's near list price and
    grows with the discount, as fewer and fewer buyers are loyal, and a cheap rival takes those who mind the price.

    Args:
        listed: mean demand of each offer if it were the only one, at list price, shape (offers,), units.
        ratio: offer price over list price.
        elasticity: of the category, positive, shape (offers,).
        market: customers of the region, in units they could buy; classes hold it by `CLASS_SHARES`.

    Returns:
        Units, shape (classes, offers).
    """
    customers = (CLASS_SHARES * market)[:, None]
    alone = CLASS_SHARES[:, None] * listed * ratio ** (-elasticity * CLASS_PULLS[:, None])
    won = np.minimum(alone, MOST_OF_MARKET * customers)
    weight = won / (customers - won)
    return np.asarray(customers * weight / (1.0 + weight.sum(axis=1, keepdims=True)), dtype=np.float64)
