"""Four log-probs a pair: what a preference loss is given, and the pairs it is measured on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from prefeq._elementary import softplus
from prefeq.arrays import FloatArray
from prefeq.errors import ProblemError

LOGPS = ("chosen", "rejected", "ref_chosen", "ref_rejected")


@dataclass(frozen=True, eq=False)
class Pairs:
    """Log-probabilities of n pairs under the policy and under the reference, in nats.

    Attributes
    ----------
    chosen, rejected, ref_chosen, ref_rejected
        float64, ``(n,)``: sums over tokens, finite and at most 0.
    chosen_tokens, rejected_tokens
        Lengths, ``(n,)``; 1 unless given.

    Examples
    --------
    >>> pairs = Pairs.two_responses(margin=1.0, ref_margin=-3.0)
    >>> pairs.margin.tolist(), pairs.ref_margin.tolist(), len(pairs)
    ([1.0], [-3.0], 1)
    """

    chosen: FloatArray
    rejected: FloatArray
    ref_chosen: FloatArray
    ref_rejected: FloatArray
    chosen_tokens: Any = 1
    rejected_tokens: Any = 1

    def __post_init__(self) -> None:
        columns = [np.atleast_1d(np.asarray(getattr(self, n), dtype=np.float64)) for n in LOGPS]
        shape = np.broadcast_shapes(*(column.shape for column in columns))
        if len(shape) != 1:
            raise ProblemError(f"log-probs of shape {shape}: pass vectors, one entry a pair")
        for name, column in zip(LOGPS, columns, strict=True):
            if not np.isfinite(column).all():
                raise ProblemError(f"{name} has an entry that is not finite; leave that pair out")
            object.__setattr__(self, name, np.broadcast_to(column, shape).copy())
        for name in ("chosen_tokens", "rejected_tokens"):
            tokens = np.broadcast_to(np.asarray(getattr(self, name), dtype=np.int64), shape).copy()
            if (tokens < 1).any():
                raise ProblemError(f"{name} has an entry below 1: a response has tokens")
            object.__setattr__(self, name, tokens)

    @classmethod
    def two_responses(cls, margin: Any, ref_margin: Any) -> Pairs:
        """Return the log-probs of a two-response bandit: log σ(±δ) and log σ(±δ_ref)."""
        delta, ref = np.broadcast_arrays(
            np.atleast_1d(np.asarray(margin, dtype=np.float64)).ravel(),
            np.atleast_1d(np.asarray(ref_margin, dtype=np.float64)).ravel(),
        )
        return cls(*(-softplus(np, z) for z in (-delta, delta, -ref, ref)))

    @classmethod
    def one(cls, chosen: float, rejected: float, ref_chosen: float, ref_rejected: float) -> Pairs:
        """Return a single pair."""
        return cls(*(np.array([x]) for x in (chosen, rejected, ref_chosen, ref_rejected)))

    @property
    def margin(self) -> FloatArray:
        """δ = log π(w) − log π(l)."""
        return self.chosen - self.rejected

    @property
    def ref_margin(self) -> FloatArray:
        """The same under the reference."""
        return self.ref_chosen - self.ref_rejected

    def swapped(self) -> Pairs:
        """Return the pairs as a flipped label sees them: chosen and rejected exchanged."""
        return Pairs(
            self.rejected,
            self.chosen,
            self.ref_rejected,
            self.ref_chosen,
            self.rejected_tokens,
            self.chosen_tokens,
        )

    def rows(self, index: Any) -> Pairs:
        """Return some of the pairs: an index, a slice or a mask."""
        if isinstance(index, int):
            index = slice(index, index + 1)
        return Pairs(*(column[index] for column in self.columns()))

    def of_lengths(self) -> Pairs:
        """Return the pairs with token counts, those of the two responses of a pair unequal."""
        i = np.arange(len(self))
        return replace(self, chosen_tokens=3 + i % 5, rejected_tokens=np.where(i % 2, 9, 2))

    def columns(self) -> tuple[Any, ...]:
        """Return the four log-probs and the two lengths."""
        return (*(getattr(self, name) for name in LOGPS), self.chosen_tokens, self.rejected_tokens)

    def shifted(self, **by: Any) -> Pairs:
        """Return the pairs with something added to columns: ``shifted(chosen=1.0)``."""
        return replace(self, **{name: getattr(self, name) + x for name, x in by.items()})

    def singles(self) -> Iterator[Pairs]:
        """Yield each pair on its own."""
        columns = self.columns()
        for i in range(len(self)):
            yield Pairs._trusted(*(column[i : i + 1] for column in columns))

    @classmethod
    def _trusted(cls, *columns: Any) -> Pairs:
        """Make pairs of columns that were checked before: losses are called many times."""
        made = object.__new__(cls)
        for name, column in zip(cls.__dataclass_fields__, columns, strict=True):
            object.__setattr__(made, name, column)
        return made

    def row(self, index: int) -> dict[str, float]:
        """Return one pair under the names that trainers give the columns."""
        return {f"{name}_logps": float(getattr(self, name)[index]) for name in LOGPS}

    def __len__(self) -> int:
        return int(self.chosen.shape[0])


def mixed_pairs(count: int = 24, seed: int = 7, scale: float = 1.0) -> Pairs:
    """Return pairs of every kind: log-probs of single tokens and of texts, of either margin.

    Parameters
    ----------
    count, seed
        How many, and of which stream.
    scale
        The typical size of a relative margin, in nats.
    """
    rng = np.random.default_rng(seed)
    base = -(10.0 ** rng.uniform(0.3, 2.0, count)) - 6 * scale
    chosen = base + scale * rng.uniform(-3, 3, count)
    ref_chosen = chosen + scale * rng.uniform(-1.5, 1.5, count)
    rejected = base + scale * rng.uniform(-3, 3, count)
    ref_rejected = rejected + scale * rng.uniform(-1.5, 1.5, count)
    columns = (chosen, rejected, ref_chosen, ref_rejected)
    return Pairs(*(np.minimum(column, -1e-3) for column in columns))
