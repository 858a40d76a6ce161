"""How the readings of `e-cpoc` are attacked: the released smooth branch and `clip`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from typing import Any

from prefeq.claims import formulas
from prefeq.claims import target_formulas as targets
from prefeq.claims.ball import BALL, ball
from prefeq.claims.surrogates import SurrogateCase
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Falsifier, Kind, Source
from prefeq.counterexamples.falsifiers import _common as common
from prefeq.counterexamples.falsifiers._surrogates import (
    Attack,
    Decided,
    Exact,
    Seen,
    at_least_zero,
    beta,
    decided,
    every_of,
    given,
    log1pexp,
    misaligned,
    wrong_way,
)

LN2 = math.log(2)
FAR = 60.0
"""Nats, in units of the slowest exponential, beyond which a limit is reached in floats."""

_SMOOTH: Mapping[str, Kind] = {"alpha": "positive", "gamma": "real", "tau": "positive"}
SMOOTH = Attack("smooth", "fixed", _SMOOTH)
SMOOTH_PER_LABEL = Attack("smooth", "per-label", _SMOOTH)
CLIP = Attack("clip", "fixed", {})
CLIP_PER_LABEL = Attack("clip", "per-label", {})


def _draw(attack: Attack, alpha: str, source: Source) -> Case:
    """Draw α = 1, below or above; γ of either sign, small more often than not."""
    share = draws.number(source, "unit")
    values = {"one": Fraction(1), "below": share, "above": 1 / share}
    return attack.draw(source, alpha=values[alpha])


def _with_alpha(alpha: str, violation: Callable[[Seen], float]) -> Callable[[Seen], float]:
    """Restrict a violation to α = 1, below or above."""

    def measured(seen: Seen) -> float:
        return violation(seen) if _is(alpha, seen.parameters["alpha"]) else common.OUTSIDE

    return measured


def _exactly_with(alpha: str, exact: Exact) -> Exact:
    return lambda made: exact(made) if _is(alpha, made.parameter("alpha")) else False


def _is(alpha: str, value: Any) -> bool:
    return bool({"one": value == 1, "below": value < 1, "above": value > 1}[alpha])


def _smooth(
    alpha: str,
    violation: Callable[[Seen], float],
    exact: Exact,
    attack: Attack = SMOOTH,
) -> Falsifier:
    return attack.falsifier(
        _with_alpha(alpha, violation),
        _exactly_with(alpha, exact),
        draw=partial(_draw, attack, alpha),
    )


# ------------------------------------------------------------------------- fixed targets


def _nonnegative_gamma(seen: Seen) -> float:
    return given(seen.parameters["gamma"], lambda: wrong_way(seen) - seen.rounding)


def _gamma_misaligned(made: SurrogateCase) -> Decided:
    alpha, gamma = made.parameter("alpha"), made.parameter("gamma")
    side = "alpha == 1" if alpha == 1 else f"alpha {'>' if alpha > 1 else '<'} 1"
    return {side: True, "gamma >= 0": gamma >= 0, **made.misaligned()}


def _far_below(seen: Seen) -> float:
    """Return a reference margin so low that a smooth target is at its limit γ."""
    gamma, tau = seen.parameters["gamma"], seen.parameters["tau"]
    small = max(0.0, -math.log(tau * abs(gamma))) if gamma else 0.0
    return gamma - (FAR + small) / tau


def _target_far_below(seen: Seen) -> float:
    """Measure t at a reference far below a γ < 0, where it tends to γ."""
    if seen.parameters["gamma"] >= 0:
        return common.OUTSIDE
    return seen.beta * seen.target_at(_far_below(seen), 0.0)


def _exactly_far_below(made: SurrogateCase) -> bool | None:
    """At e^{τ(δ_ref − γ)} = E: t − γ = log(1 + E)/τ, which E = τ|γ|/2 keeps below |γ|."""
    gamma, tau = made.parameter("gamma"), made.parameter("tau")
    if gamma >= 0:
        return False
    at = ball(-tau * gamma / 2)
    return decided(lambda: ball(gamma) + formulas.softplus(BALL, at.log()) / ball(tau))


def _entropy(alpha: float) -> float:
    return -alpha * math.log(alpha) - (1 - alpha) * math.log1p(-alpha)


def _room(seen: Seen) -> float:
    """Return γ + H(α)/(ατ), the least target there is for α < 1."""
    alpha, gamma, tau = (seen.parameters[name] for name in ("alpha", "gamma", "tau"))
    return gamma + _entropy(alpha) / (alpha * tau)


def _exact_room(made: SurrogateCase) -> Any:
    alpha, gamma, tau = (ball(made.parameter(name)) for name in ("alpha", "gamma", "tau"))
    return gamma + targets.entropy(BALL, alpha) / (alpha * tau)


def _lowest(seen: Seen) -> float:
    """Return γ − logit(α)/τ, where the target is least."""
    alpha, gamma, tau = (seen.parameters[name] for name in ("alpha", "gamma", "tau"))
    return gamma - (math.log(alpha) - math.log1p(-alpha)) / tau


def _below_if(seen: Seen) -> float:
    return given(_room(seen), lambda: wrong_way(seen) - seen.rounding)


def _below_only_if(seen: Seen) -> float:
    """Measure the target where it is least, if its least value is negative."""
    if _room(seen) >= 0:
        return common.OUTSIDE
    at, (gamma, tau) = _lowest(seen), (seen.parameters[name] for name in ("gamma", "tau"))
    size = 1.0 + (abs(at) + abs(gamma) + 1 / tau) / seen.parameters["alpha"]
    return seen.target_at(at, 0.0) - common.ROUNDING * size


def _room_misaligned(made: SurrogateCase) -> bool | None:
    return every_of(at_least_zero(lambda: _exact_room(made)), misaligned(made))


def _lowest_aligned(made: SurrogateCase) -> bool | None:
    """Decide that the least target is negative by its formula, and not at its place."""

    def target() -> Any:
        alpha, gamma, tau = (ball(made.parameter(name)) for name in ("alpha", "gamma", "tau"))
        at = gamma - (alpha / (1 - alpha)).log() / tau
        return targets.smooth(BALL, at, alpha, gamma, tau)

    return every_of(decided(lambda: -_exact_room(made)), decided(target))


def _above_only(seen: Seen) -> float:
    return given(seen.parameters["gamma"], lambda: wrong_way(seen))


def _above_corrected(seen: Seen) -> float:
    """Measure how far t falls on the way up by one nat, or is above zero far below."""
    alpha, gamma, tau = (seen.parameters[name] for name in ("alpha", "gamma", "tau"))
    up = seen.target_at(seen.winner + seen.loser, 2 * seen.loser - 1.0)
    far = -2 * (abs(gamma) + 1.0 + FAR / tau) * alpha / (alpha - 1)
    low = seen.target_at(far, 0.0)
    size = common.ROUNDING * (1.0 + abs(gamma) + 1 / tau)
    return max(seen.target - up - size - seen.rounding / seen.beta, low - size * abs(far))


def _exactly_above(made: SurrogateCase) -> bool | None:
    """Decide that t falls between δ_ref and δ_ref + 1: no other failure can be seen at a point."""
    alpha, gamma, tau = (ball(made.parameter(name)) for name in ("alpha", "gamma", "tau"))

    def fall() -> Any:
        here = made.ref_margin()
        up = targets.smooth(BALL, here + 1, alpha, gamma, tau)
        return targets.smooth(BALL, here, alpha, gamma, tau) - up

    return at_least_zero(fall)


# ------------------------------------------------------------------------- per-label targets


def _sure(seen: Seen) -> float:
    """Return softplus(−βγ), the gap that is enough."""
    return log1pexp(-seen.beta * seen.parameters["gamma"])


def _exactly_sure(made: SurrogateCase) -> Any:
    return formulas.softplus(BALL, -beta(made) * ball(made.parameter("gamma")))


def _sure_if(seen: Seen) -> float:
    return given(seen.gap - _sure(seen), lambda: wrong_way(seen) - seen.rounding)


def _sure_only_if(seen: Seen) -> float:
    """Measure how far the gap is above the critical one at a far reference, yet below the limit."""
    short = _sure(seen) - seen.gap
    slowest = min(seen.parameters["tau"], seen.beta, 1.0)
    far = -abs(seen.parameters["gamma"]) - FAR / slowest
    size = common.ROUNDING * (1.0 + seen.gap + seen.beta * abs(far))
    critical = seen.critical_at(far, 0.0) if short > size else 0.0
    return given(short, lambda: seen.gap - critical - size, size)


def _sure_misaligned(made: SurrogateCase) -> bool | None:
    enough = at_least_zero(lambda: ball(made.instance.gap(0)) - _exactly_sure(made))
    return every_of(enough, misaligned(made))


def _unsure_aligned(made: SurrogateCase) -> bool | None:
    """Decide that a gap below the limit is critical nowhere: at 2^12 nats below it must not be."""
    gamma, tau = ball(made.parameter("gamma")), ball(made.parameter("tau"))

    def excess() -> Any:
        far = -abs(gamma) - 4096 / tau - 4096 / beta(made) - 4096
        t, swapped = (targets.smooth(BALL, d, ball(1), gamma, tau) for d in (far, -far))
        critical = targets.per_label_critical_gap(BALL, t, swapped, beta(made))
        return ball(made.instance.gap(0)) - critical

    short = decided(lambda: _exactly_sure(made) - ball(made.instance.gap(0)))
    return every_of(short, at_least_zero(excess))


def _clip_fixed(seen: Seen) -> float:
    return wrong_way(seen)


def _clip_if(seen: Seen) -> float:
    return given(seen.gap - LN2, lambda: wrong_way(seen) - seen.rounding)


def _clip_only_if(seen: Seen) -> float:
    """Measure how far the gap is above the critical one at a far reference, yet below ln 2."""
    far = -FAR / seen.beta
    if seen.gap >= LN2 - common.ROUNDING:
        return common.OUTSIDE
    return seen.gap - seen.critical_at(far, 0.0) - common.ROUNDING


def _clip_sure(made: SurrogateCase) -> bool | None:
    enough = decided(lambda: ball(made.instance.gap(0)) - ball(2).log())
    return every_of(enough, misaligned(made))


def _clip_unsure(made: SurrogateCase) -> bool | None:
    """The gap g < ln 2 is critical at e^{βδ_ref} = 2e^−g − 1: is it above that anywhere below?"""
    gap = ball(made.instance.gap(0))
    short = decided(lambda: ball(2).log() - gap)

    def excess() -> Any:
        far = -4096 / beta(made)
        return gap - targets.per_label_critical_gap(BALL, ball(0), -far, beta(made))

    return every_of(short, at_least_zero(excess))


FALSIFIERS: dict[str, Falsifier] = {
    "smooth-alpha-one (if)": _smooth("one", _nonnegative_gamma, _gamma_misaligned),
    "smooth-alpha-one (only-if)": _smooth("one", _target_far_below, _exactly_far_below),
    "smooth-alpha-below-one (if)": _smooth("below", _below_if, _room_misaligned),
    "smooth-alpha-below-one (only-if)": _smooth("below", _below_only_if, _lowest_aligned),
    "smooth-alpha-above-one": _smooth("above", _above_only, _gamma_misaligned),
    "smooth-alpha-above-one-corrected": _smooth("above", _above_corrected, _exactly_above),
    "smooth-per-label": _smooth("one", _above_only, _gamma_misaligned, SMOOTH_PER_LABEL),
    "smooth-per-label-corrected (if)": _smooth("one", _sure_if, _sure_misaligned, SMOOTH_PER_LABEL),
    "smooth-per-label-corrected (only-if)": _smooth(
        "one", _sure_only_if, _unsure_aligned, SMOOTH_PER_LABEL
    ),
    "clip-fixed": CLIP.falsifier(_clip_fixed, misaligned),
    "clip-per-label": CLIP_PER_LABEL.falsifier(wrong_way, misaligned),
    "clip-two-thirds (if)": CLIP_PER_LABEL.falsifier(_clip_if, _clip_sure),
    "clip-two-thirds (only-if)": CLIP_PER_LABEL.falsifier(_clip_only_if, _clip_unsure),
}
