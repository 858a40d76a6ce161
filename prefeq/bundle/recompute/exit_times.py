"""Numbers of `gradient-weakening`: the factor, the flow out of U, and slopes of two policies."""

from __future__ import annotations

from typing import Any

from mpmath import mp, mpf

from prefeq.bundle import bandits
from prefeq.bundle.recompute.instances import problem_of
from prefeq.bundle.recompute.several_policies import margins_of
from prefeq.bundle.registry import Item, Problem, number

CLAIM = "gradient-weakening"


def _delta_ref(problem: Problem) -> Any:
    return bandits.margins(problem, bandits.ref_logp(problem))[0]


@number("boundary_factor", CLAIM)
def boundary_factor(item: Item) -> Any:
    """Return how steep the pair's loss is at δ = 0, over β: a numerical derivative."""
    problem = problem_of(item)
    beta, delta_ref = bandits.real(problem.beta), _delta_ref(problem)
    return -mp.diff(lambda z: bandits.pair_loss(z - beta * delta_ref, mpf(1)), 0)


@number("flow_margin", CLAIM)
def flow_margin(item: Item) -> Any:
    """Return δ at the time of the inputs, as the root of z + e^z = 1 + 2β²t."""
    problem = problem_of(item)
    beta, time = bandits.real(problem.beta), bandits.real(item.inputs["time"])
    level = 1 + 2 * beta**2 * time
    z = mp.findroot(lambda x: x + mp.exp(x) - level, mp.log(level))
    return _delta_ref(problem) + z / beta


@number("policy_gradient", CLAIM)
def policy_gradient(item: Item) -> list[Any]:
    """Return dL/dδ of the pair at each policy: numerical derivatives."""
    problem = problem_of(item)
    beta, delta_ref, (q,) = bandits.real(problem.beta), _delta_ref(problem), bandits.labels(problem)

    def loss(delta: Any) -> Any:
        return bandits.pair_loss(beta * (delta - delta_ref), q)

    return [mp.diff(loss, delta) for delta in margins_of(item)]
