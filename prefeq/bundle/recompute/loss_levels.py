"""Numbers of `loss-to-delta`: certified margins, mean losses, shares, recomputed targets."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from mpmath import mp

from prefeq.bundle import bandits
from prefeq.bundle.recompute import instances
from prefeq.bundle.recompute.instances import policy_of, problem_of
from prefeq.bundle.registry import Item, number

CLAIM = "loss-to-delta"


@number("label_prob", CLAIM)
def label_prob(item: Item) -> list[Any]:
    """Return the label probability of each pair."""
    return bandits.labels(problem_of(item))


@number("mean_loss", CLAIM)
def mean_loss(item: Item) -> Any:
    """Return the policy's loss, the mean over the pairs."""
    return bandits.loss(problem_of(item), policy_of(item))


@number("certified_margin", CLAIM)
def certified_margin(item: Item) -> list[Any]:
    """Return the margin at which an ordered pair's loss is the mean: a root, found by iteration."""
    problem, level = problem_of(item), mean_loss(item)
    beta = bandits.real(problem.beta)
    z = mp.findroot(lambda x: mp.log1p(mp.exp(-x)) - level, -mp.log(mp.expm1(level)) + 0.01)
    return [ref + z / beta for ref in bandits.margins(problem, bandits.ref_logp(problem))]


@number("misaligned_share", CLAIM)
def misaligned_share(item: Item) -> Fraction:
    """Return the share of pairs whose winner is no likelier than their loser."""
    pairs = problem_of(item).pairs
    policy = [Fraction(p) for p in item.inputs["policy"]]
    return Fraction(sum(policy[w] <= policy[lo] for w, lo in pairs), len(pairs))


@number("share_bound", CLAIM)
def share_bound(item: Item) -> Any:
    """Return the mean loss over the least loss that an ordered pair has at δ = 0."""
    beta = bandits.real(problem_of(item).beta)
    ends = [bandits.pair_loss(-beta * ref, 1) for ref in instances.ref_margin(item)]
    return mean_loss(item) / min(ends)


def _targets(item: Item) -> tuple[Any, Any]:
    """Return t and t′ of the released `easy` branch: reciprocals of log-probabilities."""
    problem = problem_of(item)
    ((w, lo),), logp = problem.pairs, bandits.ref_logp(problem)
    shift = bandits.real(item.inputs["gamma"]) / bandits.real(problem.beta)
    shift *= (logp[w] + logp[lo]) / (logp[w] * logp[lo])
    return logp[w] - logp[lo] + shift, logp[lo] - logp[w] + shift


@number("target", CLAIM)
def target(item: Item) -> list[Any]:
    """Return the target of the pair."""
    return [_targets(item)[0]]


@number("swapped_target", CLAIM)
def swapped_target(item: Item) -> list[Any]:
    """Return the target of the swapped pair."""
    return [_targets(item)[1]]


@number("risk", CLAIM)
def risk(item: Item) -> list[Any]:
    """Return the mean of −log σ over the two labels, each with its own target."""
    (q,), (delta,) = label_prob(item), instances.margin(item)
    beta, (own, other) = bandits.real(problem_of(item).beta), _targets(item)
    up, down = beta * (delta - own), beta * (-delta - other)
    return [-q * mp.log(1 / (1 + mp.exp(-up))) - (1 - q) * mp.log(1 / (1 + mp.exp(-down)))]
