"""What is remembered of a data set beside its shares, so that sick numbers can be named."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from prefeq._namespace import Array
from prefeq.arrays import IntArray
from prefeq.llm.chunking import Chunk
from prefeq.llm.columns import POLICY, REFERENCE, REWARDS, TOKENS, Batch
from prefeq.llm.examples import FIRST, First, Row, first_places
from prefeq.llm.plan import Plan

POSITIVE = 1e-3
"""A log-prob above this many nats is none; rounding may leave a certain answer a hair above 0."""

STEP0_ABSOLUTE, STEP0_RELATIVE = 1e-3, 1e-5
"""At step 0 log-probs may differ by this much: sums over tokens in float32 do."""

LONGEST = 2**20
"""Answers of more tokens count as this long."""

TWINS = (
    POLICY,
    REFERENCE,
    REWARDS,
    (POLICY[0], REFERENCE[0]),
    (POLICY[1], REFERENCE[1]),
    (POLICY[0], REFERENCE[1]),
    (POLICY[1], REFERENCE[0]),
)
"""Pairs of columns that should not be the same."""


@dataclass(eq=False)
class Symptoms:
    """Counts and rows that add up.

    Attributes
    ----------
    counts
        Of rows: "excluded COLUMN" by each column that is bad there, "positive" and
        "step0"; of entries: "positive COLUMN".
    rows
        The first rows of a kind: "all", "excluded", "positive", "step0", "longest".
    unlike
        Pairs of columns that differ somewhere.
    lengths
        How many answers have how many tokens.
    """

    counts: Counter[str] = field(default_factory=Counter)
    rows: dict[str, First] = field(default_factory=dict)
    unlike: set[tuple[str, str]] = field(default_factory=set)
    lengths: IntArray = field(default_factory=lambda: np.zeros(1, np.int64))

    def leave_out(self, batch: Batch, chunk: Chunk) -> None:
        """Add the rows of a chunk that are no numbers."""
        self.counts.update(f"excluded {name}" for _, bad in chunk.excluded for name in bad)
        self._first("excluded", batch, [row for row, _ in chunk.excluded[:FIRST]])

    def see(self, batch: Batch, chunk: Chunk, highs: dict[str, float], plan: Plan) -> None:
        """Add the rows of a chunk, of at least one pair, of which the largest values are known."""
        data = chunk.data
        self._first("all", batch, [chunk.row(i) for i in range(min(len(chunk), FIRST))])
        high = [n for n in (*POLICY, *REFERENCE) if highs.get(n, 0.0) > POSITIVE]
        if high:
            masks = {name: data[name] > POSITIVE for name in high}
            self.counts.update({f"positive {n}": int(mask.sum()) for n, mask in masks.items()})
            self._mark("positive", batch, chunk, _any(masks.values()))
        for one, other in TWINS:
            seen = one not in data or other not in data or (one, other) in self.unlike
            if not seen and not bool((data[one] == data[other]).all()):
                self.unlike.add((one, other))
        if plan.step0:
            off = (
                abs(data[policy] - data[ref]) > STEP0_ABSOLUTE + STEP0_RELATIVE * abs(data[ref])
                for policy, ref in zip(POLICY, REFERENCE, strict=True)
            )
            self._mark("step0", batch, chunk, _any(off))
        if plan.layout.tokens:
            self._lengths(batch, chunk)

    def merge(self, other: Symptoms) -> Symptoms:
        """Return the symptoms of both."""
        mine, theirs = dict(self.rows), dict(other.rows)
        if len(self.lengths) != len(other.lengths):  # only the longest have the longest rows
            (mine if len(self.lengths) < len(other.lengths) else theirs).pop("longest", None)
        kinds = sorted(mine.keys() | theirs.keys())
        return Symptoms(
            self.counts + other.counts,
            {kind: mine.get(kind, First()).merge(theirs.get(kind, First())) for kind in kinds},
            self.unlike | other.unlike,
            _added(self.lengths, other.lengths),
        )

    def to_plain(self) -> dict[str, Any]:
        """Return a form for JSON."""
        return {
            "counts": dict(sorted(self.counts.items())),
            "rows": {kind: [list(row) for row in first.rows] for kind, first in self.rows.items()},
            "unlike": sorted(map(list, self.unlike)),
            "lengths": self.lengths.tolist(),
        }

    @classmethod
    def from_plain(cls, form: dict[str, Any]) -> Symptoms:
        """Return the symptoms that `to_plain` wrote."""
        return cls(
            Counter(form["counts"]),
            {kind: First([Row(*row) for row in rows]) for kind, rows in form["rows"].items()},
            {(one, other) for one, other in form["unlike"]},
            np.asarray(form["lengths"], np.int64),
        )

    def _lengths(self, batch: Batch, chunk: Chunk) -> None:
        one, other = (_whole(batch, chunk, name) for name in TOKENS)
        counts = _added(_host(chunk.xp.bincount(one)), _host(chunk.xp.bincount(other)))
        longest = len(counts) - 1
        if len(counts) > len(self.lengths):
            self.rows.pop("longest", None)
        self.lengths = _added(self.lengths, counts)
        if len(counts) == len(self.lengths) and self._wants("longest", batch, chunk.row(0)):
            places = first_places((one == longest) | (other == longest))
            self._first("longest", batch, [chunk.row(i) for i in places])

    def _wants(self, kind: str, batch: Batch, row: int) -> bool:
        """Tell whether a row from this one on may be among the first of its kind."""
        first = self.rows.get(kind, First())
        return len(first.rows) < FIRST or batch.place(row) < first.rows[-1][:2]

    def _mark(self, kind: str, batch: Batch, chunk: Chunk, mask: Array) -> None:
        self.counts[kind] += int(mask.sum())
        self._first(kind, batch, [chunk.row(i) for i in first_places(mask)])

    def _first(self, kind: str, batch: Batch, rows: list[int]) -> None:
        first = self.rows.setdefault(kind, First())
        if rows and self._wants(kind, batch, rows[0]):
            first.add(Row(*batch.place(row), batch.row_id(row)) for row in rows)


def _whole(batch: Batch, chunk: Chunk, name: str) -> Array:
    """Return token counts as integers, at most LONGEST: those of the batch, if they are there."""
    given = batch.columns[name]
    if isinstance(given, np.ndarray) and given.dtype == np.int64 and chunk.kept is None:
        values = given[chunk.rows]
        return values if values.max() <= LONGEST else values.clip(0, LONGEST)
    values = chunk.data[name].clip(0, LONGEST)
    return values.astype(np.int64) if chunk.xp is np else values.long()


def _any(masks: Any) -> Array:
    first, *rest = masks
    for mask in rest:
        first = first | mask
    return first


def _added(one: IntArray, other: IntArray) -> IntArray:
    if len(one) < len(other):
        one, other = other, one
    total = one.copy()
    total[: len(other)] += other
    return total


def _host(array: Array) -> IntArray:
    answer: IntArray = np.asarray(array if isinstance(array, np.ndarray) else array.cpu())
    return answer
