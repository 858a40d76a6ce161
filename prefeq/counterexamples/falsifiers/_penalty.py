"""What the attacks on the penalty objective (Eq. 10) share: draws, answers, exact decisions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from prefeq import margins, solvers
from prefeq.arrays import FloatArray
from prefeq.claims import penalty_roots
from prefeq.claims.ball import ball
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Instance
from prefeq.claims.penalty_cases import PenaltyCase
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Kind, Source
from prefeq.counterexamples.falsifiers import _common as common

KINDS: dict[str, Kind] = {"gamma": "positive"}

CLOSE = 1e-7
"""By how much margins of stationary points may be off, relative to 1 + |δ*|: folds are near."""

NATS = 60.0
"""Largest |r|/β, and largest |log γ/β|: floats decide here, and balls on what they find."""

_SHARES = tuple(Fraction(n, 20) for n in (1, 2, 4, 6, 10, 20, 40))


class Solved:
    """A case through the package: bandit, pairs, δ*, and the penalty's stationary points."""

    def __init__(self, case: Case) -> None:
        self.made = common.instance_of(case)
        self.gamma = float(case.numbers["gamma"])
        self.bandit, self.prefs = common.problem(self.made)
        self.beta = float(self.made.beta)

    @cached_property
    def star(self) -> FloatArray:
        """δ* of every pair."""
        gap = self.prefs.reward_gap(self.bandit)
        ref = self.prefs.ref_margin(self.bandit)
        return np.asarray(margins.optimal_margin(ref, gap, self.beta))

    @cached_property
    def critical(self) -> float:
        """max −βδ*/(4m)."""
        found = margins.penalty_critical_gamma(self.star, self.beta, self.prefs.mass)
        return float(np.max(found))

    @cached_property
    def fold(self) -> float:
        """γ_fold of two responses with one pair."""
        return float(margins.penalty_fold(self.star[0], self.beta)[1])

    @cached_property
    def size(self) -> float:
        """1 + the largest |δ*|."""
        return 1.0 + float(np.max(np.abs(self.star)))

    @cached_property
    def local(self) -> FloatArray | None:
        """Margins at the local maximum on the branch from π*, None beyond its fold."""
        found = solvers.solve_penalty(self.bandit, self.prefs, self.gamma)
        return None if found.logp is None else np.asarray(found.margin(self.prefs))

    @cached_property
    def points(self) -> list[solvers.StationaryPoint]:
        """All stationary points."""
        return solvers.stationary_points(self.bandit, self.prefs, self.gamma)

    @property
    def lacks_all(self) -> bool:
        """Whether the list of stationary points is empty although there is a local maximum."""
        return not self.points and self.local is not None

    def least(self) -> float:
        """Return the least margin at any stationary point; inf if there is none."""
        found = [float(np.min(self.prefs.margin_of(p.logp))) for p in self.points]
        return min(found, default=math.inf)


def in_range(case: Case) -> bool:
    """Tell whether floats mean something: rewards and γ not out of all proportion to β."""
    made = common.instance_of(case)
    if not made.pairs or case.numbers["gamma"] <= 0 or made.size > 6:
        return False
    top = float(max(abs(r) for r in made.reward) / made.beta)
    share = float(case.numbers["gamma"] / made.beta)
    return top <= NATS and 1e-4 <= share <= 1e4


def is_pair(case: Case) -> bool:
    """Tell whether the case has two responses and one pair."""
    made = common.instance_of(case)
    return made.size == 2 and len(made.pairs) == 1


def distinct(made: Instance) -> bool:
    """Tell whether no two pairs are between the same responses."""
    return len({frozenset(pair) for pair in made.pairs}) == len(made.pairs)


def strength(source: Source, made: Instance) -> Fraction:
    """Draw γ: a simple share of β, or beside the γ* of a pair."""
    if source.integer(0, 1):
        return made.beta * source.choice(_SHARES)
    k = source.integer(0, len(made.pairs) - 1)
    ratio = made.ref_ratio(k)
    star = common.logs([ratio])[0] + float(made.gap(k) / made.beta)
    critical = -made.beta * Fraction(len(made.pairs), 4)
    # exactly γ* where it is rational
    critical *= made.gap(k) / made.beta if ratio == 1 else common.rational(star)
    near = draws.near(source, abs(critical))
    return near if near > 0 else made.beta * source.choice(_SHARES)


def draw_pair(source: Source) -> Case:
    """Draw two responses, one pair, mostly violated, and γ."""
    made = common.draw_pair(source, "ordered", gap=False, responses=(2, 2))
    if source.integer(0, 3):
        made = common.oriented(made, up=False)
    return Case({"gamma": strength(source, made)}, made)


def draw_among(source: Source) -> Case:
    """Draw one pair among two to four responses, and γ."""
    made = common.draw_pair(source, "ordered", gap=False, responses=(2, 4))
    return Case({"gamma": strength(source, made)}, made)


def draw_graph(
    shapes: Sequence[draws.Shape], low: int, high: int, turned: bool | None = None
) -> Callable[[Source], Case]:
    """Return a draw of an instance of some shapes, pairs turned up (δ* ≥ 0), down, or not."""

    def draw(source: Source) -> Case:
        made = draws.instance(
            source, labels="ordered", min_responses=low, max_responses=high, shapes=shapes
        )
        made = dataclasses.replace(made, reward=_milder(source, made))
        if turned is not None and source.integer(0, 1):
            made = common.oriented(made, up=turned)
        return Case({"gamma": strength(source, made)}, made)

    return draw


def _milder(source: Source, made: Instance) -> tuple[Fraction, ...]:
    """Often scale rewards to a nat or less, or drop them: then local maxima last longer."""
    style = source.integer(0, 2)
    if style == 0:
        return (Fraction(0),) * made.size
    scale = made.beta / (4 if style == 1 else 1)
    return tuple([r * scale for r in made.reward])


def decide(function: Callable[[PenaltyCase], Evidence], case: Case) -> Evidence:
    """Certify a case; numbers out of all proportion are left undecided."""
    try:
        return function(PenaltyCase(common.instance_of(case), case.numbers["gamma"]))
    except ArithmeticError as error:
        return common.harmless(case, str(error), None)


def proved(why: str) -> Callable[[Case], Evidence]:
    """Return a certificate that decides nothing beyond the proof: what the floats saw is a bug."""
    return lambda case: common.harmless(case, why)


def residual(solved: Solved, up: Any, down: Any) -> float:
    """Return the largest |βx − Δr − γ(up/π(w) − down/π(l))| over its terms, at all points.

    And 1 if there is none among them although the solver has a local maximum.
    """
    if solved.lacks_all:
        return 1.0
    gap, worst = solved.prefs.reward_gap(solved.bandit), -math.inf
    for point in solved.points:
        logp = point.logp
        push = solved.gamma * (
            up * np.exp(-logp[solved.prefs.winner]) - down * np.exp(-logp[solved.prefs.loser])
        )
        x = solved.prefs.margin_of(logp) - solved.prefs.ref_margin(solved.bandit)
        scale = solved.beta * (1 + np.abs(x)) + np.abs(gap) + np.abs(push)
        worst = max(worst, float(np.max(np.abs(solved.beta * x - gap - push) / scale)))
    return worst


def pair(case: Case) -> Solved | None:
    """Return the case solved if it has two responses and one pair, else None."""
    if not is_pair(case) or not in_range(case):
        return None
    return Solved(case)


def enclosed(found: PenaltyCase) -> Any:
    """Enclose δ of the two-response local maximum by the scalar equation."""
    beta, gamma, mass = map(ball, (found.instance.beta, found.gamma, found.mass))
    root = penalty_roots.local_maximum(found.star(0), beta, gamma, mass)
    if root is None:
        raise ArithmeticError("not decided to be below the fold")
    return root
