"""`equivalence`: "DPO and RLHF are equivalent iff δ_ref > −Δr/β for every pair".

Five readings, each a theorem or not: what the labels are, and what is said to be equivalent.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from prefeq import bandit as bandits
from prefeq import preferences, solvers
from prefeq.claims import (
    component_means,
    exact_graphs,
    formulas,
    gallery,
    lemmas,
    recheck,
    samples,
    ties,
)
from prefeq.claims.ball import BALL, strictly_positive
from prefeq.claims.evidence import Evidence
from prefeq.claims.implication import Equivalence
from prefeq.claims.registry import Check, Claim, Part, Reading, register

ORDERED = Equivalence(gallery.assumption, gallery.dpo_is_rlhf, gallery.acyclic, "ordered")
CYCLIC = Equivalence(
    gallery.assumption, gallery.dpo_is_rlhf, lambda i: not gallery.acyclic(i), "ordered"
)
CONNECTED = Equivalence(gallery.assumption, gallery.dpo_is_rlhf, gallery.connected, "bradley-terry")
DISCONNECTED = Equivalence(
    gallery.assumption, gallery.dpo_is_rlhf, lambda i: not gallery.connected(i), "bradley-terry"
)
ALIGNMENT = Equivalence(gallery.assumption, gallery.dpo_is_aligned, lambda i: True, "bradley-terry")
CONSTRAINED = Equivalence(
    gallery.weak_assumption, gallery.cpo_is_rlhf, lambda i: True, "bradley-terry"
)


def _ordered_if() -> Iterator[Evidence]:
    yield from ORDERED.decide("if")
    yield strictly_positive(
        "one pair with gap = beta = 1, delta_ref = 0: L(1) - L(2) > 0, and RLHF is at delta = 1",
        lambda: formulas.pair_loss(BALL, 1, 0, 1) - formulas.pair_loss(BALL, 2, 0, 1),
        data={
            "inputs": {
                "expression": "softplus(-beta*(delta[0] - delta_ref))"
                " - softplus(-beta*(delta[1] - delta_ref))",
                "delta": [1, 2],
                "delta_ref": 0,
                "beta": 1,
            }
        },
    )
    yield from (ties.rlhf_margin(), ties.assumption(), ties.pair_gradient(), ties.pair_loss())


def _ordered_only_if() -> Iterator[Evidence]:
    yield lemmas.acyclic_heights()
    yield from lemmas.ordered_slope()
    yield ORDERED.never("only-if")
    yield from ORDERED.decide("only-if")
    yield ties.pair_gradient()
    yield samples.asserted("DPO diverges", samples.acyclic(20), _diverges)


def _cyclic_if() -> Iterator[Evidence]:
    yield lemmas.rlhf_margin_identity()
    yield lemmas.cycle_sum()
    yield CYCLIC.never("if")
    yield from CYCLIC.decide("if")
    yield from (ties.rlhf_margin(), ties.assumption())


def _cyclic_only_if() -> Iterator[Evidence]:
    yield from CYCLIC.decide("only-if")
    yield from lemmas.convex_and_smooth()
    yield from (ties.rlhf_margin(), ties.assumption(), ties.pair_gradient())


def _connected_if() -> Iterator[Evidence]:
    yield from lemmas.edge_minimiser()
    yield lemmas.rlhf_attains()
    yield lemmas.incidence_kernel()
    yield lemmas.normalisation()
    yield from CONNECTED.decide("if")
    yield from (ties.soft_loss(), ties.soft_gradient(), ties.soft_minimiser())
    yield _components_agree()
    yield samples.asserted("DPO = RLHF", samples.connected(30), _same_policy)


def _connected_only_if() -> Iterator[Evidence]:
    yield from CONNECTED.decide("only-if")
    yield from lemmas.edge_minimiser()
    yield lemmas.rlhf_attains()
    yield lemmas.incidence_kernel()
    yield from (ties.rlhf_margin(), ties.assumption(), ties.soft_gradient())


def _disconnected(part: Part) -> Iterator[Evidence]:
    yield from DISCONNECTED.decide(part)
    yield from lemmas.edge_minimiser()
    yield lemmas.rlhf_attains()
    yield lemmas.incidence_kernel()
    yield lemmas.conserved_logits()
    yield from lemmas.convex_and_smooth()
    yield from (ties.rlhf_margin(), ties.assumption(), ties.soft_gradient())
    yield _components_agree()


def _alignment(part: Part) -> Iterator[Evidence]:
    yield from lemmas.edge_minimiser()
    yield lemmas.rlhf_attains()
    yield lemmas.rlhf_margin_identity()
    yield from ALIGNMENT.decide(part)
    yield from (ties.rlhf_margin(), ties.assumption(), ties.soft_minimiser())
    problems = samples.acyclic(20, labels="bradley-terry")
    yield samples.asserted("DPO's margins are delta*", problems, _same_margins)


def _constrained(part: Part) -> Iterator[Evidence]:
    yield lemmas.rlhf_margin_identity()
    yield lemmas.linear_constraint()
    yield lemmas.rlhf_closed_form()
    yield from lemmas.gibbs_inequality()
    yield from CONSTRAINED.decide(part)
    yield from (ties.rlhf_margin(), ties.weak_assumption())
    yield samples.asserted("CPO(0) = RLHF iff delta* >= 0", samples.acyclic(30), _cpo_iff)


def _components_agree() -> Evidence:
    """Compare the package's components with the exact ones on every graph up to K = 4."""

    def comparisons() -> Iterator[recheck.Comparison]:
        for size in (2, 3, 4):
            bandit = bandits.Bandit(np.zeros(size), np.zeros(size), 1.0)
            for edges in exact_graphs.graphs(size):
                pairs = np.array(edges, dtype=np.int64).reshape(-1, 2)
                prefs = preferences.Preferences(pairs[:, 0], pairs[:, 1])
                want = exact_graphs.components(size, edges)
                got = prefs.components(bandit)
                yield f"components of {edges}", tuple(got.tolist()) == want
                yield f"connected {edges}", bool(prefs.is_connected(bandit)) == (max(want) == 0)

    return recheck.rechecked("the package's components agree with exact ones", comparisons())


def _diverges(bandit: bandits.Bandit, prefs: preferences.Preferences) -> bool:
    dpo = solvers.solve_dpo(bandit, prefs)
    rise = dpo.direction[prefs.winner] - dpo.direction[prefs.loser]
    return dpo.logp is None and bool(np.all(rise >= 1 - 1e-9))


def _same_policy(bandit: bandits.Bandit, prefs: preferences.Preferences) -> bool:
    dpo, rlhf = solvers.solve_dpo(bandit, prefs), solvers.solve_rlhf(bandit)
    return dpo.logp is not None and recheck.close(bandit.beta * dpo.logp, bandit.beta * rlhf.logp)


def _same_margins(bandit: bandits.Bandit, prefs: preferences.Preferences) -> bool:
    dpo, rlhf = solvers.solve_dpo(bandit, prefs), solvers.solve_rlhf(bandit)
    return recheck.close(bandit.beta * dpo.margin(prefs), bandit.beta * rlhf.margin(prefs))


def _cpo_iff(bandit: bandits.Bandit, prefs: preferences.Preferences) -> bool:
    rlhf, cpo = solvers.solve_rlhf(bandit), solvers.solve_cpo(bandit, prefs, margin=0.0)
    optimal = rlhf.margin(prefs)
    same = recheck.close(cpo.logp, rlhf.logp)
    return bool(np.all(optimal >= 0)) == same or bool(np.min(np.abs(optimal)) < 1e-6)


_CONDITION = "delta_ref > -gap/beta on every pair"
_POPULATION = (
    "Bradley-Terry population labels q = sigma(gap), any K, rewards and full-support reference, "
    "beta > 0"
)
_ANSWER = "DPO's answer (the limit of gradient descent from pi_ref) is the RLHF optimum"
_ORDERED = "the DPO loss is minimal at the RLHF optimum"
_CONNECTED = "the RLHF optimum is the one minimiser of the DPO loss"
_ALIGNED = "every minimiser of the DPO loss has delta > 0 on every pair"
_WEAK = "delta_ref >= -gap/beta on every pair"
_CPO = "CPO(0), the RLHF program with delta >= 0 as constraints, has the RLHF optimum"


def _pair(
    name: str,
    condition: str,
    conclusion: str,
    scope: str,
    checks: tuple[Check, Check],
    proof: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
    lemmas: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
    never: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
    corrects: tuple[str | tuple[()], str | tuple[()]] = ((), ()),
) -> tuple[Reading, Reading]:
    """Make the readings "condition => conclusion" and its converse; tuples are (if, only-if)."""
    forward, converse = f"{condition} => {conclusion}", f"{conclusion} => {condition}"
    return (
        Reading(name, forward, scope, checks[0], "if", proof[0], lemmas[0], never[0], corrects[0]),
        Reading(
            name, converse, scope, checks[1], "only-if", proof[1], lemmas[1], never[1], corrects[1]
        ),
    )


_EDGE = ("edge-minimiser", "rlhf-attains")
_FEASIBLE = ("margin-identity", "linear-constraint")
_DESCENT = (*_EDGE, "incidence-kernel", "conserved-logits", "descent-converges")

register(
    Claim(
        id="equivalence",
        title="DPO and RLHF are equivalent iff delta_ref > -gap/beta for every pair",
        source="arXiv:2605.20834, the conditional equivalence theorem",
        provenance="secondary",
        readings=(
            *_pair(
                "ordered-pair",
                _CONDITION,
                _ORDERED,
                "ordered pairs (q = 1), one or more, without a directed cycle, any K, beta > 0: no "
                "finite policy minimises the loss, so the two never coincide",
                (_ordered_if, _ordered_only_if),
                never=((), ("acyclic-heights", "ordered-slope")),
            ),
            *_pair(
                "ordered-pair-with-cycles",
                _CONDITION,
                _ANSWER,
                "ordered pairs (q = 1) with a directed cycle, any K, beta > 0: margins around a "
                "cycle sum to zero, so the condition never holds",
                (_cyclic_if, _cyclic_only_if),
                lemmas=((), ("descent-converges",)),
                never=(("margin-identity", "cycle-sum"), ()),
            ),
            *_pair(
                "bradley-terry-connected",
                _CONDITION,
                _CONNECTED,
                f"{_POPULATION}; connected comparison graph (there it is so with the condition or "
                "without)",
                (_connected_if, _connected_only_if),
                proof=((*_EDGE, "incidence-kernel", "normalisation"), ()),
                lemmas=((), (*_EDGE, "incidence-kernel")),
                corrects=("bradley-terry-connected (only-if)", ()),
            ),
            *_pair(
                "bradley-terry-disconnected",
                _CONDITION,
                _ANSWER,
                f"{_POPULATION}; comparison graph with several components: the loss has many "
                "minimisers, descent finds one",
                (partial(_disconnected, "if"), partial(_disconnected, "only-if")),
                lemmas=(_DESCENT, _DESCENT),
            ),
            *_pair(
                "alignment",
                _CONDITION,
                _ALIGNED,
                f"{_POPULATION}; any comparison graph",
                (partial(_alignment, "if"), partial(_alignment, "only-if")),
                proof=((*_EDGE, "margin-identity"), (*_EDGE, "margin-identity")),
            ),
            *_pair(
                "constrained",
                _WEAK,
                _CPO,
                "the weak form of the condition; any pairs, rewards and full-support reference, "
                "any K, beta > 0",
                (partial(_constrained, "if"), partial(_constrained, "only-if")),
                proof=((*_FEASIBLE, "gibbs-identity", "gibbs-inequality"), _FEASIBLE),
                corrects=("ordered-pair (if)", "ordered-pair-with-cycles (only-if)"),
            ),
            *component_means.READINGS,
        ),
    )
)
