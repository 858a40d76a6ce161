"""Which function computes which field of the bundle again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True)
class Problem:
    """An exact bandit read from the bundle: rationals, pairs of equal mass, a kind of label."""

    reward: tuple[Fraction, ...]
    ref: tuple[Fraction, ...]
    beta: Fraction
    pairs: tuple[tuple[int, int], ...]
    labels: str


@dataclass(frozen=True)
class Item:
    """One piece of evidence as it stands in the file; numbers in it are claims, not facts.

    `reading` is the label, part included; `inputs` are the chosen numbers, as JSON has them.
    """

    claim: str
    reading: str
    kind: str
    step: str | None
    inputs: Mapping[str, Any]
    problem: Problem | None


Number = Callable[[Item], Any]
Finite = Callable[[Item], tuple[dict[str, Any], bool]]
Boxed = Callable[..., Any]

NUMBERS: dict[tuple[str, str], Number] = {}
FINITE: dict[str, Finite] = {}
BOXED: dict[str, Boxed] = {}


def number(name: str, claim: str = "") -> Callable[[Number], Number]:
    """Register the function that computes the field `name` (in one claim only, if given)."""

    def add(function: Number) -> Number:
        if (claim, name) in NUMBERS:
            raise ValueError(f"the field {name!r} of {claim or 'any claim'!r} is computed twice")
        NUMBERS[claim, name] = function
        return function

    return add


def finite(step: str) -> Callable[[Finite], Finite]:
    """Register the finite check of a step of kind ``exact``: (its numbers, whether it holds)."""

    def add(function: Finite) -> Finite:
        if step in FINITE:
            raise ValueError(f"the step {step!r} is checked twice")
        FINITE[step] = function
        return function

    return add


def boxed(name: str) -> Callable[[Boxed], Boxed]:
    """Register a function enclosed over a box: called with an arithmetic and the variables."""

    def add(function: Boxed) -> Boxed:
        if name in BOXED:
            raise ValueError(f"the function {name!r} is written twice")
        BOXED[name] = function
        return function

    return add
