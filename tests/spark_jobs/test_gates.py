"""A gate may let a text through for nothing, but never hold one back that a pattern matches."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flashsale.corpora import load_sentences
from spark_jobs.arrow import buffers
from spark_jobs.cleaning import Options, normalise, rules
from spark_jobs.gates import automaton, candidates, may_match
from spark_jobs.kernels import gates


def test_no_match_is_held_back() -> None:
    examples = [rule.example[0] for rule in rules()]
    both = [f"{a} {b}" for a in examples for b in examples]
    texts = pa.array([*both, *load_sentences()["text"].to_pylist()[::4], "QQ号 998877665", "CALL 5550101"], pa.string())
    plain, _ = normalise(texts, Options())
    bits, digits = candidates(rules(), *buffers(plain))
    for index, rule in enumerate(rules()):
        held = ~may_match(rules(), index, bits, digits)
        missed = plain.filter(pc.and_(pc.match_substring_regex(plain, rule.pattern), pa.array(held)))
        assert len(missed) == 0, (rule.name, missed[:3])


def test_most_texts_are_spared_most_patterns() -> None:
    plain, _ = normalise(pa.array(load_sentences()["text"].to_pylist()[::4], pa.string()), Options())
    bits, digits = candidates(rules(), *buffers(plain))
    asked = np.mean([may_match(rules(), i, bits, digits).mean() for i in range(len(rules()))])
    assert asked < 0.05


def test_overlapping_literals_are_all_found() -> None:
    made = automaton([["he"], ["she"], ["hers"], ["订单号"], []])
    bits, digits = gates(*buffers(pa.array(["SHERS", "xhe", "订单号 12-34 (5)", "nothing", "1    2"])), *made)
    assert bits.tolist() == [0b111, 0b1, 0b1000, 0, 0]
    assert digits.tolist() == [0, 0, 5, 0, 1]
