"""Numbers of several policies on one instance: margins, losses and values of J."""

from __future__ import annotations

from typing import Any

from mpmath import mp

from prefeq.bundle import bandits
from prefeq.bundle.recompute.instances import problem_of
from prefeq.bundle.registry import Item, number


def _logps(item: Item) -> list[list[Any]]:
    return [[mp.log(bandits.real(p)) for p in policy] for policy in item.inputs["policies"]]


@number("policy_margin")
def margins_of(item: Item) -> list[Any]:
    """Return δ of the first pair under each policy."""
    problem = problem_of(item)
    return [bandits.margins(problem, logp)[0] for logp in _logps(item)]


@number("policy_loss")
def policy_loss(item: Item) -> list[Any]:
    """Return the loss of each policy, the mean over the pairs."""
    problem = problem_of(item)
    return [bandits.loss(problem, logp) for logp in _logps(item)]


@number("policy_value")
def policy_value(item: Item) -> list[Any]:
    """Return J of each policy as what is lost of the best: J(π*) − β KL(π‖π*)."""
    problem = problem_of(item)
    beta, best = bandits.real(problem.beta), bandits.rlhf_logp(problem)
    refs = bandits.ref_logp(problem)
    top = bandits.real(problem.reward[0]) - beta * (best[0] - refs[0])  # at every response alike

    def divergence(logp: list[Any]) -> Any:
        return mp.fsum(mp.exp(p) * (p - s) for p, s in zip(logp, best, strict=True))

    return [top - beta * divergence(logp) for logp in _logps(item)]
