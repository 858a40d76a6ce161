"""What is rechecked, and what the rechecks share: sums of exponentials in long double."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import prefeq as pq
from benchmarks.problems import Batch
from prefeq.arrays import BoolArray, FloatArray

TOLERANCE = 1e-9
"""Largest violation that passes, in nats relative to the largest number of the problem."""

Long = npt.NDArray[np.longdouble]
Objects = npt.NDArray[np.object_]
Findings = dict[str, Any]
"""The violations of a batch by name, each (n,)."""

EPS = np.finfo(np.longdouble).eps
INF = np.longdouble(np.inf)
FIELDS = ("multipliers", "loss", "direction", "component", "dimension", "cycle")


@dataclass(frozen=True)
class Answers:
    """A batched solution as NumPy arrays, one row a problem; None where it has no such field."""

    logp: FloatArray
    value: FloatArray
    status: Objects
    limit: FloatArray | None
    more: dict[str, Any]

    @classmethod
    def of(cls, solution: pq.Solution) -> Answers:
        """Read a batched solution of one leading axis."""
        status = np.array([str(s) for s in np.ravel(solution.status)], dtype=object)
        more = {name: to_numpy(getattr(solution, name)) for name in FIELDS}
        limit = None if solution.limit is None else to_numpy(solution.limit[0])
        return cls(to_numpy(solution.logp), to_numpy(solution.value), status, limit, more)

    def __getitem__(self, index: Any) -> Answers:
        return Answers(
            self.logp[index],
            self.value[index],
            self.status[index],
            None if self.limit is None else self.limit[index],
            {name: None if v is None else v[index] for name, v in self.more.items()},
        )


def to_numpy(array: Any) -> Any:
    """Return an array of any library as a NumPy one."""
    if array is None:
        return None
    return np.asarray(array.cpu() if hasattr(array, "cpu") else array)


def log_target(batch: Batch) -> Long:
    """Return log π* = log π_ref + r/β − log Z in long double, -inf off-support."""
    on = np.isfinite(batch.ref_logp)
    reward = np.where(on, batch.reward, -np.inf).astype(np.longdouble)
    tilt = (reward - reward.max(axis=-1, keepdims=True)) / batch.beta[:, None]
    return normalised(log_reference(batch) + tilt)


def log_reference(batch: Batch) -> Long:
    """Return log π_ref, normalised, in long double."""
    return normalised(batch.ref_logp.astype(np.longdouble))


def normalised(logits: Long) -> Long:
    """Return logits − log Σ exp along the last axis."""
    centred = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(centred - np.log(np.exp(centred).sum(axis=-1, keepdims=True)))


def log_sum(logp: Long) -> Long:
    """Return log Σ exp along the last axis."""
    top = logp.max(axis=-1)
    return np.asarray(top + np.log(np.exp(logp - top[:, None]).sum(axis=-1)))


def nats(batch: Batch, logp: Any) -> FloatArray:
    """Return max(1, |log π|, |r − max r|/β) over the support: what violations are relative to."""
    on = np.isfinite(batch.ref_logp)
    reward = np.where(on, batch.reward, -np.inf)
    tilt = (reward.max(axis=-1, keepdims=True) - reward) / batch.beta[:, None]
    return np.maximum(1.0, np.maximum(largest(on, np.abs(logp)), largest(on, tilt)))


def value_error(batch: Batch, answers: Answers) -> FloatArray:
    """Return the error of J(π)/β relative to the largest of its parts; no policy has J = -inf."""
    on = np.isfinite(batch.ref_logp)
    logp, beta = answers.logp.astype(np.longdouble), batch.beta
    leash = np.where(on, logp - log_reference(batch), 0.0)
    parts = np.exp(logp) * (batch.reward / beta[:, None].astype(np.longdouble) - leash)
    size = np.maximum(largest(on, np.abs(batch.reward)) / beta, largest(on, np.abs(leash)))
    error = np.abs(answers.value / beta - np.where(on, parts, 0.0).sum(axis=-1))
    none = np.all(np.isneginf(answers.logp), axis=-1)
    return np.where(none, unless(np.isneginf(answers.value)), error / np.maximum(1.0, size))


def same_support(batch: Batch, answers: Answers) -> FloatArray:
    """Return inf where log π is -inf inside the support or not -inf outside of it."""
    on = np.isfinite(batch.ref_logp)
    return unless(np.all((answers.logp == -np.inf) == ~on, axis=-1))


def largest(where: BoolArray, values: Any) -> Any:
    """Return the maximum of values ≥ 0 over the marked ones of each row, 0 if none is."""
    return np.max(np.where(where, values, 0.0), axis=-1, initial=0.0)


def unless(good: Any) -> FloatArray:
    """Return 0 where `good`, else inf."""
    return np.where(good, 0.0, np.inf)
