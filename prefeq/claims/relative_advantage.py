"""`relative-advantage`: DPO optimises the margin over the reference, not the margin itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sympy as sp

from prefeq import bandit as bandits
from prefeq import margins, preferences, solvers
from prefeq.claims import formulas, lemmas, recheck, samples, ties
from prefeq.claims.evidence import Evidence, outcome_of
from prefeq.claims.instance import Instance
from prefeq.claims.policy_case import Fed, PolicyCase
from prefeq.claims.registry import Claim, Reading, register
from prefeq.claims.symbolic import SYMPY, positive, prove_independent, prove_zero, real
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
    delta, delta_ref, shift, q = real("delta delta_ref c q")
    loss = formulas.pair_loss(SYMPY, delta, delta_ref, positive("beta"), q)
    moved = loss.subs({delta: delta + shift, delta_ref: delta_ref + shift}, simultaneous=True)
    yield prove_independent(
        "shift-invariance", "L(delta + c, delta_ref + c) is free of c", moved, shift
    )
    yield prove_zero("shift-invariance", "and equal to L(delta, delta_ref)", moved - loss)
    yield from (ties.pair_loss(), ties.soft_loss(), _tie_relative())


def _path() -> Iterator[Evidence]:
    """With u = θ − θ_ref every x is u_w − u_l: slope, start and hence every iterate in u agree."""
    uw, ul, pw, pl, lse, lse_ref, q = real("u_w u_l p_w p_l lse lse_ref q")
    delta = (uw + pw - lse) - (ul + pl - lse)
    delta_ref = (pw - lse_ref) - (pl - lse_ref)
    slope = sp.diff(formulas.pair_loss(SYMPY, delta, delta_ref, positive("beta"), q), uw)
    names = (pw, pl, lse, lse_ref)
    step = "slope-free-of-reference"
    yield prove_independent(step, "dL/du is free of pi_ref and of both normalisers", slope, *names)
    yield prove_zero(
        "start-at-zero",
        "u = 0 gives x = 0 whatever pi_ref",
        (delta - delta_ref).subs({uw: 0, ul: 0}),
    )
    yield lemmas.conserved_logits()
    problems = samples.connected(6)
    yield samples.asserted("gradient descent has the same x", problems, _same_path)
    problems = samples.acyclic(6)
    yield samples.asserted("ordered pairs, too", problems, _same_path)
    yield from (ties.soft_gradient(), ties.pair_gradient(), _tie_relative())


def _absolute() -> Iterator[Evidence]:
    """The pair with the lower loss is the one that is ranked wrongly."""
    signs = [TWO_PAIRS.sign_of_margin(k) for k in range(2)]
    signs.append(TWO_PAIRS.compare_loss(0, lambda: TWO_PAIRS.loss(1)))
    answer = None if None in signs else signs == [-1, 1, -1]
    data = TWO_PAIRS.data()
    low, high = data["loss"]
    yield Evidence(
        "counterexample",
        f"losses {low:.4f} < {high:.4f}, yet margins -log 2 < log 2 (two pairs of one policy)",
        outcome_of(answer),
        data=data,
    )
    yield recheck.rechecked("the package agrees", Fed.back(data).comparisons(data, [True, False]))
    yield ties.pair_loss()


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
        ),
    )
)
