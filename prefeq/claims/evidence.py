"""What a check found: one frozen record a step, with an outcome that is computed, never assumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["holds", "fails", "undecided"]

PROOF_KINDS = frozenset({"symbolic", "exact", "ball", "enclosure"})
"""Kinds that can be a step of a proof: nothing in them is sampled or rounded."""

ANCHOR_KINDS = frozenset({"tie", "recheck"})
"""Kinds that hold a proof or a refutation to the package's own functions."""


@dataclass(frozen=True)
class Evidence:
    """One finding.

    Parameters
    ----------
    kind
        ``symbolic`` (an identity or a sign proved by computer algebra), ``exact`` (a finite check
        in integers and rationals), ``ball`` (a strict inequality decided in ball arithmetic),
        ``enclosure`` (the same over a whole box), ``counterexample`` (a decided instance against
        the statement), ``tie`` and ``recheck`` (agreement with the package's own functions and
        solvers), ``sample`` (random instances, replayed from a seed), ``reason`` (why a reading is
        open).
    summary
        One line for a person.
    outcome
        ``holds``, ``fails`` or ``undecided``.
    step
        The step of the reading's argument that this is, if it is one.
    data
        What a sceptic needs to redo it: strict JSON. What stands under ``inputs`` is chosen by
        hand, and so is the ``instance``; ``runs`` counts what was tried, from a seed if there is
        one; ``inequalities`` are comparisons that together are a counterexample or a step;
        ``tree`` is an enclosure's subdivision. Every other key is a computed number: an int, a
        float of 15 digits, a rational such as ``"1/3"``, or a list of those.

    Examples
    --------
    >>> Evidence("exact", "2 + 2 = 4", "holds").to_dict()
    {'kind': 'exact', 'summary': '2 + 2 = 4', 'data': {'outcome': 'holds'}}
    """

    kind: str
    summary: str
    outcome: Outcome
    step: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether the finding came out as it must for the reading to be decided."""
        return self.outcome == "holds"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form: ``{"kind", "summary", "data"}``; outcome and step are in data."""
        extra = {"outcome": self.outcome} | ({"step": self.step} if self.step else {})
        return {"kind": self.kind, "summary": self.summary, "data": {**extra, **self.data}}


def outcome_of(answer: bool | None) -> Outcome:
    """Translate a three-valued answer: None is undecided."""
    if answer is None:
        return "undecided"
    return "holds" if answer else "fails"
