"""Gradient descent for the falsifiers: the package's, and the same in balls."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from flint import ctx

from prefeq.claims import formulas
from prefeq.claims.ball import BALL, DISPLAY_BITS, ball
from prefeq.claims.instance import Instance
from prefeq.counterexamples.case import Case
from prefeq.counterexamples.falsifiers import _common as common
from prefeq.solution import Trajectory
from prefeq.solvers import descent as package
from prefeq.solvers import likelihood


def steps_of(case: Case, most: int) -> int:
    """Return the case's number of steps, at most `most`."""
    return min(int(case.numbers["steps"]), most)


def step_size(case: Case) -> Fraction:
    """Return η with ηβ²/P = 2·pace, pace in (0, 1): for one pair, at most 1/Lipschitz."""
    made = common.instance_of(case)
    return 2 * case.numbers["pace"] * len(made.pairs) / made.beta**2


def descend(made: Instance, steps: int, size: Fraction | None = None) -> Trajectory:
    """Run the descent of `solve_dpo`, without its analysis of the graph; record both ends."""
    bandit, prefs = common.problem(made)
    pairs = likelihood.merge(made.size, prefs.winner, prefs.loser, prefs.log_odds, prefs.mass)
    run = package.Schedule(steps, None if size is None else float(size), steps)
    everything = np.arange(made.size)
    return package.descend(bandit, prefs, pairs, everything, run, lambda shift: False)[1]


def ball_path(
    made: Instance, ref: Sequence[Fraction], steps: int, size: Fraction
) -> list[list[Any]]:
    """Enclose δ of every pair after each step of descent on softmax logits from a reference."""
    with ctx.workprec(DISPLAY_BITS):
        start = [ball(p).log() for p in ref]
        theta, path = list(start), []
        for step in range(steps + 1):
            path.append([theta[w] - theta[lo] for w, lo in made.pairs])
            if step == steps:
                break
            for k, (winner, loser) in enumerate(made.pairs):
                force = ball(size / len(made.pairs)) * _slope(made, k, path[-1][k], start)
                theta[winner], theta[loser] = theta[winner] - force, theta[loser] + force
    return path


def _slope(made: Instance, k: int, delta: Any, start: list[Any]) -> Any:
    winner, loser = made.pairs[k]
    q = ball(1) if made.labels == "ordered" else formulas.sigmoid(BALL, ball(made.gap(k)))
    delta_ref = start[winner] - start[loser]
    return formulas.pair_gradient(BALL, delta, delta_ref, ball(made.beta), q)
