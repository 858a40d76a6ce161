"""`gradient-weakening`: in U the gradient weakens as δ → 0, so escape is hard (arXiv:2605.20834).

The factor σ(−β(δ − δ_ref)) and its limit at the boundary are here; how long U holds the flow is in
`exit_times`, how many steps of descent that is in `exit_steps`.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp

from prefeq import losses, margins
from prefeq.claims import exit_steps, exit_times, formulas, lemmas, recheck, ties
from prefeq.claims.ball import BALL, ball, digits, sign
from prefeq.claims.contradiction import counterexample
from prefeq.claims.evidence import Evidence
from prefeq.claims.gallery import numbers_of
from prefeq.claims.instance import Instance, build
from prefeq.claims.registry import Claim, Reading, register
from prefeq.claims.several_policies import Policies
from prefeq.claims.symbolic import (
    SYMPY,
    as_written,
    positive,
    prove_equal,
    prove_limit,
    prove_positive,
    real,
)

BEYOND_OPTIMUM = Policies.of(
    Instance.of(
        "two responses, violated",
        reward=[1, 0],
        ref=["1/10", "9/10"],
        pairs=[(0, 1)],
        labels="bradley-terry",
    ),
    [["1/4", "3/4"], ["2/5", "3/5"]],
)


def _factor() -> Iterator[Evidence]:
    """The slope is −β times the factor; the factor falls strictly, from ½ at δ = δ_ref."""
    delta, delta_ref = real("delta delta_ref")
    beta = positive("beta")
    factor = formulas.weakening_factor(SYMPY, delta, delta_ref, beta)
    slope = sp.diff(formulas.pair_loss(SYMPY, delta, delta_ref, beta), delta)
    yield prove_equal("slope", "dL/ddelta = -beta sigma(-beta x)", (slope, -beta * factor))
    yield prove_positive("factor-decreases", "it falls strictly in delta", -sp.diff(factor, delta))
    half = as_written(lambda: factor.subs(delta, delta_ref))
    yield prove_equal(
        "factor-at-reference", "it is 1/2 at the reference", (half, sp.Rational(1, 2))
    )


def _decreases() -> Iterator[Evidence]:
    yield from _factor()
    yield from (ties.pair_gradient(), ties.undesirable())


def _limit() -> Iterator[Evidence]:
    """As δ = −h ↑ 0 the factor falls to σ(βδ_ref), a positive number."""
    yield from _factor()
    delta_ref, beta, h = real("delta_ref"), positive("beta"), positive("h")
    factor = formulas.weakening_factor(SYMPY, -h, delta_ref, beta)
    end = formulas.sigmoid(SYMPY, beta * delta_ref)
    yield prove_limit(
        "boundary-value", "delta = -h: it tends to sigma(beta d_ref)", factor, h, 0, end
    )
    yield prove_positive("boundary-value", "sigma(beta delta_ref) > 0", end)
    yield from (ties.pair_gradient(), ties.critical_label_prob())


def vanishing(instance: Instance) -> Evidence:
    """Decide whether U is not empty and the factor at its boundary is not zero."""

    def factor() -> Any:
        beta = ball(instance.beta)
        return formulas.weakening_factor(BALL, ball(0), instance.delta_ref(0), beta)

    decided = sign(factor)[0]
    data: dict[str, Any] = {
        "instance": instance.to_data(),
        "ref_margin": numbers_of(lambda: [instance.delta_ref(0)]),
        "boundary_factor": digits(factor),
    }
    return counterexample(
        f"delta_ref = {data['ref_margin'][0]:.6f}: the factor falls to "
        f"{data['boundary_factor']:.6f} as delta -> 0",
        data,
        {
            "ref_margin[0] < 0": instance.ref_ratio(0) < 1,
            "boundary_factor > 0": None if decided is None else decided > 0,
        },
    )


def _vanishes() -> Iterator[Evidence]:
    found = vanishing(exit_times.LOW_BAR)
    yield found
    yield from _limit()

    def comparisons() -> Iterator[recheck.Comparison]:
        bandit, prefs = build(dict(found.data)["instance"])
        delta_ref = prefs.ref_margin(bandit)
        yield "reference margin", recheck.close(delta_ref, found.data["ref_margin"])
        for height in (1e-3, 1e-6, 1e-9):
            size = -losses.DPO.gradient(-height, delta_ref, bandit.beta) / bandit.beta
            near = abs(size[0] - found.data["boundary_factor"]) < height
            yield f"the gradient at delta = -{height:g}", bool(near and size[0] > 0)

    yield recheck.rechecked("the package agrees", comparisons())


def turning(found: Policies) -> Evidence:
    """Decide whether two policies of U, the second higher, have |dL/dδ| no smaller there."""

    def sizes(at: int) -> Any:
        return abs(found.gradient(at))

    inside = [case.in_undesirable(0) for case in found.cases]
    rise, growth = found.sign_of_rise(0, 1), found.sign_of(sizes, 0, 1)
    data = {
        **found.data("margin", "gradient"),
        "ref_margin": numbers_of(lambda: [found.instance.delta_ref(0)]),
    }
    low, high = (abs(value) for value in data["policy_gradient"])
    return counterexample(
        f"delta rises from {data['policy_margin'][0]:.4f} to {data['policy_margin'][1]:.4f} < 0, "
        f"and |dL/ddelta| from {low:.4f} to {high:.4f}",
        data,
        {
            "ref_margin[0] < policy_margin[0]": inside[0],
            "policy_margin[0] < policy_margin[1]": None if rise is None else rise > 0,
            "policy_margin[1] < 0": inside[1],
            "abs(policy_gradient[0]) < abs(policy_gradient[1])": (
                None if growth is None else growth > 0
            ),
        },
    )


def _soft_labels() -> Iterator[Evidence]:
    found = turning(BEYOND_OPTIMUM)
    yield found

    def comparisons() -> Iterator[recheck.Comparison]:
        bandit, prefs = build(dict(found.data)["instance"])
        delta_ref, gap = prefs.ref_margin(bandit), prefs.reward_gap(bandit)
        delta = np.array([_margin(policy) for policy in found.data["inputs"]["policies"]])
        slopes = losses.DPO.population_gradient(delta, delta_ref, bandit.beta, gap)
        yield "margins", recheck.close(delta, found.data["policy_margin"])
        yield "gradients", recheck.close(slopes, found.data["policy_gradient"])
        yield "both in U", bool(np.all(margins.undesirable(delta, delta_ref)))

    yield recheck.rechecked("the package agrees", comparisons())
    yield from (ties.soft_gradient(), ties.undesirable())


def _margin(policy: list[str]) -> float:
    """Return log π(0) − log π(1) of probabilities given as strings."""
    win, lose = (float(Fraction(p)) for p in policy[:2])
    return float(margins.margin(np.log(win), np.log(lose)))


def _soft_corrected() -> Iterator[Evidence]:
    """The slope β(σ(βx) − q) rises strictly and is zero at δ*."""
    delta, delta_ref, gap, q = real("delta delta_ref gap q")
    beta = positive("beta")
    slope = sp.diff(formulas.pair_loss(SYMPY, delta, delta_ref, beta, q), delta)
    closed = formulas.pair_gradient(SYMPY, delta, delta_ref, beta, q)
    yield prove_equal("soft-slope", "dL/ddelta = beta (sigma(beta x) - q)", (slope, closed))
    yield prove_positive("soft-slope-rises", "it rises strictly", sp.diff(closed, delta))
    soft = closed.subs(q, formulas.sigmoid(SYMPY, gap))
    star = formulas.rlhf_margin(delta_ref, gap, beta)
    yield prove_equal("soft-slope-zero", "it is zero at delta*", (soft.subs(delta, star), 0))
    yield lemmas.rlhf_margin_identity()
    yield from (ties.soft_gradient(), ties.soft_minimiser(), ties.rlhf_margin())


_SCOPE = "one ordered pair, any K, beta > 0, delta_ref < 0"
_SOFT = "one pair with a Bradley-Terry label q = sigma(gap), any K, beta > 0"
_FACTOR = ("slope", "factor-decreases", "factor-at-reference")

register(
    Claim(
        id="gradient-weakening",
        title="in U the gradient weakens as delta -> 0, so escape is hard",
        source="arXiv:2605.20834, the undesirable solution space",
        provenance="quoted",
        readings=(
            Reading(
                "factor-decreases",
                "the gradient's factor sigma(-beta (delta - delta_ref)) falls strictly in delta, "
                "from 1/2 at the reference: it is below 1/2 throughout U",
                _SCOPE,
                _decreases,
                proof=_FACTOR,
            ),
            Reading(
                "vanishes-at-boundary",
                "the factor tends to 0 as delta -> 0 from below",
                _SCOPE,
                _vanishes,
                lemmas=(*_FACTOR, "boundary-value"),
            ),
            Reading(
                "boundary-limit",
                "the factor falls to sigma(beta delta_ref) > 0 as delta -> 0 from below, and is "
                "above that throughout U",
                _SCOPE,
                _limit,
                proof=(*_FACTOR, "boundary-value"),
                corrects="vanishes-at-boundary",
            ),
            Reading(
                "soft-labels",
                "the size of dL/ddelta falls strictly in delta throughout U",
                f"{_SOFT}, gap > 0, delta_ref < 0",
                _soft_labels,
            ),
            Reading(
                "soft-labels-corrected",
                "dL/ddelta rises strictly in delta through 0 at delta*: in U the pull towards "
                "delta = 0 weakens up to delta*, and if delta* < 0 it turns and grows beyond",
                _SOFT,
                _soft_corrected,
                proof=("soft-slope", "soft-slope-rises", "soft-slope-zero", "margin-identity"),
                corrects="soft-labels",
            ),
            *exit_times.READINGS,
            *exit_steps.READINGS,
        ),
    )
)
