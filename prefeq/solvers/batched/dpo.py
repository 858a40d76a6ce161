"""Exact DPO on a whole batch: the kernel's answers, certified, and the rest one by one."""

from __future__ import annotations

from typing import Any

import numpy as np

from prefeq._namespace import namespace, quiet
from prefeq.arrays import log_normalise, logsumexp, to_numpy
from prefeq.bandit import Bandit
from prefeq.chunks import map_lanes
from prefeq.preferences import Preferences
from prefeq.solution import Solution, Status, choose
from prefeq.solvers import policies
from prefeq.solvers.batched import likelihood
from prefeq.solvers.batched.divergence import diverge
from prefeq.solvers.batched.fallback import Single, shaped, solve_undone, write_among
from prefeq.solvers.batched.flatten import bandit_rows, pair_rows
from prefeq.solvers.bodies import EPS

DIVERGING = ("direction", "limit", "limit_part", "mixed")
"""Columns of chunks in which some problem diverges."""


def solve_batch(
    bandit: Bandit, preferences: Preferences, single: Single, tolerance: float
) -> Solution:
    """Solve every problem of a batch by Newton's method; `single` takes what is left undone."""
    lead, k, pairs = bandit.batch_shape, bandit.K, preferences.P
    rows = bandit_rows(bandit)
    rows |= pair_rows(preferences, lead, "winner", "loser", "log_odds", "mass")

    def kernel(**lanes: Any) -> dict[str, Any]:
        return _solve_lanes(tolerance=tolerance, **lanes)

    columns: dict[str, Any] = map_lanes(kernel, rows, k * k + 6 * k + 4 * pairs)
    done = to_numpy(columns.pop("done"))
    finite = to_numpy(columns.pop("finite"))
    unique = to_numpy(columns["dimension"]) == 0
    status = choose(unique, Status.OPTIMAL, Status.NOT_UNIQUE)
    status[~finite] = Status.DIVERGES
    columns["status"] = status
    columns["route"] = np.full(done.size, "newton", dtype=object)
    undone = np.flatnonzero(~done)
    parts = solve_undone(bandit, preferences, undone, single)
    if any(part.limit is not None for part in parts):
        _add_diverging_columns(columns)
    objects = write_among(columns, undone, parts, k)
    if "limit" in columns:
        _gather_divergence(columns, objects, done & ~finite)
    return shaped(columns, lead)


def _add_diverging_columns(columns: dict[str, Any]) -> None:
    xp = namespace(columns["logp"])
    for name in DIVERGING:
        if name not in columns:
            blank = xp.zeros_like(columns["logp"])
            columns[name] = xp.astype(blank, xp.bool) if name == "mixed" else blank


def _gather_divergence(columns: dict[str, Any], objects: dict[str, Any], here: Any) -> None:
    """Join what diverging problems have: `here` marks those that were solved in lanes."""
    mixed = to_numpy(columns.pop("mixed"))
    component = objects.get("component", np.full(here.size, None, dtype=object))
    component[here] = _members(mixed[here])
    columns["component"] = component
    dimension = to_numpy(columns["dimension"]).astype(object)
    dimension[columns["status"] == Status.DIVERGES] = None  # there is no minimiser
    columns["dimension"] = dimension
    xp, limit, part = namespace(columns["logp"]), columns.pop("limit"), columns.pop("limit_part")
    alone = xp.all(columns["direction"] == 0, axis=-1, keepdims=True)  # its policy is its limit
    columns["limit"] = (xp.where(alone, columns["logp"], limit), part)


def _members(rows: Any) -> Any:
    """Return the members of rows (B, K) of bools as an object array of tuples."""
    keys, inverse = np.unique(rows @ (1 << np.arange(rows.shape[-1])), return_inverse=True)
    table = np.empty(keys.size, dtype=object)
    for i, key in enumerate(keys.tolist()):
        table[i] = tuple(y for y in range(rows.shape[-1]) if key >> y & 1)
    return table[inverse]


@quiet
def _solve_lanes(
    reward: Any,
    ref_logp: Any,
    beta: Any,
    winner: Any,
    loser: Any,
    log_odds: Any,
    mass: Any,
    tolerance: float,
) -> dict[str, Any]:
    xp, present = namespace(reward), mass > 0
    on = ref_logp > -np.inf
    fit = likelihood.minimise_lanes(xp, on, winner, loser, log_odds, mass, present)
    dimension = xp.max(fit.component, axis=0)
    finite = xp.max(fit.strong, axis=0) == dimension
    logp = log_normalise(ref_logp + fit.s / beta, 0)
    residual = _residual(xp, on, ref_logp, beta, logp, fit)
    columns = {
        "logp": logp,
        "value": policies.objective(xp, reward, ref_logp, beta, logp, 0),
        "residual": residual,
        "loss": fit.loss,
        "dimension": dimension,
        "steps": fit.steps,
        "finite": finite,
        "done": fit.done & (residual <= tolerance) & finite,
    }
    if not bool(xp.all(finite)):
        diverge(xp, columns, fit, ref_logp, beta, winner, loser, log_odds, present)
    return columns


def _residual(xp: Any, on: Any, ref_logp: Any, beta: Any, logp: Any, fit: Any) -> Any:
    """Bound the error of log π, relative to max(1, |log π|, |log π_ref|).

    The kernel bounds the error of any difference of s; how far the s of the policy itself,
    β log(π/π_ref), is from the kernel's adds to it. What is bounded is twice that, as the residual
    of a single problem is.
    """
    zero = xp.zeros_like(logp)
    move = xp.where(on, logp, zero) - xp.where(on, ref_logp, zero)
    apart, far = move - fit.s / beta, xp.full_like(move, np.inf)
    spread = xp.max(xp.where(on, apart, -far), axis=0) - xp.min(xp.where(on, apart, far), axis=0)
    error = 2.0 * fit.error / beta + 2.0 * spread
    least = xp.minimum(xp.where(on, logp, zero), xp.where(on, ref_logp, zero))
    scale = xp.maximum(-xp.min(least, axis=0), xp.ones_like(beta))
    return xp.maximum(error, xp.abs(logsumexp(logp, 0))) / scale + 4 * EPS
