"""How the readings of `gradient-weakening` are attacked: the factor here, exits in `_exits`."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from prefeq import losses, margins
from prefeq.claims import formulas, gradient_weakening
from prefeq.claims.ball import BALL, ball
from prefeq.claims.evidence import Evidence
from prefeq.claims.several_policies import Policies
from prefeq.counterexamples.case import Case, Falsifier, Kind, Source
from prefeq.counterexamples.falsifiers import _common as common
from prefeq.counterexamples.falsifiers import _exits
from prefeq.counterexamples.falsifiers import _numbers as numbers

_INSIDE: dict[str, Kind] = {
    "delta_ref": "negative",
    "beta": "positive",
    "low": "unit",
    "high": "unit",
}
_SOFT: dict[str, Kind] = {"delta_ref": "real", "gap": "real", "beta": "positive", "y": "real"}


def _factors(case: Case) -> tuple[Any, float]:
    """Return the package's factor at δ_ref, at two shares of the way to 0 and at 0; their gap."""
    delta_ref, beta, low, high = numbers.floats(case, "delta_ref beta low high")
    low, high = sorted((low, high))
    delta = delta_ref * np.array([1.0, 1 - low, 1 - high, 0.0])
    return -losses.DPO.gradient(delta, delta_ref, beta) / beta, low - high


def _decreases(case: Case) -> float:
    """Measure by how much the factor rises, or is not below ½, on the way to 0."""
    factor, apart = _factors(case)
    if apart == 0:
        return common.OUTSIDE
    rise = max(factor[2] - factor[1], factor[1] - 0.5, abs(factor[0] - 0.5))
    return float(rise) - common.ROUNDING


def _limit(case: Case) -> float:
    """Measure how far the factor at 0 is from σ(βδ_ref), and by how much it is above one in U."""
    factor, _ = _factors(case)
    delta_ref, beta = numbers.floats(case, "delta_ref beta")
    end = float(margins.sigmoid(beta * delta_ref))
    missed = max(abs(factor[3] - end), factor[3] - factor[2], -factor[3])
    return float(missed) - common.ROUNDING * (1 - beta * delta_ref)


def _factor_at(case: Case, share: str) -> Callable[[], Any]:
    """Enclose the factor at a share of the way, 0 and 1 included."""

    def factor() -> Any:
        delta_ref, beta = numbers.balls(case, "delta_ref beta")
        way = {"start": Fraction(0), "end": Fraction(1)}.get(share)
        way = case.numbers[share] if way is None else way
        delta = delta_ref * ball(1 - way)
        return formulas.weakening_factor(BALL, delta, delta_ref, beta)

    return factor


def _certify_decreases(case: Case) -> Evidence:
    low, high = sorted(("low", "high"), key=case.numbers.__getitem__)
    if case.numbers[low] == case.numbers[high]:
        return common.harmless(case, "one margin, not two")
    first, second = _factor_at(case, low), _factor_at(case, high)
    words = "the factor falls from 1/2"
    return numbers.broken(case, words, [], lambda: second() - first(), lambda: first() - 0.5)


def _certify_limit(case: Case) -> Evidence:
    inside, end = _factor_at(case, "high"), _factor_at(case, "end")
    words = "the factor stays above its positive limit"
    return numbers.broken(case, words, [], lambda: end() - inside(), lambda: -end())


def _draw_low(source: Source) -> Case:
    return Case(instance=common.lowered(common.draw_pair(source, "ordered")))


def _vanishes(case: Case) -> float:
    """Return the package's factor at δ = 0, where U is not empty."""
    delta_ref, _, beta = common.pair_of(case)
    if not numbers.single(case, "ordered") or delta_ref >= 0:
        return common.OUTSIDE
    return float(-losses.DPO.gradient(0.0, delta_ref, beta) / beta)


def _certify_vanishes(case: Case) -> Evidence:
    if not numbers.single(case, "ordered"):
        return common.harmless(case, "not one ordered pair")
    return gradient_weakening.vanishing(common.instance_of(case))


def _draw_turning(source: Source) -> Case:
    """Draw a violated soft label and two policies between the reference and a tie."""
    made = common.lowered(common.draw_pair(source, "bradley-terry"))
    winner, loser = made.pairs[0]
    even = (made.ref[winner] + made.ref[loser]) / 2
    low = source.integer(1, 8)
    policies = {}
    for name, tenths in (("low", low), ("high", source.integer(low + 1, 9))):
        policy = list(made.ref)
        for y in (winner, loser):
            policy[y] += Fraction(tenths, 10) * (even - policy[y])
        policies[name] = tuple(policy)
    return Case(instance=made, policies=policies)


def _turns(case: Case) -> float:
    """Measure by how much |dL/dδ| grows from one policy of U to a higher one."""
    delta_ref, gap, beta = common.pair_of(case)
    delta = np.array([common.policy_margin(case, name) for name in ("low", "high")])
    soft = numbers.single(case, "bradley-terry") and gap > 0
    inside = margins.undesirable(delta, delta_ref)
    if not soft or not bool(inside.all()) or delta[0] >= delta[1]:
        return common.OUTSIDE
    slope = np.abs(losses.DPO.population_gradient(delta, delta_ref, beta, gap)) / beta
    return float(slope[1] - slope[0])


def _certify_turns(case: Case) -> Evidence:
    made = common.instance_of(case)
    if not numbers.single(case, "bradley-terry") or made.gap(0) <= 0:
        return common.harmless(case, "not one soft label with gap > 0")
    both = Policies.of(made, [case.policies["low"], case.policies["high"]])
    return gradient_weakening.turning(both)


def _soft(case: Case) -> float:
    """Measure by how much dL/dδ at δ* + y has another sign than y, over β."""
    delta_ref, gap, beta, y = numbers.floats(case, "delta_ref gap beta y")
    star = float(margins.optimal_margin(delta_ref, gap, beta))
    at = np.array([star, star + y])
    slope = losses.DPO.population_gradient(at, delta_ref, beta, gap) / beta
    size = 1 + beta * (abs(delta_ref) + abs(star) + abs(y)) + abs(gap)
    wrong = max(abs(slope[0]), -slope[1] * np.sign(y))
    return float(wrong) - common.ROUNDING * size


def _certify_soft(case: Case) -> Evidence:
    def slope() -> Any:
        delta_ref, gap, beta, y = numbers.balls(case, "delta_ref gap beta y")
        delta = formulas.rlhf_margin(delta_ref, gap, beta) + y
        q = formulas.sigmoid(BALL, gap)
        return formulas.pair_gradient(BALL, delta, delta_ref, beta, q)

    way = case.numbers["y"]
    if way == 0:
        return common.harmless(case, "at delta* itself the slope is zero")
    side = 1 if way > 0 else -1
    return numbers.broken(
        case, "dL/ddelta has the sign of delta - delta*", [], lambda: -side * slope()
    )


FALSIFIERS: dict[str, Falsifier] = {
    "factor-decreases": Falsifier(
        numbers.draw_of(_INSIDE), _decreases, _certify_decreases, _INSIDE
    ),
    "vanishes-at-boundary": Falsifier(_draw_low, _vanishes, _certify_vanishes),
    "boundary-limit": Falsifier(numbers.draw_of(_INSIDE), _limit, _certify_limit, _INSIDE),
    "soft-labels": Falsifier(_draw_turning, _turns, _certify_turns),
    "soft-labels-corrected": Falsifier(numbers.draw_of(_SOFT), _soft, _certify_soft, _SOFT),
    **_exits.FALSIFIERS,
}
