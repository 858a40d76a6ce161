"""How the readings of `pathological-convergence` are attacked: short descents of the DPO loss.

Losses with a finite target are in `_finite_targets`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from flint import ctx

from prefeq import losses, margins
from prefeq._namespace import LN2
from prefeq.claims import exact_graphs, formulas, gallery
from prefeq.claims.ball import BALL, DISPLAY_BITS, ball, midpoint, sign
from prefeq.claims.contradiction import counterexample, every
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Instance, Labels
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Falsifier, Kind, Source
from prefeq.counterexamples.falsifiers import _common as common
from prefeq.counterexamples.falsifiers import _descent as descent
from prefeq.counterexamples.falsifiers import _finite_targets

MOST_STEPS = 30
KINDS: dict[str, Kind] = {"pace": "unit", "steps": "integer"}


def _draw_violated(labels: Labels, source: Source) -> Case:
    """Draw a pair with Δr ≥ 0 that, mostly, violates δ* > 0, and a descent."""
    made = common.lowered(common.draw_pair(source, labels))
    winner, loser = made.pairs[0]
    if source.integer(0, 3):
        room = common.rational(-common.logs([made.ref_ratio(0)])[0]) * made.beta
        reward = list(made.reward)
        reward[winner] = reward[loser] + room * Fraction(source.integer(1, 9), 10)
        made = dataclasses.replace(made, reward=tuple(reward))
    return Case(_schedule(source), made)


def _schedule(source: Source) -> dict[str, Fraction]:
    steps = Fraction(source.choice((1, 2, 3, 5, 8, 20, MOST_STEPS)))
    return {"pace": draws.number(source, "unit"), "steps": steps}


def _trapped(case: Case) -> float:
    """Measure by how much a descent leaves (δ_ref, δ*), or does not lower the loss."""
    made, steps = common.instance_of(case), min(descent.steps_of(case, MOST_STEPS), 5)
    delta_ref, gap, beta = common.pair_of(case)
    star = float(margins.optimal_margin(delta_ref, gap, beta))
    if gap <= 0 or star >= 0 or len(made.pairs) > 1 or not common.in_range(made):
        return common.OUTSIDE
    path = descent.descend(made, steps, descent.step_size(case))
    start, end = float(path.margin[0, 0]), float(path.margin[-1, 0])
    size = common.CLOSE * (1.0 + abs(delta_ref))
    moves = max(start - end, end - star, float(path.loss[-1] - path.loss[0]))
    # In U unless the rise from δ_ref is lost in its rounding.
    outside = end - start > size and not path.undesirable[-1, 0]
    return max(moves - size, end - start if outside else moves - size)


def _certify_trapped(case: Case) -> Evidence:
    """Decide in balls whether a step of the descent falls, or passes δ*."""
    made = common.instance_of(case)
    star = made.sign_of_optimal_margin(0)
    if made.gap(0) <= 0 or star is None or star >= 0 or len(made.pairs) > 1:
        return common.harmless(case, "not in the scope of the statement")
    steps = min(descent.steps_of(case, MOST_STEPS), 5)
    path = descent.ball_path(made, made.ref, steps, descent.step_size(case))
    with ctx.workprec(DISPLAY_BITS):
        goal = formulas.rlhf_margin(made.delta_ref(0), ball(made.gap(0)), ball(made.beta))
        broken = any(
            later[0] < earlier[0] or later[0] > goal for earlier, later in itertools.pairwise(path)
        )
    return common.harmless(case, "every step rises and stays below delta*", bool(broken))


def _draw_graph(source: Source) -> Case:
    made = draws.instance(
        source, labels="bradley-terry", max_responses=4, by_reward=True, distinct=True
    )
    return Case(_schedule(source), made)


def _graph(case: Case) -> float:
    """Measure how far a descent's loss leaves its bounds, and own terms at δ* exceed ln 2.

    After T steps the loss is below the first, not below that at δ*, and at most |θ* − θ_0|²/(2ηT)
    above it: so δ* is where descent ends.
    """
    made, steps = common.instance_of(case), min(descent.steps_of(case, MOST_STEPS), 5)
    gap = common.gaps(made)
    if min(gap) <= 0 or not common.in_range(made):
        return common.OUTSIDE
    delta_ref, beta = common.margins_of(made, made.ref), float(made.beta)
    star = margins.optimal_margin(delta_ref, gap, beta)
    own = losses.DPO.population_value(star, delta_ref, beta, gap)
    path = descent.descend(made, steps)
    means = gallery.component_means(made)
    away = sum(float(r - mean) ** 2 for r, mean in zip(made.reward, means, strict=True)) / beta**2
    least, (first, last) = float(np.mean(own)), path.loss[[0, -1]]
    bound = away / (2 * path.step_size * steps)
    worse = float(np.max(np.where(star < 0, own - LN2, -np.inf)))
    amount = max(last - first, least - last, last - least - bound, worse)
    size = 1.0 + float(np.max(beta * np.abs(delta_ref) + gap))
    return float(amount) - common.ROUNDING * size


def _certify_graph(case: Case) -> Evidence:
    """Decide in balls whether some pair with δ* < 0 has a loss of ln 2 or more at δ*."""
    made = common.instance_of(case)
    answers: list[bool | None] = [False]
    for k in range(len(made.pairs)):
        star = made.sign_of_optimal_margin(k)
        if made.gap(k) <= 0:
            return common.harmless(case, "not in the scope of the statement")
        if star != -1:
            answers.append(None if star is None else False)
            continue
        found = sign(partial(_excess, made.gap(k)))[0]
        answers.append(None if found is None else found >= 0)
    answer = True if True in answers else every(answers)
    return common.harmless(case, "a pair's own loss at delta* is below ln 2", answer)


def _excess(gap: Fraction) -> Any:
    """Enclose L − ln 2 at δ*, where βx = Δr."""
    z = ball(gap)
    return formulas.pair_loss(BALL, z, 0, 1, formulas.sigmoid(BALL, z)) - ball(2).log()


def _leaves(case: Case) -> float:
    """Return δ after a descent from a pair with δ* < 0: positive if it is not wrong for ever.

    Only one pair, with Δr > 0, so that it starts with δ_ref < 0: that is the hardest.
    """
    made = common.instance_of(case)
    if len(made.pairs) > 1 or made.gap(0) <= 0 or not common.in_range(made):
        return common.OUTSIDE
    delta_ref, gap, beta = common.pair_of(case)
    if float(margins.optimal_margin(delta_ref, gap, beta)) >= 0:
        return common.OUTSIDE
    path = descent.descend(made, descent.steps_of(case, MOST_STEPS), descent.step_size(case))
    end, falls = float(path.margin[-1, 0]), path.loss[-1] < path.loss[0]
    return end - common.ROUNDING if falls else min(end, 0.0)


def _certify_leaves(case: Case) -> Evidence:
    """Follow the descent in balls; δ only ever rises, so that δ > 0 once is δ > 0 for good."""
    made, steps = common.instance_of(case), descent.steps_of(case, MOST_STEPS)
    if len(made.pairs) > 1:
        return common.harmless(case, "several pairs: not decided here", None)
    star, size = gallery.assumption(made), descent.step_size(case)
    path = [at[0] for at in descent.ball_path(made, made.ref, steps, size)]
    first = next((k for k, value in enumerate(path) if value > 0), steps)
    data: dict[str, Any] = {
        "instance": made.to_data(),
        "inputs": {"step_size": str(size), "steps": first},
        **star.numbers,
        "path": [midpoint(value) for value in path[: first + 1]],
        "steps_in_U": sum(bool(value < 0) for value in path[1:first]),
        "first_aligned_step": first,
    }
    below = made.sign_of_optimal_margin(0)
    signs = {
        "rlhf_margin[0] < 0": None if below is None else below < 0,
        f"path[{first}] > 0": bool(path[first] > 0) or (False if path[first] < 0 else None),
    }
    return counterexample(f"delta > 0 from step {first} on, for good", data, signs)


def _draw_acyclic(source: Source) -> Case:
    """Draw an acyclic order with a reference that is not too far off for a short descent."""
    made = draws.instance(source, labels="ordered", max_responses=4, shapes=draws.ACYCLIC)
    ref = draws.of_weights([source.integer(1, 6) for _ in range(made.size)])
    return Case(instance=dataclasses.replace(made, ref=ref))


def _step_bound(made: Instance) -> tuple[Fraction, int] | None:
    """Return a step size of at most 1/Lipschitz, and by when every pair is aligned.

    The loss after T steps is at most L(θ) + |θ − θ_0|²/(2ηT) for any θ, and a pair whose mass
    times softplus(βδ_ref) is above it has δ > 0. None if that takes more than `MOST_STEPS`.
    """
    height = exact_graphs.heights(made.size, made.pairs)
    if height is None:
        return None
    count, beta = len(made.pairs), float(made.beta)
    degree = max(sum(y in pair for pair in made.pairs) for y in range(made.size))
    size = Fraction(2 * count, degree) / made.beta**2
    delta_ref = common.margins_of(made, made.ref)
    if abs(beta * delta_ref).max() > 30:
        return None
    goal = math.log1p(math.exp(beta * float(min(delta_ref)))) / count
    mean = sum(height) / made.size
    norm = sum((h - mean) ** 2 for h in height)
    best = math.inf
    for far in (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0):
        rest = goal - math.log1p(math.exp(-far))
        if rest > 0:
            best = min(best, (far / beta) ** 2 * norm / (2 * float(size) * rest))
    if count == 1:
        best = min(best, float(margins.exit_steps_bounds(delta_ref[0], beta, float(size))[1]))
    return (size, max(1, math.ceil(best))) if best <= MOST_STEPS else None


def _transient(case: Case) -> float:
    """Measure how wrong a pair still is when it has to be aligned."""
    made = common.instance_of(case)
    bound = _step_bound(made)
    if bound is None or not common.in_range(made):
        return common.OUTSIDE
    path = descent.descend(made, bound[1], bound[0])
    least = float(np.min(path.margin[-1]))
    rises = float(path.loss[-1] - path.loss[0])
    return max(-least, rises) - common.CLOSE * (1.0 + float(np.max(np.abs(path.margin))))


def _certify_transient(case: Case) -> Evidence:
    made = common.instance_of(case)
    bound = _step_bound(made)
    if bound is None:
        return common.harmless(case, "cyclic, or too far to follow", None)
    ends = descent.ball_path(made, made.ref, bound[1], bound[0])[-1]
    # That a pair has not left U yet would refute nothing: no finite descent does.
    answer = False if all(bool(end > 0) for end in ends) else None
    return common.harmless(case, "every pair is aligned by then", answer)


FALSIFIERS: dict[str, Falsifier] = {
    "bradley-terry": Falsifier(
        partial(_draw_violated, "bradley-terry"), _trapped, _certify_trapped, KINDS
    ),
    "bradley-terry-graph": Falsifier(_draw_graph, _graph, _certify_graph, KINDS),
    "ordered-acyclic": Falsifier(
        partial(_draw_violated, "ordered"), _leaves, _certify_leaves, KINDS
    ),
    "ordered-acyclic-transient": Falsifier(_draw_acyclic, _transient, _certify_transient),
    **_finite_targets.FALSIFIERS,
}
