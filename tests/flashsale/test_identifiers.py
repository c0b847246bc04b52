"""The shared table of identifiers: every rule's own example, wide digits, text that no UTF-8 can hold."""

from __future__ import annotations

import pytest

from flashsale.identifiers import Rule, identifiers, mask_identifiers


@pytest.mark.parametrize("rule", identifiers(), ids=lambda rule: rule.name)
def test_every_rule_shows_what_it_does(rule: Rule) -> None:
    given, expected = rule.example
    assert rule.mask and f"<{rule.mask}>" in expected
    assert mask_identifiers(given) == expected


def test_full_width_digits_are_digits() -> None:
    assert mask_identifiers("电话１３８１２３４５６７８") == "电话<phone>"


def test_half_a_surrogate_pair_is_no_error() -> None:
    assert mask_identifiers("a\ud800b 13812345678") == "a?b <phone>"
