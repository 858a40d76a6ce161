"""The same cases, drawn by hypothesis: theorems are never violated, certificates agree."""

from __future__ import annotations

import math

import pytest
from counterexamples.test_search import PROVED, READINGS, REFUTABLE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefeq import strategies
from prefeq.counterexamples.shrink import violation
from prefeq.counterexamples.targets import select
from prefeq.errors import ProblemError

CLEAR = 1e-6
few = settings(max_examples=10, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", PROVED)
@few
@given(data=st.data())
def test_a_theorem_is_never_violated(name: str, data) -> None:
    (target,) = select(name)
    case = data.draw(strategies.cases(target.claim, target.reading.label))
    assert violation(target.falsifier, case) <= 0


@pytest.mark.parametrize("name", READINGS)
@few
@given(data=st.data())
def test_floats_and_certificates_agree_where_it_is_clear(name: str, data) -> None:
    (target,) = select(name)
    case = data.draw(strategies.cases(target.claim, target.reading.label))
    amount = violation(target.falsifier, case)
    if CLEAR < abs(amount) < math.inf:  # floats may refuse what exact arithmetic decides
        assert target.falsifier.certify(case).holds == (amount > 0)


def test_hypothesis_finds_and_shrinks_a_counterexample() -> None:
    from hypothesis import find

    assert "margin-ranking/zero-limit-loss-ranks" in REFUTABLE
    (target,) = select("margin-ranking/zero-limit-loss-ranks")
    drawn = strategies.cases(target.claim, target.reading.label)
    case = find(drawn, lambda case: violation(target.falsifier, case) > 0)
    assert target.falsifier.certify(case).holds


def test_a_part_must_be_named() -> None:
    with pytest.raises(ProblemError, match=r"name one: non-empty \(if\), non-empty \(only-if\)"):
        strategies.cases("undesirable-space", "non-empty")
