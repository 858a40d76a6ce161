"""What is true of U under a Bradley–Terry label, where the ordered pair's statements fail.

Readings of `undesirable-space`: the loss falls strictly from δ_ref to δ*, and a loss below ln 2
certifies δ > δ_ref.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from prefeq.claims import formulas, lemmas, ties
from prefeq.claims.evidence import Evidence
from prefeq.claims.registry import Reading
from prefeq.claims.symbolic import SYMPY, positive, prove_equal, prove_positive, real


def falls_below_optimum() -> Iterator[Evidence]:
    """−dL/dδ = β(σ(Δr) − σ(βx)) > 0 wherever βx < Δr, i.e. δ < δ*.

    βx = Δr − log(1 + p) with p > 0 is any number below Δr, and e^{−βx} = (1 + p)e^{−Δr}.
    """
    delta, delta_ref, gap = real("delta delta_ref gap")
    beta, p, odds = positive("beta p odds")
    label = formulas.sigmoid(SYMPY, gap)
    loss = formulas.pair_loss(SYMPY, delta, delta_ref, beta, label)
    here = formulas.sigmoid(SYMPY, beta * (delta - delta_ref))
    step = "loss-falls-to-optimum"
    yield prove_equal(
        step,
        "-dL/ddelta = beta (sigma(gap) - sigma(beta x))",
        (-sp.diff(loss, delta), beta * (label - here)),
    )
    lower = 1 / (1 + odds * (1 + p))
    yield prove_equal(
        step,
        "sigma(gap - log(1 + p)) = 1/(1 + (1 + p) e^-gap)",
        (formulas.sigmoid(SYMPY, gap - sp.log(1 + p)), 1 / (1 + sp.exp(-gap) + p * sp.exp(-gap))),
    )
    yield prove_positive(
        step, "sigma(gap) is above it: the loss falls below delta*", 1 / (1 + odds) - lower
    )


def starts_at_log2() -> Iterator[Evidence]:
    """L(δ_ref) = ln 2 for every label."""
    delta_ref, q = real("delta_ref q")
    loss = formulas.pair_loss(SYMPY, delta_ref, delta_ref, positive("beta"), q)
    yield prove_equal("soft-loss-at-reference", "L = ln 2 at pi_ref", (loss, sp.log(2)))


def _below_optimum() -> Iterator[Evidence]:
    yield from falls_below_optimum()
    yield from starts_at_log2()
    yield lemmas.rlhf_margin_identity()
    yield from (ties.soft_loss(), ties.soft_gradient(), ties.rlhf_margin(), ties.undesirable())


def _certificate() -> Iterator[Evidence]:
    """x ≤ 0 < Δr/β is below δ*, so the loss falls up to δ_ref and is at least ln 2 before it."""
    yield from falls_below_optimum()
    yield from starts_at_log2()
    gap, back = positive("gap"), sp.Symbol("back", nonnegative=True)
    yield prove_positive(
        "reference-below-optimum", "beta x = -back <= 0 is below gap > 0", gap - (-back)
    )
    yield from (ties.soft_loss(), ties.soft_gradient(), ties.undesirable())


_SCOPE = (
    "one pair with a Bradley-Terry label q = sigma(gap) < 1; gap > 0, beta > 0, any K, "
    "full-support reference"
)

READINGS = (
    Reading(
        "lower-loss-soft-labels-corrected",
        "every policy with delta_ref < delta <= delta* has a lower loss than pi_ref",
        _SCOPE,
        _below_optimum,
        proof=("loss-falls-to-optimum", "soft-loss-at-reference", "margin-identity"),
        corrects=("lower-loss-soft-labels", "loss-certificate-soft-labels (only-if)"),
    ),
    Reading(
        "loss-certificate-soft-labels-corrected",
        "L < ln 2 => delta > delta_ref (of the sign of delta it says nothing)",
        _SCOPE,
        _certificate,
        proof=("loss-falls-to-optimum", "soft-loss-at-reference", "reference-below-optimum"),
        corrects="loss-certificate-soft-labels (if)",
    ),
)
