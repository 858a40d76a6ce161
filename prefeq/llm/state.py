"""The state of an audit: a small value that takes in batches, and merges with others.

Counts are integers and sums are exact (see `sums`), so merging in any order and any grouping gives
the same state. What is rounded is the sum of one chunk: `chunking.aligned` cuts chunks at the same
rows whatever the batches.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from prefeq.arrays import IntArray
from prefeq.errors import ProblemError
from prefeq.llm.chunking import Chunk, aligned, chunks, cleaned
from prefeq.llm.clusters import Clusters, hashed
from prefeq.llm.columns import Batch, Layout
from prefeq.llm.examples import Ranked, Worst
from prefeq.llm.metrics import Measures, measure
from prefeq.llm.plan import Plan
from prefeq.llm.sketch import Sketch
from prefeq.llm.sums import ExactSum
from prefeq.llm.symptoms import Symptoms

RANKED = {
    "violated": ("surplus", "violated 0"),
    "reversed": ("gap", "reward below zero"),
    "ref_below_zero": ("ref", None),
    "misaligned": ("margin", None),
    "undesirable": ("margin", "undesirable"),
    "worsened": ("x", None),
    "displaced": ("rise", "displaced"),
}
"""The kinds of example: by which number rows are ranked, lowest first, and among which."""


@dataclass(eq=False)
class AuditState:
    """What is known after some rows.

    Attributes
    ----------
    plan
        What is asked.
    pairs, excluded
        How many pairs were audited, and how many rows left out.
    counts
        Of the shares of the plan.
    sums, lows, highs, sketches, worst, symptoms
        By name, as in `metrics`.
    clusters
        Counts by prompt, where prompts are given.
    """

    plan: Plan
    pairs: int = 0
    excluded: int = 0
    counts: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    sums: dict[str, ExactSum] = field(default_factory=dict)
    lows: dict[str, float] = field(default_factory=dict)
    highs: dict[str, float] = field(default_factory=dict)
    sketches: dict[str, Sketch] = field(default_factory=dict)
    worst: dict[str, Worst] = field(default_factory=dict)
    symptoms: Symptoms = field(default_factory=Symptoms)
    clusters: Clusters | None = None

    def __post_init__(self) -> None:
        if len(self.counts) == 0:
            self.counts = np.zeros(len(self.plan.stored), np.int64)
        if self.clusters is None and self.plan.layout.prompt:
            self.clusters = Clusters.empty(len(self.plan.stored))

    def update(self, batch: Batch) -> AuditState:
        """Take in the rows of a batch; return the state itself."""
        for chunk in chunks(batch, self.plan.layout):
            found = self._measured(chunk)
            if found and not found.finite:
                chunk = cleaned(batch, chunk)
                found = self._measured(chunk)
            if chunk.excluded:
                self.excluded += len(chunk.excluded)
                self.symptoms.leave_out(batch, chunk)
            if found:
                self._take(batch, chunk, found)
        return self

    def _measured(self, chunk: Chunk) -> Measures | None:
        if len(chunk) == 0:
            return None
        found = measure(chunk, self.plan, keep=self.clusters is not None)
        found.fetch()
        return found

    def _take(self, batch: Batch, chunk: Chunk, found: Measures) -> None:
        self.pairs += found.pairs
        counted = [found.counts[share] for share in self.plan.counted]
        self.counts += np.array(counted + found.levels)
        for name, part in found.sums.items():
            self.sums.setdefault(name, ExactSum()).add(part)
        for name, low in found.lows.items():
            self.lows[name] = min(low, self.lows.get(name, low)) + 0.0  # no −0.0, which depends
        for name, high in found.highs.items():
            self.highs[name] = max(high, self.highs.get(name, high)) + 0.0  # on the order
        for name, counts in found.sketches.items():
            self.sketches.setdefault(name, Sketch()).add(counts)
        for kind, (name, mask) in RANKED.items():
            if name in found.arrays:
                self._rank(batch, chunk, found, kind, name, mask)
        self.symptoms.see(batch, chunk, found.highs, self.plan)
        if self.clusters is not None and found.masks is not None:
            keys = hashed(_rows(batch.columns["prompt"], chunk))
            masks = (found.masks[share] for share in self.plan.stored)
            self.clusters.add(
                keys, [m if isinstance(m, np.ndarray) else m.cpu().numpy() for m in masks]
            )

    def _rank(
        self, batch: Batch, chunk: Chunk, found: Measures, kind: str, name: str, mask: str | None
    ) -> None:
        worst = self.worst.setdefault(kind, Worst())
        if found.lows[name] > worst.bar or (mask and not found.counts[mask]):
            return
        values = found.arrays[name]
        places = worst.candidates(
            values, found.shown[mask] if mask else None, batch.place(chunk.row(0))
        )
        for i in places:
            row = chunk.row(i)
            worst.add([Ranked(float(values[i]), *batch.place(row), batch.row_id(row))])

    def merge(self, other: AuditState) -> AuditState:
        """Return the state of both sets of rows.

        Raises
        ------
        ProblemError
            If the plans differ.
        """
        if self.plan != other.plan:
            raise ProblemError(f"states of different audits: {self.plan} and {other.plan}")
        clusters = None
        if self.clusters is not None and other.clusters is not None:
            clusters = self.clusters.merge(other.clusters)
        return AuditState(
            self.plan,
            self.pairs + other.pairs,
            self.excluded + other.excluded,
            self.counts + other.counts,
            _merged(self.sums, other.sums, lambda a, b: a.merge(b)),
            _merged(self.lows, other.lows, min),
            _merged(self.highs, other.highs, max),
            _merged(self.sketches, other.sketches, lambda a, b: a.merge(b)),
            _merged(self.worst, other.worst, lambda a, b: a.merge(b)),
            self.symptoms.merge(other.symptoms),
            clusters,
        )

    def to_plain(self) -> dict[str, Any]:
        """Return a form for JSON, from which `from_plain` makes an equal state."""
        return {
            "plan": dataclasses.asdict(self.plan),
            "pairs": self.pairs,
            "excluded": self.excluded,
            "counts": self.counts.tolist(),
            "sums": {name: part.to_plain() for name, part in self.sums.items()},
            "lows": {name: repr(low) for name, low in self.lows.items()},
            "highs": {name: repr(high) for name, high in self.highs.items()},
            "sketches": {name: part.to_plain() for name, part in self.sketches.items()},
            "worst": {
                kind: [[repr(row.value), *row[1:]] for row in part.rows]
                for kind, part in self.worst.items()
            },
            "symptoms": self.symptoms.to_plain(),
            "clusters": None if self.clusters is None else self.clusters.to_plain(),
        }

    @classmethod
    def from_plain(cls, form: dict[str, Any]) -> AuditState:
        """Return the state that `to_plain` wrote."""
        plan = dict(form["plan"])
        plan |= {"layout": Layout(**plan["layout"]), "betas": tuple(plan["betas"])}
        return cls(
            Plan(**plan),
            form["pairs"],
            form["excluded"],
            np.asarray(form["counts"], np.int64),
            {name: ExactSum.from_plain(part) for name, part in form["sums"].items()},
            {name: float(low) for name, low in form["lows"].items()},
            {name: float(high) for name, high in form["highs"].items()},
            {name: Sketch.from_plain(part) for name, part in form["sketches"].items()},
            {
                kind: Worst([Ranked(float(value), *rest) for value, *rest in rows])
                for kind, rows in form["worst"].items()
            },
            Symptoms.from_plain(form["symptoms"]),
            None if form["clusters"] is None else Clusters.from_plain(form["clusters"]),
        )


def audit_batches(batches: Iterable[Batch], plan: Plan) -> AuditState:
    """Return the state after all batches: what any reader of files feeds.

    A batch says where its rows stand (`Batch.source`, `Batch.start`), and the batches of a source
    follow each other. The state is the same however a source is cut into batches; states of
    different sources merge in any order.
    """
    state = AuditState(plan)
    for batch in aligned(batches):
        state.update(batch)
    return state


def _merged(one: dict[str, Any], other: dict[str, Any], join: Any) -> dict[str, Any]:
    """Return the parts of both, joined where both have one, in the order of their names."""
    return {
        name: join(one[name], other[name])
        if name in one and name in other
        else one.get(name, other.get(name))
        for name in sorted(one.keys() | other.keys())
    }


def _rows(column: Any, chunk: Chunk) -> Any:
    """Return the values of a column, of any kind, in the rows of a chunk."""
    part = column[chunk.rows]
    part = part.cpu().numpy() if hasattr(part, "cpu") else part
    if chunk.kept is None:
        return part
    kept = chunk.kept.tolist()
    return part[kept] if isinstance(part, np.ndarray) else [part[i] for i in kept]
