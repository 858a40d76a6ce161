"""How the readings of `relative-advantage` are attacked: the loss sees δ − δ_ref, not δ."""

from __future__ import annotations

import dataclasses
import itertools
import math
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from prefeq import losses, margins
from prefeq.claims import formulas
from prefeq.claims.ball import BALL, ball
from prefeq.claims.contradiction import counterexample
from prefeq.claims.evidence import Evidence
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Falsifier, Source
from prefeq.counterexamples.falsifiers import _common as common
from prefeq.counterexamples.falsifiers import _descent as descent

MOST_STEPS = 5
"""Steps of a descent: a slope that saw the reference would show in the second."""


def _draw_shift(source: Source) -> Case:
    made = draws.instance(source, max_responses=3, shapes=("single",))
    factor = draws.number(source, "positive")
    return Case({"factor": factor}, made, {"pi": common.draw_policy(source, made)})


def _shift(case: Case) -> float:
    """Measure how much a common shift of δ and δ_ref by log(factor) moves the loss."""
    made = common.instance_of(case)
    delta_ref, gap, beta = common.pair_of(case)
    delta, shift = common.policy_margin(case), common.logs([case.numbers["factor"]])[0]
    odds = math.inf if made.labels == "ordered" else gap
    at, ref = np.array([delta, delta + shift]), np.array([delta_ref, delta_ref + shift])
    loss = losses.DPO.population_value(at, ref, beta, odds)
    relative = margins.relative_margin(at, ref)
    size = 1.0 + abs(delta) + abs(delta_ref) + abs(shift)
    moved = max(abs(loss[1] - loss[0]) / (1 + beta), abs(relative[1] - relative[0]))
    return float(moved - common.ROUNDING * size)


def _certify_shift(case: Case) -> Evidence:
    made, factor = common.policy_case(case), case.numbers["factor"]
    q = ball(1)
    if made.instance.labels == "bradley-terry":
        q = formulas.sigmoid(BALL, ball(made.instance.gap(0)))

    def moved() -> Any:
        delta, delta_ref = (
            ball(ratio * factor).log() for ratio in (made.ratio(0), made.instance.ref_ratio(0))
        )
        return formulas.pair_loss(BALL, delta, delta_ref, ball(made.instance.beta), q)

    answer = common.differ((moved, lambda: made.loss(0)))
    return common.harmless(case, "L(delta + c, delta_ref + c) = L(delta, delta_ref)", answer)


def _draw_path(source: Source) -> Case:
    made = draws.instance(source, max_responses=4)
    numbers = {"steps": Fraction(source.integer(1, MOST_STEPS))}
    return Case(numbers, made, {"other-reference": draws.policy(source, made.size)})


def _path(case: Case) -> float:
    """Measure how far descents from two references drift apart in x = δ − δ_ref."""
    made, steps = common.instance_of(case), descent.steps_of(case, MOST_STEPS)
    if not common.in_range(made):
        return common.OUTSIDE
    ends = []
    for ref in (made.ref, case.policies["other-reference"]):
        path = descent.descend(dataclasses.replace(made, ref=ref), steps).margin
        ends.append((path[-1] - common.margins_of(made, ref), np.abs(path).max()))
    (first, size), (second, other) = ends
    reach = np.abs(first).max()
    return float(np.max(np.abs(first - second)) - common.CLOSE * (1 + size + other + reach))


def _certify_path(case: Case) -> Evidence:
    made, steps = common.instance_of(case), descent.steps_of(case, MOST_STEPS)
    size = 1 / made.beta**2
    ends = []
    for ref in (made.ref, case.policies["other-reference"]):
        path = descent.ball_path(made, ref, steps, size)
        ends.append([end - start for end, start in zip(path[-1], path[0], strict=True)])
    apart = any(not first.overlaps(second) for first, second in zip(*ends, strict=True))
    return common.harmless(case, "x does not depend on pi_ref", apart or None)


def _draw_two_pairs(source: Source) -> Case:
    shapes: tuple[draws.Shape, ...] = ("disjoint", "chain", "star", "fan", "complete")
    made = draws.instance(source, labels="ordered", min_responses=3, max_responses=4, shapes=shapes)
    return Case(instance=made, policies={"pi": common.draw_policy(source, made)})


def _rankings(case: Case) -> list[tuple[float, int, int]]:
    """Return, for pairs i and j, by how much i has both the lower loss and the lower margin."""
    made = common.instance_of(case)
    delta, delta_ref = (common.margins_of(made, p) for p in (case.policies["pi"], made.ref))
    beta = float(made.beta)
    loss = losses.DPO.value(delta, delta_ref, beta)
    rounding = common.ROUNDING * (1 + beta * (np.abs(delta) + np.abs(delta_ref)).max())
    return [
        (float(min(loss[j] - loss[i] - rounding, delta[j] - delta[i] - rounding)), i, j)
        for i, j in itertools.permutations(range(len(made.pairs)), 2)
    ]


def _absolute(case: Case) -> float:
    """Measure by how much some pair has the lower loss and yet the lower margin.

    Orders with a cycle, such as a pair and its reverse, are left aside: none is needed.
    """
    if not common.acyclic(common.instance_of(case)):
        return common.OUTSIDE
    return max(_rankings(case), default=(common.OUTSIDE, 0, 0))[0]


def _certify_absolute(case: Case) -> Evidence:
    made, ranked = common.policy_case(case), _rankings(case)
    if not ranked:
        return common.harmless(case, "a single pair")
    _, i, j = max(ranked)
    lower = made.compare_loss(i, lambda: made.loss(j))
    signs = {
        f"loss[{i}] < loss[{j}]": None if lower is None else lower < 0,
        f"margin[{i}] <= margin[{j}]": made.ratio(i) <= made.ratio(j),
    }
    words = f"pair {i} has the lower loss, and a margin no larger than that of pair {j}"
    return counterexample(words, made.data(), signs)


def _relative(case: Case) -> float:
    """Measure by how much two pairs are ordered one way by loss, and as one by δ − δ_ref."""
    made = common.instance_of(case)
    delta, delta_ref = (common.margins_of(made, p) for p in (case.policies["pi"], made.ref))
    beta = float(made.beta)
    loss = losses.DPO.value(delta, delta_ref, beta)
    rise = margins.relative_margin(delta, delta_ref)
    rounding = common.ROUNDING * (1 + (1 + beta) * (np.abs(delta) + np.abs(delta_ref)).max())
    amounts = [
        common.disagreement(float(loss[j] - loss[i]), float(rise[i] - rise[j])) - rounding
        for i, j in itertools.combinations(range(len(made.pairs)), 2)
    ]
    return max(amounts, default=common.OUTSIDE)


def _certify_relative(case: Case) -> Evidence:
    """Decide in balls, pair by pair, whether losses and relative margins are ordered alike."""
    made = common.policy_case(case)
    answers: list[bool | None] = []
    for i, j in itertools.combinations(range(len(made.instance.pairs)), 2):
        rises = [made.ratio(k) / made.instance.ref_ratio(k) for k in (i, j)]
        if rises[0] == rises[1]:
            continue
        lower = made.compare_loss(i, partial(made.loss, j))
        answers.append(None if lower is None else (lower < 0) != (rises[0] > rises[1]))
    answer = True if True in answers else (None if None in answers else False)
    return common.harmless(case, "the lower loss has the larger delta - delta_ref", answer)


FALSIFIERS: dict[str, Falsifier] = {
    "shift-invariance": Falsifier(_draw_shift, _shift, _certify_shift, {"factor": "positive"}),
    "descent-path": Falsifier(_draw_path, _path, _certify_path, {"steps": "integer"}),
    "absolute-margin": Falsifier(_draw_two_pairs, _absolute, _certify_absolute),
    "relative-margin": Falsifier(_draw_two_pairs, _relative, _certify_relative),
}
