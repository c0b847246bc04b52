"""Near-duplicates against exact Jaccard similarity of all pairs."""

from __future__ import annotations

import random
import time

import numpy as np
import pyarrow as pa

from flashsale.corpora import load_sentences
from spark_jobs.minhash import BANDS, FEW, HASHES, ROWS, THRESHOLD, Signatures, earliest, roots, signatures


def shingles(text: str) -> list[str]:
    letters = [c.lower()[0] for c in text if c.isalnum()]
    found = []
    for i in range(1, len(letters)):
        if letters[i - 1] >= "\u2e80" and letters[i] >= "\u2e80":
            found.append("".join(letters[i - 1 : i + 1]))
        elif i >= 2:
            found.append("".join(letters[i - 2 : i + 1]))
    return found or (["".join(letters)] if letters else [])


def oracle(texts: list[str]) -> list[int]:
    """The same greedy rule with every kept text compared."""
    sets = [set(shingles(t)) for t in texts]
    kept: list[int] = []
    answer = []
    for i, text in enumerate(texts):
        bar = 1.0 if len(shingles(text)) < FEW else THRESHOLD
        hit = [j for j in kept if sets[i] and len(sets[i] & sets[j]) >= bar * len(sets[i] | sets[j])]
        answer.append(hit[0] if hit else -1)
        if not hit:
            kept.append(i)
    return answer


def noisy(rng: random.Random, text: str) -> str:
    chars = list(text)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(chars))
        chars[at : at + rng.randrange(2)] = rng.choice(["a", "的", "!", "", "好"])
        chars = chars or ["x"]
    return "".join(chars)


def corpus(rows: int, base: int) -> list[str]:
    rng = random.Random(5)
    texts = [t for t in load_sentences()["text"].to_pylist() if len(t) < 300]
    pool = rng.sample(texts, base)
    return [noisy(rng, rng.choice(pool)) for _ in range(rows)]


def test_kept_and_dropped_are_those_of_exact_jaccard() -> None:
    texts = corpus(1500, 700)
    found = earliest(pa.array(texts), signatures(pa.array(texts))).tolist()
    truth = oracle(texts)
    assert sum(t >= 0 for t in truth) > 300
    assert sum(a == b for a, b in zip(found, truth, strict=True)) >= 0.995 * len(texts)
    sets = [set(shingles(t)) for t in texts]
    for row, keeper in enumerate(found):  # precision is 1: whatever is dropped is as alike as it must be
        if keeper >= 0:
            assert len(sets[row] & sets[keeper]) >= THRESHOLD * len(sets[row] | sets[keeper])
            assert found[keeper] == -1


def test_case_marks_and_width_make_no_difference_and_a_word_does() -> None:
    texts = ["Great phone", "great PHONE!!", "质量很好", "质量不好", "!!", "??", "!!", "好", "坏"]
    assert roots(pa.array(texts)).tolist() == [0, 0, 2, 3, 4, 5, 4, 7, 8]


def test_signatures_do_not_hang_on_slices_or_threads() -> None:
    texts = pa.array(corpus(400, 300))
    whole = signatures(texts)
    parts = Signatures.join([signatures(texts.slice(0, 100)), signatures(texts.slice(100))])
    assert np.array_equal(whole.bands, parts.bands) and np.array_equal(whole.sketch, parts.sketch)
    assert np.array_equal(whole.bands, signatures(texts, threads=2).bands)
    assert BANDS * ROWS == HASHES


def test_a_viral_text_costs_one_comparison_a_copy() -> None:
    rng = random.Random(1)
    viral = "这款耳机的音质真的超出预期,降噪效果也很好,戴一整天都不会痛,推荐大家在双十一的时候买"
    copies = [viral + rng.choice("abcdefgh") + str(i) for i in range(20_000)]
    signed = signatures(pa.array(copies))
    began = time.process_time()
    found = earliest(pa.array(copies), signed)
    assert time.process_time() - began < 5  # all pairs would take minutes
    assert (found[1:] == 0).mean() > 0.99


def test_a_full_bucket_stays_bounded() -> None:
    rng = random.Random(2)
    stem = "your parcel has been handed over to the carrier and will reach you soon, thank you for your order number "
    texts = pa.array([stem + "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=80)) for _ in range(6000)])
    signed = signatures(texts)
    began = time.process_time()
    found = earliest(texts, signed)
    assert time.process_time() - began < 5
    assert (found < 0).mean() > 0.9  # alike by a half only: kept
