"""Edits keep a case consistent: pairs, margins and policies follow the responses."""

from __future__ import annotations

from fractions import Fraction as F

import pytest
from counterexamples import toys
from hypothesis import given
from hypothesis import strategies as st

from prefeq.claims.instance import Instance
from prefeq.counterexamples import draws, edits
from prefeq.counterexamples.case import Case, Kind
from prefeq.counterexamples.refine import mutated
from prefeq.counterexamples.simplest import allowed
from prefeq.counterexamples.sources import HypothesisSource, RandomSource

CHAIN = Case(
    {"gamma": F(1, 2)},
    Instance.of("c", reward=[3, 2, 1], ref=["1/2", "1/3", "1/6"], pairs=[(0, 1), (1, 2), (0, 2)]),
    {"pi": (F(1, 4), F(1, 4), F(1, 2))},
    (F(5), F(6), F(7)),
)


def test_without_a_response() -> None:
    less = edits.without_response(CHAIN, 1)
    assert less.instance is not None
    assert less.instance.reward == (3, 1)
    assert less.instance.ref == (F(3, 4), F(1, 4))
    assert less.instance.pairs == ((0, 1),)
    assert less.margins == (7,)
    assert less.policies == {"pi": (F(1, 3), F(2, 3))}


def test_merged_responses_share_pairs_and_probability() -> None:
    less = edits.merged(CHAIN, 1, 0)
    assert less.instance is not None
    assert less.instance.reward == (3, 1)
    assert less.instance.ref == (F(5, 6), F(1, 6))
    assert less.instance.pairs == ((0, 1), (0, 1))
    assert less.margins == (6, 7)
    assert less.policies == {"pi": (F(1, 2), F(1, 2))}


def test_relabelled_is_the_same_instance() -> None:
    other = edits.relabelled(CHAIN, [2, 0, 1])
    assert other.instance is not None
    assert other.instance.reward == (1, 3, 2)
    assert other.instance.pairs == ((1, 0), (1, 2), (2, 0))
    assert other.margins == (7, 5, 6)
    assert edits.relabelled(other, [1, 2, 0]).margins == (5, 7, 6)


def test_every_place_is_read_where_it_is_written() -> None:
    for place in edits.scalars(CHAIN, {"gamma": "unit"}):
        changed = place.put(CHAIN, F(17, 3))
        assert place.get(changed) == F(17, 3)
        others = [p for p in edits.scalars(CHAIN, {"gamma": "unit"}) if p != place]
        assert all(p.get(changed) == p.get(CHAIN) for p in others)
    for simplex in edits.simplexes(CHAIN):
        probs = (F(1, 5), F(1, 5), F(3, 5))
        assert simplex.get(simplex.put(CHAIN, probs)) == probs


@st.composite
def whole_cases(draw) -> Case:
    return toys.everything(HypothesisSource(draw))


@given(whole_cases(), st.data())
def test_mutations_stay_consistent_and_in_their_kinds(case: Case, data) -> None:
    source = HypothesisSource(data.draw)
    for _ in range(5):
        case = mutated(source, case, {"p": "unit"})
        toys.assert_consistent(case)
        assert allowed(case.numbers["p"], "unit")


@pytest.mark.parametrize("kind", ["real", "positive", "negative", "nonnegative", "unit", "integer"])
def test_a_long_walk_stays_in_its_kind(kind: Kind) -> None:
    source = RandomSource(0)
    case = Case({"x": draws.number(source, kind)})
    seen = set()
    for _ in range(2000):
        case = mutated(source, case, {"x": kind})
        seen.add(case.numbers["x"])
        assert allowed(case.numbers["x"], kind)
    assert len(seen) > 30
    assert max(map(abs, seen)) <= 10**12


@given(whole_cases())
def test_reductions_stay_consistent(case: Case) -> None:
    made = case.instance
    assert made is not None
    fewer = [
        edits.without_response(case, made.size - 1),
        edits.merged(case, 0, made.size - 1),
        edits.merged(case, made.size - 1, 0),
        edits.without_pair(case, 0),
    ]
    for less in fewer:
        if less.instance is not None and less.instance.pairs:
            toys.assert_consistent(less)
    toys.assert_consistent(edits.relabelled(case, list(range(made.size))[::-1]))


def test_a_case_of_nothing_has_nothing_to_change() -> None:
    assert mutated(RandomSource(0), Case(), {}) == Case()
