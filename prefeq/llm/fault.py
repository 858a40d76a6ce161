"""A fault of the numbers, and what detectors of faults read off a state."""

from __future__ import annotations

import math
from dataclasses import dataclass

from prefeq.llm.examples import FIRST
from prefeq.llm.state import AuditState


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with the numbers, not with the data they describe.

    Attributes
    ----------
    name
        One of `prefeq.llm.faults.NAMES`.
    message
        What was seen, what causes it, and what to do, in one line.
    count
        How many rows show it; of truncation, how many answers.
    rows
        The first few of them (of reversed labels, the worst), by `row_id` or number.
    """

    name: str
    message: str
    count: int
    rows: tuple[int | str, ...]


def mean(state: AuditState, name: str, count: str | None) -> float:
    """Return a sum divided by a count, itself a sum; NaN where infinities cancelled."""
    total = state.sums[name].value()
    n = 1.0 if count is None else state.sums[count].value()
    return math.nan if total is None or not n else total / n


def rows(state: AuditState, kind: str) -> tuple[int | str, ...]:
    """Return the first few rows of a kind, by `row_id` or number."""
    return tuple(row.name for row in state.symptoms.rows[kind].rows[:FIRST])
