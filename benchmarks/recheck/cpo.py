"""Constrained PO: margins that can be met, are met, and no better policy that meets them.

With d = log π − log π*, a feasible policy is optimal iff some constant c is at least the π-weighted
mean of d over every set of responses that no tight pair leaves (winner inside, loser outside), and
at most the mean over every set that none enters. For the multipliers are a flow along tight pairs
that supplies π(d − c), and that is Gale's condition for one. Half the gap by which it fails is the
least change of log π*, in nats, for which π is exactly optimal.
"""

from __future__ import annotations

import numpy as np

import prefeq as pq
from benchmarks.problems import Batch
from benchmarks.recheck.answers import (
    INF,
    TOLERANCE,
    Answers,
    Findings,
    Long,
    log_sum,
    log_target,
    nats,
    same_support,
    to_numpy,
    unless,
    value_error,
)
from benchmarks.recheck.subsets import extreme_means, losers
from prefeq.arrays import BoolArray, FloatArray

LEVELS = (1e-14, 1e-12, 1e-10, TOLERANCE)
"""Slacks up to which a pair is tried as tight, relative."""


def check(batch: Batch, answers: Answers) -> Findings:
    """Check status, feasibility and optimality."""
    infeasible = answers.status == "infeasible"
    size, logp = nats(batch, answers.logp), answers.logp.astype(np.longdouble)
    found = {
        "slack": np.max(-slacks(batch, logp), axis=-1, initial=0.0) / size,
        "Σ π": np.abs(log_sum(logp)) / size,
        "optimality": optimality_gap(batch, logp, size),
        "support": same_support(batch, answers),
    }
    nothing = unless(np.all(np.isneginf(answers.logp), axis=-1) & _cycles_hold(batch, answers))
    return {
        "status": _status(batch, answers),
        **{name: np.where(infeasible, nothing, rows) for name, rows in found.items()},
        "value": value_error(batch, answers),
    }


def _status(batch: Batch, answers: Answers) -> FloatArray:
    excess = cycle_excess(batch)
    longest = np.max(np.where(batch.present, np.abs(batch.margin), 0.0), axis=-1, initial=1.0)
    close = np.abs(excess) < 1e-16 * longest  # the long double's own rounding, and more
    impossible, solved = answers.status == "infeasible", answers.status == "optimal"
    return unless(np.where(excess > 0, impossible, solved) | (close & (impossible | solved)))


def cycle_excess(batch: Batch) -> Long:
    """Return the largest Σ (m − 1e-12 max(1, |m|)) around a directed cycle (-inf: no cycle).

    Margins are infeasible if that is above 0: the toll is what the package takes for rounding.
    """
    k, rows = batch.reward.shape[-1], np.arange(len(batch))
    margin = batch.margin.astype(np.longdouble)
    length = margin - np.longdouble("1e-12") * np.maximum(1.0, np.abs(margin))
    far = np.full((k, k, len(batch)), -INF)
    for p in range(batch.winner.shape[-1]):
        w, lo = batch.winner[:, p], batch.loser[:, p]
        pair = np.where(batch.present[:, p], length[:, p], -INF)
        far[w, lo, rows] = np.maximum(far[w, lo, rows], pair)
    for via in range(k):
        far = np.maximum(far, far[:, via, None] + far[None, via, :])
    return np.asarray(np.max([far[i, i] for i in range(k)], axis=0))


def _cycles_hold(batch: Batch, answers: Answers) -> BoolArray:
    """Tell where the cycle that an infeasible problem names sums above zero."""
    good = np.ones(len(batch), dtype=bool)
    for row in np.flatnonzero(answers.status == "infeasible"):
        named = None if answers.more["cycle"] is None else answers.more["cycle"][row]
        good[row] = named is not None and cycle_sum(batch, int(row), np.ravel(named)) > 0
    return good


def cycle_sum(batch: Batch, row: int, cycle: FloatArray) -> np.longdouble:
    """Return the sum of margins around a cycle of responses (-1 pads it), -inf if it is none."""
    names = [int(v) for v in cycle if v >= 0]
    total = np.longdouble(0.0) if len(names) > 1 else -INF
    for w, lo in zip(names, names[1:] + names[:1], strict=True):
        pair = batch.present[row] & (batch.winner[row] == w) & (batch.loser[row] == lo)
        total += np.max(np.where(pair, batch.margin[row], -INF), initial=-INF)
    return total


def slacks(batch: Batch, logp: Long) -> Long:
    """Return δ − m of each pair, inf for absent ones."""
    won, lost = (np.take_along_axis(logp, index, -1) for index in (batch.winner, batch.loser))
    return np.where(batch.present, won - lost - batch.margin, INF)


def optimality_gap(batch: Batch, logp: Long, size: FloatArray) -> Long:
    """Return the least change of log π* and of the margins that makes π exactly optimal.

    In units of `size`. Pairs count as tight up to some slack, which then is part of the change;
    the best of a few such levels is taken.
    """
    slack = slacks(batch, logp) / size[:, None]
    weight, k = np.exp(logp), batch.reward.shape[-1]
    d = np.where(np.isfinite(logp), logp - log_target(batch), 0.0)
    best = np.full(len(batch), INF)
    for level in LEVELS:
        todo = np.flatnonzero(best > level)
        if todo.size:
            tight = slack[todo] <= level
            need = losers(k, batch.winner[todo], batch.loser[todo], tight)
            high, low = extreme_means(weight[todo], d[todo], need)
            change = np.maximum((high - low) / 2 / size[todo], level)
            best[todo] = np.minimum(best[todo], change)
    return best


def textbook_violation(batch: Batch, solution: pq.Solution) -> FloatArray:
    """Return the KKT violation with the solver's own multipliers, for moderate margins, in nats.

    The largest of |log π − log π* − Aᵀλ/β − c|, m − δ, −λ/β, λ/β·min(slack, 1) and |log Σ π|.
    """
    logp = to_numpy(solution.logp).astype(np.longdouble)
    scaled = to_numpy(solution.multipliers).astype(np.longdouble) / batch.beta[:, None]
    share = 1.0 / (1.0 + np.exp(batch.margin.astype(np.longdouble)))  # σ(−m)
    pull, rows = np.zeros_like(logp), np.arange(len(batch))
    for p in range(batch.winner.shape[-1]):
        pull[rows, batch.winner[:, p]] += scaled[:, p] * share[:, p]
        pull[rows, batch.loser[:, p]] -= scaled[:, p] * (1.0 - share[:, p])
    gap = logp - log_target(batch) - pull
    slack = slacks(batch, logp)
    tension = np.where(scaled == 0, 0.0, np.abs(scaled) * np.minimum(np.abs(slack), 1.0))
    parts = [
        (gap.max(axis=-1) - gap.min(axis=-1)) / 2,
        np.max(-slack, axis=-1, initial=0.0),
        np.max(-scaled, axis=-1, initial=0.0),
        np.max(tension, axis=-1, initial=0.0),
        np.abs(log_sum(logp)),
    ]
    return np.max(parts, axis=0).astype(np.float64)
