"""`margin-ranking`: Prop. 5.1 of arXiv:2605.20834, L/β → max(0, δ_ref − δ) as β grows.

A hinge whose target is δ_ref, hence negative where the reference prefers the loser.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp

from prefeq import losses, margins
from prefeq.claims import formulas, recheck, ties
from prefeq.claims.ball import BALL, ball
from prefeq.claims.contradiction import counterexample, has_sign
from prefeq.claims.enclosure import positive_on_box
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Instance
from prefeq.claims.policy_case import Fed, PolicyCase
from prefeq.claims.registry import Claim, Reading, register
from prefeq.claims.symbolic import (
    SYMPY,
    as_written,
    positive,
    prove_equal,
    prove_limit,
    prove_positive,
    real,
)
from prefeq.claims.tie import points, tie


def _gap(a: sp.Expr, beta: sp.Expr, hinge: sp.Expr) -> sp.Expr:
    """Return L/β minus a hinge value, where a = δ_ref − δ."""
    return formulas.pair_loss(SYMPY, -a, 0, beta) / beta - hinge


def _identity() -> Iterator[Evidence]:
    """L/β − max(0, a) = log(1 + e^−t)/β with t = β|a|, on either side of a = 0."""
    size, beta = positive("a beta")
    closed = formulas.hinge_gap(SYMPY, beta * size, beta)
    step = "gap-identity"
    below = as_written(lambda: _gap(-size, beta, 0))
    yield prove_equal(step, "a < 0: L/beta - 0 = log(1 + e^-t)/beta", (below, closed))
    # The logarithms differ by log(e^t): equal exponentials say so without a branch.
    above = [sp.exp(beta * value) for value in (_gap(size, beta, size), closed)]
    yield prove_equal(step, "a > 0: L/beta - a = log(1 + e^-t)/beta", (above[0], above[1]))
    at_zero = as_written(lambda: _gap(sp.S.Zero, beta, 0))
    yield prove_equal(step, "a = 0", (at_zero, formulas.hinge_gap(SYMPY, 0, beta)))


def _bounds() -> Iterator[Evidence]:
    """0 < log(1 + e^−t) ≤ ln 2 for t ≥ 0: positive, strictly decreasing, ln 2 at t = 0."""
    t, beta = positive("t beta")
    gap = formulas.hinge_gap(SYMPY, t, beta)
    yield prove_positive("gap-positive", "log(1 + e^-t) > 0", gap)
    yield prove_positive("gap-decreasing", "it decreases strictly in t", -sp.diff(gap, t))
    at_zero = as_written(lambda: formulas.hinge_gap(SYMPY, sp.S.Zero, beta))
    yield prove_equal("gap-at-zero", "it is ln 2/beta at t = 0", (at_zero, sp.log(2) / beta))


def _uniform_bound() -> Iterator[Evidence]:
    yield from _identity()
    yield from _bounds()
    yield positive_on_box(
        "0 < log(1 + e^-t) < ln 2, enclosed for t from 1/1000 to 700",
        lambda t: BALL.log1p((-t).exp()).min(ball(2).log() - BALL.log1p((-t).exp())),
        {"t": (Fraction(1, 1000), 700)},
        name="hinge-gap-within-bounds",
    )
    yield from (_tie_gap(), ties.pair_loss())


def _tight() -> Iterator[Evidence]:
    yield from _identity()
    yield from _bounds()
    t = positive("t")
    gap = formulas.hinge_gap(SYMPY, t, 1)
    yield prove_limit(
        "bound-approached", "the gap tends to 0: so is the lower bound", gap, t, sp.oo, 0
    )
    yield from (_tie_gap(), ties.pair_loss())


def _limit() -> Iterator[Evidence]:
    yield from _identity()
    yield from _bounds()
    beta = positive("beta")
    yield prove_limit("bound-vanishes", "ln 2/beta -> 0", sp.log(2) / beta, beta, sp.oo, 0)
    yield from (_tie_gap(), ties.pair_loss())


def _ranks() -> Iterator[Evidence]:
    """A pair whose limiting loss is zero is ranked correctly: false as soon as δ_ref < 0."""
    instance = Instance.of("a low bar", reward=[1, 0], ref=["1/10", "9/10"], pairs=[(0, 1)])
    case = PolicyCase.of(instance, ["1/4", "3/4"])
    data = {**case.data(), "limit_loss": 0}
    rises, wrong = has_sign(case.sign_of_rise(0), 1), has_sign(case.sign_of_margin(0), -1)
    yield counterexample(
        "max(0, delta_ref - delta) = 0 at delta_ref = -log 9, yet delta = -log 3 < 0",
        data,
        {"ref_margin[0] < margin[0]": rises, "limit_loss == 0": rises, "margin[0] < 0": wrong},
    )
    yield recheck.rechecked("the package agrees", _recheck_ranks(data))
    yield _tie_gap()


def _zero_iff_above() -> Iterator[Evidence]:
    """With δ = δ_ref + rise the hinge's argument is −rise ≤ 0, with δ = δ_ref − fall it is > 0."""
    delta_ref = real("delta_ref")
    rise, fall = sp.Symbol("rise", nonnegative=True), positive("fall")
    step = "hinge-zero"
    yield prove_equal(
        step,
        "delta_ref - delta = -rise <= 0 at delta = delta_ref + rise: the hinge is 0",
        (as_written(lambda: delta_ref - (delta_ref + rise)), -rise),
    )
    yield prove_equal(
        step,
        "delta_ref - delta = fall > 0 at delta = delta_ref - fall: the hinge is fall",
        (as_written(lambda: delta_ref - (delta_ref - fall)), fall),
    )
    yield from _identity()
    yield from (_tie_gap(), ties.pair_loss())


def _recheck_ranks(data: dict[str, Any]) -> Iterator[recheck.Comparison]:
    fed = Fed.back(data)
    yield from fed.comparisons(data, [True])
    for beta in (1e2, 1e4, 1e6):
        loss = losses.DPO.value(fed.margin, fed.ref_margin, beta) / beta
        yield f"L/beta < ln 2/beta at beta = {beta:g}", bool(loss[0] < np.log(2) / beta)


def _tie_gap() -> Evidence:
    at = points("x", "beta")
    return tie(
        "log(1 + e^-t)/beta agrees with margins.hinge_gap",
        lambda x, beta: formulas.hinge_gap(BALL, beta * abs(x), beta),
        lambda x, beta: margins.hinge_gap(x, 0.0, beta),
        at,
        scale=lambda value, p: value * (1 + abs(p["beta"] * p["x"])),
    )


_SCOPE = "one ordered pair, any delta, delta_ref and beta > 0"

register(
    Claim(
        id="margin-ranking",
        title="DPO is soft margin ranking: L/beta -> max(0, delta_ref - delta)",
        source="arXiv:2605.20834, Proposition 5.1",
        provenance="secondary",
        readings=(
            Reading(
                "uniform-bound",
                "0 <= L/beta - max(0, delta_ref - delta) <= ln 2/beta",
                _SCOPE,
                _uniform_bound,
                proof=("gap-identity", "gap-positive", "gap-decreasing", "gap-at-zero"),
            ),
            Reading(
                "bound-is-tight",
                "the upper bound ln 2/beta is attained at delta = delta_ref, and only there",
                _SCOPE,
                _tight,
                proof=("gap-identity", "gap-at-zero", "gap-decreasing"),
            ),
            Reading(
                "limit",
                "L/beta -> max(0, delta_ref - delta) as beta -> infinity, uniformly",
                _SCOPE,
                _limit,
                proof=(
                    "gap-identity",
                    "gap-positive",
                    "gap-decreasing",
                    "gap-at-zero",
                    "bound-vanishes",
                ),
            ),
            Reading(
                "zero-limit-loss-ranks",
                "a pair whose limiting loss max(0, delta_ref - delta) is zero has delta > 0",
                f"{_SCOPE}; the hinge's target delta_ref may be negative",
                _ranks,
            ),
            Reading(
                "zero-limit-loss-ranks-corrected",
                "a pair's limiting loss max(0, delta_ref - delta) is zero iff delta >= delta_ref",
                _SCOPE,
                _zero_iff_above,
                proof=("hinge-zero", "gap-identity"),
                corrects="zero-limit-loss-ranks",
            ),
        ),
    )
)
