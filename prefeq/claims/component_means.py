"""When DPO's answer is RLHF's on any comparison graph: iff all components have one mean reward.

Readings of `equivalence` that replace its condition on margins where the graph is disconnected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import sympy as sp

from prefeq import bandit as bandits
from prefeq import preferences, solvers
from prefeq.claims import gallery, lemmas, recheck, ties
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import build
from prefeq.claims.registry import Part, Reading
from prefeq.claims.symbolic import as_written, positive, prove_equal, prove_positive, real

SEED = 20834


def _check(part: Part) -> Callable[[], Iterator[Evidence]]:
    def evidence() -> Iterator[Evidence]:
        yield from lemmas.edge_minimiser()
        yield lemmas.rlhf_attains()
        yield lemmas.incidence_kernel()
        yield lemmas.conserved_logits()
        yield from lemmas.convex_and_smooth()
        yield from _limit_against_rlhf(part)
        yield from (ties.soft_gradient(), ties.rlhf_margin())
        yield recheck.rechecked("solve_dpo agrees on the exact instances", _gallery())
        yield recheck.rechecked("solve_dpo agrees on random islands", _islands(25))

    return evidence


def _limit_against_rlhf(part: Part) -> Iterator[Evidence]:
    """Descent ends at θ_ref + (r − mean)/β: from π*'s logits −mean/β away, one shift a component.

    Equal shifts are one constant, which normalisation takes out; unequal ones change the margin
    between the components.
    """
    theta, reward, mean, base, gain = real("theta r mean theta_b r_b")
    beta, apart = positive("beta apart")
    limit, optimum = theta + (reward - mean) / beta, theta + reward / beta
    yield prove_equal(
        "limit-shift", "limit - log pi* = -mean/beta + const", (limit - optimum, -mean / beta)
    )
    yield from _sums_conserved()
    yield lemmas.normalisation()
    there = base + (gain - mean) / beta
    if part == "only-if":
        moved = limit - there.subs(mean, mean + apart) - (optimum - base - gain / beta)
        yield prove_positive(
            "unequal-means-differ",
            "means apart by d > 0 move the margin between two components by d/beta > 0",
            sp.expand(moved),
        )
    else:
        yield prove_equal(
            "equal-means-agree",
            "with equal means the margin between two components is that of pi*",
            (limit - there, (theta - base) + (reward - gain) / beta),
        )


def _sums_conserved() -> Iterator[Evidence]:
    """Of the minimisers s = r + const per component, the one that conserves logit sums."""
    step = "limit-conserves-sums"
    total, count = real("S"), positive("n")
    excess = as_written(lambda: total - count * (total / count))
    yield prove_equal(
        step, "r - mean sums to S - n (S/n) = 0 over a component of any n responses", (excess, 0)
    )
    sums = []
    for size in range(2, 6):
        r = sp.symbols(f"r0:{size}", real=True)
        sums.append((as_written(partial(_total_excess, r)), sp.S.Zero))
    yield prove_equal(step, "the same term by term, 2 to 5 responses", *sums)


def _total_excess(r: tuple[sp.Symbol, ...]) -> sp.Expr:
    mean = sum(r[1:], r[0]) / len(r)
    return sum((x - mean for x in r[1:]), r[0] - mean)


def _gallery() -> Iterator[recheck.Comparison]:
    for instance in gallery.GALLERY:
        bandit, prefs = build(instance.labelled("bradley-terry").to_data())
        equal = len(set(gallery.component_means(instance))) == 1
        yield f"{instance.name}: DPO = RLHF iff equal means", _same(bandit, prefs) == equal


def _islands(count: int) -> Iterator[recheck.Comparison]:
    """Compare random bandits of two islands, their means equal every other time."""
    rng = np.random.default_rng(SEED)
    for k in range(count):
        reward = rng.integers(-3, 4, 5).astype(float)
        reward[4] += reward[:2].mean() * 3 - reward[2:].sum()  # now both islands have one mean
        if k % 2:
            reward[4] += 1.5
        bandit = bandits.Bandit(reward, rng.normal(size=5), float(rng.choice([0.3, 1.0, 4.0])))
        pairs = preferences.Preferences.bradley_terry(bandit, [[0, 1], [2, 3], [3, 4]])
        yield f"islands {k}", _same(bandit, pairs) == (k % 2 == 0)


def _same(bandit: bandits.Bandit, prefs: preferences.Preferences) -> bool:
    dpo, rlhf = solvers.solve_dpo(bandit, prefs), solvers.solve_rlhf(bandit)
    return dpo.logp is not None and recheck.close(dpo.logp, rlhf.logp)


_SCOPE = (
    "Bradley-Terry population labels q = sigma(gap), any K, rewards and full-support reference, "
    "any comparison graph, beta > 0; a response in no pair is a component of its own"
)
_EQUAL = "all components of the comparison graph have the same mean reward"
_ANSWER = "DPO's answer (the limit of gradient descent from pi_ref) is the RLHF optimum"
_STEPS = (
    "edge-minimiser",
    "rlhf-attains",
    "incidence-kernel",
    "conserved-logits",
    "descent-converges",
    "limit-shift",
    "limit-conserves-sums",
    "normalisation",
)

READINGS = (
    Reading(
        "component-means",
        f"{_EQUAL} => {_ANSWER}",
        _SCOPE,
        _check("if"),
        "if",
        (*_STEPS, "equal-means-agree"),
        corrects="bradley-terry-disconnected (if)",
    ),
    Reading(
        "component-means",
        f"{_ANSWER} => {_EQUAL}",
        _SCOPE,
        _check("only-if"),
        "only-if",
        (*_STEPS, "unequal-means-differ"),
        corrects="bradley-terry-disconnected (only-if)",
    ),
)
