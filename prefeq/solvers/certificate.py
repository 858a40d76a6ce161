"""The optimality certificate of Constrained PO, recomputed from a policy in log space.

A policy π is optimal iff it is feasible and some forest of tight constraints splits the vertices
into blocks whose weighted means of d = log π − log π* (weights π) all equal one constant c, with
Σ π (d − c) ≥ 0 over the winner's side of every forest edge. That is the KKT system with the
multipliers eliminated along the forest: λ_k = Σ_{winner's side} π(y)/π(w) (d_y − c). It needs no
multiplier, which may reach e^{1600} where margins of 800 nats add up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prefeq import graphs
from prefeq.arrays import BoolArray, FloatArray, IntArray, logsumexp
from prefeq.solvers.constraints import Constraints, offsets


@dataclass(frozen=True)
class Certificate:
    """Largest violation in nats, and λ of each constraint as log λ (−inf where it is slack)."""

    violation: float
    log_multiplier: FloatArray


def certify(
    constraints: Constraints,
    f: FloatArray,
    target: FloatArray,
    log_weight: FloatArray,
    forest: tuple[int, ...],
    *,
    centre: float | None = None,
) -> Certificate:
    """Check positions f against their `target`, and compute the multipliers.

    For a policy f = log_weight = log π, target = log π*. For weighted least squares `log_weight` is
    the log of the fixed weights and the blocks' common mean must be ``centre=0``. `forest` holds
    the claimed tight constraints between rigid groups; inside a group the equalities of its
    zero-sum cycles are tight in both directions and bind no sign.
    """
    slack = f[constraints.winner] - f[constraints.loser] - constraints.margin
    feasibility = float(np.max(-slack, initial=0.0))
    rigid = np.flatnonzero(constraints.rigid)
    tree = _rigid_tree(constraints, rigid)
    used = np.array([*forest, *tree], dtype=np.int64)
    tightness = float(np.max(np.abs(slack[np.concatenate([used, rigid])]), initial=0.0))
    d = f - target
    block = graphs.components(constraints.n, constraints.winner[used], constraints.loser[used])
    if centre is None:  # a policy's weights inside a block follow from the tight margins
        winner, loser = constraints.winner[used], constraints.loser[used]
        log_weight = offsets(constraints.n, winner, loser, constraints.margin[used])
    means = np.array([_mean(log_weight, d, block == b) for b in range(int(block.max()) + 1)])
    if centre is None:
        centre = 0.5 * float(means.max() + means.min())
    stationarity = float(np.max(np.abs(means - centre)))
    d = d - means[block]
    log_multiplier = np.full(constraints.winner.size, -np.inf)
    signs = 0.0
    pushes = {}
    for edge in used.tolist():
        side = _winner_side(constraints, used, edge)
        members = block == block[constraints.winner[edge]]
        scale, pull = _side_pull(log_weight, d, side & members, ~side & members)
        pushes[edge] = (scale, pull)
        if edge in forest:
            signs = max(signs, -pull)
            if pull > 0:
                log_multiplier[edge] = scale + np.log(pull) - log_weight[constraints.winner[edge]]
    _spread_rigid(constraints, log_weight, rigid, {e: pushes[e] for e in tree}, log_multiplier)
    violation = abs(max(feasibility, tightness, stationarity, signs))  # no -0.0
    return Certificate(violation, log_multiplier)


def kkt_violation(
    constraints: Constraints, logp: FloatArray, target: FloatArray, scaled: FloatArray
) -> float:
    """Return the textbook KKT violation in nats for multipliers of the scaled rows, divided by β.

    max of |log π − log π* − Aᵀλ + const|, (m − δ)₊, (−λ)₊ and λ·min(slack, 1). Good while λ is
    moderate; `certify` covers the rest.
    """
    m = constraints.margin
    pull = np.zeros(constraints.n)
    np.add.at(pull, constraints.winner, scaled * np.exp(-np.logaddexp(0.0, m)))
    np.add.at(pull, constraints.loser, -scaled * np.exp(-np.logaddexp(0.0, -m)))
    gap = logp - target - pull
    slack = logp[constraints.winner] - logp[constraints.loser] - m
    parts = [
        0.5 * float(gap.max() - gap.min()),
        float(np.max(-slack, initial=0.0)),
        float(np.max(-scaled, initial=0.0)),
        float(np.max(np.abs(scaled) * np.minimum(np.abs(slack), 1.0), initial=0.0)),
        abs(float(logsumexp(logp))),
    ]
    return abs(max(parts))


def _mean(log_weight: FloatArray, d: FloatArray, members: BoolArray) -> float:
    weight = log_weight[members] - logsumexp(log_weight[members])
    return float(np.sum(np.exp(weight) * d[members]))


def _side_pull(
    log_weight: FloatArray, d: FloatArray, above: BoolArray, below: BoolArray
) -> tuple[float, float]:
    """Return (log weight, signed pull) of the lighter side of an edge; tight means pull ≥ 0."""
    up, down = float(logsumexp(log_weight[above])), float(logsumexp(log_weight[below]))
    if up < down:
        return up, _mean(log_weight, d, above)
    return down, -_mean(log_weight, d, below)


def _winner_side(constraints: Constraints, used: IntArray, edge: int) -> BoolArray:
    others = used[used != edge]
    label = graphs.components(constraints.n, constraints.winner[others], constraints.loser[others])
    return np.asarray(label == label[constraints.winner[edge]])


def _rigid_tree(constraints: Constraints, rigid: IntArray) -> list[int]:
    tail, head = constraints.winner[rigid], constraints.loser[rigid]
    inside = graphs.spanning_forest(constraints.n, tail, head, np.zeros(rigid.size))
    return [int(rigid[i]) for i in inside]


def _spread_rigid(
    constraints: Constraints,
    log_weight: FloatArray,
    rigid: IntArray,
    pushes: dict[int, tuple[float, float]],
    log_multiplier: FloatArray,
) -> None:
    """Give the equalities of a zero-sum cycle multipliers ≥ 0: send a negative push round it."""
    flow: dict[int, float] = {}

    def add(edge: int, log_push: float) -> None:
        flow[edge] = float(np.logaddexp(flow.get(edge, -np.inf), log_push))

    for edge, (scale, pull) in pushes.items():
        if pull > 0:
            add(edge, scale + float(np.log(pull)))
        elif pull < 0:
            w, lo = int(constraints.winner[edge]), int(constraints.loser[edge])
            back = graphs.directed_path(
                constraints.winner, constraints.loser, rigid.tolist(), lo, w
            )
            for step in back:
                add(step, scale + float(np.log(-pull)))
    for edge, log_push in flow.items():
        log_multiplier[edge] = log_push - log_weight[constraints.winner[edge]]
