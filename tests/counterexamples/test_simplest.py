"""Simple numbers against brute force."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefeq.counterexamples.simplest import (
    allowed,
    between,
    cost,
    plain,
    plain_probs,
    simpler,
    simpler_probs,
    size,
    weigh_probs,
)

fractions = st.fractions(-50, 50, max_denominator=60)


@given(fractions, fractions)
def test_between_has_the_smallest_denominator(a: Fraction, b: Fraction) -> None:
    low, high = sorted((a, b))
    found = between(low, high)
    assert low <= found <= high
    for d in range(1, found.denominator):
        assert not any(
            low <= Fraction(n, d) <= high for n in range(int(low * d) - 1, int(high * d) + 2)
        )
    if found:
        others = range(1, abs(found.numerator))
        assert not any(low <= Fraction(n, found.denominator) <= high for n in others if found > 0)


def test_between_refuses_an_empty_interval() -> None:
    with pytest.raises(ValueError, match="no number between 1 and 0"):
        between(Fraction(1), Fraction(0))


@pytest.mark.parametrize("kind", ["real", "positive", "negative", "nonnegative", "unit", "integer"])
@given(value=fractions)
def test_simpler_numbers_are_simpler_and_of_the_kind(kind, value) -> None:
    for option in simpler(value, kind):
        assert allowed(option, kind)
        assert (cost(option), size(option)) < (cost(value), size(value))
    assert all(allowed(x, kind) for x in plain(kind))


def test_simpler_numbers_come_near() -> None:
    value = Fraction(314159, 100000)
    distance = min(abs(option - value) for option in simpler(value))
    assert 0 < distance < Fraction(1, 1000)


def test_people_write_powers_of_ten() -> None:
    order = [Fraction(x) for x in ("0", "1", "2", "10", "100", "99", "99/100")]
    weights = [(cost(x), size(x)) for x in order]
    assert weights == sorted(set(weights))


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=6))
def test_simpler_probabilities_are_probabilities(weights: list[int]) -> None:
    probs = tuple(Fraction(w, sum(weights)) for w in weights)
    for option in simpler_probs(probs):
        assert sum(option) == 1
        assert min(option) > 0
        assert len(option) == len(probs)
        assert weigh_probs(option) < weigh_probs(probs)


def test_the_uniform_is_the_simplest() -> None:
    for k in range(1, 7):
        assert plain_probs(k)[0] == (Fraction(1, k),) * k
