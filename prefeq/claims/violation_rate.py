"""`violation-rate`: 45.5 % of the pairs violate Assumption 3.1 (Llama-3-8B-Instruct, β = 0.1).

Those data are not at hand, so what is said of them is not decided. What is: the same count on the
bandit of a language model that ships with the package, and how it depends on β and on whether
log-probs are summed over tokens or averaged (counted in `capital_rates`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sympy as sp

from prefeq import margins
from prefeq.claims import capital_rates, formulas, recheck, ties
from prefeq.claims import exact_capitals as capitals
from prefeq.claims.evidence import Evidence
from prefeq.claims.registry import PARTS, Claim, Part, Reading, register
from prefeq.claims.symbolic import positive, prove_equal, prove_positive


def _increases() -> Iterator[Evidence]:
    """Violated iff δ_ref ≤ −Δr/β, and −Δr/β rises with β."""
    gap, beta, rise = positive("gap beta h")
    yield prove_equal(
        "threshold-rises",
        "-gap/(beta + h) - (-gap/beta) = gap h/(beta (beta + h))",
        (-gap / (beta + rise) + gap / beta, gap * rise / (beta * (beta + rise))),
    )
    yield prove_positive("threshold-rises", "> 0", gap * rise / (beta * (beta + rise)))
    yield capital_rates.nested()
    yield capital_rates.recounted()
    yield ties.assumption()


def _critical_beta() -> Iterator[Evidence]:
    """βδ* = Δr + βδ_ref: positive for δ_ref ≥ 0, and −s(β − Δr/s) for δ_ref = −s < 0."""
    gap, beta, s = positive("gap beta s")
    above = sp.Symbol("delta_ref", nonnegative=True)
    yield prove_positive(
        "never-above-zero",
        "delta_ref >= 0 satisfies the assumption: delta* > 0",
        formulas.rlhf_margin(above, gap, beta),
    )
    yield prove_equal(
        "critical-beta",
        "delta_ref = -s < 0: beta delta* = -s (beta - gap/s)",
        (sp.expand(beta * formulas.rlhf_margin(-s, gap, beta)), -s * (beta - gap / s)),
    )
    yield ties.assumption()
    yield ties.rlhf_margin()
    yield ties.critical_gap()
    yield recheck.rechecked("each pair's critical beta decides", _on_either_side())


def _on_either_side() -> Iterator[recheck.Comparison]:
    """Look at every capital's pair a hair below and above its critical β."""
    for way in capitals.WAYS:
        below = np.array([float(m) for row in capitals.margins(way) for m in row if m < 0])
        critical = -1 / below
        for factor, violated in ((1 - 1e-9, False), (1 + 1e-9, True)):
            holds = np.asarray(margins.assumption_holds(below, 1.0, critical * factor))
            yield f"{way}, {factor}", bool(np.all(holds != violated))


_CAPITALS = "the capitals that ship with prefeq (SmolLM2-135M-Instruct, 144 prompts, gap = 1)"
_ANY = "any pair, gap > 0, beta > 0"
_CRITICAL: dict[Part, str] = {
    "if": "delta_ref < 0 and beta >= gap/(-delta_ref) => the pair violates Assumption 3.1",
    "only-if": "the pair violates Assumption 3.1 => delta_ref < 0 and beta >= gap/(-delta_ref)",
}

register(
    Claim(
        id="violation-rate",
        title="45.5 % of the pairs violate Assumption 3.1 (Llama-3-8B-Instruct, beta = 0.1: those "
        "data are not at hand and are not decided here; the capitals are)",
        source="arXiv:2605.20834",
        provenance="quoted",
        readings=(
            Reading(
                "some-pairs-violate",
                "at beta = 0.1 some pairs violate Assumption 3.1",
                f"{_CAPITALS}; sums over tokens",
                capital_rates.some,
                proof=("counted",),
            ),
            Reading(
                "quoted-rate-carries-over",
                "the same rate holds on the capitals: the quoted 45.5 % are within the 95 % Wilson "
                "interval of the share of pairs that violate at beta = 0.1",
                f"{_CAPITALS}; sums over tokens",
                capital_rates.quoted,
            ),
            Reading(
                "quoted-rate-carries-over-corrected",
                "at beta = 0.1 6 of 720 pairs violate, and 45.5 % are above the 95 % Wilson "
                "interval, whether pairs or prompts are what was sampled",
                f"{_CAPITALS}; sums over tokens",
                capital_rates.below_quoted,
                proof=("rate-below-quoted",),
                corrects="quoted-rate-carries-over",
            ),
            Reading(
                "sum-or-mean",
                "dividing log-probs by the number of tokens leaves it to the same pairs to violate "
                "at beta = 0.1",
                _CAPITALS,
                capital_rates.sum_or_mean,
            ),
            Reading(
                "sum-and-mean-rates",
                "at beta = 0.05, 0.1, 0.2, 0.5, 1 of 720 pairs 0, 6, 17, 51, 71 violate by sums "
                "over tokens and 0, 0, 0, 19, 50 by means, 17 of the last by means alone",
                _CAPITALS,
                capital_rates.rates,
                proof=("rates",),
                corrects="sum-or-mean",
            ),
            Reading(
                "increases-with-beta",
                "every pair that violates at some beta violates at every larger one",
                _ANY,
                _increases,
                proof=("threshold-rises",),
            ),
            *(
                Reading(
                    "critical-beta",
                    _CRITICAL[part],
                    _ANY,
                    _critical_beta,
                    part,
                    proof=("never-above-zero", "critical-beta"),
                )
                for part in PARTS
            ),
        ),
    )
)
