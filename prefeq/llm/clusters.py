"""Counts by prompt, so that intervals can take prompts for what was sampled.

Prompts are known by 64-bit hashes. What is kept grows with the prompts, not with the pairs: 8
bytes a prompt, and one byte for every share that is reported (two or four once a prompt has more
than 255 or 65,535 pairs), some 70 in all; while tables are joined, twice that.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from prefeq.errors import ProblemError
from prefeq.intervals import Interval, of_unequal_sizes, wilson

Keys = npt.NDArray[np.uint64]

_LEAST, _MOST = -(2**63), 2**63


def hashed(prompts: Any) -> Keys:
    """Return 64 bits for each prompt: integers as they are, anything else by BLAKE2 of its text.

    The text of an integer is that integer, so it does not matter how readers take a column of
    numbers, nor what else is in it. Two of n texts collide with probability n²/2⁶⁵: one in four
    million for three million.

    >>> hashed([5, "5", "x"])[:2].tolist(), hashed(["a"])[0] != hashed(["b"])[0]
    ([5, 5], np.True_)
    """
    prompts = prompts.cpu() if hasattr(prompts, "cpu") else prompts
    if not isinstance(prompts, list | tuple) or _integers(prompts):
        prompts = np.asarray(prompts)  # of lists of text it would be too wide, of messages ragged
        if prompts.ndim == 1 and prompts.dtype.kind in "iu" and prompts.dtype != np.uint64:
            keys: Keys = prompts.astype(np.int64, copy=False).view(np.uint64)
            return keys
        prompts = prompts.tolist()
    known: dict[str, int] = {}
    found = np.empty(len(prompts), np.uint64)
    for i, prompt in enumerate(prompts):
        text = text_of(prompt)
        if text not in known:
            known[text] = _key(text)
        found[i] = known[text]
    return found


def _integers(prompts: Sequence[Any]) -> bool:
    """Tell whether all are integers that an array of them would hold as they are."""
    kinds = set(map(type, prompts))
    whole = all(issubclass(kind, int | np.integer) and kind is not bool for kind in kinds)
    return whole and (not kinds or _LEAST <= min(prompts) <= max(prompts) < _MOST)


def _key(text: str) -> int:
    if len(text) <= 20 and text.isascii() and text.removeprefix("-").isdigit():
        number = int(text)
        if str(number) == text and _LEAST <= number < _MOST:
            return number % 2**64
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def text_of(prompt: Any) -> str:
    """Return what a prompt is known by: its text or, of messages and token ids, their JSON.

    Equal messages have equal text, whatever holds them and in whatever order their fields stand; a
    field that is None is one that is not there.

    >>> text_of(({"role": "user", "content": "Hi", "name": None},))
    '[{"content": "Hi", "role": "user"}]'
    """
    if isinstance(prompt, str):
        return prompt
    plain = _plain(prompt)
    return json.dumps(plain, ensure_ascii=False) if isinstance(plain, list | dict) else str(plain)


def _plain(value: Any) -> Any:
    """Return lists, dicts with sorted keys, and what JSON has no word for as its text."""
    if hasattr(value, "tolist"):  # arrays and numbers of NumPy, tensors
        value = value.tolist()
    if isinstance(value, Mapping):
        there = {str(key): item for key, item in value.items() if item is not None}
        return {key: _plain(there[key]) for key in sorted(there)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


@dataclass(eq=False)
class Clusters:
    """A table of prompts: their hashes, sorted, and per prompt the pairs and what counts of them.

    Attributes
    ----------
    keys, counts
        (prompts,) hashes and (1 + shares, prompts) counts: row 0 is the number of pairs.
    pending
        Tables of chunks that have not been joined in yet.
    """

    keys: Keys
    counts: npt.NDArray[Any]
    pending: list[tuple[Keys, npt.NDArray[Any]]]

    @classmethod
    def empty(cls, shares: int) -> Clusters:
        """Return a table of no prompts."""
        return cls(np.empty(0, np.uint64), np.empty((1 + shares, 0), np.uint8), [])

    def add(self, keys: Keys, flags: Sequence[npt.NDArray[np.bool_]]) -> None:
        """Add the pairs of a chunk: the hash of each one's prompt, and what holds of it."""
        if len(keys) == 0:
            return
        order: Any = slice(None)
        starts = _starts(keys)
        if 2 * len(starts) > len(keys):  # not prompt by prompt
            order = np.argsort(keys, kind="stable")
            keys = keys[order]
            starts = _starts(keys)
        counts = np.empty((1 + len(flags), len(starts)), np.uint32)
        counts[0] = np.diff(starts, append=len(keys))
        last = np.append(starts[1:], len(keys)) - 1
        for row, flag in zip(counts[1:], flags, strict=True):
            ends = np.cumsum(flag[order], dtype=np.uint32)[last]  # faster than reduceat
            row[0], row[1:] = ends[0], ends[1:] - ends[:-1]
        self.pending.append((keys[starts], _narrow(counts)))
        self._settle_if_long()

    def settle(self) -> None:
        """Join what is pending, so that each prompt stands once."""
        tables = [(self.keys, self.counts), *self.pending]
        if len(tables) == 1:
            return
        tables = [table for table in tables if len(table[0])]
        if not tables:
            self.pending = []
            return
        keys = np.concatenate([k for k, _ in tables])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        starts = _starts(keys)
        shape = (self.counts.shape[0], len(starts))
        pairs = np.concatenate([c[0] for _, c in tables])[order]
        totals = np.add.reduceat(pairs, starts, dtype=np.int64)
        joined = np.empty(shape, _width(int(totals.max())))
        joined[0] = totals
        for i in range(1, shape[0]):  # row by row: no copy of the whole table is wider than it
            row = np.concatenate([c[i] for _, c in tables])[order]
            np.add.reduceat(row, starts, dtype=joined.dtype, out=joined[i])
        self.keys, self.counts, self.pending = keys[starts], joined, []

    def merge(self, other: Clusters) -> Clusters:
        """Return the table of both."""
        pending = [*self.pending, (other.keys, other.counts), *other.pending]
        merged = Clusters(self.keys, self.counts, pending)
        merged._settle_if_long()
        return merged

    def _settle_if_long(self) -> None:
        """Join what is pending once it is as long as the table, so that it is seldom moved."""
        if sum(len(k) for k, _ in self.pending) > max(2**18, len(self.keys)):
            self.settle()

    def __len__(self) -> int:
        self.settle()
        return len(self.keys)

    def interval(self, share: int, level: float) -> Interval:
        """Return Wilson's interval of a share (a row of the counts), prompts being the sample.

        As `prefeq.intervals.wilson_clustered`. One prompt says nothing of how prompts vary: then it
        is all of [0, 1].
        """
        self.settle()
        k = len(self.keys)
        n, x = self.counts[0].astype(np.int64), self.counts[1 + share].astype(np.int64)
        total, count = int(n.sum()), int(x.sum())
        if total == 0:
            raise ProblemError("no pairs: a share of none has no interval")
        if k < 2:
            return Interval(0.0, 1.0)
        if total >= 2**31:  # the products would overflow
            n, x = n.astype(np.float64), x.astype(np.float64)
        worth = total**2 / (n @ n).item()
        if count in (0, total):
            effective = worth
        else:
            off = (x * total - n * count) / (total - n)
            squares = float(np.sum(off * off))  # the prompts are sorted: always the same sum
            spread = count * (total - count) * k / (k - 1)
            effective = min(float(total), spread / squares) if squares else float(total)
        effective *= of_unequal_sizes(k, worth, level)
        return wilson(count / total * effective, effective, level)

    def to_plain(self) -> dict[str, Any]:
        """Return a form for JSON."""
        self.settle()
        return {
            "keys": base64.b64encode(self.keys.tobytes()).decode(),
            "counts": base64.b64encode(np.ascontiguousarray(self.counts).tobytes()).decode(),
            "dtype": self.counts.dtype.name,
            "shares": self.counts.shape[0] - 1,
        }

    @classmethod
    def from_plain(cls, form: dict[str, Any]) -> Clusters:
        """Return the table that `to_plain` wrote."""
        keys = np.frombuffer(base64.b64decode(form["keys"]), np.uint64)
        counts = np.frombuffer(base64.b64decode(form["counts"]), form["dtype"])
        return cls(keys, counts.reshape(1 + int(form["shares"]), len(keys)), [])


def _starts(keys: Keys) -> npt.NDArray[np.intp]:
    """Return where runs of equal keys begin."""
    if len(keys) == 0:
        return np.empty(0, np.intp)
    return np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))


def _width(largest: int) -> type[np.unsignedinteger[Any]]:
    return np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.uint32


def _narrow(counts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return counts.astype(_width(int(counts[0].max())))
