"""Terms of clean texts."""

from __future__ import annotations

import pyarrow as pa

from spark_jobs.terms import LONGEST, terms, terms_of


def test_words_and_neighbours_each_once_in_order() -> None:
    assert terms_of(["battery", "life", "battery", "life"]) == ["battery", "battery life", "life", "life battery"]


def test_numbers_short_and_endless_words_are_no_terms_but_may_stand_beside_one() -> None:
    assert terms_of(["15", "16"]) == []
    assert terms_of(["iphone", "15"]) == ["iphone", "iphone 15"]
    assert terms_of(["x" * (LONGEST + 1), "of"]) == []


def test_a_chinese_word_the_dictionary_lacks_is_seen_as_neighbours() -> None:
    assert terms_of(["绝", "绝", "子", "手机", "iphone"]) == ["iphone", "子手机", "手机", "手机 iphone", "绝子", "绝绝"]


def test_rows_keep_their_places() -> None:
    found = terms(pa.array(["手机很好", None, "!!", "great fun"]), pa.array(["zh", None, "other", "en"]))
    assert found.type == pa.list_(pa.string())
    rows = found.to_pylist()
    assert "手机" in rows[0] and rows[1:] == [None, [], ["fun", "great", "great fun"]]
