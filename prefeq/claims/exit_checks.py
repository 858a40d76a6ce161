"""Exit times and steps held to the package: flows integrated, descents counted, formulas tied."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from prefeq import losses, margins
from prefeq.arrays import FloatArray
from prefeq.claims import formulas, recheck
from prefeq.claims.ball import BALL
from prefeq.claims.evidence import Evidence
from prefeq.claims.tie import Columns, Point, points, tie

FLOWS = ((2, -1.0, 1.0, 1.0), (3, -3.0, 1.0, 0.5), (5, -4.0, 0.5, 0.25), (4, -0.5, 8.0, 1.0))
"""(K, δ_ref, β, m) of the flows that are integrated."""
STEPS = ((-3.0, 1.0, 1.0), (-1.0, 2.0, 0.5), (-8.0, 0.25, 1.0), (-0.01, 1.0, 1.0))
"""(δ_ref, β, m) of the descents that are counted."""
ETAS = (0.05, 0.5, 3.0, 40.0)
CLOSE = 1e-7

Slope = Callable[[float, float, float], Any]


def flows() -> Evidence:
    """Integrate the gradient flow of DPO on the logits of K responses."""

    def comparisons() -> Iterator[recheck.Comparison]:
        for size, delta_ref, beta, mass in FLOWS:
            time = float(margins.exit_time(delta_ref, beta, mass=mass))
            exit_at, halfway, others = integrate(
                losses.DPO.gradient, size, delta_ref, beta, mass, time
            )
            yield f"exit at {time:.4f}, K = {size}", abs(exit_at - time) < CLOSE * time
            reached = delta_ref + path(beta**2 * mass * time) / beta
            yield f"halfway at {reached:.4f}, K = {size}", abs(halfway - reached) < CLOSE
            yield f"other logits rest, K = {size}", others == 0.0

    return recheck.rechecked("the flow on softmax logits leaves U on time", comparisons())


def flows_to_targets() -> Evidence:
    """Integrate the flows of losses with other targets."""

    def comparisons() -> Iterator[recheck.Comparison]:
        for loss in (losses.CLIP, losses.simpo(0.5), losses.smooth(gamma=0.5)):
            for size, delta_ref, beta, mass in FLOWS[:2]:
                target = float(loss.target(delta_ref, beta))
                time = float(margins.exit_time(delta_ref, beta, target=target, mass=mass))
                exit_at, *_ = integrate(loss.gradient, size, delta_ref, beta, mass, time)
                yield f"{loss.name}: exit at {time:.4f}", abs(exit_at - time) < CLOSE * time

    return recheck.rechecked("losses with other targets leave U on time", comparisons())


def integrate(
    slope: Slope, size: int, delta_ref: float, beta: float, mass: float, time: float
) -> tuple[float, float, float]:
    """Return when the flow from π_ref has δ = 0, δ at time/2, and how far other logits moved."""
    from scipy.integrate import solve_ivp

    start = np.linspace(0.0, 1.0, size)
    start[0] = start[-1] + delta_ref

    def velocity(_: float, logits: FloatArray) -> FloatArray:
        logp = logits - np.logaddexp.reduce(logits)
        force = -mass * float(slope(logp[0] - logp[-1], delta_ref, beta))
        return np.array([force, *np.zeros(size - 2), -force])

    def margin(_: float, logits: FloatArray) -> float:
        return float(logits[0] - logits[-1])

    margin.terminal = True  # type: ignore[attr-defined]
    run = solve_ivp(
        velocity,
        (0.0, 2 * time + 1),
        start,
        "DOP853",
        events=margin,
        rtol=1e-10,
        atol=1e-12,
        dense_output=True,
    )
    exit_at = float(run.t_events[0][0]) if len(run.t_events[0]) else math.inf
    half = run.sol(time / 2)
    return exit_at, float(half[0] - half[-1]), float(np.abs(half - start)[1:-1].max(initial=0.0))


def path(level: Any) -> Any:
    """Return z = c − W(e^c), c = 1 + level, in floats, as log W: the difference cancels."""
    from scipy.special import wrightomega

    return np.log(wrightomega(1 + level))


def descents() -> Evidence:
    """Count the steps of gradient descent with the package's gradients."""

    def comparisons() -> Iterator[recheck.Comparison]:
        for loss in (losses.DPO, losses.CLIP, losses.simpo(0.5)):
            for delta_ref, beta, mass in STEPS:
                target = float(loss.target(delta_ref, beta))
                for eta in ETAS:
                    count = steps_out(loss.gradient, delta_ref, beta, 2 * eta * mass)
                    low, high = margins.exit_steps_bounds(delta_ref, beta, eta, mass, target)
                    name = f"{loss.name}: {low:.2f} <= {count} <= {high:.0f} (eta = {eta})"
                    yield name, bool(low <= count <= high)

    return recheck.rechecked("descents leave U within the bounds", comparisons())


def steps_out(slope: Slope, delta_ref: float, beta: float, pace: float, most: int = 2000) -> int:
    """Count the steps δ ↦ δ − pace·dL/dδ from δ_ref until δ ≥ 0, `most` at most."""
    delta = delta_ref
    for count in range(most):
        if delta >= 0:
            return count
        delta -= pace * float(slope(delta, delta_ref, beta))
    return most


def tie_exit_time_to() -> Evidence:
    """The exit time to any target against `margins.exit_time`."""
    return tie(
        "(e^u1 + u1 - e^u0 - u0)/(2 beta^2 m) agrees with margins.exit_time",
        lambda delta_below, target, beta, mass: formulas.exit_time_to(
            BALL, delta_below, target, beta, mass
        ),
        lambda delta_below, target, beta, mass: margins.exit_time(delta_below, beta, target, mass),
        {name: column for name, column in _with_targets().items() if name != "eta"},
        scale=_by_exponent,
    )


def tie_clip() -> Evidence:
    """The exit time of `clip` against `margins.exit_time` with the target of `losses.CLIP`."""
    at = points("delta_below", "beta", "mass")
    return tie(
        "(1 + a - e^-a)/(2 beta^2 m) agrees with margins.exit_time at the target of losses.CLIP",
        lambda delta_below, beta, mass: formulas.clip_exit_time(BALL, delta_below, beta, mass),
        lambda delta_below, beta, mass: margins.exit_time(
            delta_below, beta, losses.CLIP.target(delta_below, beta), mass
        ),
        at,
    )


def tie_log_exit_time() -> Evidence:
    """The logarithm of the exit time against `margins.log_exit_time`, at hundreds of nats."""
    at = points("delta_below", "beta", "mass", count=160)
    at["target"] = at["delta_below"] * np.resize([1.0, -0.5, 0.25], len(at["beta"]))
    return tie(
        "log T agrees with margins.log_exit_time, to any target",
        lambda delta_below, target, beta, mass: BALL.log(
            formulas.exit_time_to(BALL, delta_below, target, beta, mass)
        ),
        lambda delta_below, target, beta, mass: margins.log_exit_time(
            delta_below, beta, target, mass
        ),
        at,
        scale=lambda value, p: 1 + abs(value) + abs(p["beta"] * p["delta_below"]),
    )


def tie_path() -> Evidence:
    """The path's inverse: the package's exit time from δ_ref = −z(t)/β is t."""

    def passed(t: FloatArray, beta: FloatArray, mass: FloatArray) -> Any:
        return margins.exit_time(-path(2 * beta**2 * mass * t) / beta, beta, mass=mass)

    at = points("t", "beta", "mass")
    level = 10.0 ** np.linspace(-2, 8, len(at["t"]))
    at["t"] = level / (2 * at["beta"] ** 2 * at["mass"])
    return tie(
        "margins.exit_time inverts z = c - W(e^c)",
        lambda t, beta, mass: t + 0 * beta,
        passed,
        at,
        scale=lambda value, p: value * 1e3,  # where t is small, so is log W beside W
    )


def tie_steps() -> Iterator[Evidence]:
    """Both bounds on the number of steps against `margins.exit_steps_bounds`."""

    def steps(delta_below: Any, target: Any, beta: Any, mass: Any, eta: Any) -> Any:
        return formulas.exit_time_to(BALL, delta_below, target, beta, mass) / eta

    def low(delta_below: Any, target: Any, beta: Any, mass: Any, eta: Any) -> Any:
        time = formulas.exit_time_to(BALL, delta_below, target, beta, mass)
        start = beta * (delta_below - target)
        return formulas.least_steps(BALL, time, eta, beta, mass, start)

    at = _with_targets()
    for pick, name, copy in ((0, "lower", low), (1, "upper", lambda **p: steps(**p).ceil())):
        yield tie(
            f"the {name} bound on the steps agrees with margins.exit_steps_bounds",
            copy,
            lambda delta_below, target, beta, mass, eta, pick=pick: margins.exit_steps_bounds(
                delta_below, beta, eta, mass, target
            )[pick],
            at,
            scale=_by_exponent,
        )


def _with_targets() -> Columns:
    """Return points whose exponents fit a float; the target is δ_ref itself at a third of them."""
    at = points("delta_below", "beta", "mass", count=160)
    size = np.arange(len(at["beta"]))
    at["delta_below"] = -(np.abs(at["delta_below"]) % 300.0) / at["beta"].clip(min=1.0) - 1e-6
    at["target"] = at["delta_below"] * np.array([1.0, -0.5, 0.25])[size % 3]
    at["eta"] = 10.0 ** (size % 7 - 3.0) / (at["beta"] ** 2 * at["mass"])
    return at


def _by_exponent(value: float, at: Point) -> float:
    """An exponential is as ill-conditioned as its exponent is large."""
    exponent = at["beta"] * (abs(at["delta_below"]) + abs(at.get("target", 0.0)))
    step = at.get("eta", 0.0) * at["mass"] * at["beta"] ** 2
    return abs(value) * (1 + exponent + step)
