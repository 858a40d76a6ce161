"""Quantiles of any number of values in bounded memory: counts in logarithmic buckets.

A value v falls in a bucket by its sign and the leading 9 bits of |v| + 2⁻¹⁰, after the exponent:
the bits of the float are the logarithm, so no logarithm is taken. Buckets are fixed, so counts of
two sketches add up exactly, in any order; the idea is DDSketch's (Masson et al., PVLDB 12, 2019).

Order statistics are the middles of buckets, and 0 for the two that touch it: off by at most
2⁻¹⁰ |v| + 2⁻¹⁹, that is 0.1 % of the value and 0.000002.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from prefeq._namespace import Array
from prefeq.arrays import FloatArray, IntArray

DIGITS = 9
SMALL = 2.0**-10
"""Added to |v|: below it buckets are of equal width, above they grow with the value."""

RELATIVE, ABSOLUTE = 2.0**-10, 2.0**-19
"""An order statistic v is off by at most RELATIVE·|v| + ABSOLUTE."""

_SHIFT = 52 - DIGITS
_BASE = (1023 - 10) << DIGITS  # of |v| + SMALL = SMALL
_HALF = (10 + 16) << DIGITS  # up to 2¹⁶ in a dense array; beyond, in a counter


def _bits(size: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", size + SMALL))[0])


def bucket(value: float) -> int:
    """Return the bucket of one value: 0 ≤ bucket < 2·_HALF up to 2¹⁶ in size.

    >>> bucket(0.0) - bucket(-0.5) == bucket(0.5) - bucket(-0.0)
    True
    """
    place = (_bits(abs(value)) >> _SHIFT) - _BASE
    return _HALF + (place if math.copysign(1.0, value) > 0 else -1 - place)


def edges(place: int) -> tuple[float, float]:
    """Return the least and the largest value of a bucket, up to rounding."""
    steps = place - _HALF
    outward = steps if steps >= 0 else -1 - steps
    near, far = (_edge(outward + i) for i in (0, 1))
    return (near, far) if steps >= 0 else (-far, -near)


def _edge(outward: int) -> float:
    bits = (_BASE + outward) << _SHIFT
    top = 2047 << 52  # the bits of +inf
    value: float = struct.unpack("<d", struct.pack("<q", min(bits, top)))[0]
    return value - SMALL


@dataclass(eq=False)
class Counts:
    """What one chunk adds to a sketch: bucket counts, on the host, and the extremes.

    `places` are the buckets of the values, on their device.
    """

    places: Array
    dense: IntArray
    far: Counter[int]
    low: float
    high: float


def count(xp: Any, values: Array, low: float, high: float) -> Counts:
    """Count float64 values, of which the least and the largest are known, by buckets."""
    shifted = abs(values)
    shifted += SMALL
    places = shifted.view(xp.int64) >> _SHIFT
    places -= _BASE
    places ^= values.view(xp.int64) >> 63  # −1 − place for negative values, −0.0 among them
    places += _HALF
    far: Counter[int] = Counter()
    inside = places
    if bucket(low) < 0 or bucket(high) >= 2 * _HALF:
        mask = (places >= 0) & (places < 2 * _HALF)
        far.update(places[~mask].tolist())
        inside = places[mask]
    dense = _host(xp.bincount(inside, minlength=2 * _HALF))
    return Counts(places, dense, far, low, high)


class Levels:
    """Counts, exactly, how many values are at most each of some levels.

    A bucket with no level in it is counted as a whole: only the few values that share a bucket
    with a level are compared.

    >>> values = np.array([-3.0, 1.0, 2.0, 2.0, 7.5])
    >>> Levels((2.0, 7.0)).at_most(np, values, count(np, values, -3.0, 7.5)).tolist()
    [4, 4]
    """

    def __init__(self, levels: Sequence[float]) -> None:
        self.levels = np.array(levels, np.float64)
        self.order = np.argsort(self.levels)
        self.sorted = self.levels[self.order]
        self.places = np.array([bucket(v) for v in self.sorted.tolist()], np.int64)
        self.near = np.zeros(2 * _HALF, np.bool_)
        dense = (self.places >= 0) & (self.places < 2 * _HALF)
        self.near[self.places[dense]] = True
        self.dense = bool(dense.all())
        # Sums of counts below each bucket that has a level: of runs of buckets between them.
        self.starts, self.starts_of = np.unique(self.places, return_inverse=True)

    def at_most(self, xp: Any, values: Array, counts: Counts) -> IntArray:
        """Return the counts, level by level, of values whose buckets have been counted."""
        if xp is not np or counts.far or not self.dense:
            found = [xp.count_nonzero(values <= level) for level in self.levels.tolist()]
            return _host(found if xp is np else xp.stack(found))
        near = self.near[counts.places]
        places, values = np.sort(counts.places[near]), np.sort(values[near])
        top, most = self.starts[-1], self.starts[:-1]
        runs: Any = np.add.reduceat(counts.dense[:top], most) if len(most) else []
        below = np.cumsum([counts.dense[: self.starts[0]].sum(), *runs])[self.starts_of]
        below -= np.searchsorted(places, self.places)
        below += np.searchsorted(values, self.sorted, side="right")
        answer = np.empty_like(below)
        answer[self.order] = below
        return answer


def _host(array: Any) -> IntArray:
    answer: IntArray = np.asarray(array.cpu() if hasattr(array, "cpu") else array, np.int64)
    return answer


def _nothing() -> IntArray:
    return np.zeros(2 * _HALF, np.int64)


@dataclass(eq=False)
class Sketch:
    """Bucket counts of a number of values, their least and their largest value.

    >>> sketch = Sketch()
    >>> values = np.array([-800.0, -1.0, 0.0, 2.0, 1e9])
    >>> sketch.add(count(np, values, -800.0, 1e9))
    >>> sketch.total, sketch.quantile(0.0), sketch.quantile(1.0)
    (5, -800.0, 1000000000.0)
    >>> abs(sketch.quantile(0.4) - -1.0) <= RELATIVE + ABSOLUTE, sketch.quantile(0.5)
    (True, 0.0)
    """

    dense: IntArray = field(default_factory=_nothing)
    far: Counter[int] = field(default_factory=Counter)
    low: float = math.inf
    high: float = -math.inf

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(np.sum(self.dense)) + sum(self.far.values())

    def add(self, counts: Counts | Sketch) -> None:
        """Add the counts of a chunk, or of another sketch."""
        self.dense += counts.dense
        self.far.update(counts.far)
        self.low, self.high = min(self.low, counts.low), max(self.high, counts.high)

    def merge(self, other: Sketch) -> Sketch:
        """Return the sketch of both sets of values."""
        merged = Sketch(self.dense.copy(), Counter(self.far), self.low, self.high)
        merged.add(other)
        return merged

    def ranked(self, ranks: Sequence[int]) -> FloatArray:
        """Return the values of ranks, from 1 to the total, and bounds: rows of low, value, high."""
        total = self.total
        if not all(1 <= rank <= total for rank in ranks):
            raise IndexError(f"ranks {list(ranks)} of {total} values")
        places, ends = self._cumulated()
        found = []
        for rank in ranks:
            low, high = edges(int(places[np.searchsorted(ends, rank)]))
            if low == 0.0 or high == 0.0:
                middle = 0.0
            else:
                middle = low if math.isinf(low) else high if math.isinf(high) else (low + high) / 2
            if rank in (1, total):
                low = middle = high = self.low if rank == 1 else self.high
            found.append((low, middle, high))
        answer: FloatArray = np.clip(np.array(found, np.float64), self.low, self.high)
        return answer

    def quantile(self, share: float) -> float:
        """Return the least value that at least this share of the values does not exceed."""
        return float(self.ranked([rank_of(share, self.total)])[0, 1])

    def to_plain(self) -> dict[str, Any]:
        """Return a form for JSON: the buckets that are not empty."""
        places = np.flatnonzero(self.dense)
        return {
            "buckets": [places.tolist(), self.dense[places].tolist()],
            "far": [[place, n] for place, n in sorted(self.far.items())],
            "low": repr(self.low),
            "high": repr(self.high),
        }

    @classmethod
    def from_plain(cls, form: dict[str, Any]) -> Sketch:
        """Return the sketch that `to_plain` wrote."""
        dense = _nothing()
        dense[np.asarray(form["buckets"][0], np.int64)] = form["buckets"][1]
        far = Counter({int(place): int(n) for place, n in form["far"]})
        return cls(dense, far, float(form["low"]), float(form["high"]))

    def _cumulated(self) -> tuple[IntArray, IntArray]:
        """Return the buckets that are not empty, in order, and the last rank in each."""
        dense = np.flatnonzero(self.dense)
        counts = {place: n for place, n in sorted(self.far.items()) if n}
        below = [place for place in counts if place < 0]
        above = [place for place in counts if place >= 0]
        places = np.concatenate([np.array(below, np.int64), dense, np.array(above, np.int64)])
        sizes = [*(counts[p] for p in below), *self.dense[dense], *(counts[p] for p in above)]
        return places, np.cumsum(np.array(sizes, np.int64))


def rank_of(share: float, total: int) -> int:
    """Return the rank, from 1, of a quantile among `total` values: ⌈share·total⌉, at least 1.

    >>> [rank_of(share, 10) for share in (0.0, 0.05, 0.5, 0.51, 1.0)]
    [1, 1, 5, 6, 10]
    """
    return min(total, max(1, math.ceil(round(share * total, 9))))
