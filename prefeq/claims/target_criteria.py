"""When a loss with a target margin aligns a pair: readings of `e-cpo` that hold for every target.

`fixed_part` and `tied` are what the readings of the single losses start from.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial

from prefeq.claims import target_lemmas, target_ties
from prefeq.claims.evidence import Evidence
from prefeq.claims.registry import PARTS, Part, Reading
from prefeq.claims.surrogates import Surrogate, scope
from prefeq.losses import Flipped

GAMMAS = tuple(Fraction(gamma) for gamma in ("1/10", "1/1000", "3"))
"""γ at which the formulas of Eq. 17 and `easy` are tied to the package."""

FIXED_PART: dict[Part, str] = {"if": "fixed-aligned", "only-if": "fixed-misaligned"}


def fixed(part: Part) -> Iterator[Evidence]:
    """Yield one part of: t ≥ 0 iff the minimiser is positive at every gap > 0."""
    yield from target_lemmas.fixed_minimiser()
    yield target_lemmas.fixed_aligned() if part == "if" else target_lemmas.fixed_misaligned()


def with_gamma(name: str, flipped: Flipped, gamma: Fraction | str | int) -> Surrogate:
    """Return Eq. 17 or `easy` at one γ."""
    return Surrogate(name, flipped, (("gamma", Fraction(gamma)),))


def tied(name: str, flipped: Flipped) -> Iterator[Evidence]:
    """Tie Eq. 17 or `easy` to the package at several γ."""
    for gamma in GAMMAS:
        yield from target_ties.all_of(with_gamma(name, flipped, gamma))


def _fixed(part: Part) -> Iterator[Evidence]:
    yield from fixed(part)
    yield from _every_tie("fixed")


def _per_label() -> Iterator[Evidence]:
    """L′(0) < 0 iff the gap exceeds the critical one: strictly convex, L then is least above 0."""
    yield from target_lemmas.per_label()
    yield from _every_tie("per-label")


def _every_tie(flipped: Flipped) -> Iterator[Evidence]:
    """Tie the criterion to losses with every kind of target."""
    one = tuple((name, Fraction(1)) for name in ("alpha", "gamma", "tau"))
    yield from target_ties.all_of(Surrogate("dpo", flipped))
    yield from target_ties.all_of(Surrogate("clip", flipped))
    yield from target_ties.all_of(Surrogate("smooth", flipped, one))
    for name in ("eq17", "easy"):
        yield from target_ties.all_of(with_gamma(name, flipped, "1/10"))


_LOSS = "any loss softplus(-beta (delta - t)) with a target t = t(w, l) set by the reference"
_FIXED: dict[Part, str] = {
    "if": "t >= 0 => aligned at every gap > 0",
    "only-if": "aligned at every gap > 0 => t >= 0",
}
_PER_LABEL: dict[Part, str] = {
    "if": "gap > softplus(-beta t(w, l)) - softplus(-beta t(l, w)) => aligned",
    "only-if": "aligned => gap > softplus(-beta t(w, l)) - softplus(-beta t(l, w))",
}

READINGS = (
    *(
        Reading(
            "fixed-target-criterion",
            _FIXED[part],
            scope(_LOSS, "fixed"),
            partial(_fixed, part),
            part,
            proof=(*target_lemmas.FIXED, FIXED_PART[part]),
        )
        for part in PARTS
    ),
    *(
        Reading(
            "per-label-criterion",
            _PER_LABEL[part],
            scope(_LOSS, "per-label"),
            _per_label,
            part,
            proof=target_lemmas.PER_LABEL,
        )
        for part in PARTS
    ),
)
