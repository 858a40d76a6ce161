"""What is drawn is valid, and both the structured and the random kinds are drawn."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest

from prefeq.claims.gallery import acyclic, connected
from prefeq.counterexamples import draws
from prefeq.counterexamples.simplest import allowed
from prefeq.counterexamples.sources import RandomSource

KINDS = ("real", "positive", "negative", "nonnegative", "unit", "integer")


def many(count: int = 2000, seed: int = 0) -> list[RandomSource]:
    source = RandomSource(seed)
    return [source] * count


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_stay_in_their_domain(kind: draws.Kind) -> None:
    drawn = [draws.number(source, kind) for source in many()]
    assert all(allowed(x, kind) for x in drawn)
    assert len(set(drawn)) > 30
    assert Fraction(1, 2) in drawn or Fraction(1) in drawn or Fraction(-1) in drawn


def test_numbers_reach_both_ends_and_the_middle() -> None:
    sizes = {abs(draws.number(source)) for source in many(4000)}
    assert 0 in sizes
    assert min(sizes - {0}) == Fraction(1, 10**9)
    assert max(sizes) == 10**6
    assert sum(Fraction(1, 1000) <= x < 1000 for x in sizes) > 500


def test_near_is_at_the_value_or_on_either_side() -> None:
    value = Fraction(3, 7)
    drawn = [draws.near(source, value) for source in many()]
    assert value in drawn
    assert any(0 < x - value < Fraction(1, 10**5) for x in drawn)
    assert any(0 < value - x < Fraction(1, 10**5) for x in drawn)


def test_policies_are_positive_and_sum_to_one() -> None:
    for k in range(1, 6):
        drawn = [draws.policy(source, k) for source in many(400, seed=k)]
        assert all(len(p) == k and sum(p) == 1 and min(p) > 0 for p in drawn)
        assert (Fraction(1, k),) * k in drawn
        assert k == 1 or min(map(min, drawn)) < Fraction(1, 10**5)


@pytest.mark.parametrize("shape", draws.SHAPES)
def test_graphs_have_their_shape(shape: draws.Shape) -> None:
    for k, source in itertools.product(range(2, 6), many(50)):
        pairs = draws.graph(source, k, shape)
        made = draws.instance(source, min_responses=k, max_responses=k, shapes=[shape])
        assert pairs
        assert all(0 <= w < k and 0 <= lo < k and w != lo for w, lo in pairs)
        assert len(made.pairs) > 0
        assert made.size == k
        if shape in draws.ACYCLIC:
            assert acyclic(made)
        if shape in draws.CONNECTED:
            assert connected(made)
        if shape in ("cycle", "both-orders"):
            assert not acyclic(made)


def test_instances_are_valid_and_varied() -> None:
    drawn = [draws.instance(source) for source in many()]
    for made in drawn:
        assert sum(made.ref) == 1
        assert min(made.ref) > 0
        assert made.beta > 0
        assert 2 <= made.size <= 5
        made.preferences().check(made.bandit())
    assert {made.labels for made in drawn} == {"ordered", "bradley-terry"}
    assert any(made.gap(0) == 0 for made in drawn)
    for sign in (1, -1):
        agrees = [
            all(sign * made.gap(k) * (made.ref_ratio(k) - 1) > 0 for k in _all(made))
            for made in drawn
            if made.size > 2
        ]
        assert sum(agrees) > 200


def _all(made: draws.Instance) -> range:
    return range(len(made.pairs))


def test_instances_are_as_asked() -> None:
    for source in many(500):
        made = draws.instance(
            source, labels="ordered", max_responses=3, by_reward=True, distinct=True
        )
        assert made.labels == "ordered"
        assert made.size <= 3
        assert all(made.gap(k) > 0 for k in _all(made))


def test_one_margin_a_pair() -> None:
    for source in many(300):
        made = draws.instance(source)
        assert len(draws.margins(source, made)) == len(made.pairs)
