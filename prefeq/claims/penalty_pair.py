"""Two responses and one pair under the penalty of Eq. 10 (arXiv:2605.20834): the whole branch.

Here dF/dδ = m(γ − g(δ)) with g(δ) = β(δ − δ*)/(m(2 + 2 cosh δ)): a margin is stationary iff
g(δ) = γ, and a local maximum where g crosses γ from below. g is 0 at δ*, rises up to d > δ*, the
positive root of d − coth(d/2) = δ*, and falls to 0 beyond. v stands for e^δ − 1 of a positive δ.
"""

from __future__ import annotations

import sympy as sp

from prefeq.claims import penalty_formulas
from prefeq.claims.evidence import Evidence
from prefeq.claims.symbolic import (
    SYMPY,
    as_written,
    positive,
    prove_equal,
    prove_limit,
    prove_positive,
    real,
)

BRANCH = ("objective-slope", "below-optimal", "rises-then-falls", "fold-exists", "falls-to-zero")
"""The steps that describe g, and with it all stationary points."""

EQ17 = ("eq17-threshold", "eq17-earlier", "eq17-aligned")


def branch() -> list[Evidence]:
    """The steps of `BRANCH`."""
    return [*slope(), *shape(), *fold_exists(), *ends()]


def slope() -> list[Evidence]:
    """dF/dδ = m(γ − g(δ)), and g(δ) ≤ 0 unless δ > δ*."""
    delta, delta_ref, gap = real("delta delta_ref gap")
    beta, gamma, m, below = positive("beta gamma m h")
    win = 1 / (1 + sp.exp(-delta))
    # log π(w) = δ − softplus(δ) and log π(l) = −softplus(δ), and likewise for the reference
    kl = win * (delta - delta_ref) - sp.log(1 + sp.exp(delta)) + sp.log(1 + sp.exp(delta_ref))
    objective = win * gap - beta * kl + gamma * m * delta
    star = delta_ref + gap / beta
    g = penalty_formulas.gamma_at(SYMPY, delta, star, beta, m)
    under = penalty_formulas.gamma_at(SYMPY, star - below, star, beta, m)
    return [
        prove_equal(
            "objective-slope",
            "dF/ddelta = m (gamma - g(delta))",
            (sp.diff(objective, delta), m * (gamma - g)),
        ),
        prove_positive("below-optimal", "g < 0 below delta*", -under),
        prove_equal("below-optimal", "g = 0 at delta*", (_at(g, delta, star), 0)),
    ]


def shape() -> list[Evidence]:
    """The sign of g′: positive for δ* ≤ δ ≤ 0, and for δ > 0 that of δ* − (δ − coth(δ/2))."""
    delta, star = real("delta delta_star")
    beta, m, t, v, d = positive("beta m t v d")
    g = penalty_formulas.gamma_at(SYMPY, delta, star, beta, m)
    tanh = (sp.exp(delta) - 1) / (sp.exp(delta) + 1)
    front = beta / (m * penalty_formulas.inverse_pair(SYMPY, delta))
    sign = 1 - (delta - star) * tanh
    left = -sp.log(1 + v)  # δ < 0
    right = penalty_formulas.fold_equation(SYMPY, d)
    step = "rises-then-falls"
    return [
        prove_equal(
            step,
            "g' = beta/(m(2 + 2 cosh delta)) (1 - (delta - delta*) tanh(delta/2))",
            (sp.diff(g, delta), front * sign),
        ),
        prove_equal(
            step,
            "delta = -log(1 + v) <= 0, delta - delta* = t: the bracket is 1 + t v/(2 + v)",
            (sign.subs(star, delta - t).subs(delta, left), 1 + t * v / (2 + v)),
        ),
        prove_positive(step, "so g rises there", 1 + t * v / (2 + v), front),
        prove_equal(
            step,
            "delta > 0: the bracket is tanh(delta/2) (delta* - (delta - coth(delta/2)))",
            (sign.subs(delta, d), tanh.subs(delta, d) * (star - right)),
        ),
        prove_equal(step, "tanh(delta/2) = v/(2 + v) > 0", (_at(tanh, delta, -left), v / (2 + v))),
    ]


def fold_exists() -> list[Evidence]:
    """δ − coth(δ/2) rises from −∞ to ∞ over δ > 0: one root d of d − coth(d/2) = δ*, and d > δ*."""
    d, v = positive("d v")
    curve = penalty_formulas.fold_equation(SYMPY, d)
    steep = 1 + 2 * sp.exp(-d) / (1 - sp.exp(-d)) ** 2
    coth = sp.log(1 + v) - penalty_formulas.fold_equation(SYMPY, sp.log(1 + v))
    step = "fold-exists"
    return [
        prove_equal(
            step,
            "(d - coth(d/2))' = 1 + 2 e^-d/(1 - e^-d)^2",
            (sp.diff(curve, d), steep),
        ),
        prove_positive(step, "> 0", steep),
        prove_limit(step, "-> -oo as d -> 0", curve, d, 0, -sp.oo),
        prove_limit(step, "-> oo", curve, d, sp.oo, sp.oo),
        prove_equal(step, "d - delta* = coth(d/2) = 1 + 2/v", (coth, 1 + 2 / v)),
        prove_positive(step, "> 1", 2 / v),
    ]


def ends() -> list[Evidence]:
    """g → 0 as δ → ∞: beyond the fold every γ below γ_fold is met once more, from above."""
    delta, star = real("delta delta_star")
    beta, m = positive("beta m")
    g = penalty_formulas.gamma_at(SYMPY, delta, star, beta, m)
    return [prove_limit("falls-to-zero", "g -> 0 as delta -> oo", g, delta, sp.oo, 0)]


def fold_height() -> Evidence:
    """g(d) = β/(2m sinh d)."""
    beta, m, d = positive("beta m d")
    star = penalty_formulas.fold_equation(SYMPY, d)
    return prove_equal(
        "fold-height",
        "g(d) = beta/(2 m sinh d) where d - coth(d/2) = delta*",
        (
            penalty_formulas.gamma_at(SYMPY, d, star, beta, m),
            penalty_formulas.fold_gamma(SYMPY, d, beta, m),
        ),
    )


def zero_crossing() -> list[Evidence]:
    """g(0) = −βδ*/(4m), which is positive for δ* < 0: there the branch passes δ = 0."""
    delta = real("delta")
    beta, m, short = positive("beta m s")
    g = penalty_formulas.gamma_at(SYMPY, delta, -short, beta, m)
    return [
        prove_equal(
            "zero-crossing",
            "g(0) = -beta delta*/(4 m)",
            (_at(g, delta, sp.S.Zero), penalty_formulas.critical_gamma(-short, beta, m)),
        ),
        prove_positive(
            "zero-crossing",
            "> 0 for delta* < 0",
            penalty_formulas.critical_gamma(-short, beta, m),
        ),
    ]


def fold_width() -> list[Evidence]:
    """γ_fold − γ* < β/(4m|δ*|) for δ* < 0, by f(d) = sinh d (1 + d²/2) − d cosh d > 0."""
    beta, m, d = positive("beta m d")
    star = penalty_formulas.fold_equation(SYMPY, d)
    width = penalty_formulas.fold_gamma(SYMPY, d, beta, m)
    width -= penalty_formulas.critical_gamma(star, beta, m)
    f = sp.sinh(d) * (1 + d**2 / 2) - d * sp.cosh(d)
    spread = sp.exp(d) - sp.exp(-d)
    claimed = beta * f.rewrite(sp.exp) / (m * -star * spread)
    step = "fold-width"
    return [
        prove_equal(
            step,
            "beta/(4m|delta*|) - (gamma_fold - gamma*) = beta f(d)/(2m|delta*| sinh d)",
            (beta / (4 * m * -star) - width, claimed),
        ),
        prove_equal(step, "f(0) = 0", (_at(f, d, sp.S.Zero), 0)),
        prove_equal(step, "f' = (d^2/2) cosh d", (sp.diff(f, d), d**2 / 2 * sp.cosh(d))),
        prove_positive(step, "> 0, so f(d) > 0 for d > 0", d**2 / 2 * sp.cosh(d), sp.sinh(d)),
    ]


def eq17() -> list[Evidence]:
    """Eq. 17 fixes the push at π_ref: linear in γ, zero at −βδ*/(m(2 + 2 cosh δ_ref)).

    That is ≤ γ* for δ* ≤ 0; for δ* ≥ 0 the margin is positive for every γ > 0.
    """
    delta_ref, gap = real("delta_ref gap")
    beta, m, gamma, short = positive("beta m gamma s")
    margin = penalty_formulas.eq17_margin(SYMPY, delta_ref, gap, beta, gamma, m)
    least = penalty_formulas.eq17_critical_gamma(SYMPY, delta_ref, gap, beta, m)
    push = penalty_formulas.inverse_pair(SYMPY, delta_ref)
    lower = short * beta / (m * push)  # the threshold where δ* = −s
    higher = penalty_formulas.critical_gamma(-short, beta, m)
    square = (sp.exp(delta_ref) - 1) ** 2 * sp.exp(-delta_ref)
    return [
        prove_equal(
            "eq17-threshold",
            "Eq. 17's margin = (m/beta)(2 + 2 cosh delta_ref)(gamma - its threshold)",
            (margin, m / beta * push * (gamma - least)),
        ),
        prove_positive("eq17-threshold", "the factor is positive", m / beta * push),
        prove_equal(
            "eq17-earlier",
            "gamma* - Eq. 17's threshold = beta|delta*|(2 cosh delta_ref - 2)/(4m(2 + 2 cosh ..))",
            (higher - lower, short * beta * square / (4 * m * push)),
        ),
        prove_equal(
            "eq17-aligned",
            "Eq. 17's margin = delta* + (gamma m/beta)(2 + 2 cosh delta_ref)",
            (margin, delta_ref + gap / beta + gamma * m / beta * (2 + 2 * sp.cosh(delta_ref))),
        ),
        prove_positive(
            "eq17-aligned", "> delta*, so > 0 where delta* >= 0", gamma * m / beta * push
        ),
    ]


def eq17_meets() -> list[Evidence]:
    """Eq. 17's margin is stationary iff 2 cosh δ = 2 cosh δ_ref there, i.e. |δ| = |δ_ref|."""
    delta, delta_ref, star = real("delta delta_ref delta_star")
    beta, m, gamma = positive("beta m gamma")
    push = penalty_formulas.inverse_pair(SYMPY, delta_ref)
    other = penalty_formulas.inverse_pair(SYMPY, delta)
    margin = star + gamma * m / beta * push
    g = beta * (margin - star) / (m * other)
    apart = (sp.exp(delta) - sp.exp(delta_ref)) * (1 - sp.exp(-delta - delta_ref))
    return [
        prove_equal(
            "eq17-meets",
            "gamma - g = gamma (2 cosh delta - 2 cosh delta_ref)/(2 + 2 cosh delta) at its margin",
            (gamma - g, gamma * (other - push) / other),
        ),
        prove_equal(
            "eq17-meets",
            "2 cosh a - 2 cosh b = (e^a - e^b)(1 - e^(-a-b)): zero iff a = b or a = -b",
            (other - push, apart),
        ),
    ]


def _at(expression: sp.Expr, symbol: sp.Symbol, value: sp.Expr) -> sp.Expr:
    return as_written(lambda: expression.xreplace({symbol: value}))
