"""How long U holds the gradient flow: readings of `gradient-weakening` (see `exit_steps`, too).

On softmax logits an ordered pair of mass m moves z = β(δ − t) by z′ = 2β²m σ(−z), whatever the
number of responses: F(z) = z + e^z grows at the constant rate 2β²m.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import sympy as sp

from prefeq.claims import exit_checks, formulas, ties
from prefeq.claims.ball import ball, digits, sign
from prefeq.claims.contradiction import counterexample
from prefeq.claims.evidence import Evidence
from prefeq.claims.gallery import numbers_of
from prefeq.claims.instance import Instance
from prefeq.claims.registry import Reading
from prefeq.claims.symbolic import (
    SYMPY,
    as_written,
    positive,
    prove_equal,
    prove_limit,
    prove_positive,
    real,
)

LOW_BAR = Instance.of("a low bar", reward=[1, 0], ref=["1/4", "3/4"], pairs=[(0, 1)])


def flow() -> Iterator[Evidence]:
    """On the logits δ′ = 2mβσ(−z), hence F(z)′ = 2β²m; F is increasing and unbounded."""
    tw, tl, lse, target, z = real("theta_w theta_l lse t z")
    beta, mass = positive("beta m")
    written = as_written(lambda: (tw - lse) - (tl - lse))
    yield prove_equal("logit-flow", "delta = theta_w - theta_l", (written, tw - tl))
    loss = mass * formulas.pair_loss(SYMPY, tw - tl, target, beta)
    speed = -sp.diff(loss, tw) + sp.diff(loss, tl)
    factor = formulas.weakening_factor(SYMPY, tw - tl, target, beta)
    yield prove_equal(
        "logit-flow", "delta' = 2 m beta sigma(-z)", (speed, 2 * mass * beta * factor)
    )
    level = formulas.flow_level(SYMPY, z)
    rise, sigma = sp.diff(level, z), formulas.sigmoid(SYMPY, -z)
    rate = as_written(lambda: rise * (beta * (2 * mass * beta * sigma)))
    yield prove_equal("constant-rate", "F' z' = 2 beta^2 m", (rate, 2 * beta**2 * mass))
    yield prove_positive(
        "level-increases", "F' > 0 and F > z: every z is passed, once", sp.diff(level, z), level - z
    )


def _exit_time() -> Iterator[Evidence]:
    """F(u) − F(0) = 2β²m T for u = −βδ_ref."""
    yield from flow()
    delta_ref = real("delta_ref")
    beta, mass = positive("beta m")
    time = formulas.exit_time(SYMPY, delta_ref, beta, mass)
    rise = formulas.flow_level(SYMPY, -beta * delta_ref) - formulas.flow_level(SYMPY, sp.S.Zero)
    yield prove_equal(
        "exit-level", "F(-beta delta_ref) - F(0) = 2 beta^2 m T", (rise, _scaled(time, beta, mass))
    )
    yield exit_checks.flows()
    yield from (ties.pair_gradient(), ties.exit_time())


def _exit_time_to() -> Iterator[Evidence]:
    """F(u₁) − F(u₀) = 2β²m T; with t = δ_ref it is DPO's."""
    yield from flow()
    delta_ref, target = real("delta_ref t")
    beta, mass = positive("beta m")
    time = formulas.exit_time_to(SYMPY, delta_ref, target, beta, mass)
    start, end = beta * (delta_ref - target), -beta * target
    rise = formulas.flow_level(SYMPY, end) - formulas.flow_level(SYMPY, start)
    own = formulas.exit_time(SYMPY, delta_ref, beta, mass)
    yield prove_equal(
        "exit-level", "F(u_1) - F(u_0) = 2 beta^2 m T", (rise, _scaled(time, beta, mass))
    )
    yield prove_equal(
        "exit-level",
        "t = delta_ref: DPO's",
        (as_written(lambda: time.subs(target, delta_ref)), own),
    )
    yield exit_checks.flows_to_targets()
    yield from (ties.pair_gradient(), exit_checks.tie_exit_time_to())


def _clip() -> Iterator[Evidence]:
    """Target 0: (1 + a − e^−a)/(2β²m), between a and 2a over 2β²m, and below DPO's."""
    yield from flow()
    a = positive("a")
    beta, mass = positive("beta m")
    clip = formulas.clip_exit_time(SYMPY, -a / beta, beta, mass)
    general = as_written(lambda: formulas.exit_time_to(SYMPY, -a / beta, sp.S.Zero, beta, mass))
    unit = 2 * beta**2 * mass
    yield prove_equal("exit-level", "t = 0 in the general formula", (clip, general))
    yield from tangent()
    p = positive("p")  # e^a = 1 + p
    rest = 1 - sp.exp(-sp.log(1 + p))
    yield prove_equal(
        "linear", "2 beta^2 m T - a = 1 - e^-a", (_scaled(clip, beta, mass) - a, 1 - sp.exp(-a))
    )
    yield prove_positive("linear", "1 - e^-a > 0", rest)
    yield prove_equal(
        "linear",
        "2a - 2 beta^2 m T = e^-a - 1 + a = e^-a (1 + a e^a - e^a)",
        (2 * a - unit * clip, sp.exp(-a) * (1 + a * sp.exp(a) - sp.exp(a))),
    )
    own = formulas.exit_time(SYMPY, -a / beta, beta, mass)
    yield prove_equal(
        "below-DPO",
        "2 beta^2 m (T_DPO - T) = (e^(a/2) - e^(-a/2))^2",
        (unit * (own - clip), (sp.exp(a / 2) - sp.exp(-a / 2)) ** 2),
    )
    yield prove_positive("below-DPO", "e^a - 1 > 0", sp.exp(sp.log(1 + p)) - 1)
    yield exit_checks.flows_to_targets()
    yield from (ties.exit_time(), exit_checks.tie_clip())


def _never_escapes() -> Iterator[Evidence]:
    """δ_ref = −log 3: at time 2 the flow has left U."""
    yield escape(LOW_BAR, Fraction(2))
    yield from flow()
    yield exit_checks.flows()
    yield from (ties.pair_gradient(), ties.exit_time())


def escape(instance: Instance, time: Fraction) -> Evidence:
    """Decide whether the gradient flow of the instance's only pair is out of U at a time."""

    def margin() -> Any:
        beta = ball(instance.beta)
        level = ball(1 + 2 * instance.beta**2 * time)
        return instance.delta_ref(0) + (level - level.exp().lambertw()) / beta

    decided = sign(margin)[0]
    data: dict[str, Any] = {
        "instance": instance.to_data(),
        "inputs": {"time": str(time)},
        "ref_margin": numbers_of(lambda: [instance.delta_ref(0)]),
        "flow_margin": digits(margin),
    }
    return counterexample(
        f"delta_ref = {data['ref_margin'][0]:.6f}, and at time {time} the flow has "
        f"delta = {data['flow_margin']:.6f} > 0",
        data,
        {
            "ref_margin[0] < 0": instance.ref_ratio(0) < 1,
            "flow_margin > 0": None if decided is None else decided > 0,
        },
    )


def _lambert_w() -> Iterator[Evidence]:
    """z = c − W(e^c), c = 1 + 2β²mt, solves the flow; with w = W(e^c), w e^w = e^c, it is log w."""
    yield from flow()
    time, w = positive("time w")
    beta, mass, u = positive("beta m u")
    c = 1 + 2 * beta**2 * mass * time
    path, lam = c - sp.LambertW(sp.exp(c)), sp.LambertW(sp.exp(c))
    step = "path-solves-flow"
    yield prove_equal(
        step,
        "w e^w = e^c gives e^(c - w) = w",
        (as_written(lambda: sp.exp((w + sp.log(w)) - w)), w),
    )
    rate = 2 * beta**2 * mass / (1 + lam)
    yield prove_equal(step, "z' = 2 beta^2 m/(1 + W(e^c))", (sp.diff(path, time), rate))
    yield prove_equal(
        "path-starts-at-zero", "z(0) = 1 - W(e) = 0", (as_written(lambda: path.subs(time, 0)), 0)
    )
    end = formulas.flow_level(SYMPY, u) - formulas.flow_level(SYMPY, sp.S.Zero)
    yield prove_equal(
        "path-ends-at-exit",
        "w = e^u has w e^w = e^c at c = 1 + F(u) - F(0): there z = c - w = u",
        (sp.exp(u) * sp.exp(sp.exp(u)), sp.exp(1 + end)),
        (as_written(lambda: 1 + end - sp.exp(u)), u),
    )
    yield exit_checks.flows()
    yield from (exit_checks.tie_path(), ties.exit_time())


def _scaled(time: Any, beta: Any, mass: Any) -> Any:
    """Write 2β²m T with nothing cancelled."""
    return as_written(lambda: 2 * beta**2 * mass * time)


def _at_zero(expression: Any, symbol: Any) -> tuple[Any, int]:
    """Return the two sides of "it vanishes at 0"."""
    return as_written(lambda: expression.subs(symbol, 0)), 0


def _exponential() -> Iterator[Evidence]:
    """e^u − 1 < 2β²m T < 2e^u, and the ratio to e^u tends to 1."""
    yield from flow()
    u = positive("u")
    beta, mass = positive("beta m")
    scaled = _scaled(formulas.exit_time(SYMPY, -u / beta, beta, mass), beta, mass)
    yield prove_limit("ratio-limit", "2 beta^2 m T e^-u -> 1", scaled * sp.exp(-u), u, sp.oo, 1)
    yield prove_equal("between", "2 beta^2 m T = (e^u - 1) + u", (scaled, sp.exp(u) - 1 + u))
    yield prove_positive("between", "so above e^u - 1", u)
    yield prove_equal(
        "between",
        "2 e^u - 2 beta^2 m T = (e^u - 1 - u) + 2",
        (2 * sp.exp(u) - scaled, (sp.exp(u) - 1 - u) + 2),
    )
    yield from tangent()
    yield from (ties.exit_time(), exit_checks.tie_log_exit_time())


def tangent() -> Iterator[Evidence]:
    """e^d − 1 − d and d e^d − e^d + 1 are positive for d > 0: zero at 0, and so on upwards."""
    d = positive("d")
    low, high = sp.exp(d) - 1 - d, d * sp.exp(d) - sp.exp(d) + 1
    ends = [_at_zero(e, d) for e in (low, sp.diff(low, d), high)]
    step = "tangent"
    yield prove_equal(step, "e^d - 1 - d, its slope, and d e^d - e^d + 1 vanish at 0", *ends)
    yield prove_positive(
        step, "the slope's slope e^d and the slope d e^d are positive", sp.exp(d), sp.diff(high, d)
    )


PAIR = "one ordered pair of mass m, softmax logits, any K, beta > 0, delta_ref < 0"
_FLOW = ("logit-flow", "constant-rate", "level-increases")


def _reading(
    name: str,
    statement: str,
    check: Callable[[], Iterator[Evidence]],
    *proof: str,
    scope: str = PAIR,
    lemmas: tuple[str, ...] = (),
    corrects: tuple[str, ...] = (),
) -> Reading:
    return Reading(name, statement, scope, check, proof=proof, lemmas=lemmas, corrects=corrects)


READINGS = (
    _reading(
        "never-escapes",
        "gradient flow from the reference stays in U for ever",
        _never_escapes,
        lemmas=_FLOW,
    ),
    _reading(
        "exit-time",
        "gradient flow from the reference reaches delta = 0 at the time T = (e^u + u - 1)/"
        "(2 beta^2 m), u = -beta delta_ref, and not before",
        _exit_time,
        *_FLOW,
        "exit-level",
        corrects=("never-escapes",),
    ),
    _reading(
        "lambert-w",
        "the flow is beta (delta - delta_ref) = c - W(e^c) with c = 1 + 2 beta^2 m t at time t, W "
        "Lambert's",
        _lambert_w,
        *_FLOW,
        "path-solves-flow",
        "path-starts-at-zero",
        "path-ends-at-exit",
    ),
    _reading(
        "exponential",
        "the exit time is exponential in u = -beta delta_ref: e^u - 1 < 2 beta^2 m T < 2 e^u, and "
        "2 beta^2 m T/e^u -> 1 as u -> infinity",
        _exponential,
        *_FLOW,
        "ratio-limit",
        "between",
        "tangent",
    ),
    _reading(
        "exit-time-target",
        "gradient flow on softplus(-beta (delta - t)) from the reference reaches delta = 0 at the "
        "time T = (e^u1 + u1 - e^u0 - u0)/(2 beta^2 m), u0 = beta (delta_ref - t), u1 = -beta t",
        _exit_time_to,
        *_FLOW,
        "exit-level",
        scope=f"{PAIR}, any target margin t",
    ),
    _reading(
        "clip-exit-time",
        "with the target max(delta_ref, 0) the exit time is (1 + a - e^-a)/(2 beta^2 m), a = "
        "-beta delta_ref: above a/(2 beta^2 m), below a/(beta^2 m), and below DPO's",
        _clip,
        *_FLOW,
        "exit-level",
        "linear",
        "tangent",
        "below-DPO",
    ),
)
