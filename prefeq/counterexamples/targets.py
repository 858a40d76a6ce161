"""Which readings a search is about, and the falsifiers that attack them."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass

from prefeq.claims import registry
from prefeq.claims.registry import PARTS, Reading
from prefeq.counterexamples.case import Falsifier
from prefeq.errors import ProblemError


@dataclass(frozen=True)
class Target:
    """One reading to attack, and its falsifier."""

    claim: str
    reading: Reading
    falsifier: Falsifier


def select(targets: str | Iterable[str] | None = None) -> tuple[Target, ...]:
    """Return the readings that are named, in the order of the paper.

    Parameters
    ----------
    targets
        ``"claim"`` (all of its readings), ``"claim/reading"`` (all parts of one), ``"claim/reading
        (if)"`` or ``"claim/reading:if"`` (one part), several of these, or None for everything.

    Raises
    ------
    ProblemError
        On a name that does not exist; the message lists those that do.

    Examples
    --------
    >>> [target.reading.label for target in select("margin-ranking/limit")]
    ['limit']
    """
    if targets is None:
        names = list(registry.claim_ids())
    else:
        names = [targets] if isinstance(targets, str) else list(targets)
    if not names:
        raise ProblemError("no claim to search; choose from: " + ", ".join(registry.claim_ids()))
    wanted = {(claim, reading.label) for name in names for claim, reading in _named(name)}
    return tuple(
        Target(claim, reading, falsifier(claim, reading.label))
        for claim in registry.claim_ids()
        if any(claim == chosen for chosen, _ in wanted)
        for reading in registry.get_claim(claim).readings
        if (claim, reading.label) in wanted
    )


def _named(name: str) -> list[tuple[str, Reading]]:
    claim_id, slash, label = name.partition("/")
    claim = registry.get_claim(claim_id)
    if not slash:
        return [(claim_id, reading) for reading in claim.readings]
    head, _, part = label.partition(":")
    wanted = {f"{head} ({part})"} if part in PARTS else {label}
    found = [r for r in claim.readings if r.label in wanted or r.name == label]
    if not found:
        labels = ", ".join(reading.label for reading in claim.readings)
        raise ProblemError(f"claim {claim_id!r} has no reading {label!r}; choose from: {labels}")
    return [(claim_id, reading) for reading in found]


def falsifier(claim: str, label: str) -> Falsifier:
    """Return how a reading is attacked.

    Raises
    ------
    ProblemError
        If nobody has said how.
    """
    module = f"{__package__}.falsifiers.{claim.replace('-', '_')}"
    try:
        table: dict[str, Falsifier] = importlib.import_module(module).FALSIFIERS
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        table = {}
    if label not in table:
        raise ProblemError(f"reading {label!r} of claim {claim!r} cannot be searched: no falsifier")
    return table[label]
