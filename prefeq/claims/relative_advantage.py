"""`relative-advantage`: DPO optimises the margin over the reference, not the margin itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sympy as sp

from prefeq import bandit as bandits
from prefeq import margins, preferences, solvers
from prefeq.claims import formulas, lemmas, recheck, samples, ties
from prefeq.claims.contradiction import counterexample, has_sign
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Instance
from prefeq.claims.policy_case import Fed, PolicyCase
from prefeq.claims.registry import Claim, Reading, register
from prefeq.claims.symbolic import (
    SYMPY,
    as_written,
    positive,
    prove_equal,
    prove_independent,
    real,
)
from prefeq.claims.tie import points, tie

TWO_PAIRS = PolicyCase.of(
    Instance.of(
        "low bar, high bar",
        reward=[1, 0, 1, 0],
        ref=["1/20", "9/20", "1/3", "1/6"],
        pairs=[(0, 1), (2, 3)],
    ),
    ["1/6", "1/3", "1/3", "1/6"],
)


def _shift() -> Iterator[Evidence]:
    yield from _shift_steps()
    yield from (ties.pair_loss(), ties.soft_loss(), _tie_relative())


def _shift_steps() -> Iterator[Evidence]:
    delta, delta_ref, shift, q = real("delta delta_ref c q")
    beta = positive("beta")
    loss = formulas.pair_loss(SYMPY, delta, delta_ref, beta, q)
    moved = as_written(lambda: formulas.pair_loss(SYMPY, delta + shift, delta_ref + shift, beta, q))
    yield prove_independent(
        "shift-invariance", "L(delta + c, delta_ref + c) is free of c", moved, shift
    )
    yield prove_equal("shift-invariance", "and equal to L(delta, delta_ref)", (moved, loss))


def _path() -> Iterator[Evidence]:
    """With u = θ − θ_ref every x is u_w − u_l: slope, start and hence every iterate in u agree."""
    uw, ul, pw, pl, lse, lse_ref, q = real("u_w u_l p_w p_l lse lse_ref q")
    beta, zero = positive("beta"), sp.S.Zero

    def x(winner: sp.Expr, loser: sp.Expr) -> sp.Expr:
        delta = (winner + pw - lse) - (loser + pl - lse)
        return delta - ((pw - lse_ref) - (pl - lse_ref))

    written = as_written(lambda: x(uw, ul))
    slope = formulas.pair_gradient(SYMPY, written, 0, beta, q)  # dL/du_w, as dx/du_w = 1
    loss = formulas.pair_loss(SYMPY, x(uw, ul), 0, beta, q)
    names = (pw, pl, lse, lse_ref)
    step = "slope-free-of-reference"
    yield prove_independent(step, "dL/du is free of pi_ref and of both normalisers", slope, *names)
    yield prove_equal(step, "that slope is dL/du", (slope, sp.diff(loss, uw)))
    yield prove_equal(
        "start-at-zero",
        "u = 0 gives x = 0 whatever pi_ref",
        (as_written(lambda: x(zero, zero)), 0),
    )
    yield lemmas.conserved_logits()
    problems = samples.connected(6)
    yield samples.asserted("gradient descent has the same x", problems, _same_path)
    problems = samples.acyclic(6)
    yield samples.asserted("ordered pairs, too", problems, _same_path)
    yield from (ties.soft_gradient(), ties.pair_gradient(), _tie_relative())


def _absolute() -> Iterator[Evidence]:
    """The pair with the lower loss is the one that is ranked wrongly."""
    data = TWO_PAIRS.data()
    low, high = data["loss"]
    lower = TWO_PAIRS.compare_loss(0, lambda: TWO_PAIRS.loss(1))
    yield counterexample(
        f"losses {low:.4f} < {high:.4f}, yet margins -log 2 < log 2 (two pairs of one policy)",
        data,
        {
            "loss[0] < loss[1]": has_sign(lower, -1),
            "margin[0] < 0": has_sign(TWO_PAIRS.sign_of_margin(0), -1),
            "margin[1] > 0": has_sign(TWO_PAIRS.sign_of_margin(1), 1),
        },
    )
    yield recheck.rechecked("the package agrees", Fed.back(data).comparisons(data, [True, False]))
    yield ties.pair_loss()


def _relative() -> Iterator[Evidence]:
    """One loss is below another iff its x is above: L falls strictly in x and sees nothing else."""
    yield from _shift_steps()
    yield lemmas.ordered_loss_falls()[0]
    yield from (ties.pair_loss(), ties.pair_gradient(), _tie_relative())


def _same_path(bandit: bandits.Bandit, prefs: preferences.Preferences) -> bool:
    """Compare the descent from a reference with the descent from the uniform one, in x."""
    paths = []
    for ref_logp in (bandit.ref_logp, np.zeros(bandit.K)):
        problem = bandits.Bandit(bandit.reward, ref_logp, bandit.beta)
        run = solvers.solve_dpo(problem, prefs, method="gradient-descent", max_steps=60)
        paths.append(run.trajectory.margin - prefs.ref_margin(problem))
    count = min(len(path) for path in paths)
    moved = bool(np.any(np.abs(paths[0][count - 1]) > 1e-6)) or not np.any(prefs.log_odds)
    return moved and recheck.close(paths[0][:count], paths[1][:count])


def _tie_relative() -> Evidence:
    return tie(
        "delta - delta_ref agrees with margins.relative_margin",
        lambda delta, delta_ref: delta - delta_ref,
        lambda delta, delta_ref: margins.relative_margin(delta, delta_ref),
        points("delta", "delta_ref"),
    )


register(
    Claim(
        id="relative-advantage",
        title="DPO optimises the margin over the reference, not the margin",
        source="arXiv:2605.20834, abstract",
        provenance="quoted",
        readings=(
            Reading(
                "shift-invariance",
                "the loss depends on delta - delta_ref alone: a common shift leaves it unchanged",
                "any labels q in [0, 1] and masses, any K, any pairs, beta > 0",
                _shift,
                proof=("shift-invariance",),
            ),
            Reading(
                "descent-path",
                "the path of delta - delta_ref under gradient descent on softmax logits from "
                "pi_ref does not depend on pi_ref",
                "any labels q in [0, 1] and masses, any K, any pairs, beta > 0, any step sizes "
                "that do not look at pi_ref",
                _path,
                proof=("slope-free-of-reference", "start-at-zero", "conserved-logits"),
            ),
            Reading(
                "absolute-margin",
                "of two pairs, the one with the lower loss has the larger margin delta",
                "ordered pairs of equal mass, any K, beta > 0",
                _absolute,
            ),
            Reading(
                "relative-margin",
                "of two pairs, the one with the lower loss has the larger relative margin "
                "delta - delta_ref, and conversely",
                "ordered pairs of equal mass, any K, beta > 0",
                _relative,
                proof=("shift-invariance", "loss-decreases"),
                corrects="absolute-margin",
            ),
        ),
    )
)
