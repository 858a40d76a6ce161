"""What a small loss certifies of soft labels: readings of `loss-to-delta`.

Fixed targets: R = q softplus(−z) + (1 − q) softplus(z) with z = β(δ − t). Targets
recomputed for the swapped pair: the second term is softplus(β(δ + t′)) instead, with t′ the target
of l over w.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import sympy as sp

from prefeq import losses, margins
from prefeq.claims import (
    formulas,
    order_lemmas,
    recheck,
    target_formulas,
    target_losses,
    ties,
)
from prefeq.claims.ball import BALL, ball, exactly, sign
from prefeq.claims.contradiction import counterexample
from prefeq.claims.evidence import Evidence
from prefeq.claims.gallery import numbers_of
from prefeq.claims.instance import Instance
from prefeq.claims.policy_case import Fed, PolicyCase
from prefeq.claims.registry import Reading
from prefeq.claims.symbolic import SYMPY, as_written, positive, prove_equal, prove_positive, real

EVEN = Instance.of(
    "two equal responses",
    reward=[1, 0],
    ref=["1/2", "1/2"],
    pairs=[(0, 1)],
    labels="bradley-terry",
)
TOO_SURE = PolicyCase.of(EVEN, ["99/100", "1/100"])
BELOW_EASY = PolicyCase.of(EVEN, ["1/6", "5/6"])
EASY_GAMMA = Fraction(1, 2)


def _fixed() -> Iterator[Evidence]:
    """R(0) = ln 2, and R falls for z < 0 as σ(z) < ½ ≤ q."""
    z, q = real("z q")
    risk = formulas.pair_loss(SYMPY, z, 0, 1, q)
    yield prove_equal("risk-at-target", "R = ln 2 at delta = t", (risk.subs(z, 0), sp.log(2)))
    slope = formulas.sigmoid(SYMPY, z) - q
    yield prove_equal("risk-falls", "dR/dz = sigma(z) - q", (sp.diff(risk, z), slope))
    p = positive("p")
    below = sp.Rational(1, 2) - formulas.sigmoid(SYMPY, -sp.log(1 + p))
    yield prove_positive("risk-falls", "sigma(z) < 1/2 <= q for z < 0", below)


def _fixed_if() -> Iterator[Evidence]:
    yield from _fixed()
    yield from (ties.soft_loss(), ties.soft_gradient())


def high_loss(case: PolicyCase) -> Evidence:
    """Decide whether δ ≥ t = δ_ref and q ≥ ½, yet the soft label's DPO loss is above ln 2."""
    above, rise = case.compare_loss(0, lambda: ball(2).log()), case.sign_of_rise(0)
    data = {**case.data(), "label_prob": _label(case.instance)}
    compared = "==" if rise == 0 else ">"
    return counterexample(
        f"delta - t = {data['margin'][0] - data['ref_margin'][0]:.4f}, yet R = "
        f"{data['loss'][0]:.6f} > ln 2",
        data,
        {
            "label_prob[0] >= 1/2": case.instance.gap(0) >= 0,
            f"margin[0] {compared} ref_margin[0]": None if rise is None else rise >= 0,
            "loss[0] > log(2)": None if above is None else above > 0,
        },
    )


def _fixed_only_if() -> Iterator[Evidence]:
    found = high_loss(TOO_SURE)
    yield found
    data = dict(found.data)
    yield recheck.rechecked("the package agrees", Fed.back(data).comparisons(data, [False]))
    yield ties.soft_loss()


def _fixed_corrected() -> Iterator[Evidence]:
    """R leans outwards, R(2Δr) < R(0) = ln 2, and a convex R is nowhere above both its ends."""
    yield from _fixed()
    yield from order_lemmas.loss_leans()
    z, q, gap, target = real("z q gap t")
    beta = positive("beta")
    star = as_written(lambda: formulas.rlhf_margin(target, gap, beta))
    ends = (
        (as_written(lambda: star - gap / beta), target),
        (as_written(lambda: star + gap / beta), target + 2 * gap / beta),
    )
    yield prove_equal("both-ends", "delta* -/+ gap/beta are t and t + 2 gap/beta", *ends)
    risk = formulas.pair_loss(SYMPY, z, 0, 1, q)
    curvature = sp.factor(sp.simplify(sp.diff(risk, z, 2)))
    yield prove_positive("convex", "R'' > 0", curvature)
    yield from (ties.soft_loss(), ties.soft_gradient())


def _per_label() -> Iterator[Evidence]:
    """With `easy` both targets are low: R < ln 2 below t."""
    found = below_target(BELOW_EASY, EASY_GAMMA)
    yield found
    data = dict(found.data)

    def comparisons() -> Iterator[recheck.Comparison]:
        fed = Fed.back(data)
        loss, beta = losses.easy(float(EASY_GAMMA)), fed.bandit.beta
        logps = losses.Reference(*(fed.bandit.ref_logp[i] for i in data["instance"]["pairs"][0]))
        odds = fed.preferences.log_odds
        yield "target", recheck.close(loss.target(logps, beta), data["target"][0])
        risk = loss.population_value(fed.margin, logps, beta, odds, "per-label")
        yield "risk", recheck.close(risk, data["risk"])
        yield "label", recheck.close(margins.sigmoid(odds), data["label_prob"])

    yield recheck.rechecked("the package agrees", comparisons())
    yield from (*target_losses.tie_targets(), *target_losses.tie_risks())


def below_target(case: PolicyCase, gamma: Fraction) -> Evidence:
    """Decide whether `easy` has a risk below ln 2 at q ≥ ½ although δ < t, targets recomputed."""
    made = case.instance
    winner, loser = made.pairs[0]

    def targets() -> tuple[Any, Any]:
        inverse = sum(1 / ball(made.ref[y]).log() for y in (winner, loser))
        shift = ball(gamma / made.beta) * inverse
        return made.delta_ref(0) + shift, -made.delta_ref(0) + shift

    def risk() -> Any:
        target, swapped = targets()
        q = formulas.sigmoid(BALL, ball(made.gap(0)))
        return formulas.two_target_risk(BALL, case.margin(0), target, swapped, ball(made.beta), q)

    short = sign(lambda: targets()[0] - case.margin(0))[0]
    low = sign(lambda: ball(2).log() - risk())[0]
    data = case.data()
    data["inputs"] |= {"gamma": exactly(gamma), "loss": "easy"}
    data |= {
        "label_prob": _label(made),
        "target": numbers_of(lambda: [targets()[0]]),
        "swapped_target": numbers_of(lambda: [targets()[1]]),
        "risk": numbers_of(lambda: [risk()]),
    }
    return counterexample(
        f"R = {data['risk'][0]:.4f} < ln 2, yet delta = {data['margin'][0]:.4f} < t = "
        f"{data['target'][0]:.4f}",
        data,
        {
            "label_prob[0] >= 1/2": made.gap(0) >= 0,
            "risk[0] < log(2)": None if low is None else low > 0,
            "margin[0] < target[0]": None if short is None else short > 0,
        },
    )


def _label(instance: Instance) -> list[float]:
    return numbers_of(lambda: [formulas.sigmoid(BALL, ball(instance.gap(0)))])


def _per_label_corrected() -> Iterator[Evidence]:
    """t + t′ ≥ 0 makes the second term no smaller than with a fixed target."""
    yield from _fixed()
    delta, target, z, q = real("delta t z q")
    beta, excess = positive("beta s")
    risk = as_written(lambda: formulas.two_target_risk(SYMPY, delta, target, -target, beta, q))
    fixed = formulas.pair_loss(SYMPY, delta, target, beta, q)
    step = "recomputed-is-higher"
    yield prove_equal(step, "t + t' = 0: the same as with a fixed target", (risk, fixed))
    moved = formulas.softplus(SYMPY, z + excess)
    yield prove_positive(step, "softplus rises in t' = s - t, s > 0", sp.diff(moved, excess))
    yield from _sums_of_targets()
    yield from (*target_losses.tie_targets(), *target_losses.tie_risks())


def _sums_of_targets() -> Iterator[Evidence]:
    """t + t′ of each target: none is negative, but that of `easy` is."""
    d, any_gamma = real("d gamma")
    beta, gamma, tau, alpha, u, v, h = positive("beta gamma tau alpha u v h")
    step = "sums-of-targets"
    yield prove_equal(step, "DPO: 0", (as_written(lambda: d + (-d)), 0))
    above, below, even = (target_formulas.clip(SYMPY, x) for x in (h, -h, sp.S.Zero))
    yield prove_equal(
        step,
        "clip: h + 0 for delta_ref = +-h, and 0 for delta_ref = 0",
        (as_written(lambda: above + below), h),
        (as_written(lambda: even + even), 0),
    )
    smooth = [target_formulas.smooth(SYMPY, s, alpha, any_gamma, tau) for s in (d, -d)]
    both = [formulas.softplus(SYMPY, tau * (any_gamma - s)) / (alpha * tau) for s in (d, -d)]
    yield prove_equal(
        step,
        "smooth: two softplus",
        (as_written(lambda: smooth[0] + smooth[1]), as_written(lambda: both[0] + both[1])),
    )
    yield prove_positive(step, "which are positive", *both)
    simpo = target_formulas.simpo(gamma, beta)
    # log π_ref of the two are −u and −v
    eq17 = _shifted_sum(-u, -v, lambda w, lo: target_formulas.eq17_shift(SYMPY, w, lo, gamma, beta))
    easy = _shifted_sum(-u, -v, lambda w, lo: target_formulas.easy_shift(w, lo, gamma, beta))
    twice = 2 * gamma / beta
    inverse, slowly = twice * (sp.exp(u) + sp.exp(v)), twice * (1 / u + 1 / v)
    yield prove_equal(
        step,
        "SimPO: 2 gamma/beta; Eq. 17: that times 1/p_w + 1/p_l; easy: times 1/log p_w + 1/log p_l",
        (as_written(lambda: simpo + simpo), twice),
        (eq17, inverse),
        (easy, -slowly),
    )
    yield prove_positive(step, "the first two > 0, 0 only at gamma = 0", twice, inverse)
    yield prove_positive(step, "that of easy is negative", slowly)


def _shifted_sum(p_w: sp.Expr, p_l: sp.Expr, shift: Callable[..., sp.Expr]) -> sp.Expr:
    """Return t(w, l) + t(l, w) for targets δ_ref + shift."""
    forward = target_formulas.shifted(p_w - p_l, shift(p_w, p_l))
    backward = target_formulas.shifted(p_l - p_w, shift(p_l, p_w))
    return as_written(lambda: forward + backward)


_FIXED = "a soft label q, fixed target t (a flipped label keeps it), beta > 0"
_RECOMPUTED = "a soft label q, targets recomputed for a flipped label, beta > 0"
_LOW = ("risk-at-target", "risk-falls")

READINGS = (
    Reading(
        "soft-fixed-target",
        "q >= 1/2 and R <= ln 2 => delta >= t",
        _FIXED,
        _fixed_if,
        "if",
        proof=_LOW,
    ),
    Reading(
        "soft-fixed-target",
        "q >= 1/2 and delta >= t => R <= ln 2",
        _FIXED,
        _fixed_only_if,
        "only-if",
    ),
    Reading(
        "soft-fixed-target-corrected",
        "1/2 < q < 1 and t <= delta <= t + 2 logit(q)/beta => R <= ln 2",
        _FIXED,
        _fixed_corrected,
        proof=(*_LOW, "loss-leans", "both-ends", "convex"),
        corrects="soft-fixed-target (only-if)",
    ),
    Reading(
        "soft-recomputed-target",
        "q >= 1/2 and R <= ln 2 => delta >= t, for every target of the family",
        _RECOMPUTED,
        _per_label,
    ),
    Reading(
        "soft-recomputed-target-corrected",
        "q >= 1/2 and R <= ln 2 => delta >= t, if t + t' >= 0 for the target t' of the swapped "
        "pair: DPO, clip, smooth, Eq. 17 and SimPO with gamma >= 0, but not easy",
        _RECOMPUTED,
        _per_label_corrected,
        proof=(*_LOW, "recomputed-is-higher", "sums-of-targets"),
        corrects="soft-recomputed-target",
    ),
)
