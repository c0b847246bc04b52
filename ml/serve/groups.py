"""Which texts of a joined call are scored together: a scorer pads every text to the longest beside it.

Sixteen sentences of shops, padded to the longest, have about three times the word pieces that they hold; scored so,
they take longer than one by one. In a few groups of like lengths they cost little more than their own pieces.
"""

from __future__ import annotations

from collections.abc import Sequence

#: What starting a group costs, in word pieces: some 9 ms beside 0.2 ms a piece, on one core in 8-bit integers.
GROUP_COST = 40


def by_length(lengths: Sequence[int], cost: int = GROUP_COST) -> list[list[int]]:
    """Positions of the texts in groups, short texts first, so that the padded pieces and `cost` a group are least.

    Exact: groups of the least sum are runs of the texts in order of length, so the best cut before each text follows
    from the best cuts before the shorter ones. Quadratic in the number of texts, which is some hundreds at most.
    """
    order = sorted(range(len(lengths)), key=lambda at: lengths[at])
    least, cut = [0], [0]
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        total, start = min((least[at] + cost + (end - at) * longest, at) for at in range(end))
        least.append(total)
        cut.append(start)
    groups: list[list[int]] = []
    end = len(order)
    while end:
        groups.insert(0, order[cut[end] : end])
        end = cut[end]
    return groups
