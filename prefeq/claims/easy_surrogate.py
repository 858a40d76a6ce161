"""The released `easy` branch, t = δ_ref + (γ/β)(1/log π_ref(w) + 1/log π_ref(l)): of `e-cpo`.

The reciprocals of log-probabilities are negative: the target is below that of DPO.
"""

from __future__ import annotations

from collections.abc import Iterator

from prefeq.claims import target_formulas, target_lemmas
from prefeq.claims.ball import sign
from prefeq.claims.contradiction import has_sign
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Instance
from prefeq.claims.registry import Reading
from prefeq.claims.surrogates import SurrogateCase, scope, violated
from prefeq.claims.symbolic import positive, prove_positive, real
from prefeq.claims.target_criteria import tied, with_gamma

EQUAL = Instance.of(
    "two equal responses",
    reward=[1, 0],
    ref=["1/2", "1/2"],
    pairs=[(0, 1)],
    labels="bradley-terry",
)
FIXED = SurrogateCase(with_gamma("easy", "fixed", 1), EQUAL)
PER_LABEL = SurrogateCase(with_gamma("easy", "per-label", "1/10"), violated("1/2"))


def _raises() -> Iterator[Evidence]:
    below = has_sign(sign(lambda: FIXED.target() - FIXED.ref_margin())[0], -1)
    yield FIXED.evidence(
        "ref = (1/2, 1/2), gamma = 1: t = -2/ln 2 = {target:.4f} < delta_ref = 0",
        {"target[0] < ref_margin[0]": below},
    )
    yield FIXED.rechecked()
    yield from tied("easy", "fixed")


def _lowers() -> Iterator[Evidence]:
    yield from target_lemmas.easy_shift()
    yield from tied("easy", "fixed")


def _fixed() -> Iterator[Evidence]:
    yield FIXED.refutation(
        "ref = (1/2, 1/2), gamma = 1, gap = 1: t = {target:.4f}, and the loss is least at delta = "
        "{minimiser:.4f} < 0, where DPO ends at 1"
    )
    yield from target_lemmas.fixed_minimiser()
    yield FIXED.rechecked()
    yield from tied("easy", "fixed")


def _worse() -> Iterator[Evidence]:
    """The critical gap −βt exceeds −βδ_ref, as t is below δ_ref."""
    yield from target_lemmas.fixed_minimiser()
    yield from target_lemmas.easy_shift()
    delta_ref = real("delta_ref")
    fall, beta = positive("fall beta")
    dpo = target_formulas.fixed_critical_gap(delta_ref, beta)
    easy = target_formulas.fixed_critical_gap(target_formulas.shifted(delta_ref, -fall), beta)
    excess = (easy - dpo).expand()
    yield prove_positive("gap-rises", "-beta (delta_ref - fall) > -beta delta_ref", excess)
    yield from tied("easy", "fixed")


def _per_label() -> Iterator[Evidence]:
    yield PER_LABEL.refutation(
        "ref = (1/20, 19/20), gamma = 1/10, gap = 1/2 < {critical_gap:.4f}: the loss is least at "
        "delta = {minimiser:.4f} < 0"
    )
    yield from target_lemmas.per_label()
    yield PER_LABEL.rechecked()
    yield from tied("easy", "per-label")


def _worse_per_label() -> Iterator[Evidence]:
    """A symmetric shift c < 0 moves the critical gap from −βδ_ref up towards −2βδ_ref."""
    yield from target_lemmas.per_label()
    yield from target_lemmas.easy_shift()
    yield from target_lemmas.shifts()
    yield from tied("easy", "per-label")


_LOSS = (
    "the released `easy` branch, t = delta_ref + (gamma/beta)(1/log ref(w) + 1/log ref(l)); any "
    "K >= 2, full-support reference, gamma > 0"
)
_GUARANTEE = "the `easy` branch aligns at every gap > 0, whatever the reference"

READINGS = (
    Reading(
        "easy-raises-target",
        "the `easy` branch asks for more than DPO: t > delta_ref",
        scope(_LOSS, "fixed"),
        _raises,
    ),
    Reading(
        "easy-lowers-target",
        "the `easy` branch asks for less than DPO: t < delta_ref, always",
        scope(_LOSS, "fixed"),
        _lowers,
        proof=("shift-negative",),
        corrects="easy-raises-target",
    ),
    Reading("easy-fixed", _GUARANTEE, scope(_LOSS, "fixed"), _fixed, lemmas=target_lemmas.FIXED),
    Reading(
        "easy-worse-than-dpo",
        "aligned iff gap > -beta delta_ref - gamma (1/log ref(w) + 1/log ref(l)), which is more "
        "than the -beta delta_ref that DPO needs",
        scope(_LOSS, "fixed"),
        _worse,
        proof=(*target_lemmas.FIXED, "shift-negative", "gap-rises"),
        corrects="easy-fixed",
    ),
    Reading(
        "easy-per-label",
        _GUARANTEE,
        scope(_LOSS, "per-label"),
        _per_label,
        lemmas=target_lemmas.PER_LABEL,
    ),
    Reading(
        "easy-per-label-worse-than-dpo",
        "aligned at every gap > 0 iff delta_ref >= 0; for delta_ref < 0 iff the gap exceeds one "
        "strictly between -beta delta_ref, that of DPO, and twice as much",
        scope(_LOSS, "per-label"),
        _worse_per_label,
        proof=(*target_lemmas.PER_LABEL, *target_lemmas.SHIFT, "shift-negative"),
        corrects="easy-per-label",
    ),
)
