"""A table of planted bugs in the penalty solver: each turns one of its checks red.

A bug is one change of the source of one function: (owner, name, old text, new text, check).
"""

from __future__ import annotations
import __future__

import inspect
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from solvers import checks as shared
from solvers import penalty_checks as checks
from solvers import penalty_oracle as oracle

import prefeq as pq
from prefeq import _penalty, margins
from prefeq.solvers import penalty, penalty_curve, penalty_objective, penalty_points

_rng = np.random.default_rng(5)  # drawn here, before any bug is planted
DRAWN = [checks.problem(_rng, k=k) for k in (2, 3, 3, 4)]
while len(DRAWN) < 8:  # several responses that lose
    _problem = checks.problem(_rng, k=4)
    if np.sum(pq.solvers.net_degree(*_problem) < 0) > 1:
        DRAWN.append(_problem)
TIED = [checks.problem(_rng, k=4, ties=True) for _ in range(4)]
HEAVIER = (
    pq.Bandit.from_probs(reward=[0, 0, 0], ref=[0.6, 0.1, 0.3], beta=1.0),
    pq.Preferences([0, 0], [1, 2], mass=[0.5, 1.5]),
)
SYMMETRIC = pq.Bandit([0] * 3, [0] * 3, 1.0), pq.Preferences([0, 0], [1, 2])
TWO, PAIR = pq.Bandit([0, 2], [0, 0], 0.5), pq.Preferences([0], [1], mass=[3.0])


def the_fold_is_right() -> None:
    for problem in (*DRAWN, HEAVIER):
        checks.fold(*problem)


def the_maximum_is_right() -> None:
    for problem in DRAWN:
        for share in (0.2, 0.9, 0.9999):
            checks.local_maximum(*problem, share)


def it_is_on_the_branch() -> None:
    for problem in (*DRAWN, HEAVIER):
        checks.on_the_branch(*problem, 0.97)


def none_is_missing() -> None:
    rng = np.random.default_rng(6)
    for problem in (*DRAWN, *TIED, SYMMETRIC):
        for share in (0.6, 0.99, 1.02):
            checks.complete(*problem, share, rng)


def it_rises_for_ever() -> None:
    for problem in DRAWN:
        checks.rising(*problem, 0.7)


def the_value_is_right() -> None:
    for bandit, pairs in DRAWN:
        raw = oracle.Raw.of(bandit, pairs)
        rows = np.log([[0.7, 0.3], [0.01, 0.99]]) if bandit.K == 2 else bandit.ref_logp[None]
        found = pq.solvers.penalty_value(bandit, pairs, 0.7, rows)
        top = float(pq.solve_rlhf(bandit).value)
        want = top + bandit.beta * oracle.objective(raw, 0.7, rows)
        np.testing.assert_allclose(found, want, rtol=1e-10)


def rounding_is_no_degree() -> None:
    cancel = pq.Preferences([0, 0, 1], [1, 1, 0], mass=[0.1, 0.2, 0.3])
    assert pq.solve_penalty(TWO, cancel, 1.0).status is pq.Status.OPTIMAL
    uneven = pq.Preferences([0, 1, 1], [1, 0, 2], mass=[1.0, 1.0, 1e-17])
    three = pq.Bandit([0] * 3, [0] * 3, 1.0)
    assert pq.solve_penalty(three, uneven, 1.0).component == (2,)


def two_responses_agree() -> None:
    end = float(margins.penalty_fold(-4.0, 0.5, 3.0)[1])
    bandit = pq.Bandit([0, 2], [0, 0], 0.5)
    branch = pq.solvers.penalty_branch(bandit, PAIR)
    assert branch.fold_gamma == pytest.approx(end, rel=1e-13)
    for share in (0.1, 0.9, 0.9999):
        found = pq.solve_penalty(bandit, PAIR, share * end).margin(PAIR)[0]
        delta = float(margins.penalty_margin(-4.0, 0.5, share * end, 3.0))
        assert found == pytest.approx(delta, abs=1e-12)
    critical = float(margins.penalty_critical_gamma(-4.0, 0.5, 3.0))
    assert abs(pq.solve_penalty(bandit, PAIR, critical).margin(PAIR)[0]) <= 1e-14


CHECKS = (
    the_fold_is_right,
    the_maximum_is_right,
    it_is_on_the_branch,
    none_is_missing,
    it_rises_for_ever,
    the_value_is_right,
    rounding_is_no_degree,
    two_responses_agree,
)

CURVE, SHEET, PROBLEM = penalty_curve.Curve, penalty_points._Sheet, penalty.Problem
BUGS: dict[str, tuple[Any, str, str, str, Callable[[], None]]] = {
    "winner and loser swapped": (
        penalty_objective,
        "degrees_of",
        "met[w].append(m)\n            met[lo].append(-m)",
        "met[w].append(-m)\n            met[lo].append(m)",
        the_value_is_right,
    ),
    "and in the solver": (
        PROBLEM,
        "__init__",
        "(d > 0) - (d < 0)",
        "(d < 0) - (d > 0)",
        the_maximum_is_right,
    ),
    "degrees of one side": (
        penalty_objective,
        "degrees_of",
        "met[lo].append(-m)",
        "pass",
        it_rises_for_ever,
    ),
    "rounding kept": (penalty_objective, "degrees_of", "EPS *", "0 *", rounding_is_no_degree),
    "rounding hides a loss": (
        penalty_objective,
        "degrees_of",
        "return clean if min(clean) < 0 or max(clean) <= 0 else exact",
        "return [d if abs(d) > EPS else 0.0 for d in exact]",
        rounding_is_no_degree,
    ),
    "gamma dropped": (
        penalty_objective,
        "penalty_value",
        "gamma * weight",
        "1.0 * weight",
        the_value_is_right,
    ),
    "winners sink": (penalty, "_solve_one", "np.argmin", "np.argmax", it_rises_for_ever),
    "winners rise": (penalty, "_solve_one", "= -1.0", "= 1.0", it_rises_for_ever),
    "beta dropped": (PROBLEM, "__init__", "math.log(self.beta)", "0.0", the_maximum_is_right),
    "reference for RLHF": (
        PROBLEM,
        "__init__",
        "rlhf_logp(bandit)",
        "bandit.ref_logp",
        the_fold_is_right,
    ),
    "a residual that sees no penalty": (PROBLEM, "residual", "- pull", "", the_maximum_is_right),
    "the fold at the joint": (
        CURVE,
        "fold",
        "return -bracketed",
        "return 0 * bracketed",
        the_fold_is_right,
    ),
    "the fold without weights": (CURVE, "fold", "self.weight(point)", "1.0", the_fold_is_right),
    "weights of the critical too": (
        CURVE,
        "weight",
        "if y != self.critical",
        "if y >= 0",
        the_fold_is_right,
    ),
    "any tied loser goes first": (CURVE, "__init__", "max(tied", "min(tied", the_fold_is_right),
    "ties never pass the joint": (CURVE, "fold", "rivals >= 1", "rivals > 0", the_fold_is_right),
    "the least critical first": (CURVE, "__init__", "top = max(", "top = min(", the_fold_is_right),
    "critical by the wrong sign": (
        CURVE,
        "__init__",
        "log_a[y] - target[y]",
        "log_a[y] + target[y]",
        the_fold_is_right,
    ),
    "the branch stops at the joint": (
        PROBLEM,
        "branch",
        "fold = self.curve.fold()",
        "fold = 0.0",
        the_maximum_is_right,
    ),
    "upper for lower": (
        CURVE,
        "log_q",
        "lower(distance) if low",
        "upper(distance) if low",
        none_is_missing,
    ),
    "the other coordinates lowered": (
        CURVE,
        "log_q",
        "if low else upper",
        "if not low else upper",
        the_fold_is_right,
    ),
    "slopes of winners": (CURVE, "log_q", "1 / (1 + math.exp(-root))", "1.0", the_fold_is_right),
    "Newton stops early": (penalty_curve, "single", "range(60)", "range(2)", the_fold_is_right),
    "and on both roots": (penalty_curve, "_descend", "range(60)", "range(2)", the_fold_is_right),
    "a loose bracket": (penalty_curve, "bracketed", "2 * EPS", "1e-4", the_fold_is_right),
    "one sheet only": (penalty_points, "_sheets", "len(others) + 1", "1", none_is_missing),
    "the lower half forgotten": (SHEET, "roots", ", (lower(top), 0.0)", "", none_is_missing),
    "the range cut": (SHEET, "_reach", "base[y] - (sign", "base[y] - 1 - (sign", none_is_missing),
    "monotone where it is not": (SHEET, "roots", "(down > 0 or up < 0)", "True", none_is_missing),
    "bounds of S too tight": (SHEET, "_enclose", "high + p[1]", "high + p[0]", none_is_missing),
    "every point a maximum": (
        penalty_points,
        "_point",
        "maximum and not double",
        "True",
        none_is_missing,
    ),
    "saddles of one lowered are maxima": (
        penalty_points,
        "_point",
        "low == 1 and",
        "low >= 1 and",
        none_is_missing,
    ),
    "the multiplier without gamma": (
        penalty_points,
        "_point",
        "+ sheet.log_gamma)",
        ")",
        none_is_missing,
    ),
    "gamma* of half": (
        _penalty,
        "penalty_critical_gamma",
        "margin / 4",
        "margin / 2",
        two_responses_agree,
    ),
    "the mass forgotten": (_penalty, "penalty_fold", "beta / mass", "beta", two_responses_agree),
    "cosh for sinh": (
        _penalty,
        "penalty_fold",
        "-xp.expm1(-2 * d)",
        "(1 + xp.exp(-2 * d))",
        two_responses_agree,
    ),
    "tanh for coth": (
        _penalty,
        "_fold",
        "1 / xp.tanh(d / 2)",
        "xp.tanh(d / 2)",
        two_responses_agree,
    ),
    "the margin of sinh": (
        _penalty,
        "_climb",
        "- 2 * softplus(xp, start + y)",
        "- softplus(xp, start + y)",
        two_responses_agree,
    ),
}


def rewritten(owner: Any, name: str, old: str, new: str) -> Any:
    """Return the function `name` of a module or class with one piece of its source changed."""
    right = inspect.unwrap(getattr(owner, name))
    source = textwrap.dedent(inspect.getsource(right))
    assert source.count(old) >= 1, (name, old)
    flags = __future__.annotations.compiler_flag
    made: dict[str, Any] = {}
    code = compile(source.replace(old, new), "<planted>", "exec", flags=flags, dont_inherit=True)
    exec(code, vars(sys.modules[right.__module__]), made)
    return made[name]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_without_a_bug_every_check_is_green(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize("bug", BUGS)
def test_every_planted_bug_turns_a_check_red(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, old, new, check = BUGS[bug]
    wrong = rewritten(owner, name, old, new)
    monkeypatch.setattr(owner, name, wrong)
    for module in (penalty, penalty_points, penalty_curve, margins, pq.solvers):
        if hasattr(module, name) and inspect.isfunction(wrong) and not inspect.isclass(owner):
            monkeypatch.setattr(module, name, wrong)
    shared.assert_red(check)


def test_a_rewriting_that_changes_nothing_is_noticed() -> None:
    with pytest.raises(AssertionError, match="no such text"):
        rewritten(penalty_curve, "single", "no such text", "")
    same = rewritten(penalty_curve, "single", "range(60)", "range(61)")
    assert same(1.0) == penalty_curve.single(1.0)
