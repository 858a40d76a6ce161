"""Unordered pairs of K responses as the rows of a lower triangle, packed: (1,0), (2,0), (2,1), …

The pairs of a response with all earlier ones are contiguous rows, and so are all pairs among the
first responses: what elimination from the last response to the first asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prefeq._namespace import Array


@dataclass(frozen=True)
class Triangle:
    """The later and the earlier response of each of the K(K−1)/2 pairs, int64."""

    size: int
    later: Array
    earlier: Array

    @classmethod
    def of(cls, xp: Any, size: int, device: Any) -> Triangle:
        """Return the triangle of K = `size` responses."""
        rows = [(i, j) for i in range(size) for j in range(i)]
        later, earlier = (
            xp.asarray([row[end] for row in rows], dtype=xp.int64, device=device) for end in (0, 1)
        )
        return cls(size, later, earlier)

    @staticmethod
    def before(vertex: int) -> int:
        """Return how many pairs there are among the responses before `vertex`."""
        return vertex * (vertex - 1) // 2

    def gap(self, xp: Any, values: Array) -> Array:
        """Return the later response's value less the earlier one's, for all pairs."""
        return xp.take(values, self.later, axis=0) - xp.take(values, self.earlier, axis=0)

    def pack(self, xp: Any, square: Array) -> tuple[Array, Array]:
        """Return the entries [later, earlier] and [earlier, later] of a (K, K, n) array."""
        rows = xp.reshape(square, (self.size * self.size, square.shape[-1]))
        return (
            xp.take(rows, self.later * self.size + self.earlier, axis=0),
            xp.take(rows, self.earlier * self.size + self.later, axis=0),
        )
