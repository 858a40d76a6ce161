"""How the readings of `different-objectives` are attacked; those about order are in `_orders`."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from prefeq import losses, margins, solvers
from prefeq.claims import different_objectives, exact_graphs, formulas, gallery
from prefeq.claims.ball import BALL, ball
from prefeq.claims.evidence import Evidence
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Falsifier, Source
from prefeq.counterexamples.falsifiers import _common as common
from prefeq.counterexamples.falsifiers import _numbers as numbers
from prefeq.counterexamples.falsifiers import _orders, equivalence, pathological_convergence


def _draw_with_policy(source: Source) -> Case:
    made = draws.instance(source, labels="ordered", max_responses=4, shapes=draws.ACYCLIC)
    return Case(instance=made, policies={"pi": common.draw_policy(source, made)})


def _minimal(case: Case) -> float:
    """Measure how far from falling the loss is along the heights of the order, at any policy."""
    made = common.instance_of(case)
    if made.labels != "ordered" or not common.acyclic(made):
        return common.OUTSIDE
    heights = np.array(exact_graphs.heights(made.size, made.pairs))
    winner, loser = np.array(made.pairs).T
    delta = common.margins_of(made, case.policies["pi"])
    ref, beta = common.margins_of(made, made.ref), float(made.beta)
    slope = losses.DPO.gradient(delta, ref, beta) / beta
    return float(np.mean(slope * (heights[winner] - heights[loser])))


def _certify_minimal(case: Case) -> Evidence:
    made = common.policy_case(case)
    instance = made.instance
    heights = exact_graphs.heights(instance.size, instance.pairs)
    if instance.labels != "ordered" or heights is None:
        return common.harmless(case, "not an acyclic order")

    def slope() -> Any:
        beta = ball(instance.beta)
        terms = [
            formulas.pair_gradient(BALL, made.margin(k), instance.delta_ref(k), beta)
            * (heights[w] - heights[lo])
            for k, (w, lo) in enumerate(instance.pairs)
        ]
        return sum(terms[1:], terms[0])

    return numbers.broken(case, "the loss falls along the heights", [], slope)


def _draw(labels: Any, shapes: Any, source: Source) -> Case:
    return Case(instance=draws.instance(source, labels=labels, max_responses=4, shapes=shapes))


def _apart(case: Case) -> float:
    """Measure how far DPO's answer is from the RLHF optimum on a connected graph."""
    made = common.instance_of(case)
    soft = made.labels == "bradley-terry" and gallery.connected(made)
    if not soft or not common.in_range(made):
        return common.OUTSIDE
    bandit, prefs = common.problem(made)
    dpo, best = solvers.solve_dpo(bandit, prefs).logp, solvers.solve_rlhf(bandit).logp
    return common.distance(dpo, best) - max(common.CLOSE, common.ROUNDING / float(made.beta))


def _certify_apart(case: Case) -> Evidence:
    made = common.instance_of(case)
    if made.labels != "bradley-terry" or not gallery.connected(made):
        return common.harmless(case, "not a connected graph of soft labels")
    same = gallery.dpo_is_rlhf(made).answer
    return common.harmless(case, "DPO = RLHF", None if same is None else not same)


def _alike(case: Case) -> float:
    """Return how far RLHF is misaligned on its worst pair, if DPO aligns the same ones."""
    made = common.instance_of(case)
    if made.labels != "bradley-terry":
        return common.OUTSIDE
    delta_ref, gap, beta = common.margins_of(made, made.ref), common.gaps(made), float(made.beta)
    star = np.asarray(margins.optimal_margin(delta_ref, gap, beta))
    dpo = np.asarray(losses.DPO.minimiser(delta_ref, beta, gap))
    apart = np.max(np.minimum(np.abs(star), np.abs(dpo)) * ((star > 0) != (dpo > 0)))
    rounding = common.ROUNDING * float(np.max(np.abs(delta_ref) + np.abs(gap) / beta))
    return float(-apart if apart > rounding else -np.min(star))


def _certify_alike(case: Case) -> Evidence:
    made = common.instance_of(case)
    if made.labels != "bradley-terry":
        return common.harmless(case, "not soft labels")
    return different_objectives.aligned_alike(made)


def _margins_apart(case: Case) -> float:
    """Measure how far the margins of DPO's answer are from δ*, in units of reward."""
    made = common.instance_of(case)
    if made.labels != "bradley-terry" or not common.in_range(made):
        return common.OUTSIDE
    bandit, prefs = common.problem(made)
    dpo = solvers.solve_dpo(bandit, prefs)
    star = solvers.solve_rlhf(bandit).margin(prefs)
    size = 1 + float(np.max(np.abs(dpo.logp))) + float(np.max(np.abs(star)))
    rounding = max(common.CLOSE, common.ROUNDING / float(made.beta)) * size
    return float(np.max(np.abs(dpo.margin(prefs) - star))) - rounding


def _certify_margins_apart(case: Case) -> Evidence:
    """Decide whether the margins δ* are not stationary for some pair: σ(βx) ≠ q."""
    made = common.instance_of(case)
    if made.labels != "bradley-terry":
        return common.harmless(case, "not soft labels")

    def slope(k: int) -> Any:
        gap, beta, ref = ball(made.gap(k)), ball(made.beta), made.delta_ref(k)
        star = formulas.rlhf_margin(ref, gap, beta)
        return formulas.pair_gradient(BALL, star, ref, beta, formulas.sigmoid(BALL, gap))

    every = [(partial(slope, k), lambda: ball(0)) for k in range(len(made.pairs))]
    return common.harmless(case, "every pair is stationary at delta*", common.differ(*every))


_EQUIVALENCE = equivalence.FALSIFIERS

FALSIFIERS: dict[str, Falsifier] = {
    # Each is the contrapositive of a reading there.
    "argmins-ordered (if)": _EQUIVALENCE["ordered-pair (only-if)"],
    "argmins-ordered (only-if)": _EQUIVALENCE["ordered-pair (if)"],
    "argmins-ordered-corrected": Falsifier(_draw_with_policy, _minimal, _certify_minimal),
    "argmins-bradley-terry (if)": _EQUIVALENCE["bradley-terry-connected (only-if)"],
    "argmins-bradley-terry (only-if)": _EQUIVALENCE["bradley-terry-connected (if)"],
    "argmins-bradley-terry-corrected": Falsifier(
        partial(_draw, "bradley-terry", draws.CONNECTED), _apart, _certify_apart
    ),
    **_orders.FALSIFIERS,
    "alignment": Falsifier(
        partial(_draw, "bradley-terry", draws.SHAPES),
        _alike,
        _certify_alike,
    ),
    "alignment-corrected": Falsifier(
        partial(_draw, "bradley-terry", draws.SHAPES), _margins_apart, _certify_margins_apart
    ),
    # Both directions follow from it: RLHF aligns every pair iff none is violated.
    "alignment-ordered": pathological_convergence.FALSIFIERS["ordered-acyclic-transient"],
}
