"""How the readings of `assumption` are attacked: δ* = δ_ref + Δr/β and when it is positive."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from prefeq import margins, solvers
from prefeq.claims import formulas
from prefeq.claims.ball import BALL, ball, sign
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Instance
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Falsifier, Source
from prefeq.counterexamples.falsifiers import _common as common
from prefeq.solvers import rlhf


def _draw_identity(source: Source) -> Case:
    made = draws.instance(source, max_responses=4)
    return Case(instance=made, policies={"rival": common.draw_policy(source, made)})


def _identity(case: Case) -> float:
    """Measure how far solve_rlhf's margins are from δ*, and by how much a rival beats its value."""
    made = common.instance_of(case)
    if not common.in_range(made):
        return common.OUTSIDE
    bandit, prefs = common.problem(made)
    best = solvers.solve_rlhf(bandit)
    delta_ref, gap = common.margins_of(made, made.ref), common.gaps(made)
    star = margins.optimal_margin(delta_ref, gap, bandit.beta)
    size = 1.0 + float(np.max(np.abs(delta_ref) + np.abs(gap) / bandit.beta))
    error = float(np.max(np.abs(best.margin(prefs) - star))) / size
    rival = np.array(common.logs(case.policies["rival"]))
    worth = float(rlhf.objective(bandit, rival) - best.value)
    size = 1.0 + float(np.max(np.abs(bandit.reward)) + bandit.beta * np.max(np.abs(rival)))
    return max(error - common.CLOSE, worth / size - common.CLOSE)


def _certify_identity(case: Case) -> Evidence:
    made = common.instance_of(case)

    def margin(k: int) -> Any:
        winner, loser = made.pairs[k]
        logp = made.rlhf_logp()
        return logp[winner] - logp[loser]

    def star(k: int) -> Any:
        return formulas.rlhf_margin(made.delta_ref(k), ball(made.gap(k)), ball(made.beta))

    def worth() -> Any:
        terms = [
            ball(p) * (ball(r) - ball(made.beta) * ball(p / ref).log())
            for p, r, ref in zip(case.policies["rival"], made.reward, made.ref, strict=True)
        ]
        return sum(terms[1:], terms[0]) - made.rlhf_value()

    pairs = range(len(made.pairs))
    unequal = common.differ(*[(partial(margin, k), partial(star, k)) for k in pairs])
    better = sign(worth)[0] == 1
    return common.harmless(case, "margins of pi* = delta*, J(pi) <= J(pi*)", better or unequal)


def _draw_pair(source: Source) -> Case:
    return Case(instance=_at_boundary(source, common.draw_pair(source, "ordered", gap=False)))


def _at_boundary(source: Source, made: Instance) -> Instance:
    """Set the winner's reward, one time in two, to about where δ* changes its sign."""
    if source.integer(0, 1):
        return made
    winner, loser = made.pairs[0]
    ratio = common.logs([made.ref_ratio(0)])[0]
    critical = draws.near(source, made.beta * common.rational(-ratio))
    reward = list(made.reward)
    reward[winner] = reward[loser] + critical
    return Instance(made.name, tuple(reward), made.ref, made.beta, made.pairs, made.labels)


def _threshold(case: Case) -> float:
    """Measure how far δ*, δ_ref + Δr/β, Δr minus the critical gap and A 3.1 differ in sign."""
    delta_ref, gap, beta = common.pair_of(case)
    star = float(margins.optimal_margin(delta_ref, gap, beta))
    above = (gap - float(margins.critical_gap(delta_ref, beta))) / beta
    plain = delta_ref + gap / beta
    holds = abs(plain) if margins.assumption_holds(delta_ref, gap, beta) else -abs(plain)
    size = 1.0 + abs(delta_ref) + abs(gap / beta)
    return common.disagreement(star, above, plain, holds) - common.ROUNDING * size


def _certify_threshold(case: Case) -> Evidence:
    made = common.instance_of(case)

    def above() -> Any:
        critical = formulas.critical_gap(made.delta_ref(0), ball(made.beta))
        return ball(made.gap(0)) - critical

    tied = made.ref_ratio(0) == 1 and made.gap(0) == 0
    star, other = made.sign_of_optimal_margin(0), 0 if tied else sign(above)[0]
    answer = None if star is None or other is None else (star > 0) != (other > 0)
    return common.harmless(case, "delta* and gap - critical gap have one sign", answer)


def _labels(case: Case) -> float:
    """Measure how far A 3.1 and q > σ(−βδ_ref) differ."""
    delta_ref, gap, beta = common.pair_of(case)
    star = delta_ref + gap / beta
    signed = abs(star) if margins.assumption_holds(delta_ref, gap, beta) else -abs(star)
    critical = float(margins.critical_label_prob(delta_ref, beta))
    excess = float(margins.sigmoid(gap)) - critical
    size = 1.0 + abs(beta * delta_ref) + abs(gap)
    return common.disagreement(signed, excess) - common.ROUNDING * size


def _certify_labels(case: Case) -> Evidence:
    made = common.instance_of(case)

    def excess() -> Any:
        critical = formulas.critical_gap(made.delta_ref(0), ball(made.beta))
        return formulas.sigmoid(BALL, ball(made.gap(0))) - formulas.sigmoid(BALL, critical)

    tied = made.ref_ratio(0) == 1 and made.gap(0) == 0
    star, other = made.sign_of_optimal_margin(0), 0 if tied else sign(excess)[0]
    answer = None if star is None or other is None else (star > 0) != (other > 0)
    return common.harmless(case, "delta* and q - critical q have one sign", answer)


FALSIFIERS: dict[str, Falsifier] = {
    "identity": Falsifier(_draw_identity, _identity, _certify_identity),
    "threshold": Falsifier(_draw_pair, _threshold, _certify_threshold),
    "label-probability": Falsifier(_draw_pair, _labels, _certify_labels),
}
