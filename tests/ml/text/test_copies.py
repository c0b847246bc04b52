"""Near-copies of held-out sentences: what counts as one, and what is like it by chance."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ml.text import reading
from ml.text.copies import copies, rule, without_copies
from ml.text.data import Example, load_examples

HELD = [
    Example("这家酒店的房间很干净,早餐也很丰富,下次来还住这里。", "zh", 2, 0, ()),
    Example("The battery of this phone died after two weeks and nobody answered my mails.", "en", 0, 0, ()),
    Example("Great phone", "en", 2, 0, ()),
]


@pytest.mark.parametrize(
    ("text", "copy"),
    [
        ("這家酒店的房間很乾淨，早餐也很豐富，下次來還住這裡！", True),  # as the reading has it, the same
        ("这家酒店的房间很干净,早餐也很丰富,下次来还住这里。好评", True),  # two characters more
        ("the battery of this phone died after two weeks and nobody answered my mail", True),
        ("GREAT PHONE!!", True),
        ("Great phones", False),  # short ones are alike by chance
        ("这家酒店的房间很脏,早餐也没有,下次来不住这里了。", False),
        ("The battery of this camera is good, and they answered my mail within two hours.", False),
    ],
)
def test_what_counts_as_a_copy(text: str, copy: bool) -> None:
    plain = [
        Example(f"number {at} is something else altogether, said {at * 7} times", "en", 1, 0, ()) for at in range(60)
    ]
    assert copies([*plain, replace(HELD[0], text=text)], HELD) == ([60] if copy else [])


def test_another_reading_is_another_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found by one reading is not taken for what another finds."""
    before = rule()
    assert before == rule() and len(before) == 64
    table = reading.table()
    monkeypatch.setattr(reading, "table", lambda: table | {"signs": ""})
    assert rule() != before


def test_hardly_any_public_sentence_is_one_and_each_copy_is_found() -> None:
    train, test = load_examples("train")[:4000], load_examples("test")
    clean = without_copies(train, test)
    assert 0 <= len(train) - len(clean) < 10
    longer = [replace(e, text=f"{e.text}!!") for e in test]
    assert copies(longer, test) == list(range(len(test)))
