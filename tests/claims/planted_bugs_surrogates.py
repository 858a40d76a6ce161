"""Planted bugs of `e-cpo`, `e-cpoc`, `violation-rate` and the price of alignment."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from statistics import NormalDist

import numpy as np
from claims.planted_bugs import Bug, instead, scaled

from prefeq import intervals, losses, margins, solvers, story
from prefeq.claims import eq17_lemmas, exact_capitals, target_formulas
from prefeq.losses import loss, targets
from prefeq.solvers import cpo

FIXED_IF = "e-cpo/fixed-target-criterion (if)"
PER_LABEL_IF = "e-cpo/per-label-criterion (if)"
EQ17 = "e-cpo/eq17-fixed"
EQ17_CORRECTED = "e-cpo/eq17-fixed-corrected (if)"
EQ17_EVERY = "e-cpo/eq17-every-reference (if)"
EQ17_PER_LABEL = "e-cpo/eq17-per-label"
EQ17_BETWEEN = "e-cpo/eq17-per-label-corrected"
EASY_LOWERS = "e-cpo/easy-lowers-target"
EASY_RAISES = "e-cpo/easy-raises-target"
EASY_WORSE = "e-cpo/easy-worse-than-dpo"
SMOOTH_ONE = "e-cpoc/smooth-alpha-one (if)"
SMOOTH_BELOW = "e-cpoc/smooth-alpha-below-one (if)"
SMOOTH_ABOVE = "e-cpoc/smooth-alpha-above-one"
SMOOTH_SURE = "e-cpoc/smooth-per-label-corrected (if)"
CLIP = "e-cpoc/clip-fixed"
CLIP_PER_LABEL = "e-cpoc/clip-per-label"
TWO_THIRDS = "e-cpoc/clip-two-thirds (if)"
SOME = "violation-rate/some-pairs-violate"
QUOTED = "violation-rate/quoted-rate-carries-over"
BELOW_QUOTED = "violation-rate/quoted-rate-carries-over-corrected"
SUM_OR_MEAN = "violation-rate/sum-or-mean"
RATES = "violation-rate/sum-and-mean-rates"
CRITICAL = "violation-rate/critical-beta (if)"
PRICE = "cpo-constrained/price"
BLOCKS = "cpo-constrained/block-form"
PRICE_OF_BLOCKS = "cpo-constrained/price-of-blocks"
ZERO_PRICE = "cpo-constrained/price-zero-margin"
PAIR_PRICE = "cpo-constrained/two-responses-price"


def _rule(formula):
    """Replace the formula of a target rule that takes γ."""
    return lambda original: (
        lambda gamma: dataclasses.replace(
            original(gamma), formula=lambda xp, ref, beta: formula(xp, ref, beta, gamma)
        )
    )


def _clip(formula):
    """Replace the target of `clip`."""
    return lambda original: dataclasses.replace(
        original,
        target_rule=dataclasses.replace(
            original.target_rule, formula=lambda xp, ref, beta: formula(xp, ref.margin)
        ),
    )


LOSS_BUGS = (
    Bug("Eq. 17 without its 1/beta", targets, "inverse_probability",
        _rule(lambda xp, ref, beta, gamma: ref.margin + gamma * (
            xp.exp(-ref.winner) + xp.exp(-ref.loser))), (EQ17, EQ17_CORRECTED)),
    Bug("Eq. 17 with probabilities for their reciprocals", targets, "inverse_probability",
        _rule(lambda xp, ref, beta, gamma: ref.margin + gamma / beta * (
            xp.exp(ref.winner) + xp.exp(ref.loser))), (EQ17_EVERY, EQ17_PER_LABEL)),
    Bug("Eq. 17 lowers the target", targets, "inverse_probability",
        _rule(lambda xp, ref, beta, gamma: ref.margin - gamma / beta * (
            xp.exp(-ref.winner) + xp.exp(-ref.loser))), (EQ17_BETWEEN,)),
    Bug("the easy branch raises the target", targets, "inverse_logp",
        _rule(lambda xp, ref, beta, gamma: ref.margin - gamma / beta * (
            1 / ref.winner + 1 / ref.loser)), (EASY_LOWERS, EASY_RAISES)),
    Bug("the easy branch forgets the loser", targets, "inverse_logp",
        _rule(lambda xp, ref, beta, gamma: ref.margin + gamma / beta / ref.winner),
        (EASY_WORSE,)),
    Bug("the swapped pair keeps its target", targets.View, "swapped",
        instead(lambda view: view), (PER_LABEL_IF, EQ17_PER_LABEL, TWO_THIRDS)),
    Bug("critical gap of a fixed target for per-label ones", losses.Loss, "critical_gap",
        lambda f: lambda self, ref, beta, flipped="fixed": f(self, ref, beta, "fixed"),
        (PER_LABEL_IF, CLIP_PER_LABEL)),
    Bug("critical gap of the wrong sign", losses.Loss, "critical_gap",
        lambda f: lambda self, *args: -f(self, *args), (FIXED_IF, EQ17)),
    Bug("minimiser of a fixed target for per-label ones", losses.Loss, "minimiser",
        lambda f: lambda self, ref, beta, log_odds=np.inf, flipped="fixed": f(
            self, ref, beta, log_odds, "fixed"), (PER_LABEL_IF, SMOOTH_SURE)),
    Bug("one of the two targets counts twice", loss, "_two_targets",
        lambda f: lambda xp, log_odds, first, second: f(xp, log_odds, first, first),
        (EQ17_PER_LABEL, CLIP_PER_LABEL)),
    Bug("a gap below zero reflected at the wrong place: total - z for -total - z", loss,
        "_two_targets", lambda f: lambda xp, odds, first, second: f(xp, odds, first, second)
        + xp.where(odds < 0, 2 * (first + second), 0 * (first + second)),
        (PER_LABEL_IF, EQ17_PER_LABEL)),
    Bug("clip caps the target at zero: min for max", losses, "CLIP",
        _clip(lambda xp, margin: xp.minimum(margin, 0 * margin)), (CLIP, TWO_THIRDS)),
    Bug("clip forgets the reference: t = 0", losses, "CLIP",
        _clip(lambda xp, margin: 0 * margin), (CLIP,)),
    Bug("smooth branch without its 1/alpha", targets, "smooth_maximum",
        lambda f: lambda alpha, gamma, tau: f(1.0, gamma, tau), (SMOOTH_BELOW, SMOOTH_ABOVE)),
    Bug("smooth branch with gamma of the wrong sign", targets, "smooth_maximum",
        lambda f: lambda alpha, gamma, tau: f(alpha, -gamma, tau), (SMOOTH_ONE, SMOOTH_SURE)),
    Bug("smooth branch with tau and alpha swapped", targets, "smooth_maximum",
        lambda f: lambda alpha, gamma, tau: f(tau, gamma, alpha), (SMOOTH_ONE, SMOOTH_BELOW)),
)  # fmt: skip

FORMULA_BUGS = (
    Bug("the claims' critical gap with its two terms swapped", target_formulas,
        "per_label_critical_gap",
        lambda f: lambda m, t, swapped, beta: f(m, swapped, t, beta), (PER_LABEL_IF, TWO_THIRDS)),
    Bug("the claims' per-label minimiser without its asymmetry", target_formulas,
        "per_label_minimiser",
        lambda f: lambda m, t, swapped, beta, gap: f(m, t, t, beta, gap), (EQ17_PER_LABEL,)),
    Bug("the claims' 2 + 2 cosh without the 2", target_formulas, "two_response_inverse",
        instead(lambda m, d: m.exp(d) + m.exp(-d)), (EQ17_CORRECTED, EQ17_EVERY)),
    Bug("the claims' peak looked for in the wrong place", eq17_lemmas, "AROUND",
        instead((Fraction(1), Fraction(3, 2))), (EQ17_EVERY,)),
    Bug("the claims' entropy in bits", target_formulas, "entropy",
        scaled(1.4426950408889634), (SMOOTH_BELOW,)),
    Bug("the claims' smooth target without tau", target_formulas, "smooth",
        lambda f: lambda m, delta_ref, alpha, gamma, tau: f(m, delta_ref, alpha, gamma, 1),
        (SMOOTH_ONE, SMOOTH_ABOVE)),
)  # fmt: skip

RATE_BUGS = (
    Bug("means for sums in the capitals' bandit", story, "load_capitals",
        lambda f: lambda beta, normalize="sum": f(beta, "mean"), (SOME, SUM_OR_MEAN)),
    Bug("sums for means in the capitals' bandit", story, "load_capitals",
        lambda f: lambda beta, normalize="sum": f(beta, "sum"), (RATES, SUM_OR_MEAN)),
    Bug("the assumption forgets the gap", margins, "assumption_holds",
        instead(lambda ref, gap, beta, strict=True: np.asarray(ref) > 0), (SOME, CRITICAL)),
    Bug("the assumption with 1/beta for beta", margins, "assumption_holds",
        lambda f: lambda ref, gap, beta, strict=True: f(ref, gap, 1 / np.asarray(beta), strict),
        (QUOTED, CRITICAL)),
    Bug("Wilson's interval one-sided", intervals, "_quantile",
        instead(lambda level: NormalDist().inv_cdf(level)), (QUOTED, RATES)),
    Bug("clusters count as independent pairs", intervals, "effective_total",
        instead(lambda counts, totals: float(sum(totals))), (BELOW_QUOTED, RATES)),
    Bug("the plain interval p +- z sqrt(p(1 - p)/n)", story, "wilson",
        instead(lambda count, total, level=0.95: intervals.Interval(*(
            count / total + z * 1.959963984540054 * np.sqrt(
                count / total * (1 - count / total) / total) for z in (-1, 1)))),
        (QUOTED, BELOW_QUOTED)),
    Bug("the exact means multiply by the tokens", exact_capitals.City, "score",
        instead(lambda city, way: city.logp * (city.tokens if way == "mean" else 1)),
        (SUM_OR_MEAN, RATES)),
    Bug("the exact violations forget the boundary: beta delta_ref <= -2", exact_capitals,
        "violates", instead(lambda margin, beta: beta * margin <= -2), (SOME, RATES)),
)  # fmt: skip

PRICE_BUGS = (
    Bug("price of alignment without the half: log cosh delta*", margins, "price_of_alignment",
        lambda f: lambda star, beta: f(2 * np.asarray(star), beta), (PAIR_PRICE,)),
    Bug("price of alignment without beta", margins, "price_of_alignment",
        lambda f: lambda star, beta: f(star, 1.0), (PAIR_PRICE,)),
    Bug("KL of the constrained policy doubled in J", cpo, "objective",
        lambda f: lambda b, logp: 2 * f(b, logp) - np.sum(np.exp(logp) * b.reward),
        (PRICE, PAIR_PRICE)),
    Bug("J of the optimum without beta", solvers, "solve_rlhf",
        lambda f: lambda b: dataclasses.replace(s := f(b), value=s.value / b.beta),
        (PRICE, PRICE_OF_BLOCKS)),
    Bug("CPO stops at a mixture with the RLHF policy", cpo, "_log_policy",
        lambda f: lambda rows, found: (g := f(rows, found)) * 0.999 - np.logaddexp.reduce(
            g * 0.999), (BLOCKS, ZERO_PRICE)),
)  # fmt: skip

BUGS = (*LOSS_BUGS, *FORMULA_BUGS, *RATE_BUGS, *PRICE_BUGS)
