"""What the mean loss of many pairs certifies: readings of `loss-to-delta`."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp

from prefeq import losses, margins
from prefeq.claims import formulas, recheck, target_losses, ties
from prefeq.claims.ball import BALL, ball, digits, exactly, sign
from prefeq.claims.contradiction import counterexample
from prefeq.claims.evidence import Evidence
from prefeq.claims.gallery import numbers_of
from prefeq.claims.instance import Instance
from prefeq.claims.policy_case import Fed, PolicyCase
from prefeq.claims.registry import Reading
from prefeq.claims.symbolic import (
    SYMPY,
    as_written,
    positive,
    prove_equal,
    prove_limit,
    prove_positive,
    real,
)

CHAIN = PolicyCase.of(
    Instance.of("a chain", reward=[2, 1, 0], ref=["1/3"] * 3, pairs=[(0, 1), (1, 2)]),
    ["3/8", "1/2", "1/8"],
)
TIED = PolicyCase.of(
    Instance.of(
        "a high bar",
        reward=[1, 0],
        ref=["3/4", "1/4"],
        pairs=[(0, 1)],
        labels="bradley-terry",
    ),
    ["1/2", "1/2"],
)


def _averages() -> Iterator[Evidence]:
    """Markov: pairs with δ ≤ 0 have L ≥ s = min softplus(βt), the others L > 0."""
    yield from target_losses.loss_falls()
    yield from _markov()
    yield recheck.rechecked("the package's bound holds", _share_comparisons())
    yield from (target_losses.tie_share(), ties.pair_loss(), ties.certificate())


def _markov() -> Iterator[Evidence]:
    """Of masses a, b with mean losses s + e and f: mean − s·share = (ae + bf)/(a + b) ≥ 0.

    Zero only for b = e = 0: no other pairs, and all at the least loss.
    """
    bad, good, least, excess, rest = positive("a b s e f")
    mean = (bad * (least + excess) + good * rest) / (bad + good)
    spare = mean - least * bad / (bad + good)
    closed = (bad * excess + good * rest) / (bad + good)
    yield prove_equal("markov", "mean - s share = (a e + b f)/(a + b)", (spare, closed))
    yield prove_positive(
        "markov", "positive; the excess e over s may be zero", closed, closed.subs(excess, 0)
    )


def _share_comparisons() -> Iterator[recheck.Comparison]:
    rng = np.random.default_rng(20834)
    for i in range(40):
        beta, target = 10.0 ** rng.uniform(-1, 1, 6), rng.normal(0.0, 3.0, 6)
        delta = rng.normal(0.0, 4.0, 6)
        loss = losses.DPO.value(delta, target, beta)
        share = float(np.mean(delta <= 0))
        bound = float(margins.misaligned_share_bound(loss.mean(), target, beta))
        yield f"problem {i}: {share:.3f} <= {bound:.3f}", share <= bound * (1 + 1e-12)


def _averages_sharp() -> Iterator[Evidence]:
    """k of n pairs at δ = 0, the rest at δ → ∞: the mean falls to (k/n) softplus(βt)."""
    yield from target_losses.loss_falls()
    yield from _markov()
    target, delta = real("t delta")
    beta, bad, good = positive("beta a b")
    zero = formulas.pair_loss(SYMPY, sp.S.Zero, target, beta)
    rest = formulas.pair_loss(SYMPY, delta + target, target, beta)
    share = bad / (bad + good)
    gone = sp.Symbol("d", positive=True)
    mean = (bad * zero + good * rest.subs(delta, gone / beta)) / (bad + good)
    limit = share * formulas.softplus(SYMPY, beta * target)
    yield prove_limit(
        "bound-approached", "the mean tends to share softplus(beta t)", mean, gone, sp.oo, limit
    )
    yield prove_positive("bound-not-attained", "L > 0 on a pair with delta > 0", rest)
    yield from (target_losses.tie_share(), ties.pair_loss())


def uneven(case: PolicyCase, k: int) -> Evidence:
    """Decide whether δ of pair k is below the margin of a pair whose loss is the mean."""
    made = case.instance
    count = len(made.pairs)

    def mean() -> Any:
        terms = [case.loss(i) for i in range(count)]
        return sum(terms[1:], terms[0]) / count

    def bounds() -> list[Any]:
        level, beta = mean(), ball(made.beta)
        every = (made.delta_ref(i) for i in range(count))
        return [formulas.certified_margin(BALL, level, target, beta) for target in every]

    decided = sign(lambda: case.loss(k) - mean())[0]  # L falls in δ, so this is bound − margin
    data = {**case.data(), "mean_loss": digits(mean), "certified_margin": numbers_of(bounds)}
    return counterexample(
        f"mean L = {data['mean_loss']:.4f}, yet delta = {data['margin'][k]:.4f} < "
        f"{data['certified_margin'][k]:.4f} on pair {k}",
        data,
        {f"margin[{k}] < certified_margin[{k}]": None if decided is None else decided > 0},
    )


def _mean_certifies_each() -> Iterator[Evidence]:
    """Mean loss .535 < ln 2 and targets 0, yet δ = log(3/4) < 0 on the first of two pairs."""
    found = uneven(CHAIN, 0)
    yield found
    yield from target_losses.loss_falls()
    data = dict(found.data)

    def comparisons() -> Iterator[recheck.Comparison]:
        fed = Fed.back(data)
        yield from fed.comparisons(data, [False, False])
        yield "mean loss", recheck.close(fed.loss.mean(), data["mean_loss"])
        bounds = margins.margin_lower_bound(fed.loss.mean(), fed.ref_margin, fed.bandit.beta)
        yield "bounds", recheck.close(bounds, data["certified_margin"])
        yield "broken on pair 0", bool(fed.margin[0] < bounds[0])

    yield recheck.rechecked("the package agrees", comparisons())
    yield from (ties.pair_loss(), target_losses.tie_bound())


def _mean_certifies_mean() -> Iterator[Evidence]:
    """Jensen: softplus is convex, so softplus(−mean z) ≤ mean L ≤ ℓ."""
    yield from target_losses.loss_falls()
    z = real("z")
    second = sp.factor(sp.diff(formulas.softplus(SYMPY, -z), z, 2))
    yield prove_positive("convex", "softplus'' > 0: softplus(-mean z) <= mean L (Jensen)", second)
    yield from (target_losses.tie_bound(), ties.pair_loss())


def _mean_certifies_weakly() -> Iterator[Evidence]:
    """No loss is negative, so that of one of n pairs is at most n times the mean."""
    yield from target_losses.loss_falls()
    own, others = positive("L others")
    count = positive("n")
    mean = (own + others) / count
    yield prove_equal(
        "one-of-many",
        "n mean - L_k is the other losses",
        (as_written(lambda: count * mean - own), others),
    )
    delta, target = real("delta t")
    loss = formulas.pair_loss(SYMPY, delta, target, positive("beta"))
    yield prove_positive("one-of-many", "which are positive", loss)
    yield from (target_losses.tie_bound(), ties.pair_loss())


def _averages_soft() -> Iterator[Evidence]:
    found = misaligned_share(TIED)
    yield found
    data = dict(found.data)

    def comparisons() -> Iterator[recheck.Comparison]:
        fed = Fed.back(data)
        yield from fed.comparisons(data, [False])
        bound = margins.misaligned_share_bound(fed.loss.mean(), fed.ref_margin, fed.bandit.beta)
        yield "bound", recheck.close(bound, data["share_bound"])
        share = float(np.mean(fed.margin <= 0))
        yield "share", recheck.close(share, float(Fraction(data["misaligned_share"])))

    yield recheck.rechecked("the package agrees", comparisons())
    yield ties.soft_loss()


def misaligned_share(case: PolicyCase) -> Evidence:
    """Decide whether more pairs have δ ≤ 0 than mean R/min softplus(βt) allows."""
    made = case.instance
    every = range(len(made.pairs))
    share = Fraction(sum(case.ratio(k) <= 1 for k in every), len(made.pairs))
    lowest = min(every, key=made.ref_ratio)

    def bound() -> Any:
        terms = [case.loss(k) for k in every]
        least = formulas.softplus(BALL, ball(made.beta) * made.delta_ref(lowest))
        return sum(terms[1:], terms[0]) / len(terms) / least

    decided = sign(lambda: ball(share) - bound())[0]
    data = {**case.data(), "misaligned_share": exactly(share), "share_bound": digits(bound)}
    return counterexample(
        f"a share of {share} of the pairs has delta <= 0, above {data['share_bound']:.4f}",
        data,
        {"misaligned_share > share_bound": None if decided is None else decided > 0},
    )


def _averages_soft_corrected() -> Iterator[Evidence]:
    """A pair with δ ≤ 0 has z ≤ −βt, and R falls below logit q and rises above it."""
    z, a = real("z a")
    h = positive("h")
    risk = formulas.pair_loss(SYMPY, z, 0, 1, formulas.sigmoid(SYMPY, a))
    slope = formulas.sigmoid(SYMPY, z) - formulas.sigmoid(SYMPY, a)
    yield prove_equal("risk-slope", "dR/dz = sigma(z) - sigma(logit q)", (sp.diff(risk, z), slope))
    step = sp.log(1 + h)
    sides = slope.subs(z, a + step), -slope.subs(z, a - step)
    yield prove_positive("risk-slope", "positive above logit q, negative below", *sides)
    yield from _markov()
    soft = formulas.pair_loss(SYMPY, z, 0, 1, h / (1 + h))
    yield prove_positive("risk-positive", "0 < q < 1: R > 0 on the other pairs", soft)
    yield recheck.rechecked("the package's losses obey it", _floor_comparisons())
    yield from (ties.soft_loss(), ties.soft_gradient())


def _floor_comparisons() -> Iterator[recheck.Comparison]:
    rng = np.random.default_rng(20834)
    for i in range(40):
        beta, target = 10.0 ** rng.uniform(-1, 1), rng.normal(0.0, 3.0, 6)
        delta, odds = rng.normal(0.0, 4.0, 6), rng.normal(0.0, 2.0, 6)
        risk = losses.DPO.population_value(delta, target, beta, odds)
        lowest = target + np.minimum(odds, -beta * target) / beta
        floor = losses.DPO.population_value(lowest, target, beta, odds).min()
        share = float(np.mean(delta <= 0))
        yield f"problem {i}: share {share:.3f}", share <= risk.mean() / floor * (1 + 1e-12)


_MEAN = (
    "the mean of L = softplus(-beta (delta - t)) over ordered pairs, each with its own target t "
    "and beta > 0"
)
_SOFT = "the mean over pairs, each with a soft label q, a fixed target t and beta > 0"
_LEVEL = ("loss-decreases", "loss-at-bound")

READINGS = (
    Reading(
        "averages",
        "the share of pairs with delta <= 0 is at most mean L/min softplus(beta t)",
        _MEAN,
        _averages,
        proof=("loss-decreases", "loss-at-zero", "markov"),
    ),
    Reading(
        "averages-sharp",
        "with one target, and any share of the pairs at delta <= 0, mean L may be as near "
        "to share softplus(beta t) as one likes, and is that only if delta = 0 on all",
        _MEAN,
        _averages_sharp,
        proof=(
            "loss-decreases",
            "loss-at-zero",
            "markov",
            "bound-approached",
            "bound-not-attained",
        ),
    ),
    Reading(
        "mean-certifies-each",
        "mean L <= l => delta >= t - log(e^l - 1)/beta on every pair",
        _MEAN,
        _mean_certifies_each,
        lemmas=_LEVEL,
    ),
    Reading(
        "mean-certifies-mean",
        "mean L <= l => the mean of beta (delta - t) is at least -log(e^l - 1)",
        _MEAN,
        _mean_certifies_mean,
        proof=(*_LEVEL, "convex"),
        corrects="mean-certifies-each",
    ),
    Reading(
        "mean-certifies-weakly",
        "mean L <= l over n pairs => delta >= t - log(e^(n l) - 1)/beta on every pair",
        _MEAN,
        _mean_certifies_weakly,
        proof=(*_LEVEL, "one-of-many"),
        corrects="mean-certifies-each",
    ),
    Reading(
        "averages-soft-labels",
        "the share of pairs with delta <= 0 is at most mean R/min softplus(beta t)",
        _SOFT,
        _averages_soft,
    ),
    Reading(
        "averages-soft-labels-corrected",
        "the share of pairs with delta <= 0 is at most mean R/min R(min(logit q, -beta t)), R as a "
        "function of z = beta (delta - t)",
        f"{_SOFT}; 0 < q < 1",
        _averages_soft_corrected,
        proof=("risk-slope", "markov", "risk-positive"),
        corrects="averages-soft-labels",
    ),
)
