"""Which rules a text may match, told from one look at its bytes.

Each rule names up to two sets of literals; one of each stands in every match. An Aho-Corasick automaton (Aho and
Corasick 1975) finds all of them in one pass, so that a rule's pattern is run on the few texts that may match it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from flashsale.identifiers import Rule
from spark_jobs.kernels import gates

Bits = NDArray[np.uint64]


def automaton(literals: Sequence[Sequence[str]]) -> tuple[NDArray[np.uint32], Bits, np.uint32]:
    """Transitions as `kernels.gates` reads them, what each state has found, and where those that found any begin.

    Bit i stands for any of `literals[i]`.

    Upper-case ASCII letters are read as lower-case ones; literals are in lower case.
    """
    children: list[dict[int, int]] = [{}]
    found = [0]
    for bit, words in enumerate(literals):
        for word in words:
            state = 0
            for byte in word.encode():
                if byte not in children[state]:
                    children[state][byte] = len(children)
                    children.append({})
                    found.append(0)
                state = children[state][byte]
            found[state] |= 1 << bit
    step = np.zeros((len(children), 256), np.int32)
    fails = [0] * len(children)
    queue = deque([0])
    while queue:
        state = queue.popleft()
        step[state] = step[fails[state]] if state else 0
        found[state] |= found[fails[state]] if state else 0
        for byte, child in children[state].items():
            fails[child] = int(step[fails[state], byte]) if state else 0
            step[state, byte] = child
            queue.append(child)
    step[:, ord("A") : ord("Z") + 1] = step[:, ord("a") : ord("z") + 1]
    bits = np.array(found, np.uint64)
    order = np.argsort(bits != 0, kind="stable")  # the root stays first, states that found something come last
    place = np.argsort(order)
    return (place[step[order]] * 256).astype(np.uint32).ravel(), bits[order], np.uint32(256 * (bits == 0).sum())


@cache
def _automaton(rules: tuple[Rule, ...]) -> tuple[NDArray[np.uint32], Bits, np.uint32]:
    if len(rules) + sum(bool(rule.also) for rule in rules) > 64:
        raise ValueError("a mask of 64 bits holds 64 sets of literals")
    return automaton([rule.needs for rule in rules] + [rule.also for rule in rules if rule.also])


def candidates(
    rules: tuple[Rule, ...], offsets: NDArray[np.int32], data: NDArray[np.uint8]
) -> tuple[Bits, NDArray[np.uint8]]:
    """For every text the sets of literals it has one of, a bit each, and the most digits it has in one span."""
    return gates(offsets, data, *_automaton(rules))


def may_match(rules: tuple[Rule, ...], index: int, bits: Bits, digits: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which texts the pattern of a rule has to be run on."""
    rule = rules[index]
    wanted = 1 << index if rule.needs else 0
    if rule.also:
        wanted |= 1 << len(rules) + sum(bool(before.also) for before in rules[:index])
    return (digits >= rule.digits) & (bits & np.uint64(wanted) == np.uint64(wanted))
