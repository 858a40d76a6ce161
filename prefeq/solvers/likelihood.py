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
    """Distinct unordered pairs of n vertices: label log-odds and log-masses (Σ of duplicates).

    ``blur`` counts the rounding units by which adding up duplicates made win masses uncertain.
    """

    n: int
    winner: IntArray
    loser: IntArray
    log_odds: FloatArray
    log_mass: FloatArray
    blur: FloatArray

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
            self.blur[keep],
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
    blur = np.zeros(key.size)
    np.maximum.at(blur, inverse, 2.0 + np.abs(log_mass))
    return Comparisons(n, key // n, key % n, merged, total, np.where(count > 1, blur, 0.0))


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
    system = _System.at(pairs, s)
    sign, log_size = misfit(pairs, system.t)
    scale, size = system.over_base(log_size)
    step = system.potentials @ np.linalg.solve(system.matrix, np.sum(size * sign, axis=1))
    return scale, step - np.mean(step)


def error_bound(pairs: Comparisons, s: FloatArray) -> float:
    """Bound max |(s_i − s_j) − (s*_i − s*_j)| over the vertices of the component.

    With ν the largest difference in the Newton step and n vertices, the error is at most 2ν when
    ν ≤ 1/(6(n−1)): |e − step| ≤ (n−1)(e^ρ − 1)ρ for ρ = max |e|, as every weighted least-squares
    potential is a convex combination of spanning-tree sums (Stewart 1989). inf otherwise. The
    rounding of the forces, carried through the same system, is part of ν.
    """
    if pairs.n < 2:
        return 0.0
    log_scale, move = newton_step(pairs, s)
    log_noise, noise = _rounding(pairs, s)
    with np.errstate(divide="ignore"):  # log 0: the step, or its rounding, is exactly zero
        log_step = log_scale + np.log(np.max(move) - np.min(move))
        log_nu = float(np.logaddexp(log_step, log_noise + np.log(2.0 * noise)))
    return 2.0 * float(np.exp(log_nu)) if log_nu <= -np.log(6.0 * (pairs.n - 1)) else np.inf


def _rounding(pairs: Comparisons, s: FloatArray) -> tuple[float, float]:
    """Return (c, x): rounding moves no entry of the Newton step by more than e^c x.

    A force m(q − σ) is uncertain by its own rounding and, through those of t and of a merged
    label, by so many rounding units of the curvature.
    """
    system = _System.at(pairs, s)
    _, log_size = misfit(pairs, system.t)
    finite = np.where(np.isfinite(log_size), np.abs(log_size), 0.0)
    of_force = 4.0 + 2.0 * finite + np.abs(pairs.log_mass) + pairs.blur
    of_bend = np.abs(system.t) + 2.0 * pairs.blur
    with np.errstate(divide="ignore"):  # log 0: an exact zero has no rounding
        log_noise = np.logaddexp(log_size + np.log(of_force), system.log_bend + np.log(of_bend))
    scale, noise = system.over_base(log_noise)
    spread = np.abs(system.potentials @ np.linalg.inv(system.matrix))
    return scale, EPS * float(np.max(spread @ np.sum(np.abs(noise), axis=1)))


@dataclass(frozen=True)
class _System:
    """The Newton system at s, each row divided by the curvature of its tree edge."""

    t: FloatArray
    log_bend: FloatArray
    base: FloatArray
    potentials: FloatArray
    crossing: FloatArray
    matrix: FloatArray

    @classmethod
    def at(cls, pairs: Comparisons, s: FloatArray) -> _System:
        t = s[pairs.winner] - s[pairs.loser]
        log_bend = _log_curvature(pairs, t)
        tree = graphs.spanning_forest(pairs.n, pairs.winner, pairs.loser, log_bend)
        potentials = _potentials(pairs, tree)
        crossing = (potentials[pairs.winner] - potentials[pairs.loser]).T
        base = log_bend[tree]
        ratio = np.where(crossing != 0, log_bend[None, :] - base[:, None], -np.inf)
        matrix = (crossing * np.exp(ratio)) @ crossing.T
        return cls(t, log_bend, base, potentials, crossing, matrix)

    def over_base(self, log_size: FloatArray) -> tuple[float, FloatArray]:
        """Return (c, rows): the crossing of sizes, over each tree edge's curvature, is e^c rows."""
        log_rows = np.where(self.crossing != 0, log_size[None, :] - self.base[:, None], -np.inf)
        scale = max(0.0, float(np.max(log_rows, initial=0.0)))
        return scale, self.crossing * np.exp(log_rows - scale)


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
    """Return sign and log size of m(q − σ(t)), which is m σ(L) σ(−t) (1 − e^{t−L}) where L > t."""
    odds = pairs.log_odds
    sign = np.sign(odds - t)
    with np.errstate(divide="ignore"):  # log 0 where label and margin agree
        log_gap = np.log(-np.expm1(-np.abs(odds - t)))
    return sign, pairs.log_mass + log_sigmoid(sign * odds) + log_sigmoid(-sign * t) + log_gap


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
