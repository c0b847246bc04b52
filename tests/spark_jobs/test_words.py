"""Words of clean texts."""

from __future__ import annotations

import pyarrow as pa

from spark_jobs.words import words


def test_words_of_both_languages_without_masks_and_emoji() -> None:
    texts = ["这款手机真的很好用,推荐iPhone 15 <phone> :thumbs_up:", "It's great, don't buy <user> x2_3", None, "!!"]
    assert words(pa.array(texts), pa.array(["zh", "en", None, "other"])).to_pylist() == [
        ["这", "款", "手机", "真的", "很", "好", "用", "推荐", "iphone", "15"],
        ["it's", "great", "don't", "buy", "x2", "3"],
        None,
        [],
    ]
