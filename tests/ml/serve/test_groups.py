"""Groups of like lengths: the least padded work, against every other way to group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from ml.serve.groups import by_length

COST = 7


def partitions(items: list[int]) -> Iterator[list[list[int]]]:
    """Every way to split the items into groups, in any order."""
    if not items:
        yield []
        return
    for rest in partitions(items[1:]):
        yield [[items[0]], *rest]
        for at, group in enumerate(rest):
            yield [*rest[:at], [items[0], *group], *rest[at + 1 :]]


def work(groups: Sequence[Sequence[int]], lengths: Sequence[int]) -> int:
    return sum(COST + len(group) * max(lengths[at] for at in group) for group in groups)


@given(st.lists(st.integers(0, 30), max_size=7))
def test_no_other_grouping_is_less_work(lengths: list[int]) -> None:
    found = by_length(lengths, COST)
    assert sorted(at for group in found for at in group) == list(range(len(lengths)))
    assert work(found, lengths) == min(work(groups, lengths) for groups in partitions(list(range(len(lengths)))))
    longest = [max(lengths[at] for at in group) for group in found]
    assert longest == sorted(longest)


def test_a_long_text_does_not_lengthen_short_ones() -> None:
    assert by_length([10, 128, 11, 10]) == [[0, 3, 2], [1]]
    assert by_length([]) == []
