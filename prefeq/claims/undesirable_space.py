"""`undesirable-space`: U = {δ_ref < δ < 0}, policies that beat the reference and stay wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import sympy as sp

from prefeq import losses, margins
from prefeq.claims import formulas, gallery, lemmas, recheck, soft_labels, ties
from prefeq.claims.ball import BALL, ball, digits
from prefeq.claims.contradiction import counterexample, has_sign
from prefeq.claims.enclosure import positive_on_box
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Instance
from prefeq.claims.policy_case import Fed, PolicyCase
from prefeq.claims.registry import Claim, Part, Reading, register
from prefeq.claims.symbolic import (
    as_written,
    negative,
    positive,
    prove_equal,
    prove_positive,
    real,
)

HALF_WAY = PolicyCase.of(
    Instance.of("not violated, yet U", reward=[1, 0], ref=["3/8", "5/8"], pairs=[(0, 1)]),
    ["3/7", "4/7"],
)
FAINT_LABEL = PolicyCase.of(
    Instance.of(
        "a faint label",
        reward=["1/10", 0],
        ref=["1/10001", "10000/10001"],
        pairs=[(0, 1)],
        labels="bradley-terry",
    ),
    ["9/19", "10/19"],
)
SURE_LABEL = PolicyCase.of(
    HALF_WAY.instance.labelled("bradley-terry"),
    ["2/3", "1/3"],
)


def _realised(margin: sp.Expr) -> Evidence:
    """Any margin is that of a policy: raise the winner's logit by it, leave the others."""
    shift = real("c")
    return prove_equal(
        "margin-realised",
        "logits (delta, 0, ...) have margin delta",
        (as_written(lambda: (margin - shift) - (0 - shift)), margin),
    )


def _non_empty(hypothesis: str) -> Iterator[Evidence]:
    """U holds δ_ref/2 as soon as δ_ref < 0, which δ_ref < −Δr/β implies for Δr ≥ 0."""
    delta_ref = negative("delta_ref")
    step = "midpoint-in-U"
    yield prove_positive(step, "delta_ref < delta_ref/2 < 0", delta_ref / 2 - delta_ref, -delta_ref)
    yield _realised(real("delta"))
    if hypothesis == "violated":
        gap = sp.Symbol("gap", nonnegative=True)
        beta, h = positive("beta h")
        violating = -gap / beta - h
        yield prove_positive("violation-negative", "delta_ref < -gap/beta <= 0", -violating)
    yield from (ties.undesirable(), ties.rlhf_margin(), ties.assumption())


def _empty_otherwise() -> Iterator[Evidence]:
    """If some δ has δ_ref < δ < 0 then δ_ref < 0: order is transitive."""
    delta, rise = negative("delta"), positive("rise")
    yield prove_positive(
        "U-needs-negative-reference",
        "delta < 0 and delta_ref = delta - rise give delta_ref < 0",
        -(delta - rise),
    )
    yield ties.undesirable()


def _not_necessary() -> Iterator[Evidence]:
    """U is not empty although the assumption holds: δ_ref = log(3/5), Δr = 1, β = 1."""
    instance = HALF_WAY.instance
    data = {**HALF_WAY.data(), **gallery.assumption(instance).numbers}
    yield counterexample(
        "delta_ref = log(3/5) > -1 = -gap/beta, yet pi = (3/7, 4/7) is in U",
        data,
        {
            "ref_margin[0] < margin[0]": has_sign(HALF_WAY.sign_of_rise(0), 1),
            "margin[0] < 0": has_sign(HALF_WAY.sign_of_margin(0), -1),
            "rlhf_margin[0] > 0": has_sign(instance.sign_of_optimal_margin(0), 1),
        },
    )

    def comparisons() -> Iterator[recheck.Comparison]:
        fed = Fed.back(data)
        yield from fed.comparisons(data, [True])
        gap = fed.preferences.reward_gap(fed.bandit)
        holds = margins.assumption_holds(fed.ref_margin, gap, fed.bandit.beta)
        yield "not violated", bool(holds[0])
        star = margins.optimal_margin(fed.ref_margin, gap, fed.bandit.beta)
        yield "delta*", recheck.close(star, data["rlhf_margin"])

    yield recheck.rechecked("the package agrees", comparisons())
    yield ties.undesirable()


def _lower_loss() -> Iterator[Evidence]:
    """For an ordered pair the loss falls strictly in δ, so δ > δ_ref lowers it below ln 2."""
    yield from lemmas.ordered_loss_falls()
    yield positive_on_box(
        "ln 2 - L > 0, enclosed for beta (delta - delta_ref) from 1/1000 to 700",
        lambda z: ball(2).log() - formulas.pair_loss(BALL, z, ball(0), ball(1)),
        {"z": (Fraction(1, 1000), 700)},
        name="loss-below-ln-2",
    )
    yield from (ties.pair_loss(), ties.pair_gradient(), ties.undesirable())


def _certificate() -> Iterator[Evidence]:
    """L falls from ln 2 at δ_ref to softplus(βδ_ref) at 0: between them exactly on U."""
    yield from lemmas.ordered_loss_falls()
    yield from (ties.pair_loss(), ties.certificate(), ties.undesirable())


def _log2() -> Any:
    return ball(2).log()


def _inside_but_worse() -> Iterator[Evidence]:
    """π = (9/19, 10/19) is in U, yet its loss is far above ln 2."""
    yield from _soft_instance(
        FAINT_LABEL,
        {
            "ref_margin[0] < margin[0]": has_sign(FAINT_LABEL.sign_of_rise(0), 1),
            "margin[0] < 0": has_sign(FAINT_LABEL.sign_of_margin(0), -1),
            "loss[0] > log(2)": has_sign(FAINT_LABEL.compare_loss(0, _log2), 1),
        },
        "pi = (9/19, 10/19) is in U, yet L = {loss:.6f} > ln 2 = {start:.6f} (q = sigma(1/10))",
        certified=False,
        inside=True,
    )


def _certified_but_outside() -> Iterator[Evidence]:
    """π = (2/3, 1/3) is aligned, yet its loss lies in the interval that should certify U."""
    above = SURE_LABEL.compare_loss(
        0, lambda: formulas.softplus(BALL, SURE_LABEL.instance.delta_ref(0))
    )
    yield from _soft_instance(
        SURE_LABEL,
        {
            "lower_end < loss[0]": has_sign(above, 1),
            "loss[0] < log(2)": has_sign(SURE_LABEL.compare_loss(0, _log2), -1),
            "margin[0] > 0": has_sign(SURE_LABEL.sign_of_margin(0), 1),
        },
        "pi = (2/3, 1/3) is not in U, yet {low:.6f} < L = {loss:.6f} < ln 2 (q = sigma(1))",
        certified=True,
        inside=False,
    )


def _soft_instance(
    case: PolicyCase,
    inequalities: dict[str, bool | None],
    words: str,
    *,
    certified: bool,
    inside: bool,
) -> Iterator[Evidence]:
    """Yield a counterexample about one policy's soft-label loss, and its re-check."""
    data = {
        **case.data(),
        "reference_loss": digits(_log2),
        "lower_end": digits(lambda: formulas.softplus(BALL, case.instance.delta_ref(0))),
    }
    summary = words.format(
        loss=data["loss"][0], start=data["reference_loss"], low=data["lower_end"]
    )
    yield counterexample(summary, data, inequalities)

    def comparisons() -> Iterator[recheck.Comparison]:
        fed = Fed.back(data)
        yield from fed.comparisons(data, [inside])
        beta, odds = fed.bandit.beta, fed.preferences.log_odds
        start = losses.DPO.population_value(fed.ref_margin, fed.ref_margin, beta, odds)
        yield "loss at the reference", recheck.close(start[0], data["reference_loss"])
        found = margins.undesirable_from_loss(fed.loss, fed.ref_margin, beta)
        yield "certificate", bool(found[0]) == certified

    yield recheck.rechecked("the package agrees", comparisons())
    yield from (ties.soft_loss(), ties.undesirable())


def _reading(
    name: str,
    part: Part | None,
    statement: str,
    check: Callable[[], Iterator[Evidence]],
    *proof: str,
    labels: str = "one ordered pair (q = 1) or several, each on its own",
    corrects: str | tuple[()] = (),
) -> Reading:
    scope = f"{labels}; gap >= 0, beta > 0, any K, full-support reference"
    return Reading(name, statement, scope, check, part, proof, corrects=corrects)


_SOFT = "one pair with a Bradley-Terry label q = sigma(gap) < 1"
_LOSS = ("loss-decreases", "loss-at-reference", "loss-at-zero")

register(
    Claim(
        id="undesirable-space",
        title="U = {delta_ref < delta < 0} is not empty; all of it has a lower loss than pi_ref",
        source="arXiv:2605.20834, the undesirable solution space",
        provenance="secondary",
        readings=(
            _reading(
                "non-empty",
                "if",
                "delta_ref < -gap/beta => U is not empty",
                lambda: _non_empty("violated"),
                "midpoint-in-U",
                "margin-realised",
                "violation-negative",
            ),
            _reading(
                "non-empty", "only-if", "U is not empty => delta_ref < -gap/beta", _not_necessary
            ),
            _reading(
                "non-empty-corrected",
                "if",
                "delta_ref < 0 => U is not empty",
                lambda: _non_empty("negative"),
                "midpoint-in-U",
                "margin-realised",
            ),
            _reading(
                "non-empty-corrected",
                "only-if",
                "U is not empty => delta_ref < 0",
                _empty_otherwise,
                "U-needs-negative-reference",
                corrects="non-empty (only-if)",
            ),
            _reading(
                "lower-loss",
                None,
                "every policy in U has a lower loss than pi_ref",
                _lower_loss,
                "loss-decreases",
                "loss-at-reference",
            ),
            _reading(
                "lower-loss-soft-labels",
                None,
                "every policy in U has a lower loss than pi_ref",
                _inside_but_worse,
                labels=_SOFT,
            ),
            _reading(
                "loss-certificate",
                "if",
                "softplus(beta delta_ref) < L < ln 2 => the policy is in U",
                _certificate,
                *_LOSS,
            ),
            _reading(
                "loss-certificate",
                "only-if",
                "the policy is in U => softplus(beta delta_ref) < L < ln 2",
                _certificate,
                *_LOSS,
            ),
            _reading(
                "loss-certificate-soft-labels",
                "if",
                "softplus(beta delta_ref) < L < ln 2 => the policy is in U",
                _certified_but_outside,
                labels=_SOFT,
            ),
            _reading(
                "loss-certificate-soft-labels",
                "only-if",
                "the policy is in U => softplus(beta delta_ref) < L < ln 2",
                _inside_but_worse,
                labels=_SOFT,
            ),
            *soft_labels.READINGS,
        ),
    )
)
