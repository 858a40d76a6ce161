"""The second computations agree with the package's solvers, and fail where they should."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from mpmath import mp

import prefeq as pq
from prefeq.bundle import bandits, registry
from prefeq.bundle.arithmetic import BALLS, POINTS
from prefeq.bundle.recompute import finite, implications
from prefeq.bundle.registry import FINITE, Item, Problem
from prefeq.claims import gallery

PROBLEMS = [
    Problem(i.reward, i.ref, i.beta, i.pairs, labels)
    for i in gallery.GALLERY
    for labels in ("bradley-terry", "ordered")
]


def item(step, **inputs):
    return Item("any", "any", "exact", step, inputs, None)


def solved(problem):
    bandit = pq.Bandit.from_probs(
        reward=[float(r) for r in problem.reward],
        ref=[float(p) for p in problem.ref],
        beta=float(problem.beta),
    )
    make = {"ordered": pq.Preferences.ordered, "bradley-terry": pq.Preferences.bradley_terry}
    prefs = make[problem.labels](bandit, pairs=[list(pair) for pair in problem.pairs])
    return pq.solve_rlhf(bandit), pq.solve_dpo(bandit, prefs), bandit, prefs


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: f"{len(p.pairs)} {p.labels}")
def test_rlhf_and_dpo_agree_with_the_solvers(problem):
    rlhf, dpo, bandit, prefs = solved(problem)
    with mp.workdps(60):
        logp = bandits.rlhf_logp(problem)
        np.testing.assert_allclose([float(z) for z in logp], rlhf.logp, atol=1e-12)
        assert abs(mp.fsum(mp.exp(z) for z in logp) - 1) < mp.mpf(10) ** -58
        assert len(bandits.components(problem)) == prefs.components(bandit).max() + 1
        assert bandits.has_minimiser(problem) == (dpo.logp is not None)
        if dpo.logp is None:
            with pytest.raises(ValueError, match="no finite minimiser"):
                bandits.descent_limit(problem)
        else:
            limit = bandits.descent_limit(problem)
            np.testing.assert_allclose([float(z) for z in limit], dpo.logp, atol=1e-9)
            slopes = bandits.slopes(problem, limit)
            assert max(abs(s) for s in slopes) < mp.mpf(10) ** -50


def test_rlhf_far_out():
    problem = Problem(
        (Fraction(0), Fraction(800)), (Fraction(1, 2), Fraction(1, 2)), Fraction(1), ((0, 1),), ""
    )
    with mp.workdps(60):
        (margin,) = bandits.margins(problem, bandits.rlhf_logp(problem))
        assert abs(margin + 800) < mp.mpf(10) ** -50


def test_the_pair_loss_is_exact_in_both_tails():
    with mp.workdps(60):
        for z in (-800, -1, 0, 1, 800):
            z = mp.mpf(z)
            with mp.workdps(800):
                want = mp.log(1 + mp.exp(-z)) / 4 + 3 * mp.log(1 + mp.exp(z)) / 4
            assert abs(bandits.pair_loss(z, mp.mpf(1) / 4) - want) <= want * mp.mpf(10) ** -57
        assert abs(bandits.pair_loss(mp.mpf(800), 1) / mp.exp(-800) - 1) < mp.mpf(10) ** -50


@pytest.mark.parametrize("step", ["incidence-kernel", "acyclic-heights"])
def test_finite_steps_count_and_hold(step):
    numbers, holds = FINITE[step](item(step, largest_K=4))
    want = {"count": 75, "connected": 44} if step == "incidence-kernel" else {"count": 571}
    assert (numbers, holds) == (want, True)


@pytest.mark.parametrize(
    ("name", "wrong", "step"),
    [
        ("_parts", lambda size, edges: size - len(edges), "incidence-kernel"),
        ("_rank", lambda matrix: len(matrix) - 1, "incidence-kernel"),
        ("_path_lengths", lambda size, edges: [0] * size, "acyclic-heights"),
        ("_path_lengths", lambda size, edges: None, "acyclic-heights"),
        ("_positive_cycle", lambda size, margins: False, "feasible-iff-no-positive-cycle"),
    ],
)
def test_a_finite_step_that_is_false_does_not_hold(monkeypatch, name, wrong, step):
    monkeypatch.setattr(finite, name, wrong)
    assert FINITE[step](item(step, largest_K=3, margins=[-1, 0, 1]))[1] is False


def test_implications_decide_each_instance():
    inputs = {
        "condition": "assumption",
        "conclusion": "dpo-is-rlhf",
        "part": "if",
        "instances": [
            {
                "reward": ["2", "1", "0", "-1"],
                "ref": ["1/4"] * 4,
                "beta": "1",
                "pairs": [[0, 1], [2, 3]],
                "labels": "bradley-terry",
            }
        ],
    }
    numbers, holds = implications.implication(item(None, **inputs))
    assert (numbers, holds) == ({"count": 1, "hypothesis_held": 1}, False)
    converse = {**inputs, "part": "only-if"}
    assert implications.implication(item(None, **converse)) == (
        {"count": 1, "hypothesis_held": 0},
        True,
    )
    assert implications.never(item(None, **inputs)) == ({"count": 1}, False)
    assert implications.never(item(None, **converse)) == ({"count": 1}, True)
    empty = {**inputs, "instances": []}
    assert implications.implication(item(None, **empty))[1] is False
    assert implications.never(item(None, **empty))[1] is False


def test_both_arithmetics_have_the_same_functions():
    for name in ("exp", "log", "log1p", "sqrt", "sinh", "cosh", "tanh"):
        in_ball = getattr(BALLS, name)(BALLS.exact("7/10"))
        in_point = getattr(POINTS, name)(POINTS.exact("7/10"))
        assert abs(float(in_ball) - float(in_point)) < 1e-14, name
    for name in ("min", "max"):
        args = ("1/3", "1/2")
        in_ball = getattr(BALLS, name)(*map(BALLS.exact, args))
        assert float(in_ball) == float(getattr(POINTS, name)(*map(POINTS.exact, args)))


def test_nothing_is_registered_twice():
    with pytest.raises(ValueError, match="computed twice"):
        registry.number("margin")(lambda item: 0)
    with pytest.raises(ValueError, match="checked twice"):
        registry.finite("never")(lambda item: ({}, True))
    with pytest.raises(ValueError, match="written twice"):
        registry.boxed("loss-below-ln-2")(lambda m, z: z)
