"""The released `clip` branch, t = max(δ_ref, 0), which is HyPO: readings of `e-cpoc`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import sympy as sp

from prefeq.claims import formulas, target_lemmas, target_ties
from prefeq.claims import target_formulas as targets
from prefeq.claims.evidence import Evidence
from prefeq.claims.registry import PARTS, Part, Reading
from prefeq.claims.surrogates import Surrogate, SurrogateCase, scope, violated
from prefeq.claims.symbolic import SYMPY, as_written, positive, prove_equal, prove_positive

PER_LABEL = SurrogateCase(Surrogate("clip", "per-label"), violated("1/2"))


def _fixed() -> Iterator[Evidence]:
    """T = δ_ref where that is ≥ 0, and 0 elsewhere."""
    yield from target_lemmas.fixed_minimiser()
    yield target_lemmas.fixed_aligned()
    above = sp.Symbol("delta_ref", nonnegative=True)
    beta, gap = positive("beta gap")
    yield prove_positive(
        "clip-aligned",
        "delta_ref >= 0: delta_ref + gap/beta > 0; delta_ref < 0: 0 + gap/beta > 0",
        targets.fixed_minimiser(above, beta, gap),
        targets.fixed_minimiser(sp.S.Zero, beta, gap),
    )
    yield from target_ties.all_of(Surrogate("clip", "fixed"))


def _per_label() -> Iterator[Evidence]:
    yield PER_LABEL.refutation(
        "ref = (1/20, 19/20), gap = 1/2 < {critical_gap:.4f}: t = 0, t' = {swapped_target:.4f}, "
        "and the loss is least at delta = {minimiser:.4f} < 0"
    )
    yield from target_lemmas.per_label()
    yield PER_LABEL.rechecked()
    yield from target_ties.all_of(PER_LABEL.surrogate)


def _two_thirds(part: Part) -> Iterator[Evidence]:
    """δ_ref = −a < 0 has t = 0, t′ = a and the critical gap log 2σ(βa), which rises to ln 2."""
    yield from target_lemmas.per_label()
    yield from _label()
    yield from _critical()
    if part == "only-if":
        yield from _approached()
    yield from target_ties.all_of(Surrogate("clip", "per-label"))


def _label() -> Iterator[Evidence]:
    gap = positive("gap")
    at = as_written(lambda: formulas.sigmoid(SYMPY, sp.log(2)))
    slope = sp.diff(formulas.sigmoid(SYMPY, gap), gap)
    yield prove_equal("two-thirds", "sigma(ln 2) = 2/3", (at, sp.Rational(2, 3)))
    yield prove_positive("two-thirds", "and sigma increases", slope)


def _critical() -> Iterator[Evidence]:
    a, beta, h = positive("a beta h")
    below = targets.per_label_critical_gap(SYMPY, 0, a, beta)
    step = "clip-below-ln2"
    yield prove_equal(
        step,
        "delta_ref = -a < 0: e^critical gap = 2 sigma(beta a)",
        (as_written(lambda: sp.exp(below)), 2 * formulas.sigmoid(SYMPY, beta * a)),
    )
    yield prove_positive(
        step, "ln 2 - critical gap = softplus(-beta a) > 0", sp.log(2) - below.expand()
    )
    # e^βδ_ref = 1 + h
    above = sp.exp(targets.per_label_critical_gap(SYMPY, sp.log(1 + h) / beta, 0, beta))
    yield prove_equal(
        step,
        "delta_ref = 0: the critical gap is 0",
        (
            as_written(lambda: targets.per_label_critical_gap(SYMPY, sp.S.Zero, sp.S.Zero, beta)),
            sp.S.Zero,
        ),
    )
    yield prove_positive(
        step, "delta_ref > 0: 1 - e^critical gap > 0", sp.factor(sp.simplify(1 - above))
    )


def _approached() -> Iterator[Evidence]:
    """No gap ≤ 0 does; e^gap = (2 + h)/(1 + h) in (1, 2) is critical at e^βa = (2 + h)/h."""
    a, beta, h = positive("a beta h")
    gap = sp.log((2 + h) / (1 + h))
    at = sp.log((2 + h) / h) / beta
    step = "clip-approached"
    critical = targets.per_label_critical_gap(SYMPY, 0, a, beta)
    yield prove_equal(
        step,
        "any gap < ln 2, e^gap = (2 + h)/(1 + h), is critical at e^(beta a) = (2 + h)/h",
        (sp.exp(critical.subs(a, at)), sp.exp(gap)),
    )
    yield prove_positive(
        step, "and too small for every larger a: the critical gap rises", sp.diff(critical, a)
    )
    excess = sp.exp(critical.subs(a, sp.log(1 + h) / beta)) - 1  # e^βa = 1 + h
    yield prove_positive(
        step,
        "q <= 1/2 is too small for every a: e^critical gap - 1 > 0 >= e^gap - 1",
        sp.factor(sp.simplify(excess)),
    )


_LOSS = "the released `clip` branch (HyPO), t = max(delta_ref, 0); any K, full-support reference"
_GUARANTEE = "the `clip` branch aligns at every gap > 0, whatever the reference"
_TWO_THIRDS: dict[Part, str] = {
    "if": "q >= 2/3 (gap >= ln 2) => aligned, whatever the reference: the critical gap is "
    "log 2 sigma(-beta delta_ref) < ln 2 for delta_ref < 0, and at most 0 elsewhere",
    "only-if": "aligned, whatever the reference => q >= 2/3",
}

READINGS = (
    Reading(
        "clip-fixed",
        _GUARANTEE,
        scope(_LOSS, "fixed"),
        _fixed,
        proof=(*target_lemmas.FIXED, "fixed-aligned", "clip-aligned"),
    ),
    Reading(
        "clip-per-label",
        _GUARANTEE,
        scope(_LOSS, "per-label"),
        _per_label,
        lemmas=target_lemmas.PER_LABEL,
    ),
    *(
        Reading(
            "clip-two-thirds",
            _TWO_THIRDS[part],
            scope(_LOSS, "per-label"),
            partial(_two_thirds, part),
            part,
            proof=(
                *target_lemmas.PER_LABEL,
                "two-thirds",
                "clip-below-ln2" if part == "if" else "clip-approached",
            ),
            corrects="clip-per-label",
        )
        for part in PARTS
    ),
)
