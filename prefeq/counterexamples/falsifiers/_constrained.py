"""Constrained PO for the falsifiers: draws with margins, the package's answer, exact facts."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np

from prefeq import margins, solvers
from prefeq.arrays import FloatArray
from prefeq.claims import exact_graphs, formulas
from prefeq.claims.ball import BALL, ball
from prefeq.claims.instance import Instance
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Source
from prefeq.counterexamples.falsifiers import _common as common
from prefeq.solution import Solution

LARGEST = 50
"""Beside margins of more nats every other number disappears."""


def draw(source: Source) -> Case:
    """Draw an instance, a margin a pair and a rival; often δ* ≥ 0, often without a cycle."""
    shapes = draws.ACYCLIC if source.integer(0, 1) else draws.SHAPES
    made = draws.instance(source, max_responses=4, shapes=shapes)
    if source.integer(0, 1):
        made = common.oriented(made)
    margin = near_optimal(source, made) if source.integer(0, 1) else draws.margins(source, made)
    return Case(instance=made, policies={"rival": common.draw_policy(source, made)}, margins=margin)


def near_optimal(source: Source, made: Instance) -> tuple[Fraction, ...]:
    """Draw margins that are mostly below δ*, by all sorts of room."""
    room = source.choice((Fraction(1, 10), Fraction(1), Fraction(-1, 5)))
    return tuple(
        [
            common.rational(delta_ref) + made.gap(k) / made.beta - room
            for k, delta_ref in enumerate(common.margins_of(made, made.ref))
        ]
    )


def draw_rival(source: Source) -> Case:
    """Draw an instance with any graph, and a rival."""
    made = draws.instance(source, max_responses=4)
    return Case(instance=made, policies={"rival": common.draw_policy(source, made)})


def draw_ties(source: Source) -> Case:
    """Draw an instance in which, as often as not, all responses tie."""
    made = draws.instance(source, max_responses=4)
    if source.integer(0, 1):
        k = made.size
        made = dataclasses.replace(made, reward=made.reward[:1] * k, ref=(Fraction(1, k),) * k)
    elif source.integer(0, 1):
        made = common.oriented(made)
    return Case(instance=made)


def draw_level(positive: bool, source: Source) -> Case:
    """Draw one margin for all pairs of an acyclic order, of the wanted sign (0 is not positive)."""
    made = draws.instance(source, max_responses=4, shapes=draws.ACYCLIC)
    margin = draws.number(source, "positive" if positive else "nonnegative")
    return Case(instance=made, margins=((margin if positive else -margin),) * len(made.pairs))


def given(case: Case) -> tuple[Fraction, ...]:
    """Return the margins, each exactly the float that the solver is given; zeros without any."""
    count = len(common.instance_of(case).pairs)
    chosen = (Fraction(0),) * count if case.margins is None else case.margins
    return tuple([Fraction(float(m)) for m in chosen])


def in_range(case: Case) -> bool:
    """Tell whether all numbers are small enough to stand beside each other in floats."""
    small = case.margins is None or all(abs(m) <= LARGEST for m in case.margins)
    return small and common.in_range(common.instance_of(case))


def largest_cycle(case: Case) -> Fraction | None:
    """Return the largest sum of margins around a simple directed cycle, None without a cycle."""
    made, margin = common.instance_of(case), given(case)
    best: Fraction | None = None

    def walk(start: int, at: int, seen: int, total: Fraction) -> None:
        nonlocal best
        for (winner, loser), m in zip(made.pairs, margin, strict=True):
            if winner == at and loser == start:
                best = total + m if best is None else max(best, total + m)
            elif winner == at and loser > start and not seen >> loser & 1:
                walk(start, loser, seen | 1 << loser, total + m)

    for start in range(made.size):
        walk(start, start, 1 << start, Fraction(0))
    return best


def settles(case: Case) -> bool:
    """Tell whether levels that meet all margins exist: raising winners comes to an end."""
    made, margin = common.instance_of(case), given(case)
    level = [Fraction(0)] * made.size
    for _ in range(made.size + 1):
        moved = False
        for (winner, loser), m in zip(made.pairs, margin, strict=True):
            if level[winner] < level[loser] + m:
                level[winner], moved = level[loser] + m, True
        if not moved:
            return True
    return False


def feasible(case: Case) -> bool | None:
    """Decide whether no cycle is positive; None where one is within the rounding of zero."""
    most = largest_cycle(case)
    if most is not None and 0 < abs(most) < Fraction(1, 10**9):
        return None
    return most is None or most <= 0


class Solved:
    """A case and `solve_cpo`'s answer to it."""

    def __init__(self, case: Case) -> None:
        self.made = common.instance_of(case)
        self.bandit, self.prefs = common.problem(self.made)
        self.margin = np.array([float(m) for m in given(case)])
        self.cpo: Solution = solvers.solve_cpo(
            self.bandit, self.prefs, margin=self.margin, throw=False
        )
        nats = np.abs(common.logs(self.made.ref)) + np.abs(self.bandit.reward) / self.bandit.beta
        self.size = 1.0 + float(np.max(nats) + np.max(np.abs(self.margin), initial=0.0))

    @property
    def tolerance(self) -> float:
        """The error allowed in log-probabilities."""
        return common.CLOSE * self.size

    def moved(self) -> float:
        """Return the largest change of a log-probability from the RLHF policy."""
        best = solvers.solve_rlhf(self.bandit).logp
        return float(np.max(np.abs(self.cpo.logp - best)))

    def star(self) -> FloatArray:
        """Return δ* of every pair."""
        delta_ref, gap = common.margins_of(self.made, self.made.ref), common.gaps(self.made)
        return np.asarray(margins.optimal_margin(delta_ref, gap, self.bandit.beta))

    def least(self) -> float:
        """Return the least margin of the answer."""
        return float(np.min(self.cpo.margin(self.prefs)))


def worth(made: Instance, logp: list[Any]) -> Any:
    """Enclose J of a log-policy."""
    terms = [
        z.exp() * (ball(r) - ball(made.beta) * (z - ball(p).log()))
        for z, r, p in zip(logp, made.reward, made.ref, strict=True)
    ]
    return sum(terms[1:], terms[0])


def dual_bound(made: Instance, margin: tuple[Fraction, ...], multipliers: list[float]) -> Any:
    """Enclose β log Σ π_ref e^{(r + push)/β}: no feasible J exceeds it, for any λ ≥ 0."""
    push = [ball(r) for r in made.reward]
    for (winner, loser), m, force in zip(made.pairs, margin, multipliers, strict=True):
        push[winner] += ball(force) * formulas.sigmoid(BALL, ball(-m))
        push[loser] -= ball(force) * formulas.sigmoid(BALL, ball(m))
    beta = ball(made.beta)
    weights = [ball(p) * (z / beta).exp() for p, z in zip(made.ref, push, strict=True)]
    return beta * sum(weights[1:], weights[0]).log()


def isotonic(made: Instance) -> list[Any]:
    """Enclose the isotonic regression of log π*, normalised, by its min-max formula."""
    target = [
        ball(p).log() + ball(r / made.beta) for p, r in zip(made.ref, made.reward, strict=True)
    ]
    upper = exact_graphs.upper_sets(made.size, made.pairs)
    lower = [frozenset(range(made.size)) - members for members in upper]
    level = []
    for y in range(made.size):
        lows = []
        for up in upper:
            if y in up:
                lows.append(_least([_mean(target, up & low) for low in lower if y in low]))
        level.append(-_least([-low for low in lows]))
    total = sum((z.exp() for z in level[1:]), level[0].exp()).log()
    return [z - total for z in level]


def _mean(target: list[Any], members: frozenset[int]) -> Any:
    values = [target[y] for y in sorted(members)]
    return sum(values[1:], values[0]) / len(values)


def _least(values: list[Any]) -> Any:
    least = values[0]
    for value in values[1:]:
        least = least.min(value)
    return least
