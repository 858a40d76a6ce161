"""Implications decided again on every exact instance: by solving, not by looking at slopes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from mpmath import mpf

from prefeq.bundle import bandits
from prefeq.bundle.registry import Item, Problem, finite

CLOSE = mpf(10) ** -40
"""Numbers nearer than this are equal: they come with 60 digits."""


def problem_from(data: Mapping[str, Any]) -> Problem:
    """Read an instance whose numbers are exact: integers or strings such as ``"1/3"``."""
    return Problem(
        tuple(map(Fraction, data["reward"])),
        tuple(map(Fraction, data["ref"])),
        Fraction(data["beta"]),
        tuple((winner, loser) for winner, loser in data["pairs"]),
        data["labels"],
    )


def _assumption(problem: Problem) -> bool:
    return bool(min(bandits.margins(problem, bandits.rlhf_logp(problem))) > CLOSE)


def _weak_assumption(problem: Problem) -> bool:
    return bool(min(bandits.margins(problem, bandits.rlhf_logp(problem))) > -CLOSE)


def _dpo_is_rlhf(problem: Problem) -> bool:
    if not bandits.has_minimiser(problem):
        return False
    rlhf, dpo = bandits.rlhf_logp(problem), bandits.descent_limit(problem)
    return bool(max(abs(a - b) for a, b in zip(rlhf, dpo, strict=True)) < CLOSE)


def _dpo_is_aligned(problem: Problem) -> bool:
    limit = bandits.descent_limit(problem)
    return bool(min(bandits.margins(problem, limit)) > CLOSE)


def _cpo_is_rlhf(problem: Problem) -> bool:
    """π* solves the program with constraints iff it satisfies them: it is the best of all."""
    policy = bandits.rlhf_logp(problem)
    return all(policy[w] - policy[lo] > -CLOSE for w, lo in problem.pairs)


DECIDERS: dict[str, Callable[[Problem], bool]] = {
    "assumption": _assumption,
    "weak-assumption": _weak_assumption,
    "dpo-is-rlhf": _dpo_is_rlhf,
    "dpo-is-aligned": _dpo_is_aligned,
    "cpo-is-rlhf": _cpo_is_rlhf,
}


def _decided(item: Item) -> list[tuple[bool, bool]]:
    """Return (hypothesis, conclusion) on every instance."""
    hypothesis, conclusion = item.inputs["condition"], item.inputs["conclusion"]
    if item.inputs["part"] == "only-if":
        hypothesis, conclusion = conclusion, hypothesis
    problems = map(problem_from, item.inputs["instances"])
    return [(DECIDERS[hypothesis](p), DECIDERS[conclusion](p)) for p in problems]


@finite("implication")
def implication(item: Item) -> tuple[dict[str, Any], bool]:
    """Decide condition ⇒ conclusion (``if``) or its converse: it holds if nothing is against it."""
    decided = _decided(item)
    numbers = {"count": len(decided), "hypothesis_held": sum(given for given, _ in decided)}
    return numbers, bool(decided) and all(found for given, found in decided if given)


@finite("never")
def never(item: Item) -> tuple[dict[str, Any], bool]:
    """Decide that the hypothesis holds on no instance."""
    decided = _decided(item)
    return {"count": len(decided)}, bool(decided) and not any(given for given, _ in decided)
