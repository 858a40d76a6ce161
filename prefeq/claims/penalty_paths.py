"""The penalty objective along a path that empties one response: where it rises for ever.

On the path the log-odds against response y are T and the others keep the proportions of π*. With
c = γ|d(y)| it rises for T ≥ 2(|A − B| + β)/c (step `rises-beyond`), A = r(y) + β log π_ref(y) and
B = Σ ρ(r − β log(ρ/π_ref)) over the others, ρ their proportions (Σ ρ = 1).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from flint import ctx

from prefeq.claims import penalty_formulas
from prefeq.claims.ball import BALL, DISPLAY_BITS, ball
from prefeq.claims.instance import Instance
from prefeq.claims.stationary import net_degrees


def sinking(instance: Instance) -> int | None:
    """Return the first response of most negative net degree, None if all degrees are zero."""
    degrees = net_degrees(instance)
    worst = min(range(instance.size), key=degrees.__getitem__)
    return worst if degrees[worst] < 0 else None


def objective(instance: Instance, logp: list[Any], gamma: Fraction) -> Any:
    """Enclose J(π) + γ Σ d log π of a log-policy."""
    rows = zip(instance.ref, instance.reward, net_degrees(instance), logp, strict=True)
    total = ball(0)
    for ref, reward, degree, value in rows:
        total += penalty_formulas.penalty_term(
            BALL, value.exp(), ball(ref).log(), ball(reward), ball(instance.beta),
            ball(gamma * degree),
        )  # fmt: skip
    return total


def along(instance: Instance, y: int, log_odds: Fraction) -> list[Any]:
    """Enclose the log-policy with log-odds T against y and π*'s proportions among the others."""
    logp = instance.rlhf_logp()
    t = ball(log_odds)
    others = [z.exp() for i, z in enumerate(logp) if i != y]
    outside = -(-t).exp().log1p() - sum(others[1:], others[0]).log()
    return [-(t + (-t).exp().log1p()) if i == y else z + outside for i, z in enumerate(logp)]


def log_odds(instance: Instance, y: int) -> Any:
    """Enclose the log-odds against y at π*, through which the path goes."""
    logp = instance.rlhf_logp()
    others = [z.exp() for i, z in enumerate(logp) if i != y]
    return sum(others[1:], others[0]).log() - logp[y]


def rising_from(instance: Instance, y: int, gamma: Fraction) -> Fraction:
    """Return a whole number of nats at or above 2(|A − B| + β)/c."""
    with ctx.workprec(DISPLAY_BITS):
        beta = ball(instance.beta)
        logp = instance.rlhf_logp()
        own = ball(instance.reward[y]) + beta * ball(instance.ref[y]).log()
        rest = logp[:y] + logp[y + 1 :]
        total = sum((z.exp() for z in rest[1:]), rest[0].exp())
        spread = ball(0)
        for i, z in enumerate(logp):
            if i != y:
                ratio = z - total.log() - ball(instance.ref[i]).log()
                spread += z.exp() / total * (ball(instance.reward[i]) - beta * ratio)
        c = ball(gamma * -net_degrees(instance)[y])
        bound = 2 * (abs(own - spread) + beta) / c
        return _whole(bound)


def beyond_rlhf(instance: Instance, y: int, gamma: Fraction) -> Fraction:
    """Return such a number that is also beyond π*: from there on the objective exceeds F(π*)."""
    with ctx.workprec(DISPLAY_BITS):
        return max(rising_from(instance, y, gamma), _whole(log_odds(instance, y)), Fraction(1))


def _whole(value: Any) -> Fraction:
    return Fraction(int(value.upper().ceil().unique_fmpz()))
