"""The proofs behind `policy_order`: how L and J change along families of policies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sympy as sp

from prefeq.claims import formulas, lemmas
from prefeq.claims.evidence import Evidence
from prefeq.claims.symbolic import (
    SYMPY,
    as_written,
    positive,
    prove_equal,
    prove_positive,
    real,
)


def _sigma(z: Any) -> Any:
    return formulas.sigmoid(SYMPY, z)


def at_zero(expression: Any, symbol: Any) -> Any:
    """Write an expression with zero for a symbol, and nothing cancelled."""
    return as_written(lambda: expression.subs(symbol, 0))


def _slope_of_sigma(z: Any) -> Any:
    return _sigma(z) * _sigma(-z)


def _value_slope() -> Evidence:
    """dJ/dδ = β σ′(δ) (δ* − δ) for two responses."""
    delta, delta_ref, gap = real("delta delta_ref gap")
    beta = positive("beta")
    slope = sp.diff(formulas.two_response_value(SYMPY, delta, delta_ref, gap, beta), delta)
    star = formulas.rlhf_margin(delta_ref, gap, beta)
    closed = beta * _slope_of_sigma(delta) * (star - delta)
    return prove_equal(
        "value-slope", "dJ/ddelta = beta sigma'(delta) (delta* - delta)", (slope, closed)
    )


def _loss_slope() -> Iterator[Evidence]:
    """dL/dδ = β(σ(Δr + β(δ − δ*)) − σ(Δr)): it has the sign of δ − δ*."""
    delta, delta_ref, gap = real("delta delta_ref gap")
    beta, h = positive("beta h")
    star = formulas.rlhf_margin(delta_ref, gap, beta)
    slope = formulas.pair_gradient(SYMPY, delta, delta_ref, beta, _sigma(gap))
    yield prove_equal(
        "loss-slope",
        "dL/ddelta = beta (sigma(gap + beta (delta - delta*)) - sigma(gap))",
        (slope, beta * (_sigma(gap + beta * (delta - star)) - _sigma(gap))),
    )
    step = sp.log(1 + h)  # β(δ − δ*) > 0
    up, down = _sigma(gap + step) - _sigma(gap), _sigma(gap) - _sigma(gap - step)
    yield prove_positive("loss-slope", "positive above delta*, negative below", up, down)


def same_side() -> Iterator[Evidence]:
    """Both peak at δ*: L falls and J rises towards it, from either side."""
    yield _value_slope()
    yield from _loss_slope()
    z = real("z")
    yield prove_positive("sigma-slope", "sigma'(z) = sigma(z) sigma(-z) > 0", _slope_of_sigma(z))
    yield prove_equal("sigma-slope", "the same", (sp.diff(_sigma(z), z), _slope_of_sigma(z)))


def mirrored() -> Iterator[Evidence]:
    """L(δ* + h) < L(δ* − h) always; J(δ* + h) − J(δ* − h) has the sign of δ*.

    At δ* = 0, where J has no preference, a little beyond h the policy has the lower J as well.
    """
    yield _value_slope()
    yield from _loss_slope()
    yield from loss_leans()
    yield from _value_leans()


def loss_leans() -> Iterator[Evidence]:
    """A soft label's loss is lower at δ* + h than at δ* − h, for Δr > 0: σ is concave there."""
    star, gap, h = real("star gap h")
    beta = positive("beta")
    loss = formulas.pair_loss(SYMPY, star + h, star - gap / beta, beta, _sigma(gap))
    lean = loss - loss.subs(h, -h)
    k = beta * h
    turn = _sigma(gap + k) + _sigma(gap - k) - 2 * _sigma(gap)
    yield prove_equal(
        "loss-leans", "L(delta*+h) - L(delta*-h) is 0 at h = 0", (at_zero(lean, h), 0)
    )
    yield prove_equal(
        "loss-leans",
        "its slope in h is beta (sigma(gap + k) + sigma(gap - k) - 2 sigma(gap)), k = beta h",
        (sp.diff(lean, h), beta * turn),
    )
    p, r = positive("p r")
    a, k = sp.log(1 + p), sp.log(1 + r)
    concave = 2 * _sigma(a) - _sigma(a + k) - _sigma(a - k)
    yield prove_positive("loss-leans", "negative for gap, h > 0: L prefers delta* + h", concave)


def _value_leans() -> Iterator[Evidence]:
    """J of two responses is higher at δ* + h than at δ* − h iff δ* > 0: so is σ′."""
    star, gap, h = real("star gap h")
    beta, p, r = positive("beta p r")
    value = formulas.two_response_value(SYMPY, star + h, star - gap / beta, gap, beta)
    lean = value - value.subs(h, -h)
    turn = beta * h * (_slope_of_sigma(star - h) - _slope_of_sigma(star + h))
    yield prove_equal(
        "value-leans", "J(delta*+h) - J(delta*-h) is 0 at h = 0", (at_zero(lean, h), 0)
    )
    yield prove_equal(
        "value-leans",
        "its slope in h is beta h (sigma'(delta* - h) - sigma'(delta* + h))",
        (sp.diff(lean, h), turn),
    )
    s, near, far = sp.log(1 + p), -sp.log(1 + r), sp.log(1 + r)
    for name, centre, sense in (("> 0", s, 1), ("< 0", -s, -1)):
        difference = _slope_of_sigma(centre + near) - _slope_of_sigma(centre + far)
        words = f"delta* {name}: so is that slope, for every h > 0"
        yield prove_positive("value-leans", words, sense * difference)
    even = as_written(lambda: _slope_of_sigma(near) - _slope_of_sigma(far))
    yield prove_equal("value-leans", "delta* = 0: J has no preference", (even, 0))


def tilted() -> Iterator[Evidence]:
    """Along π_s ∝ π* e^{sh}, h the heights of the order, L falls and so does J."""
    yield lemmas.acyclic_heights()
    yield from lemmas.ordered_slope()
    yield lemmas.rlhf_closed_form()
    x, m1, m2, a0, a1, a2, vi, vj, hi, hj = real("x M_1 M_2 a_0 a_1 a_2 v_i v_j h_i h_j")
    s, m0 = positive("s M_0")
    grown = sp.log(m0 + m1 * x + m2 * x**2 / 2)  # A(s + x): M_k is the sum of h^k π* e^{sh}
    step = "tilt-costs"
    yield prove_equal(
        step,
        "A = log M_0 has A' = M_1/M_0 = E h, A'' = (M_2 M_0 - M_1^2)/M_0^2",
        (at_zero(sp.diff(grown, x), x), m1 / m0),
        (at_zero(sp.diff(grown, x, 2), x), (m2 * m0 - m1**2) / m0**2),
    )
    rest = a0 + a1 * x + a2 * x**2 / 2
    divergence = (s + x) * sp.diff(rest, x) - rest
    yield prove_equal(
        step,
        "KL(pi_s || pi*) = s A' - A has the slope s A''",
        (at_zero(sp.diff(divergence, x), x), s * a2),
    )
    terms = vi * hi**2 * vj + vj * hj**2 * vi - 2 * (vi * hi) * (vj * hj)
    yield prove_equal(
        step,
        "M_2 M_0 - M_1^2 = sum over i < j of v_i v_j (h_i - h_j)^2, term by term",
        (terms, vi * vj * (hi - hj) ** 2),
    )
    vi, vj, rise = positive("v_i v_j rise")
    yield prove_positive(step, "> 0, as heights differ: J falls along s", s * vi * vj * rise**2)


def uneven() -> Iterator[Evidence]:
    """Near δ* the two have different cubic terms, so policies on its two sides can be swapped.

    With D = a(y² + cy³) + ry⁴ for J(δ*) − J(δ* + y) and for L(δ* + y) − L(δ*), each with its own
    a > 0, c and bounded r: between y + κy², κ = −(c_J + c_L)/2, and −y both D change by a y³ times
    opposite numbers, c_J − c_L and c_L − c_J.
    """
    yield _value_slope()
    yield from _loss_slope()
    star, gap = real("star gap")
    y = real("y")
    beta = positive("beta")
    fall = beta * y * _slope_of_sigma(star + y)  # −dJ/dδ at δ* + y
    rise = beta * (_sigma(gap + beta * y) - _sigma(gap))  # dL/dδ there
    step = "taylor-terms"
    for name, slope, ratio in (
        ("J", fall, sp.Rational(2, 3) * (1 - 2 * _sigma(star))),
        ("L", rise, beta * (1 - 2 * _sigma(gap)) / 3),
    ):
        second, third = (sp.diff(slope, y, n).subs(y, 0) for n in (1, 2))
        words = f"{name}: slope 0 at y = 0, c_{name} = {ratio}"
        yield prove_equal(step, words, (at_zero(slope, y), 0), (third / 6, ratio * second / 2))
        yield prove_positive(step, f"{name}: a_{name} > 0", second)
    top, size = positive("y a")
    own, other, r1, r2 = real("c_own c_other r_1 r_2")

    def rises(x: Any, r: Any) -> Any:
        return size * (x**2 + own * x**3) + r * x**4

    bent = top - (own + other) / 2 * top**2
    change = rises(bent, r1) - rises(-top, r2)
    rest = sp.expand(sp.cancel((change / top**3 - size * (own - other)) / top))
    if not rest.is_polynomial(top):
        raise ArithmeticError("the rest is not of higher order")
    yield prove_equal(
        "opposite-order",
        "D(y + kappa y^2) - D(-y) = y^3 (a (c_own - c_other) + y P(y)), P a polynomial",
        (change, top**3 * (size * (own - other) + top * rest)),
    )
