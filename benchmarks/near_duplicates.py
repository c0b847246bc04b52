"""Near-duplicates beside Rensa, a part of `benchmarks/text.py`: quality against exact Jaccard similarity, and time."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from benchmarks.harness import Result, compare
from spark_jobs.minhash import FEW, THRESHOLD, earliest, signatures

#: Rensa's settings that are tried: hash functions and bands.
SETTINGS = ((80, 20), (128, 32), (256, 64), (128, 16))


def shingles(text: str) -> list[str]:
    """Two Chinese characters or three other letters in a row, as `minhash` cuts a text, in Python."""
    letters = [c.lower()[0] for c in text if c.isalnum()]
    found = []
    for i in range(1, len(letters)):
        if letters[i - 1] >= "\u2e80" and letters[i] >= "\u2e80":
            found.append(letters[i - 1] + letters[i])
        elif i >= 2:
            found.append("".join(letters[i - 2 : i + 1]))
    return found or (["".join(letters)] if letters else [])


def reposts(sentences: list[str], rows: int, seed: int = 11) -> list[str]:
    """Distinct texts, some three of a kind: sentences with a few characters changed."""
    rng = np.random.default_rng(seed)
    pool = [t for t in sentences if 12 <= len(t) <= 300]
    # drawn from all of them, so that few are judged on what many are timed on: long reviews lie together, tweets too
    pool = [pool[i] for i in rng.permutation(len(pool))[: max(rows // 3, 100)]]
    found: dict[str, None] = {}
    while len(found) < rows:
        chars = list(pool[rng.integers(len(pool))])
        for _ in range(rng.integers(4)):
            at = rng.integers(len(chars))
            chars[at : at + rng.integers(2)] = rng.choice(list("ax的好 "))
        found["".join(chars)] = None
    return list(found)


def exact_drops(texts: list[str]) -> np.ndarray:
    """What is dropped when every text is held against every kept one before it, by exact Jaccard similarity."""
    sets = [set(shingles(text)) for text in texts]
    few = [len(shingles(text)) < FEW for text in texts]
    kept: list[int] = []
    dropped = np.zeros(len(texts), bool)
    for row, mine in enumerate(sets):
        bar = 1.0 if few[row] else THRESHOLD
        for other in kept:
            theirs = sets[other]
            least, most = sorted((len(mine), len(theirs)))
            if least >= bar * most and len(mine & theirs) >= bar * len(mine | theirs):
                dropped[row] = True
                break
        else:
            kept.append(row)
    return dropped


def quality(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Recall and precision of what is dropped."""
    both = float((found & truth).sum())
    return both / truth.sum(), both / found.sum()


def our_drops(texts: pa.Array) -> np.ndarray:
    """Ours, from texts to what is dropped."""
    return earliest(texts, signatures(texts)) >= 0


def rensa_drops(tokens: list[list[str]], hashes: int, bands: int) -> np.ndarray:
    """Rensa's deduplicator, from lists of shingles to what is dropped."""
    import rensa

    signed = rensa.RMinHash.from_token_sets(tokens, hashes, 42)
    kept = rensa.RMinHashDeduplicator(THRESHOLD, hashes, True, bands)
    return ~np.array(kept.add_pairs([(str(i), one) for i, one in enumerate(signed)]), bool)


def _harmonic(pair: tuple[float, float]) -> float:
    return 2 * pair[0] * pair[1] / (pair[0] + pair[1])


def rensa_setting(tokens: list[list[str]], truth: np.ndarray, aim: float) -> tuple[int, int]:
    """The fastest setting whose harmonic mean of recall and precision is within two points of `aim`, or the best."""
    tried = []
    for setting in SETTINGS:
        began = time.perf_counter()
        pair = quality(rensa_drops(tokens, *setting), truth)
        tried.append((time.perf_counter() - began, _harmonic(pair), setting))
        print(f"Rensa {setting}: recall {pair[0]:.4f}, precision {pair[1]:.4f}")
    enough = [t for t in tried if t[1] >= aim - 0.02]
    return min(enough)[2] if enough else max(tried, key=lambda t: t[1])[2]


def against_rensa(sentences: list[str], rows: int, judged: int, rounds: int) -> list[Result]:
    """Near-duplicates, on one thread each: quality on `judged` texts, time on `rows`."""
    texts = reposts(sentences, judged)
    truth = exact_drops(texts)
    pair = quality(our_drops(pa.array(texts)), truth)
    print(f"ours: recall {pair[0]:.4f}, precision {pair[1]:.4f} on {judged} texts, {truth.sum()} to drop")
    setting = rensa_setting([shingles(t) for t in texts], truth, _harmonic(pair))
    print(f"Rensa's setting: {setting[0]} hash functions in {setting[1]} bands")
    texts = reposts(sentences, rows)
    given, tokens = pa.array(texts), [shingles(t) for t in texts]

    def alike(a: np.ndarray, b: np.ndarray) -> bool:
        return float((a == b).mean()) > 0.95  # an estimate differs from the exact answer near the threshold

    def both(name: str, peer: Callable[[], np.ndarray]) -> Result:
        return compare(name, lambda: our_drops(given), peer, rounds=rounds, same=alike, work=rows, unit="texts/s")

    return [
        both("dedup_vs_rensa", lambda: rensa_drops(tokens, *setting)),
        both("dedup_vs_rensa_from_texts", lambda: rensa_drops([shingles(t) for t in texts], *setting)),
    ]
