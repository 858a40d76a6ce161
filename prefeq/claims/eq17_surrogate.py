"""The surrogate of Eq. 17, t = δ_ref + (γ/β)(1/π_ref(w) + 1/π_ref(l)): readings of `e-cpo`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from prefeq.claims import eq17_lemmas, target_lemmas
from prefeq.claims.ball import sign
from prefeq.claims.contradiction import has_sign
from prefeq.claims.evidence import Evidence
from prefeq.claims.registry import PARTS, Part, Reading
from prefeq.claims.surrogates import SurrogateCase, scope, violated
from prefeq.claims.target_criteria import FIXED_PART, fixed, tied, with_gamma

FIXED = SurrogateCase(with_gamma("eq17", "fixed", "1/10"), violated("1/2"))
PER_LABEL = SurrogateCase(with_gamma("eq17", "per-label", "1/4"), violated("1/20"))


def _fixed() -> Iterator[Evidence]:
    yield FIXED.refutation(
        "ref = (1/20, 19/20), gamma = 1/10, gap = 1/2: t = {target:.4f}, and the loss is least at "
        "delta = {minimiser:.4f} < 0"
    )
    yield from target_lemmas.fixed_minimiser()
    yield FIXED.rechecked()
    yield from tied("eq17", "fixed")


def _criterion(part: Part) -> Iterator[Evidence]:
    yield from fixed(part)
    yield from eq17_lemmas.criterion()
    yield from tied("eq17", "fixed")


def _every_reference(part: Part) -> Iterator[Evidence]:
    """t ≥ 0 at every reference iff γ/β is at least the peak of d/(2 + 2 cosh d), K = 2 the worst.

    Below the peak the two-response reference with δ_ref = −(where the peak is) has t < 0.
    """
    yield from _criterion(part)
    yield from eq17_lemmas.every_reference()


def _per_label() -> Iterator[Evidence]:
    yield PER_LABEL.refutation(
        "ref = (1/20, 19/20), gamma/beta = 1/4, gap = 1/20: t = {target:.4f} > 0, yet with t' = "
        "{swapped_target:.4f} the loss is least at delta = {minimiser:.4f} < 0",
        {"target[0] >= 0": has_sign(sign(PER_LABEL.target)[0], 1)},
    )
    yield from target_lemmas.per_label()
    yield PER_LABEL.rechecked()
    yield from tied("eq17", "per-label")


def _per_label_corrected() -> Iterator[Evidence]:
    """A symmetric shift c > 0 moves the critical gap from −βδ_ref down towards 0, never there."""
    yield from target_lemmas.per_label()
    yield from target_lemmas.eq17_shift()
    yield from target_lemmas.shifts()
    yield from tied("eq17", "per-label")


_LOSS = (
    "Eq. 17, t = delta_ref + (gamma/beta)(1/ref(w) + 1/ref(l)); any K >= 2, full-support "
    "reference, gamma > 0"
)
_CRITERION: dict[Part, str] = {
    "if": "gamma >= -beta delta_ref/(1/ref(w) + 1/ref(l)), which is "
    "-beta delta_ref/(2 + 2 cosh delta_ref) for two responses => aligned at every gap > 0",
    "only-if": "aligned at every gap > 0 => gamma >= -beta delta_ref/(1/ref(w) + 1/ref(l))",
}
_PEAK = "gamma/beta >= max over d of d/(2 + 2 cosh d) = 0.223871... (at d tanh(d/2) = 1)"
_EVERY: dict[Part, str] = {
    "if": f"{_PEAK} => aligned at every gap > 0, whatever the reference",
    "only-if": f"aligned at every gap > 0, whatever the reference => {_PEAK}",
}

READINGS = (
    Reading(
        "eq17-fixed",
        "for every gamma > 0 the loss of Eq. 17 aligns at every gap > 0, whatever the reference",
        scope(_LOSS, "fixed"),
        _fixed,
        lemmas=target_lemmas.FIXED,
    ),
    *(
        Reading(
            "eq17-fixed-corrected",
            _CRITERION[part],
            scope(_LOSS, "fixed"),
            partial(_criterion, part),
            part,
            proof=(*target_lemmas.FIXED, FIXED_PART[part], *eq17_lemmas.CRITERION),
            corrects="eq17-fixed",
        )
        for part in PARTS
    ),
    *(
        Reading(
            "eq17-every-reference",
            _EVERY[part],
            scope(_LOSS, "fixed"),
            partial(_every_reference, part),
            part,
            proof=(
                *target_lemmas.FIXED,
                FIXED_PART[part],
                *eq17_lemmas.CRITERION,
                *eq17_lemmas.EVERY,
            ),
            corrects="eq17-fixed",
        )
        for part in PARTS
    ),
    Reading(
        "eq17-per-label",
        "if gamma is large enough for t >= 0 the loss of Eq. 17 aligns at every gap > 0",
        scope(_LOSS, "per-label"),
        _per_label,
        lemmas=target_lemmas.PER_LABEL,
    ),
    Reading(
        "eq17-per-label-corrected",
        "aligned at every gap > 0 iff delta_ref >= 0; for delta_ref < 0 iff the gap exceeds one "
        "strictly between 0 and -beta delta_ref, that of DPO: it falls to 0 as gamma grows, and "
        "is 0 for no gamma",
        scope(_LOSS, "per-label"),
        _per_label_corrected,
        proof=(*target_lemmas.PER_LABEL, *target_lemmas.SHIFT, "shift-positive"),
        corrects="eq17-per-label",
    ),
)
