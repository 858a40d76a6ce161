"""What alignment costs: J(π*) − J(π_CPO), and the blocks that it is made of.

Readings of `cpo-constrained`. W and V below are the sums Σ e^s and Σ e^s (log π* − s) over a block:
arguments about blocks of any size are arguments about these two numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import sympy as sp

from prefeq import bandit as bandits
from prefeq import margins, preferences, solvers
from prefeq.claims import cpo_lemmas, gallery, lemmas, price_theorems, recheck, samples
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import build
from prefeq.claims.registry import Reading
from prefeq.claims.symbolic import (
    as_written,
    positive,
    prove_equal,
    prove_positive,
    real,
)
from prefeq.claims.tie import points, tie

Theorem = Callable[[bandits.Bandit, preferences.Preferences], bool]


def _price() -> Iterator[Evidence]:
    """J = β log Z − β KL(·‖π*), so the difference to its maximum is β KL."""
    yield lemmas.rlhf_closed_form()
    yield from lemmas.gibbs_inequality()
    yield samples.asserted(
        "J(pi*) - J(pi_CPO) = beta KL(pi_CPO || pi*)",
        samples.acyclic(30),
        price_theorems.is_divergence,
    )
    yield recheck.rechecked("on the exact instances", _gallery(price_theorems.is_divergence))


def _block_form() -> Iterator[Evidence]:
    """Optimality: log π = log π* + (Aᵀλ)/β − const, and in a block the tight pairs' λ cancel.

    A pair that is not tight has λ = 0. Hence Σ e^s (log π + const − log π*) = 0 over a block, and
    with log π + const = c + s there is one c that does it.
    """
    yield from cpo_lemmas.stationarity()
    yield from cpo_lemmas.strict_concavity()
    yield lemmas.linear_constraint()
    yield from _blocks()
    yield samples.asserted(
        "log pi_CPO = c + s on every block, one constant for all",
        samples.acyclic(40),
        price_theorems.is_block_form,
    )
    yield recheck.rechecked("on the exact instances", _gallery(price_theorems.is_block_form))


def _blocks() -> Iterator[Evidence]:
    s, m, c = real("s m c")
    push = positive("mu")
    weight = positive("W")
    total = real("V")
    yield prove_equal(
        "tight-pair-cancels",
        "a tight pair gives its winner mu and its loser -mu e^m: with weights e^s, "
        "s_w = s_l + m, the two cancel",
        (sp.exp(s + m) * push, as_written(lambda: sp.exp(s) * (sp.exp(m) * push))),
    )
    yield prove_equal(
        "block-level",
        "sum over the block of e^s (c + s - log pi*) = c W - V vanishes at c = V/W only",
        (as_written(lambda: c * weight - total), weight * (c - total / weight)),
    )
    yield prove_positive("block-level", "W = sum of e^s > 0", weight)


def _price_of_blocks() -> Iterator[Evidence]:
    """KL = Σ π (f − log S − log π*) = −log S, as Σ e^f (f − log π*) = 0 on every block."""
    yield lemmas.rlhf_closed_form()
    yield from cpo_lemmas.stationarity()
    yield from cpo_lemmas.strict_concavity()
    yield lemmas.linear_constraint()
    yield from _blocks()
    yield _divergence_of_blocks()
    yield samples.asserted(
        "the price is -beta log sum of e^f", samples.acyclic(40), price_theorems.is_price_of_blocks
    )
    yield recheck.rechecked("on the exact instances", _gallery(price_theorems.is_price_of_blocks))


def _divergence_of_blocks() -> Evidence:
    """A block adds e^c (cW − V)/S − (its probability) log S to KL(e^f/S ‖ π*)."""
    c, v = real("c V")
    total, weight = positive("S W")
    term = sp.exp(c) / total * (c * weight - v) - sp.exp(c) * weight / total * sp.log(total)
    return prove_equal(
        "price-of-block",
        "at c = V/W a block adds -(its probability) log S to KL(e^f/S || pi*): in all, -log S",
        (
            as_written(lambda: term.xreplace({c: v / weight})),
            -(sp.exp(v / weight) * weight / total) * sp.log(total),
        ),
    )


def _zero_margin() -> Iterator[Evidence]:
    """With m = 0 all s are 0: W = |B|, V = Σ log π*, and e^{V/W} is the geometric mean."""
    yield from _price_of_blocks()
    size, product = positive("n P")
    yield prove_equal(
        "geometric-mean",
        "s = 0: W = n, V = log P, P the block's product of pi*, so n e^(V/n) = n P^(1/n)",
        (as_written(lambda: size * sp.exp(sp.log(product) / size)), size * product ** (1 / size)),
    )
    yield samples.asserted(
        "the price is -beta log sum of |B| geometric means",
        samples.acyclic(40),
        price_theorems.is_price_of_means,
    )


def _two_responses() -> Iterator[Evidence]:
    """CPO(0) is (½, ½), and S = 2√(σ(δ*)σ(−δ*)) = 1/cosh(δ*/2)."""
    yield from cpo_lemmas.two_responses()
    yield lemmas.rlhf_closed_form()
    star = real("delta_star")
    up, down = 1 / (1 + sp.exp(-star)), 1 / (1 + sp.exp(star))
    square = ((sp.exp(star / 2) + sp.exp(-star / 2)) / 2) ** 2
    yield prove_equal(
        "half-and-half",
        "KL((1/2, 1/2) || pi*) = -log(4 pi*(w) pi*(l))/2, and 1/(4 pi*(w) pi*(l)) = "
        "cosh(delta*/2)^2",
        (1 / (4 * up * down), square),
        (square, sp.cosh(star / 2) ** 2),
    )
    yield recheck.rechecked("two responses: solve_cpo pays beta log cosh(delta*/2)", _pairs())
    yield _tie_price()


def _tie_price() -> Evidence:
    at = points("delta_below", "beta")
    return tie(
        "beta log cosh(delta*/2) agrees with margins.price_of_alignment",
        lambda delta_below, beta: beta * (delta_below / 2).cosh().log(),
        lambda delta_below, beta: margins.price_of_alignment(delta_below, beta),
        at,
    )


def _pairs() -> Iterator[recheck.Comparison]:
    for gap in (-3.0, 0.0, 1.0, 2.9):
        for beta in (0.5, 1.0, 20.0):
            bandit = bandits.Bandit.from_probs(reward=[gap, 0], ref=[0.05, 0.95], beta=beta)
            prefs = preferences.Preferences.ordered(bandit, [[0, 1]])
            rlhf, cpo = solvers.solve_rlhf(bandit), solvers.solve_cpo(bandit, prefs)
            star = float(rlhf.margin(prefs)[0])
            want = beta * np.log(np.cosh(star / 2)) if star < 0 else 0.0
            paid = float(margins.price_of_alignment(star, beta))
            name = f"delta* = {star:.3f}, beta = {beta:g}"
            yield name, recheck.close(rlhf.value - cpo.value, want)
            yield f"{name}: price_of_alignment", recheck.close(paid, want)


def _gallery(theorem: Theorem) -> Iterator[recheck.Comparison]:
    for instance in gallery.GALLERY:
        if gallery.acyclic(instance):
            yield instance.name, theorem(*build(instance.to_data()))


_SCOPE = (
    "any K, rewards, full-support reference, pairs and beta > 0; margins without a positive cycle"
)
_KKT = ("same-conditions", "strictly-concave", "interior-optimum", "linear-constraint")
_BLOCKS = ("tight-pair-cancels", "block-level")

READINGS = (
    Reading(
        "price",
        "J(pi*) - J(pi_CPO) = beta KL(pi_CPO || pi*)",
        _SCOPE,
        _price,
        proof=("gibbs-identity",),
    ),
    Reading(
        "block-form",
        "log pi_CPO = f - log sum of e^f with f = c + s on each block of pairs that are met with "
        "equality: s_w = s_l + m along them, c = (sum of e^s (log pi* - s))/(sum of e^s)",
        _SCOPE,
        _block_form,
        proof=(*_KKT, *_BLOCKS),
    ),
    Reading(
        "price-of-blocks",
        "J(pi*) - J(pi_CPO) = -beta log sum over y of e^f(y), f the block form",
        _SCOPE,
        _price_of_blocks,
        proof=("gibbs-identity", *_KKT, *_BLOCKS, "price-of-block"),
    ),
    Reading(
        "price-zero-margin",
        "m = 0: J(pi*) - J(pi_CPO) = -beta log sum over blocks of |B| times the geometric mean of "
        "pi* over B",
        "any K, rewards, full-support reference, pairs and beta > 0",
        _zero_margin,
        proof=("gibbs-identity", *_KKT, *_BLOCKS, "price-of-block", "geometric-mean"),
    ),
    Reading(
        "two-responses-price",
        "J(pi*) - J(pi_CPO) = beta log cosh(delta*/2)",
        "two responses, one pair, delta* < 0, m = 0, any beta > 0",
        _two_responses,
        proof=("two-responses", "gibbs-identity", "half-and-half"),
    ),
)
