"""The bound keeps its promise on messages that are exchangeable with those held out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from flashsale.errors import InputError
from ml.assistant.bound import Held, choose, clopper_pearson


def draw(dice: np.random.Generator, size: int, *, outside: bool) -> Held:
    """Messages whose confidence says something, but not all, about whether the guess is wrong."""
    if outside:
        return Held(dice.beta(2, 4, size), np.ones(size, dtype=bool))
    confidence = dice.beta(5, 2, size)
    return Held(confidence, dice.random(size) > confidence**0.3)


def test_the_promise_holds_over_many_draws_and_is_not_idle() -> None:
    promise, share, wrong, answered = 0.05, 0.3, [], []
    for seed in range(400):
        dice = np.random.default_rng(seed)
        bound = choose(
            *(draw(dice, 120, outside=out) for out in (False, True)), most_wrong=promise, outside_share=share
        )
        future = [draw(dice, 500, outside=out) for out in (False, True)]
        parts = [held.answered_wrongly(bound.at) / 500 for held in future]
        wrong.append((1 - share) * parts[0] + share * parts[1])
        answered.append(bound.answered_inside)
    error = np.std(wrong) / np.sqrt(len(wrong))
    assert np.mean(wrong) <= promise + 3 * error
    assert np.mean(wrong) > 0.5 * promise and np.mean(answered) > 0.3  # else a bound of infinity would pass


def test_the_bound_is_the_lowest_that_keeps_the_promise() -> None:
    dice = np.random.default_rng(7)
    inside, outside = draw(dice, 80, outside=False), draw(dice, 60, outside=True)
    found = choose(inside, outside, most_wrong=0.1, outside_share=0.25).at

    def share(at: float) -> float:
        sides = [
            (((held.confidence >= at) & held.wrong).sum() + 1) / (len(held.wrong) + 1) for held in (inside, outside)
        ]
        return 0.75 * sides[0] + 0.25 * sides[1]

    every = np.sort(np.concatenate([inside.confidence, outside.confidence]))
    assert share(found) <= 0.1
    assert found == min(at for at in every if share(at) <= 0.1)


def test_few_held_out_messages_promise_nothing() -> None:
    few = Held(np.linspace(0.5, 0.9, 40), np.zeros(40, dtype=bool))
    assert choose(few, few, most_wrong=0.02, outside_share=0.0).at == np.inf  # 1 / 41 is above 0.02
    more = Held(np.linspace(0.5, 0.9, 49), np.zeros(49, dtype=bool))
    assert choose(more, few, most_wrong=0.02, outside_share=0.0).at == 0.5
    nothing = Held(np.zeros(0), np.zeros(0, dtype=bool))
    assert choose(more, nothing, most_wrong=0.1, outside_share=0.2).at == np.inf


@pytest.mark.parametrize(
    "given", [{"most_wrong": 0.0}, {"most_wrong": 1.0}, {"outside_share": 1.0}, {"outside_share": -0.5}]
)
def test_shares_out_of_range_are_refused(given: dict[str, float]) -> None:
    held = Held(np.ones(3), np.zeros(3, dtype=bool))
    with pytest.raises(InputError, match=next(iter(given))):
        choose(held, held, **given)


@pytest.mark.parametrize(("wrong", "size"), [(0, 10), (3, 50), (49, 50)])
def test_clopper_pearson_is_where_so_few_are_rare(wrong: int, size: int) -> None:
    limit = clopper_pearson(wrong, size)
    assert binom.cdf(wrong, size, limit) == pytest.approx(0.025, abs=1e-6)
    assert clopper_pearson(size, size) == 1.0
