"""Numbers of bandits and of policies on them, for every claim that shows an instance."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from mpmath import mp, mpf

from prefeq.bundle import bandits
from prefeq.bundle.expression import evaluate
from prefeq.bundle.registry import Item, Problem, number


def problem_of(item: Item) -> Problem:
    """Return the instance of an item that must have one."""
    if item.problem is None:
        raise ValueError("a number about an instance, but there is none")
    return item.problem


def policy_of(item: Item) -> list[Any]:
    """Return the log-policy of an item's inputs."""
    return [mp.log(bandits.real(p)) for p in item.inputs["policy"]]


@number("rlhf_margin")
def rlhf_margin(item: Item) -> list[Any]:
    """Return the margins of the maximiser of J."""
    problem = problem_of(item)
    return bandits.margins(problem, bandits.rlhf_logp(problem))


@number("rlhf_logp")
def rlhf_logp(item: Item) -> list[Any]:
    """Return the maximiser of J."""
    return list(bandits.rlhf_logp(problem_of(item)))


@number("rlhf_probs")
def rlhf_probs(item: Item) -> list[Any]:
    """Return its probabilities."""
    return [mp.exp(z) for z in bandits.rlhf_logp(problem_of(item))]


@number("dpo_probs")
def dpo_probs(item: Item) -> list[Any]:
    """Return the policy that descent on the DPO loss tends to."""
    return [mp.exp(z) for z in bandits.descent_limit(problem_of(item))]


@number("dpo_margin")
def dpo_margin(item: Item) -> list[Any]:
    """Return its margins."""
    problem = problem_of(item)
    return bandits.margins(problem, bandits.descent_limit(problem))


@number("dpo_slope_at_rlhf")
def dpo_slope_at_rlhf(item: Item) -> list[Any]:
    """Return the slope of the DPO loss in every logit at the maximiser of J."""
    problem = problem_of(item)
    return bandits.slopes(problem, bandits.rlhf_logp(problem))


@number("component_mean_rewards")
def component_mean_rewards(item: Item) -> list[Fraction]:
    """Return the mean reward of each response's component."""
    problem = problem_of(item)
    means = {}
    for part in bandits.components(problem):
        mean = sum((problem.reward[v] for v in part), Fraction(0)) / len(part)
        means.update(dict.fromkeys(part, mean))
    return [means[v] for v in range(len(problem.reward))]


@number("ref_margin")
def ref_margin(item: Item) -> list[Any]:
    """Return the reference's margins."""
    problem = problem_of(item)
    return bandits.margins(problem, bandits.ref_logp(problem))


@number("margin")
def margin(item: Item) -> list[Any]:
    """Return the margins of the policy in the inputs."""
    return bandits.margins(problem_of(item), policy_of(item))


@number("loss")
def loss(item: Item) -> list[Any]:
    """Return that policy's loss, pair by pair."""
    problem, beta = problem_of(item), bandits.real(problem_of(item).beta)
    ups = bandits.margins(problem, policy_of(item))
    refs = bandits.margins(problem, bandits.ref_logp(problem))
    rows = zip(ups, refs, bandits.labels(problem), strict=True)
    return [bandits.pair_loss(beta * (delta - ref), q) for delta, ref, q in rows]


@number("limit_loss")
def limit_loss(item: Item) -> Any:
    """Return max(0, δ_ref − δ) of the one pair, its sign decided in rationals."""
    problem = problem_of(item)
    ((w, lo),) = problem.pairs
    policy = [Fraction(p) for p in item.inputs["policy"]]
    short = (problem.ref[w] / problem.ref[lo]) / (policy[w] / policy[lo])
    return mp.log(bandits.real(short)) if short > 1 else 0


@number("difference")
def difference(item: Item) -> Any:
    """Return the value of the expression in the inputs, the other inputs being its variables."""
    return evaluate(item.inputs["expression"], item.inputs)


@number("reference_loss", "undesirable-space")
def reference_loss(item: Item) -> Any:
    """Return the loss at the reference."""
    problem = problem_of(item)
    return bandits.loss(problem, bandits.ref_logp(problem))


@number("lower_end", "undesirable-space")
def lower_end(item: Item) -> Any:
    """Return an ordered pair's loss where its margin is zero: the lower end of U's losses."""
    (delta_ref,) = ref_margin(item)
    return bandits.pair_loss(-bandits.real(problem_of(item).beta) * delta_ref, mpf(1))
