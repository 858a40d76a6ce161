"""How the readings of `cpo-penalty` are attacked: is Eq. 10 bounded above?"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from prefeq import solution, solvers
from prefeq.arrays import log_normalise
from prefeq.claims import cpo_penalty, penalty_paths, stationary
from prefeq.claims.ball import ball, sign
from prefeq.claims.evidence import Evidence
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Falsifier, Source
from prefeq.counterexamples.falsifiers import _common as common
from prefeq.counterexamples.falsifiers import _penalty as penalty

_KINDS = {**penalty.KINDS, "over": "nonnegative", "step": "positive"}

_draw_any = penalty.draw_graph(draws.SHAPES, 2, 4)


def _draw_balanced(source: Source) -> Case:
    """Draw a cycle, or both orders of a pair, and a policy."""
    case = penalty.draw_graph(("cycle", "both-orders"), 2, 4)(source)
    made = common.instance_of(case)
    return Case(case.numbers, made, {"pi": common.draw_policy(source, made)})


def _draw_climb(source: Source) -> Case:
    """Draw how far beyond the bound the climb starts, and how long it is."""
    case = _draw_any(source)
    more = {"over": draws.number(source, "nonnegative"), "step": draws.number(source, "positive")}
    return Case({**case.numbers, **more}, case.instance)


def _unbounded(case: Case) -> float:
    """Say 1 where the solver finds no maximiser, −1 where it finds one."""
    if not penalty.in_range(case):
        return common.OUTSIDE
    solved = penalty.Solved(case)
    found = solvers.solve_penalty(solved.bandit, solved.prefs, solved.gamma)
    return 1.0 if found.status is solution.Status.UNBOUNDED else -1.0


def _certify_unbounded(case: Case) -> Evidence:
    return penalty.decide(lambda c: cpo_penalty.against_optimum(c.instance, c.gamma), case)


def _balanced(case: Case) -> float:
    """Measure by how much a policy beats π* where every net degree is zero."""
    if not penalty.in_range(case) or any(stationary.net_degrees(common.instance_of(case))):
        return common.OUTSIDE
    solved = penalty.Solved(case)
    found = solvers.solve_penalty(solved.bandit, solved.prefs, solved.gamma)
    if found.status is not solution.Status.OPTIMAL:
        return 1.0
    logp = np.array(common.logs(case.policies["pi"]))
    value = [
        float(solvers.penalty_value(solved.bandit, solved.prefs, solved.gamma, row))
        for row in (logp, found.logp)
    ]
    size = 1 + abs(value[1]) + solved.gamma * solved.size + solved.beta * float(np.max(-logp))
    return (value[0] - value[1]) / size - common.ROUNDING


def _certify_balanced(case: Case) -> Evidence:
    made, gamma = common.instance_of(case), case.numbers["gamma"]
    if any(stationary.net_degrees(made)):
        return common.harmless(case, "a net degree is not zero")
    logp = case.policies["pi"]
    found = sign(
        lambda: (
            penalty_paths.objective(made, [ball(p).log() for p in logp], gamma) - made.rlhf_value()
        )
    )[0]
    answer = None if found is None else found > 0
    return common.harmless(case, "F = J, which no policy has larger than pi*", answer)


def _only_balanced(case: Case) -> float:
    """Say by how much the objective falls along the way up, where a net degree is not zero."""
    if not penalty.in_range(case):
        return common.OUTSIDE
    solved = penalty.Solved(case)
    found = solvers.solve_penalty(solved.bandit, solved.prefs, solved.gamma)
    if not any(stationary.net_degrees(solved.made)):
        return common.OUTSIDE
    if found.status is not solution.Status.UNBOUNDED:
        return 1.0
    climb = _climb(solved, found.direction, 0.0, 4.0 * _bound(solved))
    return -climb / (solved.gamma + abs(climb))


def _rises(case: Case) -> float:
    """Measure how far F falls between two log-odds beyond 2(|A − B| + β)/(γ|d|)."""
    if not penalty.in_range(case) or "over" not in case.numbers:
        return common.OUTSIDE
    if not any(stationary.net_degrees(common.instance_of(case))):
        return common.OUTSIDE
    solved = penalty.Solved(case)
    over, step = float(case.numbers["over"]), float(case.numbers["step"])
    start = _bound(solved) + over
    if start + step > 1e6:
        return common.OUTSIDE
    direction = solvers.solve_penalty(solved.bandit, solved.prefs, solved.gamma).direction
    if direction is None:
        return 1.0
    climb = _climb(solved, direction, start, start + step)
    size = solved.beta * solved.size + solved.gamma * (start + step) + solved.beta
    return -climb / size - common.ROUNDING


def _bound(solved: penalty.Solved) -> float:
    """Return 2(|A − B| + β)/(γ|d|) in floats."""
    degree = solvers.net_degree(solved.bandit, solved.prefs)
    y = int(np.argmin(degree))
    logp = log_normalise(solved.bandit.ref_logp + solved.bandit.tilt)
    rest = np.delete(logp, y)
    rest = log_normalise(rest)
    gain = np.delete(solved.bandit.reward, y) - solved.beta * (
        rest - np.delete(solved.bandit.ref_logp, y)
    )
    own = solved.bandit.reward[y] + solved.beta * solved.bandit.ref_logp[y]
    spread = abs(float(own - np.sum(np.exp(rest) * gain)))
    return float(2 * (spread + solved.beta) / (solved.gamma * -degree[y]))


def _climb(solved: penalty.Solved, direction: Any, first: float, second: float) -> float:
    """Return F at log-odds `second` against the sinking response, less F at `first`."""
    y = int(np.argmin(direction))
    logp = log_normalise(solved.bandit.ref_logp + solved.bandit.tilt)
    others = log_normalise(np.delete(logp, y))
    rows = [
        np.insert(others - np.log1p(np.exp(-t)), y, -t - np.log1p(np.exp(-t)))
        for t in (first, second)
    ]
    low, high = solvers.penalty_value(solved.bandit, solved.prefs, solved.gamma, np.array(rows))
    return float(high - low)


def _certify_rises(case: Case) -> Evidence:
    made, gamma = common.instance_of(case), case.numbers["gamma"]
    y = penalty_paths.sinking(made)
    if y is None:
        return common.harmless(case, "every net degree is zero")
    start = penalty_paths.rising_from(made, y, gamma) + case.numbers["over"]

    def value(odds: Fraction) -> Any:
        return penalty_paths.objective(made, penalty_paths.along(made, y, odds), gamma)

    found = sign(lambda: value(start + case.numbers["step"]) - value(start))[0]
    answer = None if found is None else found <= 0
    return common.harmless(case, "F rises beyond the bound", answer)


FALSIFIERS: dict[str, Falsifier] = {
    "has-optimum": Falsifier(_draw_any, _unbounded, _certify_unbounded, penalty.KINDS),
    "bounded (if)": Falsifier(_draw_balanced, _balanced, _certify_balanced, penalty.KINDS),
    "bounded (only-if)": Falsifier(
        _draw_any,
        _only_balanced,
        penalty.proved("F rises without bound unless every net degree is zero"),
        penalty.KINDS,
    ),
    "rising-sequence": Falsifier(_draw_climb, _rises, _certify_rises, _KINDS),
}
