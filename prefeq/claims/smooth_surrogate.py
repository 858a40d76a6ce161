"""The released smooth branch, t = δ_ref + softplus(τ(γ − δ_ref))/(ατ): readings of `e-cpoc`."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import sympy as sp

from prefeq.claims import formulas, target_lemmas, target_ties
from prefeq.claims import target_formulas as targets
from prefeq.claims.evidence import Evidence
from prefeq.claims.registry import PARTS, Part, Reading
from prefeq.claims.surrogates import Surrogate, SurrogateCase, scope, violated
from prefeq.claims.symbolic import (
    SYMPY,
    as_written,
    positive,
    prove_equal,
    prove_limit,
    prove_positive,
    real,
)
from prefeq.claims.target_criteria import FIXED_PART, fixed
from prefeq.losses import Flipped


def _smooth(flipped: Flipped, alpha: Any, gamma: Any, tau: Any) -> Surrogate:
    given = {"alpha": alpha, "gamma": gamma, "tau": tau}
    return Surrogate("smooth", flipped, tuple((k, Fraction(v)) for k, v in given.items()))


ABOVE_ONE = SurrogateCase(_smooth("fixed", 2, 1, 1), violated("1/2"))
PER_LABEL = SurrogateCase(_smooth("per-label", 1, 0, 1), violated("1/2"))

_ONE = ((1, 0, 1), (1, 2, "1/3"), (1, "-1/2", 20))
_BELOW = (("1/2", 0, 1), ("1/10", -1, 4), ("9/10", 3, "1/5"))
_ABOVE = ((2, 1, 1), (5, 0, 3), ("11/10", -2, "1/4"))


def _tied(flipped: Flipped, parameters: tuple[tuple[Any, ...], ...]) -> Iterator[Evidence]:
    for given in parameters:
        yield from target_ties.all_of(_smooth(flipped, *given))


def _above_both() -> Iterator[Evidence]:
    """α = 1: t = δ_ref + softplus(…)/τ = γ + softplus(…)/τ exceeds both δ_ref and γ."""
    delta_ref, gamma = real("delta_ref gamma")
    tau = positive("tau")
    t = targets.smooth(SYMPY, delta_ref, 1, gamma, tau)
    over = formulas.softplus(SYMPY, tau * (delta_ref - gamma)) / tau
    step = "smooth-above-both"
    # e^τt on both sides: equal exponentials have equal logarithms
    yield prove_equal(
        step,
        "e^(tau t) = e^(tau delta_ref) + e^(tau gamma): t = gamma + softplus(tau (delta_ref - "
        "gamma))/tau",
        (as_written(lambda: sp.exp(tau * t)), sp.exp(tau * delta_ref) + sp.exp(tau * gamma)),
        (as_written(lambda: sp.exp(tau * (gamma + over))), as_written(lambda: sp.exp(tau * t))),
    )
    yield prove_positive(step, "t - delta_ref > 0 and t - gamma > 0", t - delta_ref, over)


def _tends_to_gamma() -> Iterator[Evidence]:
    """α = 1: t − γ = log(1 + E)/τ with E = e^{τ(δ_ref − γ)} tends to 0 as δ_ref → −∞."""
    tau, excess = positive("tau E")
    yield prove_limit(
        "smooth-tends-to-gamma",
        "t - gamma = log(1 + E)/tau -> 0 as E = e^(tau (delta_ref - gamma)) -> 0: inf t = gamma",
        formulas.softplus(SYMPY, sp.log(excess)) / tau,
        excess,
        0,
        0,
    )


def _alpha_one(part: Part) -> Iterator[Evidence]:
    yield from fixed(part)
    yield from _above_both()
    if part == "only-if":
        yield from _tends_to_gamma()
    yield from _tied("fixed", _ONE)


def _alpha_below_one(part: Part) -> Iterator[Evidence]:
    """α = 1/(1 + h): t is convex in δ_ref and least where σ(τ(γ − δ_ref)) = α."""
    yield from fixed(part)
    delta_ref, gamma = real("delta_ref gamma")
    tau, h = positive("tau h")
    alpha = 1 / (1 + h)
    t = targets.smooth(SYMPY, delta_ref, alpha, gamma, tau)
    at = gamma - sp.log(1 / h) / tau  # logit α = log(1/h)
    lowest = gamma + targets.entropy(SYMPY, alpha) / (alpha * tau)
    step = "smooth-minimum"
    yield prove_equal(
        step,
        "dt/ddelta_ref = 0 at delta_ref = gamma - logit(alpha)/tau (alpha = 1/(1 + h))",
        (sp.diff(t, delta_ref).subs(delta_ref, at), sp.S.Zero),
    )
    yield prove_positive(step, "strictly convex: least there", sp.diff(t, delta_ref, 2))
    yield prove_equal(
        step,
        "there t = gamma + H(alpha)/(alpha tau)",
        (t.subs(delta_ref, at), sp.expand_log(lowest)),
    )
    yield prove_positive(
        "entropy-positive",
        "H(alpha) > 0: gamma may be negative",
        targets.entropy(SYMPY, alpha),
    )
    yield from _tied("fixed", _BELOW)


def _alpha_above_one() -> Iterator[Evidence]:
    yield ABOVE_ONE.refutation(
        "alpha = 2, gamma = tau = 1, ref = (1/20, 19/20), gap = 1/2: t = {target:.4f}, and the "
        "loss is least at delta = {minimiser:.4f} < 0",
        {
            "alpha > 1": ABOVE_ONE.parameter("alpha") > 1,
            "gamma >= 0": ABOVE_ONE.parameter("gamma") >= 0,
        },
    )
    yield from target_lemmas.fixed_minimiser()
    yield ABOVE_ONE.rechecked()
    yield from _tied("fixed", _ABOVE)


def _alpha_above_one_corrected() -> Iterator[Evidence]:
    """α = 1 + h: t = γ/α + δ_ref(1 − 1/α) + log(1 + 1/E)/(ατ), E = e^{τ(γ − δ_ref)}.

    Hence t − γ/α − δ_ref(1 − 1/α) → 0 as δ_ref → −∞, where E → ∞.
    """
    yield from target_lemmas.fixed_minimiser()
    yield target_lemmas.fixed_aligned()
    yield target_lemmas.fixed_misaligned()
    delta_ref, gamma = real("delta_ref gamma")
    tau, h, e = positive("tau h E")
    alpha = 1 + h
    t = targets.smooth(SYMPY, delta_ref, alpha, gamma, tau)
    slope = sp.diff(t, delta_ref).subs(delta_ref, gamma - sp.log(e) / tau)
    yield prove_positive(
        "smooth-rises", "dt/ddelta_ref > 0 for alpha = 1 + h", sp.factor(sp.simplify(slope))
    )
    at = gamma - sp.log(e) / tau
    step = "smooth-unbounded"
    yield prove_equal(
        step,
        "t = gamma/alpha + delta_ref (1 - 1/alpha) + (log(1 + E) - log E)/(alpha tau)",
        (
            t.subs(delta_ref, at),
            gamma / alpha + at * h / alpha + (sp.log(1 + e) - sp.log(e)) / (alpha * tau),
        ),
    )
    yield prove_equal(step, "e^(log(1 + E) - log E) = 1 + 1/E", ((1 + e) / e, 1 + 1 / e))
    rest = sp.log(1 + 1 / e) / (alpha * tau)
    yield prove_limit(step, "t -> -oo as delta_ref -> -oo", at * h / alpha + rest, e, sp.oo, -sp.oo)
    yield prove_positive(step, "t > delta_ref, hence t -> oo as delta_ref -> oo", t - delta_ref)
    yield from _tied("fixed", _ABOVE)


def _per_label() -> Iterator[Evidence]:
    yield PER_LABEL.refutation(
        "alpha = tau = 1, gamma = 0, ref = (1/20, 19/20), gap = 1/2 < {critical_gap:.4f}: the loss "
        "is least at delta = {minimiser:.4f} < 0",
        {
            "alpha == 1": PER_LABEL.parameter("alpha") == 1,
            "gamma >= 0": PER_LABEL.parameter("gamma") >= 0,
        },
    )
    yield from target_lemmas.per_label()
    yield PER_LABEL.rechecked()
    yield from _tied("per-label", _ONE)


def _per_label_corrected(part: Part) -> Iterator[Evidence]:
    """The critical gap softplus(−βt) − softplus(−βt′) stays below softplus(−βγ) and tends to it.

    t > γ, t → γ as δ_ref → −∞; t′ > −δ_ref, so that softplus(−βt′) → 0.
    """
    yield from target_lemmas.per_label()
    yield from _above_both()
    yield target_lemmas.softplus_order()
    z, small = real("z"), positive("S")
    yield prove_positive("softplus-positive", "softplus > 0", formulas.softplus(SYMPY, z))
    if part == "only-if":
        yield from _tends_to_gamma()
        yield prove_limit(
            "softplus-vanishes",
            "softplus(log S) = log(1 + S) -> 0 as S = e^(-beta t') -> 0",
            formulas.softplus(SYMPY, sp.log(small)),
            small,
            0,
            0,
        )
    yield from _tied("per-label", _ONE)


def _loss(alpha: str) -> str:
    return (
        f"the released smooth branch, {alpha}, tau > 0: t = delta_ref + softplus(tau (gamma - "
        "delta_ref))/(alpha tau); any K, full-support reference"
    )


_ALIGNED = "aligned at every gap > 0, whatever the reference"
_ALPHA_ONE: dict[Part, str] = {
    "if": f"gamma >= 0 => {_ALIGNED} (t > max(delta_ref, gamma))",
    "only-if": f"{_ALIGNED} => gamma >= 0",
}
_ENTROPY = "gamma >= -H(alpha)/(alpha tau), H the binary entropy in nats"
_ALPHA_BELOW: dict[Part, str] = {
    "if": f"{_ENTROPY} => {_ALIGNED} (the least t, at delta_ref = gamma - logit(alpha)/tau, is "
    "gamma + H(alpha)/(alpha tau))",
    "only-if": f"{_ALIGNED} => {_ENTROPY}",
}
_SURE = "gap >= softplus(-beta gamma)"
_SURE_ENOUGH: dict[Part, str] = {
    "if": f"{_SURE} => aligned, whatever the reference",
    "only-if": f"aligned, whatever the reference => {_SURE}",
}
_MORE: dict[Part, tuple[str, ...]] = {
    "if": ("smooth-above-both",),
    "only-if": ("smooth-tends-to-gamma",),
}

READINGS = (
    *(
        Reading(
            "smooth-alpha-one",
            _ALPHA_ONE[part],
            scope(_loss("alpha = 1"), "fixed"),
            partial(_alpha_one, part),
            part,
            proof=(*target_lemmas.FIXED, FIXED_PART[part], *_MORE[part]),
        )
        for part in PARTS
    ),
    *(
        Reading(
            "smooth-alpha-below-one",
            _ALPHA_BELOW[part],
            scope(_loss("0 < alpha < 1"), "fixed"),
            partial(_alpha_below_one, part),
            part,
            proof=(*target_lemmas.FIXED, FIXED_PART[part], "smooth-minimum"),
        )
        for part in PARTS
    ),
    Reading(
        "smooth-alpha-above-one",
        f"gamma >= 0 => {_ALIGNED}",
        scope(_loss("alpha > 1"), "fixed"),
        _alpha_above_one,
        lemmas=target_lemmas.FIXED,
    ),
    Reading(
        "smooth-alpha-above-one-corrected",
        "t rises strictly from -oo to oo with delta_ref: aligned at every gap > 0 iff delta_ref is "
        "at least the one reference margin where t = 0; no gamma aligns whatever the reference",
        scope(_loss("alpha > 1"), "fixed"),
        _alpha_above_one_corrected,
        proof=(*target_lemmas.FIXED, *FIXED_PART.values(), "smooth-rises", "smooth-unbounded"),
        corrects="smooth-alpha-above-one",
    ),
    Reading(
        "smooth-per-label",
        f"gamma >= 0 => {_ALIGNED}",
        scope(_loss("alpha = 1"), "per-label"),
        _per_label,
        lemmas=target_lemmas.PER_LABEL,
    ),
    *(
        Reading(
            "smooth-per-label-corrected",
            _SURE_ENOUGH[part],
            scope(_loss("alpha = 1, any gamma"), "per-label"),
            partial(_per_label_corrected, part),
            part,
            proof=(
                *target_lemmas.PER_LABEL,
                "smooth-above-both",
                "softplus-increases",
                "softplus-positive",
                *(() if part == "if" else ("smooth-tends-to-gamma", "softplus-vanishes")),
            ),
            corrects="smooth-per-label",
        )
        for part in PARTS
    ),
)
