"""What the falsifiers share: the package's view of a case, distances, and exact decisions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from prefeq import bandit as bandits
from prefeq import preferences
from prefeq.arrays import FloatArray
from prefeq.claims import exact_graphs, gallery
from prefeq.claims.ball import sign
from prefeq.claims.evidence import Evidence, outcome_of
from prefeq.claims.instance import Instance, Labels
from prefeq.claims.policy_case import PolicyCase
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Source

CLOSE = 1e-9
"""By how much solvers may differ, relative to the size of their numbers, without a violation."""

ROUNDING = 1e-12
"""The same for formulas."""

OUTSIDE = -math.inf
"""The violation of a case that the statement does not speak of."""

BIGGEST = 600.0
"""Nats beyond which probabilities leave the floats: such cases are left to the exact arithmetic."""


def instance_of(case: Case) -> Instance:
    """Return the case's instance."""
    if case.instance is None:
        raise ValueError("the case has no instance")
    return case.instance


def logs(probs: Sequence[Fraction]) -> list[float]:
    """Return logarithms of rationals as floats."""
    return [math.log(p.numerator) - math.log(p.denominator) for p in probs]


def rational(value: float) -> Fraction:
    """Return a simple fraction near a float."""
    return Fraction(value).limit_denominator(20)


def margins_of(made: Instance, probs: Sequence[Fraction]) -> FloatArray:
    """Return log p(w) − log p(l) of every pair, for the reference or any other policy."""
    log = logs(probs)
    return np.array([log[w] - log[lo] for w, lo in made.pairs])


def gaps(made: Instance) -> FloatArray:
    """Return Δr of every pair."""
    return np.array([float(made.gap(k)) for k in range(len(made.pairs))])


def pair_of(case: Case) -> tuple[float, float, float]:
    """Return δ_ref, Δr and β of the first pair."""
    made = instance_of(case)
    return logs([made.ref_ratio(0)])[0], float(made.gap(0)), float(made.beta)


def policy_margin(case: Case, name: str = "pi") -> float:
    """Return δ of the first pair under a policy of the case."""
    made = instance_of(case)
    winner, loser = made.pairs[0]
    policy = case.policies[name]
    return logs([policy[winner] / policy[loser]])[0]


def bandit_of(made: Instance) -> bandits.Bandit:
    """Return the instance as the package's bandit."""
    return bandits.Bandit.from_probs(
        reward=[float(r) for r in made.reward],
        ref=[float(p) for p in made.ref],
        beta=float(made.beta),
    )


def problem(made: Instance) -> tuple[bandits.Bandit, preferences.Preferences]:
    """Return the instance as the package's bandit and preferences."""
    bandit = bandit_of(made)
    ordered = made.labels == "ordered"
    maker = preferences.Preferences.ordered if ordered else preferences.Preferences.bradley_terry
    return bandit, maker(bandit, pairs=made.pairs)


def in_range(made: Instance) -> bool:
    """Tell whether rewards and log-ratios are small enough for floats to mean something.

    Labels of thousands of nats are certain in floats, and DPO's answer with them is another one.
    """
    top = max(abs(r) for r in made.reward)
    return top <= 100 and top / made.beta <= BIGGEST


def distance(first: Any, second: Any) -> float:
    """Return the largest difference of two log-policies, relative to their size; inf without."""
    if first is None or second is None:
        return math.inf
    size = max(1.0, float(np.max(np.abs(first))), float(np.max(np.abs(second))))
    return float(np.max(np.abs(np.asarray(first) - np.asarray(second)))) / size


def disagreement(*slacks: float) -> float:
    """Return by how much signs that ought to agree do not: positive iff two are opposite.

    >>> disagreement(2.0, -1.0), disagreement(2.0, 3.0), disagreement(-2.0, -3.0)
    (1.0, -2.0, -2.0)
    """
    return min(max(slacks), -min(slacks))


def counterexample(answer: bool | None, summary: str, data: dict[str, Any]) -> Evidence:
    """Return the evidence of an exact decision: it holds iff the case is a counterexample."""
    return Evidence("counterexample", summary, outcome_of(answer), data=data)


def harmless(case: Case, why: str, answer: bool | None = False) -> Evidence:
    """Return the evidence that a case does not break a statement."""
    data: dict[str, Any] = {}
    if case.instance is not None:
        data["instance"] = case.instance.to_data()
    return counterexample(answer, why, data)


def implied(
    made: Instance, hypothesis: gallery.Decider, conclusion: gallery.Decider, words: str
) -> Evidence:
    """Decide *hypothesis ⇒ conclusion* on one instance."""
    try:
        given, found = hypothesis(made), conclusion(made)
    except ArithmeticError as error:  # a ball too wide to print: numbers out of all proportion
        return counterexample(None, str(error), {"instance": made.to_data()})
    known = given.answer is not None and found.answer is not None
    data = {
        "instance": made.to_data(),
        **given.numbers,
        **found.numbers,
        "inequalities": [*given.inequalities, *found.inequalities],
    }
    answer = bool(given.answer) and not found.answer if known else None
    return counterexample(answer, words, data)


def differ(*pairs: tuple[Callable[[], Any], Callable[[], Any]]) -> bool | None:
    """Decide whether some two expressions have different values; None if balls cannot tell.

    Equal ones never are told apart, so an identity is never refuted: at best it stays undecided.
    """
    for left, right in pairs:
        # bind both now: the loop variables change before `sign` calls the difference
        if sign(lambda left=left, right=right: left() - right())[0]:  # type: ignore[misc]
            return True
    return None


def policy_case(case: Case, name: str = "pi") -> PolicyCase:
    """Return the instance with one of its policies."""
    return PolicyCase.of(instance_of(case), list(case.policies[name]))


def draw_pair(
    source: Source, labels: Labels, *, gap: bool = True, responses: tuple[int, int] = (2, 3)
) -> Instance:
    """Draw an instance with one pair; with `gap`, its reward gap is not negative."""
    return draws.instance(
        source,
        labels=labels,
        min_responses=responses[0],
        max_responses=responses[1],
        shapes=("single",),
        by_reward=gap,
    )


def lowered(made: Instance) -> Instance:
    """Swap the reference of the first pair, if need be, so that it prefers the loser."""
    if made.ref_ratio(0) <= 1:
        return made
    winner, loser = made.pairs[0]
    ref = list(made.ref)
    ref[winner], ref[loser] = ref[loser], ref[winner]
    return dataclasses.replace(made, ref=tuple(ref))


def draw_policy(source: Source, made: Instance) -> tuple[Fraction, ...]:
    """Draw a policy: the reference, a uniform one, half-way between the two, or any."""
    style, k = source.integer(0, 4), made.size
    if style == 0:
        return made.ref
    uniform = (Fraction(1, k),) * k
    if style == 1:
        return uniform
    if style == 2:
        return tuple([(p + u) / 2 for p, u in zip(made.ref, uniform, strict=True)])
    return draws.policy(source, k)


def draw_with_policy(labels: Labels, *, gap: bool = True) -> Callable[[Source], Case]:
    """Return a draw of one pair and a policy ``pi``."""

    def draw(source: Source) -> Case:
        made = draw_pair(source, labels, gap=gap)
        return Case(instance=made, policies={"pi": draw_policy(source, made)})

    return draw


def oriented(made: Instance, *, up: bool = True) -> Instance:
    """Turn every pair so that δ* ≥ 0 (or ≤ 0): a hypothesis that chance rarely meets.

    Pairs that δ* leaves tied follow the index, so the order has no cycle.
    """
    level = [p + float(r / made.beta) for p, r in zip(logs(made.ref), made.reward, strict=True)]
    turned = tuple([(i, j) if (level[i], i) >= (level[j], j) else (j, i) for i, j in made.pairs])
    pairs = turned if up else tuple([(j, i) for i, j in turned])
    return dataclasses.replace(made, pairs=pairs)


def acyclic(made: Instance) -> bool:
    """Tell whether the nominal order has no directed cycle."""
    return exact_graphs.heights(made.size, made.pairs) is not None
