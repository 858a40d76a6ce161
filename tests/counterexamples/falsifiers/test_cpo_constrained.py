"""The attacks on `cpo-constrained` succeed where the package is broken."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from counterexamples.falsifiers import planted

from prefeq import margins, solvers
from prefeq.claims import cpo_theorems
from prefeq.claims.instance import Instance
from prefeq.counterexamples.case import Case
from prefeq.counterexamples.falsifiers import _constrained
from prefeq.solvers import cpo

HIGHER, LOWER = planted.lifted(0.5), planted.lifted(-0.5)

BUGS = (
    planted.Bug("unique-optimum", solvers, "solve_cpo", HIGHER),
    planted.Bug("meets-margins", solvers, "solve_cpo", LOWER),
    planted.Bug("rlhf (if)", solvers, "solve_cpo", HIGHER),
    planted.Bug("rlhf (only-if)", solvers, "solve_cpo", planted.rlhf_instead),
    planted.Bug("rlhf (only-if)", margins, "optimal_margin", planted.scaled(-1)),
    planted.Bug("rlhf-strict (if)", margins, "assumption_holds", planted.negated),
    planted.Bug("rlhf-strict (if)", solvers, "solve_cpo", HIGHER),
    planted.Bug("isotonic", solvers, "solve_cpo", HIGHER),
    planted.Bug("isotonic", solvers, "solve_cpo", planted.rlhf_instead),
    planted.Bug("strict-alignment (if)", solvers, "solve_cpo", planted.rlhf_instead),
    planted.Bug("strict-alignment (only-if)", solvers, "solve_cpo", planted.lifted(5.0)),
    planted.Bug("price", cpo, "objective", planted.scaled(1.1)),
    planted.Bug("block-form", solvers, "solve_cpo", HIGHER),
    planted.Bug("price-of-blocks", solvers, "solve_cpo", HIGHER),
    planted.Bug("price-zero-margin", solvers, "solve_cpo", HIGHER),
    planted.Bug("two-responses-price", margins, "price_of_alignment", planted.scaled(1.01)),
)


@pytest.mark.parametrize("bug", BUGS, ids=planted.name_of)
def test_a_planted_bug_is_seen(bug, monkeypatch):
    planted.assert_seen(monkeypatch, "cpo-constrained", bug)


def test_every_true_reading_has_a_bug():
    planted.assert_all_attacked("cpo-constrained", BUGS)


def _triangle(*margin):
    made = Instance.of(
        "a triangle",
        reward=[0, 1, 2],
        ref=["1/6", "1/3", "1/2"],
        pairs=[(0, 1), (1, 2), (2, 0)],
    )
    return Case(instance=made, margins=tuple(Fraction(m) for m in margin))


@pytest.mark.parametrize(
    ("margin", "largest"),
    [((1, 1, -2), 0), ((1, 1, -1), 1), ((-1, "-1/2", "-1/4"), "-7/4")],
)
def test_cycles_are_summed_exactly(margin, largest):
    case = _triangle(*margin)
    assert _constrained.largest_cycle(case) == Fraction(largest)
    assert _constrained.settles(case) == _constrained.feasible(case) == (Fraction(largest) <= 0)


def test_a_cycle_within_rounding_of_zero_is_left_alone():
    assert _constrained.feasible(_triangle("1/3", "1/3", "-2/3")) in (None, True)
    assert _constrained.feasible(_triangle(1, 1, Fraction(-2) + Fraction(1, 10**12))) is None


def _problem(made):
    return made.bandit(), made.preferences()


def test_no_feasible_policy_exceeds_the_dual_bound_at_any_price():
    case = _triangle(0, 0, -1)
    made, margin = case.instance, _constrained.given(case)
    best = solvers.solve_cpo(*_problem(made), margin=[0.0, 0.0, -1.0])
    for prices in ([0.0, 0.0, 0.0], [1.0, 2.0, 0.5], [0.1, 9.0, 3.0]):
        assert float(_constrained.dual_bound(made, margin, prices)) > best.value
    tight = _constrained.dual_bound(made, margin, best.multipliers.tolist())
    assert float(tight) == pytest.approx(best.value, rel=1e-12)


def test_isotonic_regression_in_floats_and_in_balls_is_one():
    made = _triangle(0, 0, 0).instance
    for graph in (made, dataclasses.replace(made, pairs=made.pairs[:2])):
        want = cpo_theorems.isotonic_policy(*_problem(graph))
        got = [float(z) for z in _constrained.isotonic(graph)]
        np.testing.assert_allclose(got, want, atol=1e-13)
