"""How the exit times and steps of `gradient-weakening` are attacked."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from flint import ctx

from prefeq import losses, margins
from prefeq._namespace import LN2
from prefeq.claims import exit_times, formulas
from prefeq.claims.ball import BALL, DISPLAY_BITS, ball
from prefeq.claims.evidence import Evidence
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Falsifier, Kind, Source
from prefeq.counterexamples.falsifiers import _common as common
from prefeq.counterexamples.falsifiers import _numbers as numbers

CLOSE = 1e-9
FARTHEST = 600.0
"""The exponent up to which exit times are floats."""

LONGEST = 10_000
"""The level up to which a flow is followed in balls."""

MOST_STEPS = 60
MOST_INTEGRATED = 3.0
INTEGRATION = 1e-3
"""The error allowed to 64 steps of Runge and Kutta on the way to z = 3."""

_PAIR: dict[str, Kind] = {"u": "positive", "beta": "positive", "mass": "positive"}
_TIME: dict[str, Kind] = {"beta": "positive", "mass": "positive", "level": "positive"}
_TARGET: dict[str, Kind] = {**_PAIR, "start": "real"}
_STEPS: dict[str, Kind] = {**_PAIR, "pace": "positive"}
_STEPS_TARGET: dict[str, Kind] = {**_STEPS, "start": "real"}


def level_of(z: float) -> float:
    """Return z + e^z."""
    return z + math.exp(z)


def at_level(level: float) -> float:
    """Return the z with z + e^z = level, as log ω(level), Wright's omega."""
    from scipy.special import wrightomega

    return math.log(wrightomega(level))


def _draw_escape(source: Source) -> Case:
    made = common.lowered(common.draw_pair(source, "ordered"))
    return Case({"time": draws.number(source, "positive")}, made)


def _escapes(case: Case) -> float:
    """Measure by how much a time exceeds the package's exit time, relative to that."""
    delta_ref, _, beta = common.pair_of(case)
    (time,) = numbers.floats(case, "time")
    if not numbers.single(case, "ordered") or delta_ref >= 0 or beta**2 * time > LONGEST:
        return common.OUTSIDE
    exit_at = float(margins.exit_time(delta_ref, beta))
    return min(time / exit_at - 1.0, 1.0)


def _certify_escapes(case: Case) -> Evidence:
    made, time = common.instance_of(case), case.numbers["time"]
    if not numbers.single(case, "ordered") or made.beta**2 * time > LONGEST:
        return common.harmless(case, "not one ordered pair, or too long a time")
    return exit_times.escape(made, time)


def _given(case: Case) -> tuple[float, float, float, float]:
    """Return u, β, m and δ_ref = −u/β."""
    u, beta, mass = numbers.floats(case, "u beta mass")
    return u, beta, mass, -u / beta


def _exit_time(case: Case) -> float:
    """Measure how far from 0 the flow is at the package's exit time, solved and integrated."""
    u, beta, mass, delta_ref = _given(case)
    if u > FARTHEST:
        return common.OUTSIDE
    span = 2 * beta**2 * mass * float(margins.exit_time(delta_ref, beta, mass=mass))
    missed = abs(at_level(1 + span) - u) / (1 + u) - CLOSE
    if u <= MOST_INTEGRATED:
        missed = max(missed, abs(_integrated(span) - u) - INTEGRATION * (1 + u))
    return missed


def _integrated(span: float, steps: int = 64) -> float:
    """Integrate z′ = σ(−z) from 0 for a time, by Runge and Kutta's method."""
    z, h = 0.0, span / steps
    for _ in range(steps):
        a = 1 / (1 + math.exp(z))
        b = 1 / (1 + math.exp(z + h / 2 * a))
        c = 1 / (1 + math.exp(z + h / 2 * b))
        d = 1 / (1 + math.exp(z + h * c))
        z += h / 6 * (a + 2 * b + 2 * c + d)
    return z


def _certify_exit_time(case: Case) -> Evidence:
    def rise() -> Any:
        (u,) = numbers.balls(case, "u")
        return formulas.flow_level(BALL, u) - formulas.flow_level(BALL, ball(0))

    def span() -> Any:
        u, beta, mass = numbers.balls(case, "u beta mass")
        return 2 * beta**2 * mass * formulas.exit_time(BALL, -u / beta, beta, mass)

    answer = None if case.numbers["u"] > FARTHEST else common.differ((rise, span))
    return common.harmless(case, "F(u) - F(0) = 2 beta^2 m T", answer)


def _lambert(case: Case) -> float:
    """Measure how far the package's exit time from −z(t)/β is from t."""
    beta, mass, level = numbers.floats(case, "beta mass level")
    time = level / (2 * beta**2 * mass)
    found = float(margins.exit_time(-at_level(1 + level) / beta, beta, mass=mass))
    return abs(found / time - 1) - CLOSE * (1 + 1 / level)


def _certify_lambert(case: Case) -> Evidence:
    def level() -> Any:
        return ball(1 + case.numbers["level"])

    def reached() -> Any:
        c = level()
        return formulas.flow_level(BALL, c - c.exp().lambertw())

    answer = None if case.numbers["level"] > LONGEST else common.differ((level, reached))
    return common.harmless(case, "z + e^z = c at z = c - W(e^c)", answer)


def _exponential(case: Case) -> float:
    """Measure how far log(2β²mT) − u is from (log(1 − e^−u), log 2), or from 0 for large u."""
    u, beta, mass, delta_ref = _given(case)
    log_time = float(margins.log_exit_time(delta_ref, beta, mass=mass))
    excess = log_time + LN2 + 2 * math.log(beta) + math.log(mass) - u
    low = math.log(-math.expm1(-u))
    beyond = max(low - excess, excess - LN2)
    if u >= 1:
        beyond = max(beyond, -excess, excess - u * math.exp(-u))
    size = 1 + u + abs(math.log(u)) + abs(2 * math.log(beta)) + abs(math.log(mass))
    return beyond - common.ROUNDING * size


def _certify_exponential(case: Case) -> Evidence:
    def scaled() -> Any:
        u, beta, mass = numbers.balls(case, "u beta mass")
        return 2 * beta**2 * mass * formulas.exit_time(BALL, -u / beta, beta, mass)

    def top() -> Any:
        return ball(case.numbers["u"]).exp()

    words = "e^u - 1 < 2 beta^2 m T < 2 e^u"
    above, below = (lambda: top() - 1 - scaled()), (lambda: scaled() - 2 * top())
    return numbers.broken(case, words, [], above, below)


def _exit_time_to(case: Case) -> float:
    """Measure how far from u₁ = u₀ + u the flow from u₀ is at the package's exit time."""
    u, beta, mass, delta_ref = _given(case)
    (start,) = numbers.floats(case, "start")
    end = start + u
    if max(end, -start) > FARTHEST:
        return common.OUTSIDE
    time = float(margins.exit_time(delta_ref, beta, -end / beta, mass))
    reached = at_level(level_of(start) + 2 * beta**2 * mass * time)
    return abs(reached - end) - CLOSE * (1 + abs(start) + abs(end))


def _certify_exit_time_to(case: Case) -> Evidence:
    def rise() -> Any:
        u, start = numbers.balls(case, "u start")
        return formulas.flow_level(BALL, start + u) - formulas.flow_level(BALL, start)

    def span() -> Any:
        u, beta, mass, start = numbers.balls(case, "u beta mass start")
        time = formulas.exit_time_to(BALL, -u / beta, -(start + u) / beta, beta, mass)
        return 2 * beta**2 * mass * time

    far = max(case.numbers["start"] + case.numbers["u"], -case.numbers["start"]) > FARTHEST
    answer = None if far else common.differ((rise, span))
    return common.harmless(case, "F(u_1) - F(u_0) = 2 beta^2 m T", answer)


def _clip(case: Case) -> float:
    """Measure how far clip's time leaves (a, 2a)/(2β²m), exceeds DPO's or is off its formula."""
    a, beta, mass, delta_ref = _given(case)
    target = float(losses.CLIP.target(delta_ref, beta))
    unit = 2 * beta**2 * mass
    time = unit * float(margins.exit_time(delta_ref, beta, target, mass)) / a
    own = unit * float(margins.exit_time(delta_ref, beta, mass=mass)) / a
    closed = 1 - math.expm1(-a) / a
    return max(1 - time, time - 2, time - own, abs(time - closed)) - common.ROUNDING * (1 + time)


def _certify_clip(case: Case) -> Evidence:
    def time() -> Any:
        a, beta, mass = numbers.balls(case, "u beta mass")
        return 2 * beta**2 * mass * formulas.clip_exit_time(BALL, -a / beta, beta, mass)

    def own() -> Any:
        a, beta, mass = numbers.balls(case, "u beta mass")
        return 2 * beta**2 * mass * formulas.exit_time(BALL, -a / beta, beta, mass)

    def a() -> Any:
        return ball(case.numbers["u"])

    words = "a < 2 beta^2 m T < 2a, and T is below DPO's"
    breaks = (lambda: a() - time()), (lambda: time() - 2 * a()), (lambda: time() - own())
    return numbers.broken(case, words, [], *breaks)


def _steps(general: bool, case: Case) -> float:
    """Measure how far outside the package's bounds the number of steps is, in steps."""
    u, beta, mass, delta_ref = _given(case)
    (pace,) = numbers.floats(case, "pace")
    start = numbers.floats(case, "start")[0] if general else 0.0
    end = start + u
    rise = u - math.exp(end) * math.expm1(-u) if end <= FARTHEST else math.inf
    if rise > (MOST_STEPS - 1) * pace:
        return common.OUTSIDE
    gone, count = 0.0, 0  # z − u₀, which does not round at a far start
    while gone < u and count < 2 * MOST_STEPS:
        gone += pace / (1 + math.exp(start + gone))
        count += 1
    eta = pace / (2 * mass * beta**2)
    target = -end / beta if general else None
    low, high = margins.exit_steps_bounds(delta_ref, beta, eta, mass, target)
    room = CLOSE * (1 + count)
    nearest = math.ceil(float(high) + room)  # T/eta may round up to an integer
    return max(float(low) - count - room, count - nearest - 0.5)


def _certify_steps(general: bool, case: Case) -> Evidence:
    """Count the steps in balls, and compare with both bounds."""
    words = "(T/eta) e^-D <= N <= ceil(T/eta)"
    with ctx.workprec(DISPLAY_BITS):
        u, pace = numbers.balls(case, "u pace")
        start = numbers.balls(case, "start")[0] if general else ball(0)
        end = start + u
        rise = formulas.flow_level(BALL, end) - formulas.flow_level(BALL, start)
        quotient = rise / pace
        if not quotient < MOST_STEPS:
            return common.harmless(case, "too many steps to count", None)
        z, count = start, 0
        while z < end and count < 2 * MOST_STEPS:
            z, count = z + pace * formulas.sigmoid(BALL, -z), count + 1
        if not z >= end:
            return common.harmless(case, "a step that ends too near the boundary to call", None)
        low = quotient * (-pace * formulas.sigmoid(BALL, -start)).exp()
        answer = bool(low > count) or bool(quotient <= count - 1)
        known = bool(low <= count) and bool(quotient > count - 1)
    return common.harmless(case, words, answer if answer or known else None)


FALSIFIERS: dict[str, Falsifier] = {
    "never-escapes": Falsifier(_draw_escape, _escapes, _certify_escapes, {"time": "positive"}),
    "exit-time": Falsifier(numbers.draw_of(_PAIR), _exit_time, _certify_exit_time, _PAIR),
    "lambert-w": Falsifier(numbers.draw_of(_TIME), _lambert, _certify_lambert, _TIME),
    "exponential": Falsifier(numbers.draw_of(_PAIR), _exponential, _certify_exponential, _PAIR),
    "exit-steps": Falsifier(
        numbers.draw_of(_STEPS), partial(_steps, False), partial(_certify_steps, False), _STEPS
    ),
    "exit-time-target": Falsifier(
        numbers.draw_of(_TARGET), _exit_time_to, _certify_exit_time_to, _TARGET
    ),
    "exit-steps-target": Falsifier(
        numbers.draw_of(_STEPS_TARGET),
        partial(_steps, True),
        partial(_certify_steps, True),
        _STEPS_TARGET,
    ),
    "clip-exit-time": Falsifier(numbers.draw_of(_PAIR), _clip, _certify_clip, _PAIR),
}
