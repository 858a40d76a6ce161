"""`different-objectives`: under violation DPO and RLHF optimise different objectives.

What it is that differs has three readings: the optima, the order of policies (in `policy_order`)
and whether the answer is aligned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from prefeq import bandit as bandits
from prefeq import margins, preferences, solvers
from prefeq.claims import gallery, lemmas, policy_order, recheck, samples, ties
from prefeq.claims.contradiction import counterexample
from prefeq.claims.evidence import Evidence
from prefeq.claims.implication import Equivalence
from prefeq.claims.instance import Instance, build
from prefeq.claims.registry import Claim, Reading, register

ORDERED = Equivalence(gallery.assumption, gallery.dpo_is_rlhf, gallery.acyclic, "ordered")
CONNECTED = Equivalence(gallery.assumption, gallery.dpo_is_rlhf, gallery.connected, "bradley-terry")
VIOLATED = Instance.of(
    "two responses, violated", reward=[1, 0], ref=["1/20", "19/20"], pairs=[(0, 1)]
)


def _ordered_if() -> Iterator[Evidence]:
    """Never minimal, so in particular not where some pair is violated (by contraposition)."""
    yield lemmas.acyclic_heights()
    yield from lemmas.ordered_slope()
    yield from ORDERED.decide("only-if")
    yield from (ties.pair_gradient(), ties.pair_loss())


def _ordered_only_if() -> Iterator[Evidence]:
    """An instance that A 3.1 holds on, and where the loss is not minimal at π* either."""
    yield from ORDERED.decide("if")
    yield from (ties.rlhf_margin(), ties.assumption(), ties.pair_gradient())


def _connected_if() -> Iterator[Evidence]:
    """An instance with DPO = RLHF on which A 3.1 fails."""
    yield from CONNECTED.decide("only-if")
    yield from _coincide()


def _connected_only_if() -> Iterator[Evidence]:
    yield from CONNECTED.decide("if")
    yield from _coincide()


def _coincide() -> Iterator[Evidence]:
    yield from lemmas.edge_minimiser()
    yield lemmas.rlhf_attains()
    yield lemmas.incidence_kernel()
    yield lemmas.normalisation()
    yield from (ties.rlhf_margin(), ties.assumption(), ties.soft_gradient(), ties.soft_minimiser())


def _connected_corrected() -> Iterator[Evidence]:
    yield from _coincide()
    problems = samples.connected(20)
    yield samples.asserted("DPO = RLHF, violated or not", problems, _same_policy)


def _same_policy(bandit: bandits.Bandit, prefs: preferences.Preferences) -> bool:
    dpo, rlhf = solvers.solve_dpo(bandit, prefs), solvers.solve_rlhf(bandit)
    return dpo.logp is not None and recheck.close(bandit.beta * dpo.logp, bandit.beta * rlhf.logp)


def aligned_alike(instance: Instance) -> Evidence:
    """Decide whether some pair is violated, and RLHF and DPO align the same pairs all the same."""
    deciders = (gallery.assumption, gallery.dpo_is_aligned)
    alone = [replace(instance, pairs=(pair,)) for pair in instance.pairs]
    found = [tuple(decide(pair) for decide in deciders) for pair in alone]
    data = {"instance": instance.to_data()}
    data |= {key: value for decide in deciders for key, value in decide(instance).numbers.items()}
    told: bool | None = None
    if not any(side.answer is None for pair in found for side in pair):
        same = all(rlhf.answer == dpo.answer for rlhf, dpo in found)
        told = same and not all(rlhf.answer for rlhf, _ in found)
    compared = [
        side.inequalities[0].replace("[0]", f"[{k}]")
        for k, pair in enumerate(found)
        for side in pair
        if side.inequalities
    ]
    worst = min(zip(data["rlhf_margin"], data["dpo_margin"], strict=True))
    return counterexample(
        f"violated, and both align the same pairs: delta* = {worst[0]:.4f} is RLHF's margin, "
        f"{worst[1]:.4f} that of DPO's minimisers",
        data,
        dict.fromkeys(compared, told),
    )


def _alignment() -> Iterator[Evidence]:
    """δ* ≤ 0 is the violation, and δ* is the margin of RLHF and of DPO's minimisers alike."""
    found = aligned_alike(VIOLATED.labelled("bradley-terry"))
    yield found
    yield from lemmas.edge_minimiser()
    yield lemmas.rlhf_attains()
    yield lemmas.rlhf_margin_identity()

    def comparisons() -> Iterator[recheck.Comparison]:
        bandit, prefs = build(dict(found.data)["instance"])
        star = solvers.solve_rlhf(bandit).margin(prefs)
        yield "delta*", recheck.close(star, found.data["rlhf_margin"])
        gap = prefs.reward_gap(bandit)
        holds = margins.assumption_holds(prefs.ref_margin(bandit), gap, bandit.beta)
        yield "violated", not bool(np.all(holds))
        dpo = solvers.solve_dpo(bandit, prefs).margin(prefs)
        yield "DPO's margin", recheck.close(dpo, found.data["dpo_margin"])
        yield "they align the same pairs", bool(np.all((dpo > 0) == (star > 0)))

    yield recheck.rechecked("the solvers agree", comparisons())
    yield from (ties.rlhf_margin(), ties.assumption(), ties.soft_minimiser())


def _together() -> Iterator[Evidence]:
    yield from lemmas.edge_minimiser()
    yield lemmas.rlhf_attains()
    yield lemmas.rlhf_margin_identity()
    problems = samples.acyclic(20, labels="bradley-terry")
    yield samples.asserted("DPO's margins are RLHF's", problems, _same_margins)
    yield from (ties.soft_gradient(), ties.soft_minimiser(), ties.rlhf_margin())


def _same_margins(bandit: bandits.Bandit, prefs: preferences.Preferences) -> bool:
    dpo, rlhf = solvers.solve_dpo(bandit, prefs), solvers.solve_rlhf(bandit)
    return recheck.close(bandit.beta * dpo.margin(prefs), bandit.beta * rlhf.margin(prefs))


def _other_way_round() -> Iterator[Evidence]:
    """Descent aligns every pair, and RLHF every pair iff none is violated: δ* is its margin."""
    yield lemmas.rlhf_margin_identity()
    yield from lemmas.descent_aligns()
    yield recheck.rechecked("descent aligns what RLHF does not", _descents())
    yield from (ties.pair_loss(), ties.pair_gradient(), ties.rlhf_margin())


def _descents() -> Iterator[recheck.Comparison]:
    for instance in gallery.in_scope(gallery.acyclic, "ordered"):
        bandit, prefs = build(instance.to_data())
        run = solvers.solve_dpo(bandit, prefs, method="gradient-descent", max_steps=1500)
        yield f"{instance.name}: DPO is aligned", bool(np.all(run.margin(prefs) > 0))
        star = solvers.solve_rlhf(bandit).margin(prefs)
        held = gallery.assumption(instance).answer
        yield f"{instance.name}: RLHF iff not violated", bool(np.all(star > 0)) == held


_VIOLATED = "delta* <= 0 on some pair"
_ACYCLIC = "ordered pairs (q = 1) without a directed cycle, any K, beta > 0"
_POPULATION = "Bradley-Terry population labels q = sigma(gap), any K, beta > 0"
_CONNECTED = f"{_POPULATION}; connected comparison graph"
_APART = "the RLHF optimum is not the one minimiser of the DPO loss"
_NOT_MINIMAL = "the DPO loss is not minimal at the RLHF optimum"
_OTHER_PAIRS = "the RLHF optimum and the minimisers of the DPO loss align different sets of pairs"
_EDGE = ("edge-minimiser", "rlhf-attains")
_SAME = (*_EDGE, "incidence-kernel", "normalisation")

register(
    Claim(
        id="different-objectives",
        title="under violation DPO and RLHF optimise different objectives",
        source="arXiv:2605.20834, the consequences of violating Assumption 3.1",
        provenance="secondary",
        readings=(
            Reading(
                "argmins-ordered",
                f"{_VIOLATED} => {_NOT_MINIMAL}",
                _ACYCLIC,
                _ordered_if,
                "if",
                proof=("acyclic-heights", "ordered-slope"),
            ),
            Reading(
                "argmins-ordered",
                f"{_NOT_MINIMAL} => {_VIOLATED}",
                _ACYCLIC,
                _ordered_only_if,
                "only-if",
            ),
            Reading(
                "argmins-ordered-corrected",
                "violated or not, the DPO loss is minimal at no full-support policy: its infimum "
                "is not attained",
                _ACYCLIC,
                _ordered_if,
                proof=("acyclic-heights", "ordered-slope"),
                corrects="argmins-ordered (only-if)",
            ),
            Reading(
                "argmins-bradley-terry",
                f"{_VIOLATED} => {_APART}",
                _CONNECTED,
                _connected_if,
                "if",
                lemmas=_SAME,
            ),
            Reading(
                "argmins-bradley-terry",
                f"{_APART} => {_VIOLATED}",
                f"{_CONNECTED}: they never differ",
                _connected_only_if,
                "only-if",
                never=_SAME,
            ),
            Reading(
                "argmins-bradley-terry-corrected",
                "violated or not, the RLHF optimum is the one minimiser of the DPO loss",
                _CONNECTED,
                _connected_corrected,
                proof=_SAME,
                corrects="argmins-bradley-terry (if)",
            ),
            *policy_order.READINGS,
            Reading(
                "alignment",
                f"{_VIOLATED} => {_OTHER_PAIRS}",
                f"{_POPULATION}; any comparison graph",
                _alignment,
                lemmas=(*_EDGE, "margin-identity"),
            ),
            Reading(
                "alignment-corrected",
                "violated or not, they align the same pairs: every minimiser of the DPO loss has "
                "the RLHF optimum's margin delta* on every pair",
                f"{_POPULATION}; any comparison graph",
                _together,
                proof=(*_EDGE, "margin-identity"),
                corrects="alignment",
            ),
            Reading(
                "alignment-ordered",
                f"{_VIOLATED} <=> the RLHF optimum and gradient descent on DPO (there is no "
                "minimiser) in the end align different sets of pairs: descent all of them, after "
                "finitely many steps and for good, RLHF those with delta* > 0 alone",
                f"{_ACYCLIC}, softmax logits, a constant step of at most 1/Lipschitz",
                _other_way_round,
                proof=(
                    "margin-identity",
                    "descent-converges",
                    "acyclic-heights",
                    "ordered-slope",
                    "ordered-limit",
                    "loss-decreases",
                    "loss-at-zero",
                ),
            ),
        ),
    )
)
