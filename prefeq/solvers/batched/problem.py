"""What the kernels of Constrained PO hand to each other: a chunk of problems, and its answers.

A problem in a lane: positions f over the responses, f_winner − f_loser ≥ margin on the kept pairs,
and the f wanted that minimises the block projection of `prefeq.solvers.blocks`: every block of
tight pairs sits at the mean of its goals under the weights e^{u + κs}, s the offsets in the block.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from prefeq._namespace import Array
from prefeq.lanes import device_of, flat_index, pick, select

EPS = 2.0**-52


@dataclass(frozen=True)
class Problem:
    """A chunk of n problems: K responses, P pairs; all goals are finite.

    `log_weight` is None where all are zero; rows that are not `kept` bind nothing.
    """

    xp: Any
    goal: Array
    log_weight: Array | None
    tilt: float
    winner: Array
    loser: Array
    margin: Array
    kept: Array

    @property
    def shape(self) -> tuple[int, int, int]:
        """(K, P, n)."""
        return (self.goal.shape[0], *self.winner.shape)

    @cached_property
    def ends(self) -> tuple[Array, Array]:
        """Flat indices (P, n) of the winners and of the losers in a (K, n) array."""
        return flat_index(self.xp, self.winner), flat_index(self.xp, self.loser)

    def lanes(self, keep: Array) -> Problem:
        """Return the problems at the positions `keep`, rising."""
        if keep.shape[0] == self.goal.shape[1]:
            return self
        rows = {name: select(getattr(self, name), keep) for name in ("winner", "loser", "margin")}
        weight = None if self.log_weight is None else select(self.log_weight, keep)
        kept, goal = select(self.kept, keep), select(self.goal, keep)
        return replace(self, goal=goal, log_weight=weight, kept=kept, **rows)

    @cached_property
    def log_ratio(self) -> Array:
        """Return the log of each pair's weight of the winner over that of the loser, if tight."""
        if self.log_weight is None:
            return self.tilt * self.margin
        winner, loser = self.ends
        weight = pick(self.xp, self.log_weight, winner) - pick(self.xp, self.log_weight, loser)
        return weight + self.tilt * self.margin

    @cached_property
    def size(self) -> Array:
        """Return max(1, |goal|, |margin|) (n,): what rounding is relative to."""
        xp = self.xp
        size = xp.max(xp.abs(self.goal), axis=0)
        if self.winner.shape[0]:
            margins = xp.where(self.kept, xp.abs(self.margin), xp.zeros_like(self.margin))
            size = xp.maximum(size, xp.max(margins, axis=0))
        return xp.maximum(size, xp.ones_like(size))


@dataclass(frozen=True)
class Fit:
    """Answers in lanes: positions (K, n), log λ, tight and rigid pairs (P, n), and how they came.

    `rigid` marks equalities, pairs on cycles of sum zero. `steps`, `route` and `found` are (n,).
    """

    f: Array
    log_multiplier: Array
    forest: Array
    rigid: Array
    steps: Array
    route: Array
    found: Array

    @classmethod
    def blank(cls, problem: Problem, route: int = 0) -> Fit:
        """Return no answers: the goals themselves, nothing tight, nothing found."""
        xp, n, where = problem.xp, problem.shape[2], device_of(problem.goal)
        rows = problem.margin.shape
        f = xp.empty(problem.goal.shape, dtype=xp.float64, device=where)
        f[...] = problem.goal
        return cls(
            f=f,
            log_multiplier=xp.full(rows, -xp.inf, dtype=xp.float64, device=where),
            forest=xp.zeros(rows, dtype=xp.bool, device=where),
            rigid=xp.zeros(rows, dtype=xp.bool, device=where),
            steps=xp.zeros(n, dtype=xp.int64, device=where),
            route=xp.full((n,), route, dtype=xp.int8, device=where),
            found=xp.zeros(n, dtype=xp.bool, device=where),
        )

    def put(self, lanes: Array, other: Fit) -> None:
        """Write the answers of some lanes."""
        for field in fields(self):
            getattr(self, field.name)[..., lanes] = getattr(other, field.name)


def positions(xp: Any, mask: Array) -> Array:
    """Return the positions (int64) at which a mask (n,) holds."""
    return xp.nonzero(mask)[0]


def number(xp: Any, mask: Array) -> Array:
    """Return a mask as zeros and ones."""
    return xp.astype(mask, xp.float64)


def softplus(xp: Any, z: Array) -> Array:
    """Return log(1 + e^z)."""
    return xp.maximum(z, xp.zeros_like(z)) + xp.log1p(xp.exp(-xp.abs(z)))
