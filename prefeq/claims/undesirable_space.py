"""`undesirable-space`: U = {δ_ref < δ < 0}, policies that beat the reference and are still wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp

from prefeq import losses, margins
from prefeq.claims import formulas, lemmas, recheck, ties
from prefeq.claims.ball import BALL, ball, digits, sign, sign_of_log
from prefeq.claims.enclosure import positive_on_box
from prefeq.claims.evidence import Evidence, outcome_of
from prefeq.claims.instance import Instance, build
from prefeq.claims.registry import Claim, Part, Reading, register
from prefeq.claims.symbolic import negative, positive, prove_positive, prove_zero, real

HALF_WAY = Instance.of("satisfied, yet U", reward=[1, 0], ref=["3/8", "5/8"], pairs=[(0, 1)])
FAINT_LABEL = Instance.of(
    "a faint label",
    reward=["1/10", 0],
    ref=["1/10001", "10000/10001"],
    pairs=[(0, 1)],
    labels="bradley-terry",
)
SURE_LABEL = Instance.of(
    "a label that overshoots",
    reward=[1, 0],
    ref=["3/8", "5/8"],
    pairs=[(0, 1)],
    labels="bradley-terry",
)


def _realised(margin: sp.Expr) -> Evidence:
    """Any margin is that of a policy: raise the winner's logit by it, leave the others."""
    shift = real("c")
    return prove_zero(
        "margin-realised", "logits (delta, 0, ...) have margin delta", margin - shift - (0 - shift)
        - margin,
    )  # fmt: skip


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
        "U-needs-negative-reference", "delta < 0 and delta_ref = delta - rise give delta_ref < 0",
        -(delta - rise),
    )  # fmt: skip
    yield ties.undesirable()


def _not_necessary() -> Iterator[Evidence]:
    """U is not empty although the assumption holds: δ_ref = log(3/5), Δr = 1, β = 1."""
    ratio, middle = HALF_WAY.ref_ratio(0), Fraction(3, 4)
    signs = [
        sign_of_log(ratio, Fraction(0)) == -1,
        sign_of_log(middle, Fraction(0)) == -1,
        sign_of_log(middle / ratio, Fraction(0)) == 1,
        HALF_WAY.sign_of_optimal_margin(0) == 1,
    ]
    data = {
        "instance": HALF_WAY.to_data(),
        "inputs": {"policy": ["3/7", "4/7"]},
        "ref_margin": digits(lambda: HALF_WAY.delta_ref(0)),
        "margin": digits(lambda: ball(middle).log()),
        "rlhf_margin": digits(lambda: HALF_WAY.delta_ref(0) + 1),
    }
    yield Evidence(
        "counterexample",
        "delta_ref = log(3/5) > -gap/beta = -1, and pi = (3/7, 4/7) with delta = log(3/4) is in U",
        outcome_of(all(signs)),
        data=data,
    )

    def comparisons() -> Iterator[recheck.Comparison]:
        bandit, prefs = build(data["instance"])
        delta_ref, gap = prefs.ref_margin(bandit), prefs.reward_gap(bandit)
        delta = prefs.margin_of(np.log([3 / 7, 4 / 7]))
        yield "in U", bool(np.all(margins.undesirable(delta, delta_ref)))
        yield "not violated", bool(margins.assumption_holds(delta_ref, gap, bandit.beta)[0])
        yield "margins", recheck.close([delta_ref[0], delta[0]], [data["ref_margin"], data["margin"]])
        star = margins.optimal_margin(delta_ref, gap, bandit.beta)[0]
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
    )
    yield from (ties.pair_loss(), ties.pair_gradient(), ties.undesirable())


def _certificate() -> Iterator[Evidence]:
    """L falls from ln 2 at δ_ref to softplus(βδ_ref) at 0: between them exactly on U."""
    yield from lemmas.ordered_loss_falls()
    yield from (ties.pair_loss(), ties.certificate(), ties.undesirable())


def _soft_loss(instance: Instance, delta: Callable[[], Any]) -> Callable[[], Any]:
    """Return the exact loss of a policy margin under the instance's Bradley–Terry label."""

    def loss() -> Any:
        q = formulas.sigmoid(BALL, ball(instance.gap(0)))
        return formulas.pair_loss(BALL, delta(), instance.delta_ref(0), ball(instance.beta), q)

    return loss


def _inside_but_worse() -> Iterator[Evidence]:
    """π = (9/19, 10/19) is in U, yet its loss is far above ln 2."""
    loss = _soft_loss(FAINT_LABEL, lambda: ball(Fraction(9, 10)).log())
    worse = sign(lambda: loss() - ball(2).log())[0]
    risen = sign_of_log(Fraction(9, 10) / FAINT_LABEL.ref_ratio(0), Fraction(0)) == 1
    wrong = sign_of_log(Fraction(9, 10), Fraction(0)) == -1
    answer = None if worse is None else risen and wrong and worse == 1
    yield from _soft_instance(
        FAINT_LABEL, ["9/19", "10/19"], Fraction(9, 10), loss, answer,
        "in U: delta_ref = -log 10000 < delta = log(9/10) < 0 with q = sigma(1/10)",
        inside_interval=False, inside_u=True,
    )  # fmt: skip


def _certified_but_outside() -> Iterator[Evidence]:
    """π = (2/3, 1/3) is aligned, yet its loss lies in the interval that should certify U."""
    loss = _soft_loss(SURE_LABEL, lambda: ball(2).log())
    below = sign(lambda: ball(2).log() - loss())[0]
    above = sign(lambda: loss() - formulas.softplus(BALL, SURE_LABEL.delta_ref(0)))[0]
    aligned = sign_of_log(Fraction(2), Fraction(0)) == 1
    answer = None if None in (below, above) else below == 1 and above == 1 and aligned
    yield from _soft_instance(
        SURE_LABEL, ["2/3", "1/3"], Fraction(2), loss, answer,
        "not in U (delta = log 2 > 0), yet softplus(beta delta_ref) < L < ln 2, q = sigma(1)",
        inside_interval=True, inside_u=False,
    )  # fmt: skip


def _soft_instance(
    instance: Instance,
    policy: list[str],
    ratio: Fraction,
    loss: Callable[[], Any],
    answer: bool | None,
    words: str,
    *,
    inside_interval: bool,
    inside_u: bool,
) -> Iterator[Evidence]:
    """Yield a counterexample about one policy's soft-label loss, and its re-check."""
    data = {
        "instance": instance.to_data(),
        "inputs": {"policy": policy},
        "ref_margin": digits(lambda: instance.delta_ref(0)),
        "margin": digits(lambda: ball(ratio).log()),
        "loss": digits(loss),
        "reference_loss": digits(lambda: ball(2).log()),
        "lower_end": digits(lambda: formulas.softplus(BALL, instance.delta_ref(0))),
    }
    summary = f"{words}: L = {data['loss']:.6f}, ln 2 = {data['reference_loss']:.6f}"
    yield Evidence("counterexample", summary, outcome_of(answer), data=data)
    yield recheck.rechecked(
        "the package agrees", _soft_comparisons(data, inside_interval, inside_u)
    )
    yield from (ties.soft_loss(), ties.undesirable())


def _soft_comparisons(
    data: Mapping[str, Any], inside_interval: bool, inside_u: bool
) -> Iterator[recheck.Comparison]:
    bandit, prefs = build(data["instance"])
    delta_ref = prefs.ref_margin(bandit)[0]
    probs = np.array([float(Fraction(p)) for p in data["inputs"]["policy"]])
    delta, odds = prefs.margin_of(np.log(probs))[0], prefs.log_odds[0]
    loss = losses.DPO.population_value(delta, delta_ref, bandit.beta, odds)
    at_reference = losses.DPO.population_value(delta_ref, delta_ref, bandit.beta, odds)
    yield "margins", recheck.close([delta_ref, delta], [data["ref_margin"], data["margin"]])
    yield "loss", recheck.close(loss, data["loss"])
    yield "loss at the reference", recheck.close(at_reference, data["reference_loss"])
    certified = bool(margins.undesirable_from_loss(loss, delta_ref, bandit.beta))
    yield "certificate", certified == inside_interval
    yield "U", bool(margins.undesirable(delta, delta_ref)) == inside_u


def _reading(
    name: str,
    part: Part | None,
    statement: str,
    check: Callable[[], Iterator[Evidence]],
    *proof: str,
    labels: str = "one ordered pair (q = 1) or several, each on its own",
) -> Reading:
    scope = f"{labels}; gap >= 0, beta > 0, any K, full-support reference"
    return Reading(name, statement, scope, check, part, proof)


_SOFT = "one pair with a Bradley-Terry label q = sigma(gap) < 1"
_LOSS = ("loss-decreases", "loss-at-reference", "loss-at-zero")

register(
    Claim(
        id="undesirable-space",
        title="U = {delta_ref < delta < 0} is not empty, and all of it has a lower loss than pi_ref",
        source="arXiv:2605.20834, the undesirable solution space",
        provenance="secondary",
        readings=(
            _reading(
                "non-empty", "if", "delta_ref < -gap/beta => U is not empty",
                lambda: _non_empty("violated"),
                "midpoint-in-U", "margin-realised", "violation-negative",
            ),
            _reading(
                "non-empty", "only-if", "U is not empty => delta_ref < -gap/beta", _not_necessary
            ),
            _reading(
                "non-empty-corrected", "if", "delta_ref < 0 => U is not empty",
                lambda: _non_empty("negative"), "midpoint-in-U", "margin-realised",
            ),
            _reading(
                "non-empty-corrected", "only-if", "U is not empty => delta_ref < 0",
                _empty_otherwise, "U-needs-negative-reference",
            ),
            _reading(
                "lower-loss", None, "every policy in U has a lower loss than pi_ref", _lower_loss,
                "loss-decreases", "loss-at-reference",
            ),
            _reading(
                "lower-loss-soft-labels", None, "every policy in U has a lower loss than pi_ref",
                _inside_but_worse, labels=_SOFT,
            ),
            _reading(
                "loss-certificate", "if",
                "softplus(beta delta_ref) < L < ln 2 => the policy is in U", _certificate, *_LOSS,
            ),
            _reading(
                "loss-certificate", "only-if",
                "the policy is in U => softplus(beta delta_ref) < L < ln 2", _certificate, *_LOSS,
            ),
            _reading(
                "loss-certificate-soft-labels", "if",
                "softplus(beta delta_ref) < L < ln 2 => the policy is in U",
                _certified_but_outside, labels=_SOFT,
            ),
            _reading(
                "loss-certificate-soft-labels", "only-if",
                "the policy is in U => softplus(beta delta_ref) < L < ln 2",
                _inside_but_worse, labels=_SOFT,
            ),
        ),
    )
)  # fmt: skip
