"""Steps of the proofs about Eq. 17: which γ makes its target t = δ_ref + (γ/β)S non-negative?

S = 1/π_ref(w) + 1/π_ref(l), and d/(2 + 2 cosh d) is what γ/β must exceed at δ_ref = −d.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import sympy as sp
from flint import ctx

from prefeq.claims import target_formulas as targets
from prefeq.claims.ball import BALL, ball, digits, exactly, sign
from prefeq.claims.enclosure import positive_on_box
from prefeq.claims.evidence import Evidence, outcome_of
from prefeq.claims.symbolic import (
    SYMPY,
    as_written,
    positive,
    prove_equal,
    prove_limit,
    prove_positive,
    real,
)

AROUND = (Fraction(15434, 10000), Fraction(15435, 10000))
"""Exact numbers on either side of the root of d tanh(d/2) = 1."""

VALUE = (Fraction(223871, 10**6), Fraction(223872, 10**6))
"""Exact numbers on either side of the peak's height."""

ENOUGH = Fraction(9, 40)
"""A γ/β that aligns every pair, just above the least one."""

CRITERION = ("eq17-criterion", "eq17-two-responses")
EVERY = ("eq17-more-responses", "eq17-slope", "eq17-one-peak", "eq17-peak")


def criterion() -> Iterator[Evidence]:
    """t has the sign of γ + βδ_ref/S; with two responses S = 2 + 2 cosh δ_ref."""
    p_w, p_l, delta = real("p_w p_l delta_ref")
    beta, gamma = positive("beta gamma")
    total = targets.inverse_probs(SYMPY, p_w, p_l)
    t = targets.shifted(p_w - p_l, targets.eq17_shift(SYMPY, p_w, p_l, gamma, beta))
    step = "eq17-criterion"
    yield prove_equal(
        step,
        "t = (S/beta)(gamma - (-beta delta_ref)/S), S = 1/ref(w) + 1/ref(l)",
        (t, total / beta * (gamma - -beta * (p_w - p_l) / total)),
    )
    yield prove_positive(step, "S/beta > 0", total / beta)
    win = -sp.log(1 + sp.exp(-delta)), -sp.log(1 + sp.exp(delta))  # log π_ref(w), log π_ref(l)
    yield prove_equal(
        "eq17-two-responses",
        "two responses: S = 2 + 2 cosh delta_ref",
        (as_written(lambda: targets.inverse_probs(SYMPY, *win)), 2 + 2 * sp.cosh(delta)),
        (targets.two_response_inverse(SYMPY, delta), 2 + 2 * sp.cosh(delta)),
    )


def every_reference() -> Iterator[Evidence]:
    """S ≥ 2 + 2 cosh δ_ref for any K, and d/(2 + 2 cosh d) has one peak, at d tanh(d/2) = 1."""
    d, h, both = positive("d h P")
    rest = positive("rest")
    ratio = 1 + h
    mass = both / (both + rest)  # π_ref(w) + π_ref(l) ≤ 1
    ends = sp.log(mass * ratio / (1 + ratio)), sp.log(mass / (1 + ratio))
    yield prove_equal(
        "eq17-more-responses",
        "S - (2 + 2 cosh delta_ref) = (2 + 2 cosh delta_ref)(1 - m)/m, m = ref(w) + ref(l) <= 1",
        (
            targets.inverse_probs(SYMPY, *ends)
            - targets.two_response_inverse(SYMPY, sp.log(ratio)),
            (2 + ratio + 1 / ratio) * (1 - mass) / mass,
        ),
    )
    need = d / targets.two_response_inverse(SYMPY, d)
    slope = (1 - d * _tanh_half(d)) / targets.two_response_inverse(SYMPY, d)
    yield prove_equal(
        "eq17-slope",
        "d/dd [d/(2 + 2 cosh d)] has the sign of 1 - d tanh(d/2)",
        (sp.diff(need, d), slope),
    )
    rise = sp.diff(d * _tanh_half(d), d).subs(d, sp.log(1 + h))
    step = "eq17-one-peak"
    yield prove_positive(step, "d tanh(d/2) rises strictly for d > 0", sp.factor(sp.simplify(rise)))
    yield prove_limit(step, "from 0", d * _tanh_half(d), d, 0, 0)
    yield prove_limit(step, "to infinity: one root", d * _tanh_half(d), d, sp.oo, sp.oo)
    yield located()
    yield positive_on_box(
        f"gamma/beta = {ENOUGH} makes t > 0, enclosed for -30 <= delta_ref <= 0",
        lambda d: ball(ENOUGH) * targets.two_response_inverse(BALL, d) - d,
        {"d": (0, 30)},
        name="eq17-target-at-nine-fortieths",
    )


def located() -> Evidence:
    """Enclose the peak: 1 − d tanh(d/2) changes sign between two rationals; and its height."""

    def excess(at: Fraction) -> Any:
        return 1 - ball(at) * (ball(at) / 2).tanh()

    signs = [
        sign(lambda: excess(AROUND[0]))[0],
        sign(lambda: -excess(AROUND[1]))[0],
        sign(lambda: least() - ball(VALUE[0]))[0],
        sign(lambda: ball(VALUE[1]) - least())[0],
    ]
    given = (*AROUND, *VALUE)
    names = ("left", "right", "low", "high")
    data = {
        "inputs": {name: exactly(value) for name, value in zip(names, given, strict=True)},
        "peak": digits(peak),
        "least_gamma_over_beta": digits(least),
        "inequalities": [
            "left*tanh(left/2) < 1",
            "right*tanh(right/2) > 1",
            "low < least_gamma_over_beta",
            "least_gamma_over_beta < high",
        ],
    }
    return Evidence(
        "ball",
        f"the peak: {data['least_gamma_over_beta']:.6f} at d = {data['peak']:.6f}",
        outcome_of(None if None in signs else signs == [1, 1, 1, 1]),
        "eq17-peak",
        data,
    )


def least() -> Any:
    """Enclose max d/(2 + 2 cosh d), the least γ/β that aligns whatever the reference."""
    d = peak()
    return d / targets.two_response_inverse(BALL, d)


def peak() -> Any:
    """Enclose the root of d tanh(d/2) = 1 by bisection, to the precision now in force."""
    low, high = AROUND
    for _ in range(ctx.prec // 2):
        middle = (low + high) / 2
        at = ball(middle)
        rest = 1 - at * (at / 2).tanh()
        if rest > 0:
            low = middle
        elif rest < 0:
            high = middle
        else:
            break
    return ball(low).union(ball(high))


def _tanh_half(d: sp.Expr) -> sp.Expr:
    return (sp.exp(d) - 1) / (sp.exp(d) + 1)
