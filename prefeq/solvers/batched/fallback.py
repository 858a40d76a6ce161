"""Problems that a kernel left undone: solved one by one, and written among the others' answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from prefeq._namespace import namespace
from prefeq.arrays import IntArray, to_numpy
from prefeq.bandit import Bandit
from prefeq.lanes import device_of
from prefeq.preferences import Preferences
from prefeq.solution import Solution, stack
from prefeq.solvers.batched.flatten import bandit_rows, pair_rows

Single = Callable[[Bandit, Preferences, tuple[int, ...]], Solution]

ALONE = ", alone"
"""Follows the route of a problem of a batch that the single-problem solver had to take."""

PAIR_FIELDS = ("winner", "loser", "prob", "log_odds", "mass")


def solve_undone(
    bandit: Bandit, preferences: Preferences, where: IntArray, single: Single
) -> list[Solution]:
    """Solve the problems at flat positions `where` of a batch with a single-problem solver."""
    xp, lead = bandit.xp, bandit.batch_shape
    device = device_of(bandit.reward)
    keep = xp.asarray(where, device=device)
    problem = {
        name: to_numpy(xp.take(rows, keep, axis=0)) for name, rows in bandit_rows(bandit).items()
    }
    pairs = {
        name: to_numpy(xp.take(rows, keep, axis=0))
        for name, rows in pair_rows(preferences, lead, *PAIR_FIELDS).items()
    }
    found = []
    for i, flat in enumerate(where.tolist()):
        beta = float(problem["beta"][i])
        one = bandit.unchecked(problem["reward"][i], problem["ref_logp"][i], beta, None, None)
        index = tuple(int(x) for x in np.unravel_index(flat, lead))
        some = preferences.unchecked(*(pairs[name][i] for name in PAIR_FIELDS))
        found.append(single(one, some, index))
    return found


def write_among(
    columns: dict[str, Any], where: IntArray, parts: list[Solution], k: int
) -> dict[str, Any]:
    """Write solutions at rows `where` of the columns; return the fields that only they have.

    Numeric columns are arrays of the batch's library; `status` and `route` NumPy arrays.
    """
    if not parts:
        return {}
    parts = [_alone(part) for part in parts]
    joined = stack(parts, (len(parts),), k)
    objects: dict[str, Any] = {}
    size = columns["logp"].shape[0]
    for name in Solution.__dataclass_fields__:
        value = getattr(joined, name)
        if name == "limit" and "limit_part" in columns:
            finite, part = value or (joined.logp, np.zeros(joined.logp.shape))
            _assign(columns["limit"], where, finite)
            _assign(columns["limit_part"], where, part)
        elif name == "route":
            columns[name][where] = [part.route for part in parts]  # None where infeasible
        elif value is None:
            continue
        elif name in columns:
            _assign(columns[name], where, value)
        elif name in ("cycle", "component"):
            objects[name] = np.full(size, None, dtype=object)
            objects[name][where] = value
    return objects


def _alone(part: Solution) -> Solution:
    """Say in the route of an answer that it was not found among the others."""
    return part if part.route is None else replace(part, route=part.route + ALONE)


def _assign(column: Any, where: IntArray, value: Any) -> None:
    if isinstance(column, np.ndarray):
        if column.dtype == object:
            column[where] = value
        else:
            column[where] = np.array([0 if x is None else x for x in value], dtype=column.dtype)
        return
    xp, device = namespace(column), device_of(column)
    numbers = np.array([0 if x is None else x for x in value], dtype=np.float64)
    new = xp.astype(xp.asarray(numbers, device=device), column.dtype)
    column[xp.asarray(where, device=device)] = new


def shaped(columns: dict[str, Any], lead: tuple[int, ...]) -> Solution:
    """Return columns of shape (B, ·) as a solution with the batch's leading axes."""

    def reshape(column: Any) -> Any:
        if isinstance(column, tuple):
            return tuple(reshape(part) for part in column)
        return column.reshape((*lead, *column.shape[1:]))

    return Solution(**{name: reshape(column) for name, column in columns.items()})
