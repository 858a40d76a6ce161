"""Gradient descent on a whole batch: one `Trajectory`, and where every problem ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from prefeq._namespace import quiet
from prefeq.arrays import log_normalise, logsumexp, to_numpy
from prefeq.bandit import Bandit
from prefeq.errors import ProblemError
from prefeq.lanes import device_of
from prefeq.preferences import Preferences
from prefeq.solution import Solution, Status, Trajectory, choose, constant
from prefeq.solvers.batched.descent import Records, descend_batch, near
from prefeq.solvers.batched.flatten import bandit_rows, pair_rows
from prefeq.solvers.batched.walk import Problems
from prefeq.solvers.bodies import EPS
from prefeq.solvers.descent import Schedule
from prefeq.solvers.rlhf import objective

RECORD_BYTES = 4 * 2**30
"""Largest record of a run, in bytes; beyond it ask for fewer steps or for sparser records."""


@quiet
def solve_descent(
    bandit: Bandit, preferences: Preferences, run: Schedule, exact: Solution, tolerance: float
) -> Solution:
    """Descend from the reference in every problem; `exact` is the same batch solved by Newton.

    A problem stops at the first record within its tolerance of its exact minimiser, if it has one.
    """
    xp, lead, k = bandit.xp, bandit.batch_shape, bandit.K
    _refuse_memory(bandit, preferences, run)
    rows = bandit_rows(bandit)
    pairs = pair_rows(preferences, lead, "winner", "loser", "log_odds", "mass")
    problems = Problems(rows["ref_logp"], rows["beta"], **pairs, present=pairs["mass"] > 0)
    finite = _answered(xp, exact, bandit)
    goal, radius = _goal(xp, bandit, exact, finite, tolerance)
    records = descend_batch(
        xp,
        problems,
        max_steps=run.max_steps,
        records=run.records,
        step_size=run.step_size,
        finished=near(xp.reshape(goal, (-1, k)), xp.reshape(radius, (-1,))),
    )
    shift = xp.reshape(records.shift, (*lead, k))
    logp = log_normalise(bandit.ref_logp + shift)
    away = 2.0 * _spread(xp, bandit.support, shift - goal) / _scale(xp, bandit, logp)
    residual = exact.residual + away + xp.abs(logsumexp(logp))
    residual = xp.where(finite, residual, xp.full_like(residual, np.inf))
    near_enough = to_numpy(finite & (residual <= _tolerance(xp, bandit, tolerance)))
    status = choose(to_numpy(exact.dimension) == 0, Status.OPTIMAL, Status.NOT_UNIQUE)
    status[~near_enough] = Status.ITERATION_LIMIT
    status[exact.status == Status.DIVERGES] = Status.DIVERGES
    return replace(
        exact,
        logp=logp,
        value=objective(bandit, logp),
        status=status,
        residual=residual,
        loss=xp.reshape(records.loss[-1, :], lead),
        trajectory=_trajectory(xp, records, preferences, lead),
        route=constant("gradient descent", lead),
        steps=xp.reshape(records.steps, lead),
        limit=None,
    )


def _answered(xp: Any, exact: Solution, bandit: Bandit) -> Any:
    """Return which problems have a minimiser that Newton found, as an array of the library."""
    known = (exact.status == Status.OPTIMAL) | (exact.status == Status.NOT_UNIQUE)
    return xp.asarray(np.asarray(known, dtype=np.bool_), device=device_of(bandit.reward))


def _goal(
    xp: Any, bandit: Bandit, exact: Solution, finite: Any, tolerance: float
) -> tuple[Any, Any]:
    """Return θ − θ_ref of the minimisers, mean zero, and how near to stop (−1: never)."""
    on, zero = bandit.support & finite[..., None], xp.zeros_like(bandit.ref_logp)
    move = xp.where(on, exact.logp, zero) - xp.where(on, bandit.ref_logp, zero)
    count = xp.sum(xp.astype(bandit.support, xp.float64), axis=-1)
    mean = xp.sum(move, axis=-1) / count
    goal = xp.where(on, move - mean[..., None], zero)
    # at most half of the tolerance is the exact minimiser's own
    radius = _tolerance(xp, bandit, tolerance) * _scale(xp, bandit, exact.logp) / 8
    return goal, xp.where(finite, radius, -xp.ones_like(radius))


def _tolerance(xp: Any, bandit: Bandit, tolerance: float) -> Any:
    return xp.maximum(xp.full_like(bandit.beta, tolerance), 1024 * EPS / bandit.beta)


def _scale(xp: Any, bandit: Bandit, logp: Any) -> Any:
    """Return max(1, |log π|, |log π_ref|)."""
    on, zero = bandit.support & (logp > -np.inf), xp.zeros_like(logp)
    least = xp.minimum(xp.where(on, logp, zero), xp.where(on, bandit.ref_logp, zero))
    least = xp.min(least, axis=-1)
    return xp.maximum(-least, xp.ones_like(least))


def _spread(xp: Any, on: Any, values: Any) -> Any:
    top = xp.max(xp.where(on, values, xp.full_like(values, -np.inf)), axis=-1)
    return top - xp.min(xp.where(on, values, xp.full_like(values, np.inf)), axis=-1)


def _trajectory(
    xp: Any, records: Records, preferences: Preferences, lead: tuple[int, ...]
) -> Trajectory:
    count, pairs = len(records.step), preferences.P
    whole = (count, *lead, pairs)
    return Trajectory(
        step=np.array(records.step),
        loss=xp.reshape(records.loss, (count, *lead)),
        margin=xp.reshape(records.margin[..., :pairs], whole),
        undesirable=xp.reshape(records.undesirable[..., :pairs], whole),
        step_size=xp.reshape(records.step_size, lead),
        lipschitz=xp.reshape(records.lipschitz, lead),
        present=xp.broadcast_to(preferences.present, (*lead, pairs)),
    )


def _refuse_memory(bandit: Bandit, preferences: Preferences, run: Schedule) -> None:
    count = sum(run.records(step) or step == run.max_steps for step in range(run.max_steps + 1))
    problems = int(np.prod(bandit.batch_shape))
    size = count * problems * (9 * preferences.P + 8)
    if size > RECORD_BYTES:
        raise ProblemError(
            f"{count} records of {problems} problems are {size / 2**30:.1f} GiB, more than "
            f"{RECORD_BYTES / 2**30:g}: lower max_steps, raise record_every, or cut the batch"
        )
