"""Sums are exact, whatever the order of their parts."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prefeq.llm.sums import ExactSum

PARTS = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=30)


def total(parts: list[float]) -> ExactSum:
    found = ExactSum()
    for part in parts:
        found.add(part)
    return found


@given(PARTS, st.integers(1, 10**9))
@example([5e-324, -5e-324, 1e308, 1e308], 3)
@example([1e308] * 30, 1)
def test_sums_and_means_are_rounded_once(parts: list[float], count: int) -> None:
    exact = sum(map(Fraction, parts), Fraction(0)) / count
    try:
        true = float(exact)
    except OverflowError:
        true = math.inf if exact > 0 else -math.inf
    assert total(parts).mean(count) == true


@given(PARTS, st.randoms())
def test_any_order_and_grouping_is_the_same_sum(parts: list[float], random: Any) -> None:
    pieces = [total([part]) for part in parts] or [ExactSum()]
    random.shuffle(pieces)
    while len(pieces) > 1:
        pieces.append(pieces.pop(0).merge(pieces.pop()))
    assert pieces[0] == total(parts) == ExactSum.from_plain(total(parts).to_plain())


@pytest.mark.parametrize(
    ("parts", "value"),
    [
        ([math.inf, 1.0], math.inf),
        ([-math.inf, 1e308, 1e308], -math.inf),
        ([math.inf, -math.inf], None),
        ([math.nan], None),
        ([], 0.0),
    ],
)
def test_infinities(parts: list[float], value: float | None) -> None:
    assert total(parts).value() == value
    assert ExactSum().mean(0) is None


def test_differences() -> None:
    assert total([1e16, 1.0]).less(total([1e16])).value() == 1.0
    assert total([math.inf]).less(total([math.inf])).value() is None
