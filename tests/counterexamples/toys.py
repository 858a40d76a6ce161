"""Statements whose simplest counterexamples are known, and the wiring to search them."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from prefeq.claims.evidence import Evidence, outcome_of
from prefeq.claims.registry import Reading
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Falsifier, Kind, Source
from prefeq.counterexamples.targets import Target

KINDS: dict[str, Kind] = {"delta_ref": "real", "gap": "nonnegative", "beta": "positive"}


def falsifier(
    draw: Callable[[Source], Case],
    violation: Callable[[Case], float],
    kinds: dict[str, Kind] | None = None,
    certify: Callable[[Case], bool | None] | None = None,
) -> Falsifier:
    def certificate(case: Case) -> Evidence:
        answer = violation(case) > 0 if certify is None else certify(case)
        data = {} if case.instance is None else {"instance": case.instance.to_data()}
        return Evidence("counterexample", "it is one", outcome_of(answer), data=data)

    return Falsifier(draw, violation, certificate, kinds or {})


def target(made: Falsifier, label: str = "toy") -> Target:
    reading = Reading(label, "a toy is a toy", "toys", check=lambda: ())
    return Target("assumption", reading, made)


def three_numbers(source: Source) -> Case:
    return Case({name: draws.number(source, kind) for name, kind in KINDS.items()})


def any_instance(source: Source) -> Case:
    return Case(instance=draws.instance(source))


def everything(source: Source) -> Case:
    made = draws.instance(source, min_responses=3)
    policy, margins = draws.policy(source, made.size), draws.margins(source, made)
    return Case({"p": draws.number(source, "unit")}, made, {"pi": policy}, margins)


def assert_consistent(case: Case) -> None:
    """Check that pairs, margins and policies fit the instance, and the number p its kind."""
    made = case.instance
    assert made is not None
    assert sum(made.ref) == 1
    assert min(made.ref) > 0
    assert len(made.ref) == made.size
    assert made.beta > 0
    assert made.pairs
    assert all(w != lo and max(w, lo) < made.size and min(w, lo) >= 0 for w, lo in made.pairs)
    assert case.margins is None or len(case.margins) == len(made.pairs)
    for probs in case.policies.values():
        assert sum(probs) == 1
        assert min(probs) > 0
        assert len(probs) == made.size
    assert all(0 < p < 1 for p in case.numbers.values())


def violated(case: Case) -> float:
    """Whether δ_ref < −Δr/β with Δr ≥ 1/2; its simplest case is −2, 1, 1."""
    delta_ref, gap, beta = (float(case.numbers[name]) for name in KINDS)
    return min(-gap / beta - delta_ref, gap - 0.5)


def tilted(case: Case) -> float:
    """Two pairs, one with a reward gap above 3/2 against a reference ratio below 1/2."""
    made = case.instance
    assert made is not None
    if len(made.pairs) < 2:
        return -math.inf
    return max(
        min(float(made.gap(k)) - 1.5, 0.5 - float(made.ref_ratio(k)))
        for k in range(len(made.pairs))
    )


def true(case: Case) -> float:
    """The positive part of a square is not negative: missed by the square."""
    return -sum(float(x) ** 2 for x in case.numbers.values())


NUMBERS = falsifier(three_numbers, violated, KINDS)
INSTANCES = falsifier(any_instance, tilted)
TRUE = falsifier(three_numbers, true, KINDS)

SIMPLEST = {"delta_ref": Fraction(-2), "gap": Fraction(1), "beta": Fraction(1)}
