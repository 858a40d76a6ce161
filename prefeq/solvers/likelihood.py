"""The Bradley-Terry likelihood behind DPO on one component: Newton in spanning-tree coordinates.

With s = β log(π/π_ref) and t_k = s_w − s_l the loss is Σ m [q softplus(−t) + (1−q) softplus(t)],
of gradient −m(q − σ(t)) and curvature m σ(t) σ(−t) per pair. Both are kept as logarithms, and the
unknowns are the values of t on a maximum-curvature spanning tree: no other pair that crosses the
cut of a tree edge bends the loss more, so with every row divided by its tree edge's curvature the
Newton system has entries and inverse of order one even where curvatures differ by e^{800}.

The steps are damped by ln(1+d)/d, d the largest |Δt|: as |ℓ'''| ≤ ℓ'', that step never overshoots
(Bach 2010; Sun & Tran-Dinh 2019), and no line search is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prefeq import graphs
from prefeq.arrays import FloatArray, IntArray, log_sigmoid
from prefeq.solvers.bodies import EPS


@dataclass(frozen=True)
class Comparisons:
    """Distinct unordered pairs of n vertices: label log-odds and log-masses (Σ of duplicates)."""

    n: int
    winner: IntArray
    loser: IntArray
    log_odds: FloatArray
    log_mass: FloatArray

    def inside(self, members: IntArray) -> Comparisons:
        """Return the pairs inside a set of vertices, renumbered in the order of `members`."""
        rank = np.full(self.n, -1)
        rank[members] = np.arange(members.size)
        keep = (rank[self.winner] >= 0) & (rank[self.loser] >= 0)
        return Comparisons(
            members.size,
            rank[self.winner[keep]],
            rank[self.loser[keep]],
            self.log_odds[keep],
            self.log_mass[keep],
        )


def merge(
    n: int, winner: IntArray, loser: IntArray, log_odds: FloatArray, mass: FloatArray
) -> Comparisons:
    """Add up duplicate pairs, in either order: masses and win masses are sums, in log space."""
    flip = winner > loser
    low, high = np.where(flip, loser, winner), np.where(flip, winner, loser)
    odds, log_mass = np.where(flip, -log_odds, log_odds), np.log(mass)
    key, inverse, count = np.unique(low * n + high, return_inverse=True, return_counts=True)
    wins, losses, total = (np.full(key.size, -np.inf) for _ in range(3))
    np.logaddexp.at(wins, inverse, log_mass + log_sigmoid(odds))
    np.logaddexp.at(losses, inverse, log_mass + log_sigmoid(-odds))
    np.logaddexp.at(total, inverse, log_mass)
    merged = wins - losses
    single = count[inverse] == 1
    merged[inverse[single]] = odds[single]  # a lone pair keeps its label to the last digit
    return Comparisons(n, key // n, key % n, merged, total)


def minimise(pairs: Comparisons, max_steps: int = 5000) -> tuple[FloatArray, int]:
    """Return the s (mean zero) that minimises the likelihood of a strongly connected component.

    Starts from the labels themselves on a spanning tree, which is already the answer when they are
    consistent. Stops when the Newton step is at the rounding of t, or has stopped shrinking.
    """
    finite = np.where(np.isfinite(pairs.log_odds), pairs.log_odds, 0.0)
    tree = graphs.spanning_forest(
        pairs.n,
        pairs.winner,
        pairs.loser,
        np.where(np.isfinite(pairs.log_odds), _log_curvature(pairs, finite), -np.inf),
    )
    s = _potentials(pairs, tree) @ finite[tree]
    best, stalled, step = np.inf, 0, 0
    while step < max_steps:
        log_scale, move = newton_step(pairs, s)
        size = float(np.max(np.abs(move[pairs.winner] - move[pairs.loser]), initial=0.0))
        reach = float(np.logaddexp(0.0, log_scale + np.log(size))) if size > 0 else 0.0
        if reach <= 4 * EPS * max(1.0, float(np.max(np.abs(s)))):
            break
        stalled = stalled + 1 if reach >= 0.5 * best and reach < 1e-6 else 0
        if stalled >= 3:
            break
        best = min(best, reach)
        s = s + move * (reach / size)
        step += 1
    return s - np.mean(s), step


def newton_step(pairs: Comparisons, s: FloatArray) -> tuple[float, FloatArray]:
    """Return the Newton step at s as (c, Δ): the step is e^c Δ, mean zero; c ≥ 0 tames overflow."""
    t = s[pairs.winner] - s[pairs.loser]
    log_bend = _log_curvature(pairs, t)
    tree = graphs.spanning_forest(pairs.n, pairs.winner, pairs.loser, log_bend)
    potentials = _potentials(pairs, tree)
    crossing = (potentials[pairs.winner] - potentials[pairs.loser]).T
    base = log_bend[tree]
    ratio = np.where(crossing != 0, log_bend[None, :] - base[:, None], -np.inf)
    matrix = (crossing * np.exp(ratio)) @ crossing.T
    sign, log_size = misfit(pairs, t)
    log_force = np.where(crossing != 0, log_size[None, :] - base[:, None], -np.inf)
    scale = max(0.0, float(np.max(log_force, initial=0.0)))
    force = np.sum(crossing * sign * np.exp(log_force - scale), axis=1)
    step = potentials @ np.linalg.solve(matrix, force)
    return scale, step - np.mean(step)


def error_bound(pairs: Comparisons, s: FloatArray) -> float:
    """Bound max |(s_i − s_j) − (s*_i − s*_j)| over the vertices of the component.

    With ν the largest difference in the Newton step and n vertices, the error is at most 2ν when
    ν ≤ 1/(6(n−1)): |e − step| ≤ (n−1)(e^ρ − 1)ρ for ρ = max |e|, as every weighted least-squares
    potential is a convex combination of spanning-tree sums (Stewart 1989). inf otherwise.
    """
    if pairs.n < 2:
        return 0.0
    log_scale, move = newton_step(pairs, s)
    spread = float(np.max(move) - np.min(move))
    log_nu = log_scale + np.log(spread) if spread > 0 else -np.inf
    return 2.0 * float(np.exp(log_nu)) if log_nu <= -np.log(6.0 * (pairs.n - 1)) else np.inf


def loss(pairs: Comparisons, t: FloatArray) -> float:
    """Return Σ m [q softplus(−t) + (1−q) softplus(t)]; t may be ±inf where the label agrees."""
    parts = np.zeros(t.size)
    for odds, margin in ((pairs.log_odds, t), (-pairs.log_odds, -t)):
        present = odds > -np.inf
        weight = np.exp(log_sigmoid(odds[present]) + pairs.log_mass[present])
        parts[present] += weight * np.logaddexp(0.0, -margin[present])
    return float(np.sum(parts))


def _log_curvature(pairs: Comparisons, t: FloatArray) -> FloatArray:
    return np.asarray(pairs.log_mass + log_sigmoid(t) + log_sigmoid(-t))


def misfit(pairs: Comparisons, t: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return sign and log size of m(q − σ(t)) = m sinh((L−t)/2) / (2 cosh(L/2) cosh(t/2))."""
    odds = pairs.log_odds
    ordered = np.isinf(odds)
    safe = np.where(ordered, 0.0, odds)
    half = np.abs(safe - t) / 2
    with np.errstate(divide="ignore"):
        log_sinh = half + np.log(-np.expm1(-2 * half))
    log_cosh = (
        (np.abs(safe) + np.abs(t)) / 2
        + np.log1p(np.exp(-np.abs(safe)))
        + np.log1p(np.exp(-np.abs(t)))
    )
    size = np.where(ordered, log_sigmoid(-np.sign(odds) * t), log_sinh - log_cosh)
    sign = np.where(ordered, np.sign(odds), np.sign(safe - t))
    return sign, size + pairs.log_mass


def _potentials(pairs: Comparisons, tree: list[int]) -> FloatArray:
    """Return the (n, tree) matrix that turns t on the tree edges into s, with s_0 = 0."""
    potentials = np.zeros((pairs.n, len(tree)))
    links: list[list[tuple[int, int, float]]] = [[] for _ in range(pairs.n)]
    for column, edge in enumerate(tree):
        w, lo = int(pairs.winner[edge]), int(pairs.loser[edge])
        links[lo].append((w, column, 1.0))
        links[w].append((lo, column, -1.0))
    order, seen = [0], {0}
    for vertex in order:
        for other, column, sign in links[vertex]:
            if other not in seen:
                seen.add(other)
                order.append(other)
                potentials[other] = potentials[vertex]
                potentials[other, column] += sign
    return potentials
