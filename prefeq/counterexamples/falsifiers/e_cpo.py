"""How the readings of `e-cpo` are attacked: general targets, Eq. 17 and the `easy` branch."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from prefeq.claims import eq17_lemmas
from prefeq.claims import target_formulas as targets
from prefeq.claims.ball import BALL, ball
from prefeq.claims.surrogates import SurrogateCase
from prefeq.counterexamples.case import Case, Falsifier, Source
from prefeq.counterexamples.falsifiers import _common as common
from prefeq.counterexamples.falsifiers._surrogates import (
    Attack,
    Decided,
    Seen,
    at_least_zero,
    beta,
    decided,
    every_of,
    given,
    misaligned,
    positive_target,
    wrong_way,
)

ANY_FIXED = Attack("smooth", "fixed", {"alpha": "positive", "gamma": "real", "tau": "positive"})
ANY_PER_LABEL = Attack("smooth", "per-label", dict(ANY_FIXED.parameters))
EQ17_FIXED = Attack("eq17", "fixed", {"gamma": "positive"})
EQ17_PER_LABEL = Attack("eq17", "per-label", {"gamma": "positive"})
EASY_FIXED = Attack("easy", "fixed", {"gamma": "positive"})
EASY_PER_LABEL = Attack("easy", "per-label", {"gamma": "positive"})

PEAK, LEAST = 1.543404638418210, 0.223871602347151
"""Where d/(2 + 2 cosh d) is largest, and how large."""


# ------------------------------------------------------------------------- any target


def _fixed_if(seen: Seen) -> float:
    return given(seen.target, lambda: wrong_way(seen) - seen.rounding)


def _fixed_only_if(seen: Seen) -> float:
    """Measure how aligned the pair is at half the gap that a negative target asks for."""
    if seen.target >= 0:
        return common.OUTSIDE
    half = -seen.beta * seen.target / 2
    halved = Seen(seen.loss, "fixed", seen.winner, seen.loser, seen.beta, half, seen.parameters)
    return -wrong_way(halved) - seen.rounding


def _half_gap_aligned(made: SurrogateCase) -> bool | None:
    def target() -> Any:
        return made.target()

    def end() -> Any:
        gap = -beta(made) * target() / 2
        return targets.fixed_minimiser(target(), beta(made), gap)

    return every_of(decided(lambda: -target()), decided(end))


def _per_label_if(seen: Seen) -> float:
    slack = seen.gap - seen.critical_gap
    return given(slack, lambda: min(slack, wrong_way(seen)) - seen.rounding, seen.rounding)


def _per_label_only_if(seen: Seen) -> float:
    up = -wrong_way(seen)
    return given(up, lambda: min(up, seen.critical_gap - seen.gap) - seen.rounding, seen.rounding)


def _sufficient_and_misaligned(made: SurrogateCase) -> Decided:
    return {
        "gap[0] > critical_gap[0]": decided(made.slack),
        "minimiser[0] < 0": decided(lambda: -made.minimiser()),
    }


def _aligned_and_insufficient(made: SurrogateCase) -> Decided:
    return {
        "minimiser[0] > 0": decided(made.minimiser),
        "gap[0] <= critical_gap[0]": at_least_zero(lambda: -made.slack()),
    }


# ------------------------------------------------------------------------- Eq. 17


def _needed(seen: Seen) -> float:
    """Return −βδ_ref/(1/π_ref(w) + 1/π_ref(l))."""
    total = math.exp(-seen.winner) + math.exp(-seen.loser)
    return -seen.beta * seen.delta_ref / total


def _exactly_needed(made: SurrogateCase) -> Any:
    def of(winner: Any, loser: Any, b: Any) -> Any:
        return -b * (winner - loser) / targets.inverse_probs(BALL, winner, loser)

    return made.of(of)


def _criterion_if(seen: Seen) -> float:
    slack = seen.parameters["gamma"] - _needed(seen)
    return given(slack, lambda: wrong_way(seen) - seen.rounding)


def _criterion_only_if(seen: Seen) -> float:
    room = -seen.critical_gap - seen.rounding  # how far t is above 0
    return given(room, lambda: min(room, _needed(seen) - seen.parameters["gamma"] - seen.rounding))


def _enough_and_misaligned(made: SurrogateCase) -> bool | None:
    gamma = ball(made.parameter("gamma"))
    return every_of(at_least_zero(lambda: gamma - _exactly_needed(made)), misaligned(made))


def _aligned_without(made: SurrogateCase) -> bool | None:
    gamma = ball(made.parameter("gamma"))
    at_least = at_least_zero(made.target)
    return every_of(at_least, decided(lambda: _exactly_needed(made) - gamma))


def _draw_near_peak(source: Source) -> Case:
    """Draw γ near what the worst reference needs, and often a reference near the worst."""
    drawn = EQ17_FIXED.draw(source)
    made = common.instance_of(drawn)
    share = Fraction(source.choice(("0.2238", "0.2239", "0.224", "1/4", "1/5", "1/2", "3")))
    odds = source.choice((None, Fraction(14, 3), Fraction(4681, 1000), Fraction(5)))
    if odds is not None and made.size == 2:
        winner = made.pairs[0][0]
        ends = (1 / (1 + odds), odds / (1 + odds))
        ref = ends if winner == 0 else ends[::-1]
        made = type(made)(made.name, made.reward, ref, made.beta, made.pairs, made.labels)
    return Case({"gamma": share * made.beta}, made)


def _every_if(seen: Seen) -> float:
    slack = seen.parameters["gamma"] / seen.beta - LEAST
    return given(slack, lambda: wrong_way(seen) - seen.rounding, 1e-14)


def _every_only_if(seen: Seen) -> float:
    """Measure how far the worst reference is above zero although γ/β is below the peak."""
    if seen.parameters["gamma"] / seen.beta >= LEAST:
        return common.OUTSIDE
    worst = -math.log1p(math.exp(PEAK)), -math.log1p(math.exp(-PEAK))
    return seen.beta * seen.target_at(*worst) - seen.rounding - 1e-14 * seen.beta


def _above_peak_and_misaligned(made: SurrogateCase) -> bool | None:
    share = ball(made.parameter("gamma") / made.instance.beta)
    return every_of(decided(lambda: share - eq17_lemmas.least()), misaligned(made))


def _below_peak_and_aligned(made: SurrogateCase) -> bool | None:
    """At the worst reference t = (2 + 2 cosh d)(γ/β − peak): of the sign of its second factor."""
    share = made.parameter("gamma") / made.instance.beta

    def target() -> Any:
        d = eq17_lemmas.peak()
        return ball(share) * targets.two_response_inverse(BALL, d) - d

    return every_of(decided(lambda: eq17_lemmas.least() - ball(share)), decided(target))


def _between(seen: Seen, low: float, high: float) -> float:
    """Measure how far a critical gap is outside (low, high), or above 0 for δ_ref ≥ 0."""
    critical = seen.critical_gap
    if seen.delta_ref >= 0:
        return critical - seen.rounding
    return max(low - critical, critical - high) - seen.rounding


def _eq17_between(seen: Seen) -> float:
    return _between(seen, 0.0, -seen.beta * seen.delta_ref)


def _easy_between(seen: Seen) -> float:
    dpo = -seen.beta * seen.delta_ref
    return _between(seen, dpo, 2 * dpo)


def _exactly_outside(low: int, high: int, made: SurrogateCase) -> bool | None:
    """Decide that the critical gap is outside (low, high) times DPO's, above 0 for δ_ref ≥ 0."""

    def critical() -> Any:
        return made.of(made.surrogate.critical_gap)

    if made.instance.ref_ratio(0) >= 1:
        return False if made.instance.ref_ratio(0) == 1 else decided(critical)

    def dpo(times: int) -> Any:
        return -times * beta(made) * made.ref_margin()

    below = at_least_zero(lambda: dpo(low) - critical())
    above = at_least_zero(lambda: critical() - dpo(high))
    if True in (below, above):
        return True
    return None if None in (below, above) else False


# ------------------------------------------------------------------------- easy


def _not_raised(seen: Seen) -> float:
    return seen.delta_ref - seen.target


def _not_lowered(seen: Seen) -> float:
    return seen.beta * (seen.target - seen.delta_ref) - seen.rounding


def _exactly_not_raised(made: SurrogateCase) -> Decided:
    below = at_least_zero(lambda: made.ref_margin() - made.target())
    return {"target[0] <= ref_margin[0]": below}


def _exactly_not_lowered(made: SurrogateCase) -> Decided:
    above = at_least_zero(lambda: made.target() - made.ref_margin())
    return {"target[0] >= ref_margin[0]": above}


def _not_worse(seen: Seen) -> float:
    """Measure how far the critical gap is below DPO's, or alignment and it apart."""
    below = -seen.beta * seen.delta_ref - seen.critical_gap
    apart = common.disagreement(-wrong_way(seen), seen.gap - seen.critical_gap)
    return max(below, apart) - seen.rounding


def _exactly_not_worse(made: SurrogateCase) -> bool | None:
    def excess() -> Any:
        return made.of(made.surrogate.critical_gap) + beta(made) * made.ref_margin()

    worse = decided(excess)
    return None if worse is None else not worse


FALSIFIERS: dict[str, Falsifier] = {
    "fixed-target-criterion (if)": ANY_FIXED.falsifier(_fixed_if, positive_target),
    "fixed-target-criterion (only-if)": ANY_FIXED.falsifier(_fixed_only_if, _half_gap_aligned),
    "per-label-criterion (if)": ANY_PER_LABEL.falsifier(_per_label_if, _sufficient_and_misaligned),
    "per-label-criterion (only-if)": ANY_PER_LABEL.falsifier(
        _per_label_only_if, _aligned_and_insufficient
    ),
    "eq17-fixed": EQ17_FIXED.falsifier(wrong_way, misaligned),
    "eq17-fixed-corrected (if)": EQ17_FIXED.falsifier(_criterion_if, _enough_and_misaligned),
    "eq17-fixed-corrected (only-if)": EQ17_FIXED.falsifier(_criterion_only_if, _aligned_without),
    "eq17-every-reference (if)": EQ17_FIXED.falsifier(
        _every_if, _above_peak_and_misaligned, draw=_draw_near_peak
    ),
    "eq17-every-reference (only-if)": EQ17_FIXED.falsifier(
        _every_only_if, _below_peak_and_aligned, draw=_draw_near_peak
    ),
    "eq17-per-label": EQ17_PER_LABEL.falsifier(
        lambda seen: given(seen.target, lambda: wrong_way(seen)),
        positive_target,
        words="t = {target:.4g} >= 0, yet the loss is least at delta = {minimiser:.4g}",
    ),
    "eq17-per-label-corrected": EQ17_PER_LABEL.falsifier(
        _eq17_between, lambda made: _exactly_outside(0, 1, made)
    ),
    "easy-raises-target": EASY_FIXED.falsifier(
        _not_raised,
        _exactly_not_raised,
        words="t = {target:.4g}, and delta_ref = {ref_margin:.4g}",
    ),
    "easy-lowers-target": EASY_FIXED.falsifier(_not_lowered, _exactly_not_lowered),
    "easy-fixed": EASY_FIXED.falsifier(wrong_way, misaligned),
    "easy-worse-than-dpo": EASY_FIXED.falsifier(_not_worse, _exactly_not_worse),
    "easy-per-label": EASY_PER_LABEL.falsifier(wrong_way, misaligned),
    "easy-per-label-worse-than-dpo": EASY_PER_LABEL.falsifier(
        _easy_between, lambda made: _exactly_outside(1, 2, made)
    ),
}
