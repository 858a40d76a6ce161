"""One piece of evidence done again: its numbers and its outcome, from its fixed inputs alone."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple

from mpmath import mp

from prefeq.bundle import boxes, symbolic
from prefeq.bundle.arithmetic import DIGITS
from prefeq.bundle.canonical import canonical
from prefeq.bundle.expression import holds
from prefeq.bundle.registry import FINITE, NUMBERS, Finite, Item, Problem

REPLAYED = ("tie", "recheck", "sample")
"""Kinds that run the package's own code from a seed: all that can be asked is that they hold."""

_CHECKED: dict[tuple[Finite, str, Problem | None, str], tuple[dict[str, Any], bool]] = {}

LATER = "correction"
"""The kind whose outcome is another reading's verdict."""


class Done(NamedTuple):
    """What was recomputed: numbers by field, and the outcome (None: it is decided later)."""

    numbers: dict[str, Any]
    outcome: str | None


class UnknownError(Exception):
    """Something in the evidence has no second computation: `where` it stands, and why not."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(why)
        self.where = where


@cache
def load() -> None:
    """Import every module of recomputers, once."""
    from prefeq.bundle import recompute

    for module in pkgutil.iter_modules(recompute.__path__):
        importlib.import_module(f"{recompute.__name__}.{module.name}")


def redo(claim: str, reading: str, kind: str, data: Mapping[str, Any], fields: list[str]) -> Done:
    """Recompute the number fields and the outcome of one piece of evidence.

    Parameters
    ----------
    claim, reading
        The claim's id and the reading's label.
    kind, data
        The evidence as it stands in the file. Of `data` only fixed entries are read, and the
        subdivision of an enclosure.
    fields
        Names of its number fields.

    Raises
    ------
    UnknownError
        If a field or the outcome has no second computation.
    """
    load()
    item = Item(claim, reading, kind, data.get("step"), data.get("inputs", {}), _problem(data))
    with mp.workdps(DIGITS):
        found, outcome = _by_kind(item, data)
        for name in fields:
            if name not in found:
                found[name] = _number(item, name)
        if kind in ("ball", "counterexample"):
            outcome = _compared(item, data, found)
        return Done(found, outcome)


def _by_kind(item: Item, data: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Return what the kind alone computes."""
    match item.kind:
        case "symbolic":
            return {}, _outcome(symbolic.decide(item.inputs))
        case "exact":
            name = item.step or item.inputs.get("check", "")
            if name not in FINITE:
                raise UnknownError("outcome", f"no second check of the finite step {name!r}")
            numbers, good = _finite(FINITE[name], item)
            return dict(numbers), _outcome(good)
        case "enclosure":
            numbers, answer = boxes.replay(item.inputs, data["tree"])
            return numbers, _outcome(answer)
        case "ball" | "counterexample" | "correction":
            return {}, None
        case kind if kind in REPLAYED:
            return {}, "holds"
    raise UnknownError("outcome", f"evidence of kind {item.kind!r} decides nothing")


def _finite(check: Finite, item: Item) -> tuple[dict[str, Any], bool]:
    """Run a finite check once, however many readings of a claim lean on it."""
    key = (check, item.claim, item.problem, canonical(dict(item.inputs)))
    if key not in _CHECKED:
        _CHECKED[key] = check(item)
    return _CHECKED[key]


def _number(item: Item, name: str) -> Any:
    function = NUMBERS.get((item.claim, name)) or NUMBERS.get(("", name))
    if function is None:
        raise UnknownError(name, "no second computation of this field")
    return function(item)


def _compared(item: Item, data: Mapping[str, Any], numbers: Mapping[str, Any]) -> str:
    """Return the outcome of a comparison of numbers: all of its inequalities hold."""
    texts = data.get("inequalities", [])
    if not texts:
        raise UnknownError("outcome", "no inequality says what the numbers show")
    names = {**item.inputs, **numbers}
    answers = [holds(text, names) for text in texts]
    if False in answers:
        return "fails"
    return "undecided" if None in answers else "holds"


def _outcome(answer: bool | None) -> str:
    return {True: "holds", False: "fails", None: "undecided"}[answer]


def _problem(data: Mapping[str, Any]) -> Problem | None:
    """Read the exact instance; the floats beside it must be its nearest ones."""
    if "instance" not in data:
        return None
    instance = data["instance"]
    exact = instance["exact"]
    problem = Problem(
        tuple(map(Fraction, exact["reward"])),
        tuple(map(Fraction, exact["ref"])),
        Fraction(exact["beta"]),
        tuple((winner, loser) for winner, loser in instance["pairs"]),
        instance["labels"],
    )
    floats = ([*map(float, problem.reward)], [*map(float, problem.ref)], float(problem.beta))
    if floats != (instance["reward"], instance["ref"], instance["beta"]):
        raise UnknownError("instance", "its floats are not those of its exact numbers")
    return problem
