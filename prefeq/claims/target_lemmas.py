"""Steps of the proofs about target margins: when is the population loss least at a δ > 0?

Each function returns the evidence for one or two named steps. t is the target t(w, l), t′ that of
the swapped pair; a symbol in capitals stands for an exponential, so that everything is rational.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from prefeq.claims import formulas, lemmas
from prefeq.claims import target_formulas as targets
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

FIXED = ("edge-minimiser", "fixed-minimiser")
PER_LABEL = ("per-label-slope", "per-label-convex", "per-label-ends")
SHIFT = ("shift-symmetric", "shift-zero", "shift-falls", "shift-limits", "shift-odd")


def fixed_minimiser() -> Iterator[Evidence]:
    """With a fixed target t the loss is DPO's with t for δ_ref: least at δ = t + Δr/β only."""
    yield from lemmas.edge_minimiser()
    t, gap = real("t gap")
    beta = positive("beta")
    yield prove_equal(
        "fixed-minimiser",
        "beta (delta - t) = gap at delta = t + gap/beta = (gap - critical gap)/beta",
        (as_written(lambda: beta * (targets.fixed_minimiser(t, beta, gap) - t)), gap),
        (
            targets.fixed_minimiser(t, beta, gap),
            (gap - targets.fixed_critical_gap(t, beta)) / beta,
        ),
    )


def fixed_aligned() -> Evidence:
    """t ≥ 0 makes the minimiser positive at every gap > 0."""
    t = sp.Symbol("t", nonnegative=True)
    beta, gap = positive("beta gap")
    at = targets.fixed_minimiser(t, beta, gap)
    return prove_positive("fixed-aligned", "t >= 0: t + gap/beta > 0 at every gap > 0", at)


def fixed_misaligned() -> Evidence:
    """t = −s < 0 leaves the minimiser at −s/2 for the gap βs/2 > 0."""
    s, beta = positive("s beta")
    step = "fixed-misaligned"
    at = as_written(lambda: targets.fixed_minimiser(-s, beta, beta * s / 2))
    return prove_equal(step, "t = -s < 0: gap = beta s/2 > 0 ends at -s/2 < 0", (at, -s / 2))


def per_label() -> Iterator[Evidence]:
    """The per-label loss is strictly convex, falls, then rises; its slope at 0 has a known sign."""
    delta, t, swapped, gap = real("delta t t_swapped gap")
    beta, h, v, a, b = positive("beta h v A B")
    q = 1 / (1 + h)  # any label probability in (0, 1)
    loss = targets.per_label_loss(SYMPY, delta, t, swapped, beta, q)
    slope = targets.per_label_slope(SYMPY, delta, t, swapped, beta, q)
    yield prove_equal("per-label-slope", "its derivative in delta", (sp.diff(loss, delta), slope))
    t_of, swapped_of = -sp.log(a) / beta, -sp.log(b) / beta  # A = e^-βt, B = e^-βt'
    at_zero = targets.per_label_slope(SYMPY, 0, t_of, swapped_of, beta, 1 / (1 + sp.exp(-gap)))
    critical = (1 + a) / (1 + b)
    yield prove_equal(
        "per-label-slope",
        "at 0 it has the sign of e^c - e^gap, c = softplus(-beta t) - softplus(-beta t')",
        (at_zero, beta / ((1 + sp.exp(gap)) * (1 + a)) * (critical - sp.exp(gap))),
        (
            as_written(
                lambda: sp.exp(targets.per_label_critical_gap(SYMPY, t_of, swapped_of, beta))
            ),
            critical,
        ),
    )
    yield prove_positive("per-label-convex", "L'' > 0: one minimiser", sp.diff(slope, delta))
    # A = e^βt here: v = e^βδ runs from 0 to infinity
    rational = targets.per_label_slope(SYMPY, sp.log(v) / beta, -t_of, swapped_of, beta, q)
    step = "per-label-ends"
    below, above = sp.simplify(-beta * q), sp.simplify(beta * (1 - q))
    yield prove_limit(step, "L' -> -beta q < 0 as delta -> -oo", rational, v, 0, below)
    yield prove_limit(step, "L' -> beta (1 - q) > 0 as delta -> oo", rational, v, sp.oo, above)


def shifts() -> Iterator[Evidence]:
    """t = δ_ref + c and t′ = −δ_ref + c: the critical gap lies between 0 and −βδ_ref or beyond."""
    yield from _shift_below_zero()
    yield from _shift_limits()
    yield _shift_above_zero()


def _shift_below_zero() -> Iterator[Evidence]:
    """t = δ_ref + c, t′ = −δ_ref + c: for δ_ref = −a < 0 the critical gap falls in c, βa at c = 0.

    A = e^βa = 1 + h and C = e^−βc; softplus(β(a − c)) − softplus(−β(a + c)).
    """
    a, beta, h, cap = positive("a beta h C")
    shift = real("c")
    gap = _gap_of(-a, shift, beta)
    falls = cap * h * (h + 2) / ((1 + (1 + h) * cap) * (1 + h + cap))
    rational = sp.diff(gap, shift).subs({a: sp.log(1 + h) / beta, shift: -sp.log(cap) / beta})
    yield prove_equal(
        "shift-zero",
        "no shift: e^critical gap = e^(beta a), that of DPO",
        (as_written(lambda: sp.exp(_gap_of(-a, sp.S.Zero, beta))), sp.exp(beta * a)),
    )
    yield prove_equal(
        "shift-falls", "its derivative in the shift, rational in e^", (rational, -beta * falls)
    )
    yield prove_positive("shift-falls", "falls strictly as the shift rises", falls)


def _shift_limits() -> Iterator[Evidence]:
    """The critical gap tends to 0 as the shift rises for ever, and to 2βa as it falls."""
    a, beta, cap = positive("a beta C")
    gap = _gap_of(-a, -sp.log(cap) / beta, beta)
    wide = sp.log((1 + sp.exp(beta * a) * cap) / (1 + cap * sp.exp(-beta * a)))
    yield prove_equal(
        "shift-limits", "e^critical gap, rational in C = e^(-beta c)", (sp.exp(gap), sp.exp(wide))
    )
    yield prove_limit("shift-limits", "-> 0 as the shift -> oo", wide, cap, 0, 0)
    big = positive("A")  # e^βa
    ratio = sp.log((1 + big * cap) / (1 + cap / big))
    yield prove_limit(
        "shift-limits", "-> 2 beta a as the shift -> -oo", ratio, cap, sp.oo, sp.log(big**2)
    )


def _shift_above_zero() -> Evidence:
    """For δ_ref ≥ 0 the critical gap of a shifted target is ≤ 0: swapping the pair negates it."""
    delta_ref, shift = real("delta_ref c")
    beta = positive("beta")
    return prove_equal(
        "shift-odd",
        "the critical gap at -delta_ref is minus that at delta_ref: none is positive above 0",
        (_gap_of(-delta_ref, shift, beta), as_written(lambda: -_gap_of(delta_ref, shift, beta))),
    )


def _gap_of(delta_ref: sp.Expr, shift: sp.Expr, beta: sp.Expr) -> sp.Expr:
    t, swapped = targets.shifted(delta_ref, shift), targets.shifted(-delta_ref, shift)
    return targets.per_label_critical_gap(SYMPY, t, swapped, beta)


def eq17_shift() -> Iterator[Evidence]:
    """The shift of Eq. 17 is positive, and that of the swapped pair as well."""
    p_w, p_l = real("p_w p_l")
    beta, gamma = positive("beta gamma")
    shift = targets.eq17_shift(SYMPY, p_w, p_l, gamma, beta)
    swapped = as_written(lambda: targets.eq17_shift(SYMPY, p_l, p_w, gamma, beta))
    yield prove_equal("shift-symmetric", "swapping the pair keeps Eq. 17's shift", (shift, swapped))
    yield prove_positive("shift-positive", "(gamma/beta)(1/ref(w) + 1/ref(l)) > 0", shift)


def easy_shift() -> Iterator[Evidence]:
    """The shift of `easy` is negative, as log-probabilities are, and symmetric as well."""
    p_w, p_l = (-symbol for symbol in positive("a_w a_l"))
    beta, gamma = positive("beta gamma")
    shift = targets.easy_shift(p_w, p_l, gamma, beta)
    swapped = as_written(lambda: targets.easy_shift(p_l, p_w, gamma, beta))
    yield prove_equal("shift-symmetric", "swapping the pair keeps easy's shift", (shift, swapped))
    yield prove_positive(
        "shift-negative", "-(gamma/beta)(1/log ref(w) + 1/log ref(l)) > 0 as logs are < 0", -shift
    )


def softplus_order() -> Evidence:
    """softplus increases: t > s makes softplus(−βt) < softplus(−βs)."""
    z = real("z")
    return prove_positive(
        "softplus-increases",
        "softplus' = sigma > 0",
        sp.simplify(sp.diff(formulas.softplus(SYMPY, z), z)),
    )
