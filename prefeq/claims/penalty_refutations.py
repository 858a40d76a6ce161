"""What contradicts the printed statements about Eq. 10: each function decides one on an instance.

They return the evidence of a counterexample, which holds iff the instance is one. An instance out
of a statement's scope is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from prefeq.claims import stationary
from prefeq.claims.ball import ball
from prefeq.claims.contradiction import counterexample
from prefeq.claims.evidence import Evidence
from prefeq.claims.gallery import acyclic, numbers_of
from prefeq.claims.instance import Instance
from prefeq.claims.penalty_cases import Answer, PenaltyCase, decided


def harmless(case: PenaltyCase, why: str) -> Evidence:
    """Return the evidence that the case does not contradict a statement."""
    return counterexample(why, case.chosen(), {"gamma < 0": False})


def is_chain(instance: Instance) -> bool:
    """Tell whether the pairs are a ≻ b, b ≻ c and so on, through all responses."""
    tops = {winner for winner, _ in instance.pairs} - {loser for _, loser in instance.pairs}
    follows = dict(instance.pairs)
    return (
        len(instance.pairs) == len(follows) == instance.size - 1
        and len({loser for _, loser in instance.pairs}) == len(instance.pairs)
        and len(tops) == 1
        and acyclic(instance)
    )


def stationarity_per_pair(case: PenaltyCase) -> Evidence:
    """At the local maximum some βx is not Δr + γm(1/π(w) + 1/π(l)), by far or by little."""
    if case.point is None:
        return harmless(case, "no certified local maximum")
    gaps = [numbers_of(lambda k=k: list(case.gaps(k))) for k in case.pairs]  # type: ignore[misc]
    k = max(case.pairs, key=lambda k: abs(gaps[k][1] - gaps[k][0]))
    above = gaps[k][1] > gaps[k][0]
    differs = decided(lambda: case.gaps(k)[1] - case.gaps(k)[0], 1 if above else -1)
    data = {
        **case.data(),
        "implicit_gap": [real for real, _ in gaps],
        "printed_gap": [printed for _, printed in gaps],
    }
    words = (
        f"gamma = {case.gamma}: pair {k} has beta x = {gaps[k][0]:.6g} at a local maximum, where "
        f"gap + gamma m (1/pi(w) + 1/pi(l)) = {gaps[k][1]:.6g}"
    )
    relation = f"printed_gap[{k}] {'>' if above else '<'} implicit_gap[{k}]"
    return counterexample(words, data, {"upward_directions == 0": True, relation: differs})


def beyond_fold(case: PenaltyCase) -> Evidence:
    """Two responses: γ ≥ γ*, and above γ_fold, where nothing is stationary."""
    if not case.two_responses():
        return harmless(case, "not two responses and one pair")
    data = {
        **case.chosen(),
        "rlhf_margin": case.stars(),
        "critical_gamma": case.critical_gammas(),
        "fold_gamma": numbers_of(lambda: [case.fold()[1]]),
    }
    words = (
        f"gamma = {case.gamma} >= gamma* = {data['critical_gamma'][0]:.5g}, but the last "
        f"stationary point is at gamma = {data['fold_gamma'][0]:.5g}"
    )
    return counterexample(
        words,
        data,
        {
            "rlhf_margin[0] < 0": decided(lambda: case.star(0), -1),
            "gamma > critical_gamma[0]": case.exceeds_critical(0),
            "gamma > fold_gamma[0]": decided(lambda: ball(case.gamma) - case.fold()[1], 1),
        },
    )


def eq17_margin(case: PenaltyCase, *, sign: bool) -> Evidence:
    """Two responses: Eq. 17's margin is not that of the local maximum, or not of its sign."""
    if not case.two_responses() or case.point is None:
        return harmless(case, "not two responses and one pair with a certified local maximum")
    data = {**case.data(), "eq17_margin": numbers_of(lambda: [case.eq17_margin()])}
    surrogate, real = data["eq17_margin"][0], data["stationary_margin"][0]
    words = f"gamma = {case.gamma}: Eq. 17 says {surrogate:.4f}, the local maximum is {real:.4f}"
    inequalities: dict[str, Answer] = {"upward_directions == 0": True}
    if sign:
        inequalities["eq17_margin[0] > 0"] = decided(case.eq17_margin, 1)
        inequalities["stationary_margin[0] < 0"] = case.sign(0, -1)
    else:
        above = surrogate > real
        inequalities[f"eq17_margin[0] {'>' if above else '<'} stationary_margin[0]"] = decided(
            lambda: case.eq17_margin() - case.margin(0), 1 if above else -1
        )
    return counterexample(words, data, inequalities)


def tied_at_critical(case: PenaltyCase) -> Evidence:
    """Two responses that the reference does not tell apart: at γ = γ*, rational, δ is exactly 0."""
    instance = case.instance
    if not case.two_responses() or instance.ref_ratio(0) != 1 or instance.gap(0) >= 0:
        return harmless(case, "gamma* is not rational and positive")
    critical = -instance.gap(0) / 4
    data = {
        **case.chosen(),
        "rlhf_margin": case.stars(),
        "exact_critical_gamma": str(critical),
        "stationary_probs": [0.5, 0.5],
        "stationary_margin": [0.0],
        "upward_directions": 0,
    }
    words = (
        f"gamma = gamma* = {critical}: the local maximum is pi = (1/2, 1/2), delta = 0 (the gap is "
        "negative, as it must be for an equal reference, without which gamma* is irrational)"
    )
    # slope: −βδ* + ... = Δr + 4γ = 0 at δ = 0, and g rises there: δ* < 0 < d
    return counterexample(
        words,
        data,
        {
            "gamma == exact_critical_gamma": case.gamma == critical,
            "stationary_margin[0] == 0": case.gamma == critical,
            "upward_directions == 0": True,
        },
    )


def no_common_gamma(first: Instance, second: Instance) -> Evidence:
    """Two prompts: the first one's local maximum is gone before the second is aligned."""
    cases = PenaltyCase(first, Fraction(0)), PenaltyCase(second, Fraction(0))
    other = {
        "other_reward": [str(r) for r in second.reward],
        "other_ref": [str(p) for p in second.ref],
    }
    data: dict[str, Any] = {"instance": first.to_data(), "inputs": other}
    alike = first.beta == second.beta and first.pairs == second.pairs
    if not alike or not all(case.two_responses() for case in cases):
        return counterexample("not two prompts of one kind", data, {"0 > 1": False})
    data["rlhf_margin"] = numbers_of(lambda: [case.star(0) for case in cases])[:1]
    data["critical_gamma"] = numbers_of(lambda: [case.critical_gamma() for case in cases])
    data["fold_gamma"] = numbers_of(lambda: [case.fold()[1] for case in cases])
    words = (
        f"the first prompt keeps its local maximum below gamma = {data['fold_gamma'][0]:.4f}, the "
        f"second is aligned from {data['critical_gamma'][1]:.4f} on"
    )
    apart = decided(lambda: cases[1].critical_gamma() - cases[0].fold()[1], 1)
    return counterexample(words, data, {"fold_gamma[0] < critical_gamma[1]": apart})


def misaligned_beyond_critical(case: PenaltyCase) -> Evidence:
    """γ ≥ max −βδ*/(4m), and yet δ < 0 on a pair at a certified local maximum."""
    if case.point is None or not acyclic(case.instance):
        return harmless(case, "no certified local maximum, or a cycle")
    data = case.data()
    data["critical_gamma"] = case.critical_gammas()
    worst = min(case.pairs, key=data["stationary_margin"].__getitem__)
    inequalities: dict[str, Answer] = {
        f"gamma > critical_gamma[{k}]": case.exceeds_critical(k) for k in case.pairs
    }
    inequalities[f"stationary_margin[{worst}] < 0"] = case.sign(worst, -1)
    inequalities["upward_directions == 0"] = True
    words = (
        f"gamma = {case.gamma} > max gamma* = {max(data['critical_gamma']):.4f}, yet delta = "
        f"{data['stationary_margin'][worst]:.4f} on pair {worst} at a local maximum"
    )
    return counterexample(words, data, inequalities)


def idle_pair(instance: Instance) -> Evidence:
    """A violated pair of an acyclic order whose two responses have net degree zero: no γ helps."""
    case = PenaltyCase(instance, Fraction(0))
    degrees = stationary.net_degrees(instance)
    data: dict[str, Any] = {
        "instance": instance.to_data(),
        "rlhf_margin": case.stars(),
        "net_degree": [str(d) for d in degrees],
    }
    idle = [k for k in case.pairs if not any(degrees[y] for y in instance.pairs[k])]
    if not idle or not acyclic(instance):
        return counterexample("no pair is idle, or a cycle", data, {"0 > 1": False})
    k = min(idle, key=data["rlhf_margin"].__getitem__)
    winner, loser = instance.pairs[k]
    words = (
        f"responses {winner} and {loser} have net degree 0, so delta = delta* = "
        f"{data['rlhf_margin'][k]:.4g} on pair {k} at every stationary point, for every gamma"
    )
    zero: Mapping[str, Answer] = {f"net_degree[{y}] == 0": True for y in (winner, loser)}
    below = instance.sign_of_optimal_margin(k)
    negative = None if below is None else below < 0
    return counterexample(words, data, {f"rlhf_margin[{k}] < 0": negative, **zero})


def falling_margin(case: PenaltyCase) -> Evidence:
    """A margin that falls as γ rises from 0 and is lower at the local maximum for γ."""
    if case.point is None:
        return harmless(case, "no certified local maximum")
    data = case.data()
    data["initial_slope"] = numbers_of(lambda: [initial_slope(case, k) for k in case.pairs])
    moved = [b - a for a, b in zip(data["rlhf_margin"], data["stationary_margin"], strict=True)]
    k = min(case.pairs, key=lambda k: max(moved[k], data["initial_slope"][k]))
    words = (
        f"pair {k}: delta = {data['rlhf_margin'][k]:.4f} at gamma = 0, falling by "
        f"{-data['initial_slope'][k]:.4g} a unit of gamma, and "
        f"{data['stationary_margin'][k]:.4f} at gamma = {case.gamma}"
    )
    return counterexample(
        words,
        data,
        {
            f"initial_slope[{k}] < 0": decided(lambda: initial_slope(case, k), -1),
            f"stationary_margin[{k}] < rlhf_margin[{k}]": decided(
                lambda: case.margin(k) - case.star(k), -1
            ),
            "upward_directions == 0": True,
        },
    )


def initial_slope(case: PenaltyCase, k: int) -> Any:
    """Enclose dδ/dγ of pair k at γ = 0, (d(w)/π*(w) − d(l)/π*(l))/β."""
    degrees, logp = stationary.net_degrees(case.instance), case.instance.rlhf_logp()
    winner, loser = case.instance.pairs[k]
    pull = ball(degrees[winner]) / logp[winner].exp() - ball(degrees[loser]) / logp[loser].exp()
    return pull / ball(case.instance.beta)
