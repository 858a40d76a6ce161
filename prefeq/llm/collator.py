"""The columns of a data set that give Δr, carried through a trainer beside what TRL collates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from prefeq.errors import ProblemError

GAP = ("chosen_reward", "rejected_reward", "label_prob")
"""Columns of a data set that give Δr."""


class Collator:
    """The trainer's collator, and beside what it collates the columns that give Δr."""

    def __init__(self, collate: Any, columns: Mapping[str, str]) -> None:
        self.collate, self.columns = collate, dict(columns)

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return a batch; a value that is missing is NaN."""
        batch = dict(self.collate(examples))
        for ours, theirs in self.columns.items():
            if theirs in examples[0]:
                values = [example[theirs] for example in examples]
                numbers = [float("nan") if value is None else float(value) for value in values]
                batch[ours] = torch.tensor(numbers, dtype=torch.float64)
        return batch


def without_gap(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a batch without our columns."""
    return {name: value for name, value in inputs.items() if name not in GAP}


def gap_columns(columns: Mapping[str, str] | None) -> dict[str, str]:
    """Return {our name: the data set's} of all columns that can give Δr."""
    for name in columns or {}:
        if name not in GAP:
            raise ProblemError(f"audit_columns: {name!r} is none of {', '.join(GAP)}")
    return {name: (columns or {}).get(name, name) for name in GAP}


def check_columns(data: Any, columns: Mapping[str, str], required: Mapping[str, str]) -> None:
    """Raise if columns that give Δr are missing or half there, as far as the data set tells."""
    there = getattr(data, "column_names", None)
    if there is None:
        return
    for ours, theirs in required.items():
        if theirs not in there:
            raise ProblemError(f"no column {theirs!r} for {ours}; there are {', '.join(there)}")
    found = [ours for ours, theirs in columns.items() if theirs in there]
    if found not in ([], list(GAP[:2]), [GAP[2]]):
        raise ProblemError(
            f"the data set has {', '.join(found)}: give chosen_reward and rejected_reward, or "
            "label_prob, or none of them"
        )
