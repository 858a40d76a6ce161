"""How the readings of `cpo-margin` are attacked: Eqs. 13–17 at stationary points."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from prefeq import margins, solvers
from prefeq.claims import penalty_refutations as refutations
from prefeq.claims import penalty_roots
from prefeq.claims.ball import ball
from prefeq.claims.evidence import Evidence
from prefeq.claims.penalty_cases import PenaltyCase, decided
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Falsifier, Kind, Source
from prefeq.counterexamples.falsifiers import _common as common
from prefeq.counterexamples.falsifiers import _eq17 as eq17
from prefeq.counterexamples.falsifiers import _penalty as penalty

_SCALARS: dict[str, Kind] = {"optimal_margin": "negative", "beta": "positive", "mass": "unit"}
_draw_graph = penalty.draw_graph(draws.SHAPES, 2, 4)
_draw_acyclic = penalty.draw_graph(("chain", "star", "fan", "complete"), 3, 4)

_NEAR_FOLD = 1e-6
"""Shares of γ_fold this near to 1 are left out: there floats tell nothing apart."""


def _stationarity(case: Case) -> float:
    """Measure Eqs. 13–16 at all stationary points of one pair."""
    if not penalty.in_range(case) or len(common.instance_of(case).pairs) != 1:
        return common.OUTSIDE
    solved = penalty.Solved(case)
    return penalty.residual(solved, solved.prefs.mass, -solved.prefs.mass) - penalty.CLOSE


def _several(case: Case) -> float:
    """Measure how far Eqs. 13–16 are off on some pair at the local maximum."""
    made = common.instance_of(case)
    if not penalty.in_range(case) or len(made.pairs) < 2 or not penalty.distinct(made):
        return common.OUTSIDE
    solved = penalty.Solved(case)
    found = solvers.solve_penalty(solved.bandit, solved.prefs, solved.gamma)
    if found.logp is None or found.direction is None:
        return common.OUTSIDE
    prefs, push = solved.prefs, solved.gamma * solved.prefs.mass
    real = solved.beta * (found.margin(prefs) - prefs.ref_margin(solved.bandit))
    inverse = np.exp(-found.logp)
    printed = prefs.reward_gap(solved.bandit)
    printed = printed + push * (inverse[prefs.winner] + inverse[prefs.loser])
    return float(np.max(np.abs(real - printed))) / solved.beta - 1e-6


def _certify_several(case: Case) -> Evidence:
    made = common.instance_of(case)
    if len(made.pairs) < 2 or not penalty.distinct(made):
        return common.harmless(case, "one pair, or one twice")
    return penalty.decide(refutations.stationarity_per_pair, case)


def _corrected(case: Case) -> float:
    """Measure βx = Δr + γd(w)/π(w) − γd(l)/π(l) at all stationary points."""
    if not penalty.in_range(case):
        return common.OUTSIDE
    solved = penalty.Solved(case)
    degree = solvers.net_degree(solved.bandit, solved.prefs)
    up, down = degree[solved.prefs.winner], degree[solved.prefs.loser]
    return penalty.residual(solved, up, down) - penalty.CLOSE


def _branch(case: Case) -> float:
    """Measure the branch of two responses: one local maximum, between δ* and d, rising."""
    solved = penalty.pair(case)
    if solved is None or solved.gamma >= solved.fold * (1 - _NEAR_FOLD):
        return common.OUTSIDE
    star, beta, gamma = solved.star[0], solved.beta, solved.gamma
    found = [p for p in solved.points if p.is_local_maximum]
    if len(found) != 1:
        return 1.0
    delta = float(solved.prefs.margin_of(found[0].logp)[0])
    end = float(margins.penalty_fold(star, beta)[0])
    closed = float(margins.penalty_margin(star, beta, gamma))
    before = float(margins.penalty_margin(star, beta, 0.9 * gamma))
    slack = penalty.CLOSE * solved.size
    apart = _apart(solved, closed)
    return float(max(star - delta - slack, delta - end - slack, before - closed, apart))


def _apart(solved: penalty.Solved, closed: float) -> float:
    """Return how far the solver's margin is from the closed form's, near the fold with patience."""
    if solved.local is None:
        return 1.0
    patience = math.sqrt(1 / (1 - solved.gamma / solved.fold))
    return abs(float(solved.local[0]) - closed) / solved.size - penalty.CLOSE * patience


def _critical(case: Case) -> float:
    """Measure the margin on the wrong side of zero below or above γ*."""
    solved = penalty.pair(case)
    if solved is None or solved.star[0] >= 0 or solved.gamma >= solved.fold:
        return common.OUTSIDE
    share = solved.gamma / solved.critical - 1
    if abs(share) < 1e-9:
        return common.OUTSIDE
    delta = float(margins.penalty_margin(solved.star[0], solved.beta, solved.gamma))
    return -delta if share > 0 else delta


def _certify_critical(case: Case) -> Evidence:
    """Decide in balls whether δ has not the sign of γ − γ*."""

    def wrong(found: PenaltyCase) -> Evidence:
        above = found.exceeds_critical(0)
        positive = decided(lambda: penalty.enclosed(found), 1)
        known = above is not None and positive is not None
        words = "delta has the sign of gamma - gamma*"
        return common.harmless(case, words, above != positive if known else None)

    return penalty.decide(wrong, case) if penalty.is_pair(case) else common.harmless(case, "")


def _fold(case: Case) -> float:
    """Say 1 where stationary points exist above γ_fold or are missing below."""
    solved = penalty.pair(case)
    if solved is None:
        return common.OUTSIDE
    share = solved.gamma / solved.fold - 1
    if abs(share) < _NEAR_FOLD:
        return common.OUTSIDE
    return 1.0 if bool(solved.points) == (share > 0) else -min(abs(share), 1.0)


def _draw_scalars(source: Source) -> Case:
    return Case({name: draws.number(source, kind) for name, kind in _SCALARS.items()})


def _width(case: Case) -> float:
    """Measure (γ_fold − γ*)·4m|δ*|/β − 1."""
    star, beta, mass = (float(case.numbers[name]) for name in _SCALARS)
    if not 1e-6 <= -star <= 1000:
        return common.OUTSIDE
    width = margins.penalty_fold(star, beta, mass)[1]
    width = float(width - margins.penalty_critical_gamma(star, beta, mass))
    return width * 4 * mass * -star / beta - 1 - common.ROUNDING * (1 + star * star)


def _certify_width(case: Case) -> Evidence:
    star, beta, mass = (case.numbers[name] for name in _SCALARS)

    def excess() -> Any:
        s, b, m = ball(star), ball(beta), ball(mass)
        return (penalty_roots.fold(s, b, m)[1] + b * s / (4 * m)) * 4 * m * -s / b - 1

    words = "gamma_fold - gamma* < beta/(4 m |delta*|)"
    return common.harmless(case, words, decided(excess, 1))


def _beyond(case: Case) -> float:
    """Measure how far above γ* and the fold γ is."""
    solved = penalty.pair(case)
    if solved is None or solved.star[0] >= 0:
        return common.OUTSIDE
    gamma = solved.gamma
    return min(gamma - solved.critical, gamma - solved.fold) / solved.beta


_bug = penalty.proved("proved: what the floats saw is their own")
_per_pair = Falsifier(penalty.draw_among, _stationarity, _bug, penalty.KINDS)

FALSIFIERS: dict[str, Falsifier] = {
    "stationarity": _per_pair,
    "several-pairs": Falsifier(_draw_acyclic, _several, _certify_several, penalty.KINDS),
    "several-pairs-corrected": Falsifier(_draw_graph, _corrected, _bug, penalty.KINDS),
    "certified-points": _per_pair,
    "local-maximum": Falsifier(penalty.draw_pair, _branch, _bug, penalty.KINDS),
    "gamma-star": Falsifier(penalty.draw_pair, _critical, _certify_critical, penalty.KINDS),
    "fold": Falsifier(penalty.draw_pair, _fold, _bug, penalty.KINDS),
    "fold-width": Falsifier(_draw_scalars, _width, _certify_width, _SCALARS),
    "aligned-for-all-larger-gamma": Falsifier(
        penalty.draw_pair, _beyond, partial(penalty.decide, refutations.beyond_fold), penalty.KINDS
    ),
    "eq17-exact": Falsifier(
        eq17.draw,
        eq17.exact,
        partial(penalty.decide, partial(refutations.eq17_margin, sign=False)),
        penalty.KINDS,
    ),
    "eq17-exact-corrected (if)": Falsifier(
        eq17.draw_landing, eq17.lands, eq17.certify_lands, eq17.LANDING
    ),
    "eq17-exact-corrected (only-if)": Falsifier(
        eq17.draw, eq17.meets, eq17.certify_meets, penalty.KINDS
    ),
    "eq17-sign (if)": Falsifier(
        eq17.draw,
        eq17.sign,
        partial(penalty.decide, partial(refutations.eq17_margin, sign=True)),
        penalty.KINDS,
    ),
    "eq17-optimistic": Falsifier(
        eq17.draw_either, eq17.optimistic, eq17.certify_optimistic, penalty.KINDS
    ),
}
