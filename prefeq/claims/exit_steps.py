"""How many steps of gradient descent lead out of U: readings of `gradient-weakening`.

With F(z) = z + e^z of `exit_times`: z < u₁ for the first N − 1 steps, each of which raises F by at
least a = 2ηmβ² from F(u₀), so (N − 1)a < F(u₁) − F(u₀) = aT/η and N ≤ ⌈T/η⌉; none of N steps raises
it by more than a e^D, so N a e^D ≥ F(u₁) − F(u₀).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import sympy as sp

from prefeq.claims import exit_checks, exit_times, formulas, ties
from prefeq.claims.evidence import Evidence
from prefeq.claims.registry import Reading
from prefeq.claims.symbolic import SYMPY, as_written, positive, prove_equal, prove_positive, real


def _steps(general: bool) -> Iterator[Evidence]:
    """A step d = a σ(−z), a = 2ηmβ², raises F by at least a and at most a e^d."""
    tw, tl, target, z, u0 = real("theta_w theta_l t z u_0")
    beta, mass, eta, d, y, n = positive("beta m eta d y N")
    a = 2 * eta * mass * beta**2
    loss = mass * formulas.pair_loss(SYMPY, tw - tl, target, beta)
    moved = beta * eta * (sp.diff(loss, tl) - sp.diff(loss, tw))
    factor = formulas.weakening_factor(SYMPY, tw - tl, target, beta)
    yield prove_equal("descent-step", "a step moves z by d = a sigma(-z)", (moved, a * factor))
    gain = formulas.flow_level(SYMPY, z + d) - formulas.flow_level(SYMPY, z)
    yield prove_equal(
        "gains-at-least",
        "a = (1 + e^z) d, and the gain of F less a is e^z (e^d - 1 - d)",
        (as_written(lambda: (1 + sp.exp(z)) * formulas.sigmoid(SYMPY, -z)), 1),
        (gain - (1 + sp.exp(z)) * d, sp.exp(z) * (sp.exp(d) - 1 - d)),
    )
    yield prove_equal(
        "gains-at-most",
        "a e^d less the gain is d (e^d - 1) + e^z (d e^d - e^d + 1)",
        (
            (1 + sp.exp(z)) * d * sp.exp(d) - gain,
            d * (sp.exp(d) - 1) + sp.exp(z) * (d * sp.exp(d) - sp.exp(d) + 1),
        ),
    )
    yield from exit_times.tangent()
    drop = formulas.sigmoid(SYMPY, -u0) - formulas.sigmoid(SYMPY, -u0 - sp.log(1 + y))
    yield prove_positive("first-step-largest", "sigma(-u_0) > sigma(-z) for z > u_0", drop)
    time, delta_ref = positive("time"), real("delta_ref")
    if general:
        rise = formulas.exit_time_to(SYMPY, delta_ref, target, beta, mass)
        levels = beta * (delta_ref - target), -beta * target
    else:
        rise = formulas.exit_time(SYMPY, delta_ref, beta, mass)
        levels = sp.S.Zero, -beta * delta_ref
        least = as_written(lambda: formulas.least_steps(SYMPY, time, eta, beta, mass, sp.S.Zero))
        short = time / eta * sp.exp(-eta * mass * beta**2)
        yield prove_equal("counting", "u_0 = 0: sigma(-u_0) = 1/2", (least, short))
    low, high = (formulas.flow_level(SYMPY, level) for level in levels)
    yield prove_equal(
        "counting",
        "T/eta = (F(u_1) - F(u_0))/a",
        (as_written(lambda: rise / eta), (high - low) / a),
    )
    top = sp.exp(a * formulas.sigmoid(SYMPY, -u0))
    yield prove_equal(
        "counting",
        "N a e^D >= F(u_1) - F(u_0) gives N >= (T/eta) e^-D with D = a sigma(-u_0)",
        (as_written(lambda: n * a * top * (1 / top) / a), n),
        (
            as_written(lambda: formulas.least_steps(SYMPY, time, eta, beta, mass, u0)),
            time / eta / top,
        ),
    )
    yield exit_checks.descents()
    yield from (ties.pair_gradient(), *exit_checks.tie_steps())


_STEPS = (
    "descent-step",
    "gains-at-least",
    "gains-at-most",
    "tangent",
    "first-step-largest",
    "counting",
)

READINGS = (
    Reading(
        "exit-steps",
        "gradient descent with steps of any size eta > 0 first has delta >= 0 after N steps with "
        "(T/eta) e^(-eta m beta^2) <= N <= ceil(T/eta), T the exit time of the flow",
        exit_times.PAIR,
        partial(_steps, general=False),
        proof=_STEPS,
    ),
    Reading(
        "exit-steps-target",
        "gradient descent on softplus(-beta (delta - t)) with steps of any size eta > 0 first has "
        "delta >= 0 after N steps with (T/eta) e^(-2 eta m beta^2 sigma(beta (t - delta_ref))) <= "
        "N <= ceil(T/eta)",
        f"{exit_times.PAIR}, any target margin t",
        partial(_steps, general=True),
        proof=_STEPS,
    ),
)
