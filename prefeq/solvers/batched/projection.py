"""The block projection of every lane by its cheapest exact route: pair, chains, active set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from prefeq._namespace import Array
from prefeq.lanes import device_of, flat_index, pick, put, select
from prefeq.solvers.batched import active, chains, graphs
from prefeq.solvers.batched.problem import Fit, Problem, number, positions, softplus

ROUTES = ("one pair", "isotonic chain", "isotonic blocks", "active set")
"""What `Fit.route` counts: the names that `prefeq.solve_cpo` gives them."""

PAIR, CHAIN, BLOCKS, ACTIVE = range(4)

MAX_NATS = 1e8
"""Goals and margins of general graphs beyond which a lane is left alone.

Blocks are told apart by 2^50, and margins of a few nats drown in the rounding of such goals.
"""


def project(problem: Problem) -> Fit:
    """Project the goals of every lane; its `kept` pairs are distinct."""
    xp, (_, p, n) = problem.xp, problem.shape
    if not p or not n:
        return replace(Fit.blank(problem, CHAIN), found=xp.ones_like(problem.goal[0, :]) > 0)
    count = xp.sum(xp.astype(problem.kept, xp.int64), axis=0)
    if bool(xp.all(count == 1)):
        return _one_pair(problem)
    if bool(xp.all(count > 1)):
        return _chains_or(_graph, problem)
    fit = Fit.blank(problem, CHAIN)
    fit.found[...] = count == 0
    lanes = positions(xp, count == 1)
    if lanes.shape[0]:
        fit.put(lanes, _one_pair(problem.lanes(lanes)))
    lanes = positions(xp, count > 1)
    if lanes.shape[0]:
        fit.put(lanes, _chains_or(_graph, problem.lanes(lanes)))
    return fit


def _one_pair(problem: Problem) -> Fit:
    """Meet δ ≥ m: (m − δ*)₊ σ(−r) on the winner, − (m − δ*)₊ σ(r) on the loser.

    r is the log of the winner's weight over the loser's: m itself in Constrained PO.
    """
    xp = problem.xp
    fit, kept = Fit.blank(problem, PAIR), number(xp, problem.kept)
    here = flat_index(xp, xp.argmax(kept, axis=0))
    winner, loser = (pick(xp, x, here) for x in problem.ends)
    margin, ratio = (pick(xp, x, here) for x in (problem.margin, problem.log_ratio))
    top, bottom = pick(xp, problem.goal, winner), pick(xp, problem.goal, loser)
    short = margin - (top - bottom)
    held = short > 0
    short = xp.maximum(short, xp.zeros_like(short))
    log_share = -softplus(xp, ratio)
    top = top + short * xp.exp(log_share)
    put(xp, fit.f, winner, top)
    put(xp, fit.f, loser, xp.where(held, top - margin, bottom))
    put(xp, fit.log_multiplier, here, xp.log(short) + log_share)
    put(xp, fit.forest, here, held)
    fit.steps[...] = xp.astype(held, xp.int64)
    fit.found[...] = True
    return fit


def _chains_or(other: Callable[[Problem], Fit], problem: Problem) -> Fit:
    """Solve the lanes that are disjoint chains as such, the rest by the `other` way."""
    xp = problem.xp
    order = chains.order(problem)
    lanes = positions(xp, order.found)
    if lanes.shape[0] == order.found.shape[0]:
        return chains.solve(problem, order, CHAIN)
    fit = Fit.blank(problem)
    if lanes.shape[0]:
        fit.put(lanes, chains.solve(problem.lanes(lanes), order.lanes(lanes), CHAIN))
    lanes = positions(xp, ~order.found)
    fit.put(lanes, other(problem.lanes(lanes)))
    return fit


def _graph(problem: Problem) -> Fit:
    """Solve general graphs: contract what cycles of sum zero hold rigid, then solve the rest."""
    xp, fit = problem.xp, Fit.blank(problem)
    best = graphs.longest_paths(problem)
    rigid, doubt = graphs.cycles(problem, best)
    sizes = xp.where(problem.kept, xp.abs(problem.margin), xp.zeros_like(problem.margin))
    size, tied = xp.max(sizes, axis=0), xp.any(rigid, axis=0)
    clear = ~doubt & (problem.size <= MAX_NATS)
    lanes = positions(xp, clear & ~tied)
    if lanes.shape[0]:
        fit.put(lanes, _acyclic(problem.lanes(lanes), _some(xp, best, lanes)))
    lanes = positions(xp, clear & tied)
    if lanes.shape[0]:
        part = problem.lanes(lanes), select(rigid, lanes), _some(xp, best, lanes)
        fit.put(lanes, _tied(*part))
    flat = (fit.route == ACTIVE) & (size == 0)  # the name for margins that are all zero
    fit.route[...] = xp.where(flat, xp.full_like(fit.route, BLOCKS), fit.route)
    return fit


def _some(xp: Any, best: Array, lanes: Array) -> Array:
    """Return the lanes of a (K, K, n) array."""
    k, _, n = best.shape
    if lanes.shape[0] == n:
        return best
    return xp.reshape(select(xp.reshape(best, (k * k, n)), lanes), (k, k, lanes.shape[0]))


def _tied(problem: Problem, rigid: Array, best: Array) -> Fit:
    """Solve graphs with cycles of sum zero, groups in place of responses."""
    xp = problem.xp
    groups = graphs.contract(problem, rigid, best)
    found = _acyclic(groups.problem, groups.best)
    share = pick(xp, groups.log_share, problem.ends[0])
    log_multiplier = found.log_multiplier - share
    f = groups.expand(found.f)
    return replace(found, f=f, log_multiplier=log_multiplier, rigid=rigid)


def _acyclic(problem: Problem, best: Array) -> Fit:
    """Solve graphs without cycles of sum zero: drop what is implied, then chains or active set."""
    kept = graphs.unimplied(problem, best)
    return _chains_or(_active_set, replace(problem, kept=kept))


def _active_set(problem: Problem) -> Fit:
    """Run the active set on the kept pairs alone, moved together where many are not."""
    xp, fit = problem.xp, Fit.blank(problem, ACTIVE)
    part, source = graphs.packed(problem)
    found = active.solve(part)
    lane = xp.arange(source.shape[1], dtype=xp.int64, device=device_of(source))
    for row in range(source.shape[0]):
        lanes = positions(xp, found.forest[row, :])
        here = xp.take(source[row, :] * lane.shape[0] + lane, lanes)
        put(xp, fit.forest, here, True)
        put(xp, fit.log_multiplier, here, xp.take(found.log_multiplier[row, :], lanes))
    return replace(fit, f=found.f, steps=found.steps, found=found.found)
