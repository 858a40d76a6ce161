"""The dual active set of the block projection, over lanes: min Σ exp(a + Aᵀλ) over λ ≥ 0.

A row of A is [w] − e^m [l]. On a forest of tight pairs the minimum is known in closed form: every
block at its weighted mean, the multipliers sums over one side of a pair. From λ the method walks
straight to that minimum, unless some multiplier would turn negative: then it stops where the first
one reaches zero and lets its pair go. At a minimum it makes the most violated pair tight. Where
that closes a cycle, a flow is sent round it first, in λ, until one pair of it is free: that lowers
the objective too. So it falls all along, no forest comes back, and the method ends.
"""

from __future__ import annotations

from typing import Any

from prefeq._namespace import Array
from prefeq.lanes import device_of, pick, put, select
from prefeq.solvers.batched.forest import HUGE, Forest
from prefeq.solvers.batched.problem import EPS, Fit, Problem, number, positions, softplus

CROWD = 0.7
"""Share of lanes still at work below which the others are dropped from the arrays."""


def solve(problem: Problem) -> Fit:
    """Solve the problems; those with margins that no f meets, or out of steps, are not `found`."""
    fit = Fit.blank(problem)
    if problem.winner.shape[0] == 0 or problem.goal.shape[1] == 0:
        fit.found[...] = True
        return fit
    work = _Work(problem)
    f, settled = work.match(), work.alive
    for step in range(1, steps_allowed(problem) + 1):
        work.extend(fit, step, f, settled)
        alive = positions(work.xp, work.alive)
        if alive.shape[0] == 0:
            break
        if alive.shape[0] < CROWD * work.alive.shape[0]:
            work.keep(alive)
        f, settled = work.relax()
    return fit


def steps_allowed(problem: Problem) -> int:
    """Return the steps after which a lane is left undone: rounding has it going in circles."""
    k, p, _ = problem.shape
    return 6 * (k + p) + 60


class _Work:
    """The lanes at work: their forests, and log λ (S, n) of the pair in each slot."""

    def __init__(self, problem: Problem) -> None:
        xp, n = problem.xp, problem.shape[2]
        where = device_of(problem.goal)
        self.xp, self.forest = xp, Forest(problem)
        self.log_multiplier = xp.full_like(self.forest.used, -xp.inf)
        self.rounding = EPS * problem.size
        self.alive = xp.ones(n, dtype=xp.bool, device=where)
        self.home = xp.arange(n, dtype=xp.int64, device=where)

    def keep(self, lanes: Array) -> None:
        """Drop all lanes but those at the positions given."""
        self.forest.keep(lanes)
        for name in ("log_multiplier", "rounding", "alive", "home"):
            setattr(self, name, select(getattr(self, name), lanes))

    def match(self) -> Array:
        """Make tight, at once, violated pairs of which no two share a response; return f."""
        xp, forest = self.xp, self.forest
        problem, n = forest.problem, self.alive.shape[0]
        f = xp.asarray(problem.goal, copy=True)
        short, ratio = forest.short(f), problem.log_ratio
        for slot in range(forest.used.shape[0]):
            worst, edges = xp.max(short, axis=0), xp.argmax(short, axis=0)
            lanes = positions(xp, worst > 16.0 * self.rounding)
            if lanes.shape[0] == 0:
                break
            lane, gap, edge = (xp.take(x, lanes) for x in (forest.lane, worst, edges))
            here = edge * n + lane
            w, lo, log_ratio, margin = (
                pick(xp, x, here) for x in (problem.winner, problem.loser, ratio, problem.margin)
            )
            forest.pair_up(slot, edge, w, lo, margin, lane)
            log_share = -softplus(xp, log_ratio)  # of the loser's weight: how far the winner moves
            put(xp, self.log_multiplier, slot * n + lane, xp.log(gap) + log_share)
            top = pick(xp, f, w * n + lane) + gap * xp.exp(log_share)
            put(xp, f, w * n + lane, top)
            put(xp, f, lo * n + lane, top - margin)
            short -= HUGE * number(xp, _touch(problem, *forest.ends_of(edges)))
        return f

    def relax(self) -> tuple[Array, Array]:
        """Walk to the minimum on the forest, or to where a pair must go, which is let go.

        Returns f at the minimum and in which lanes it was reached.
        """
        xp, forest = self.xp, self.forest
        f, weight = forest.settle()
        push, unit = forest.pushes(weight, f - forest.problem.goal)
        negative = push < -4.0 * self.rounding
        back = self.alive & xp.any(negative, axis=0)
        size = xp.log(xp.abs(push)) + unit
        before = self.log_multiplier
        self.log_multiplier = xp.where(push > 0, size, xp.full_like(size, -xp.inf))
        lanes = positions(xp, back)
        if lanes.shape[0]:
            parts = (select(x, lanes) for x in (before, push, size, negative))
            slot = xp.zeros_like(self.home)
            slot[lanes], self.log_multiplier[:, lanes] = _stop_at_zero(xp, *parts)
            forest.cut(slot, number(xp, back))
        return f, ~back

    def extend(self, fit: Fit, step: int, f: Array, settled: Array) -> None:
        """Write down finished lanes; in the other settled ones make one more pair tight."""
        xp, forest = self.xp, self.forest
        short = forest.short(f)
        content = xp.max(short, axis=0) <= 16.0 * self.rounding
        settled = settled & self.alive
        self._finish(fit, step, f, settled & content)
        joining = settled & ~content
        edge = xp.argmax(short, axis=0)
        lanes = positions(xp, joining & forest.together(*forest.ends_of(edge)))
        enters = xp.full_like(self.rounding, -xp.inf)
        if lanes.shape[0]:
            slot, stuck = xp.zeros_like(edge), xp.zeros_like(joining)
            slot[lanes], enters[lanes], stuck[lanes] = self._circulate(edge, lanes)
            self.alive, joining = self.alive & ~stuck, joining & ~stuck
            cutting = xp.zeros_like(joining)
            cutting[lanes] = True
            forest.cut(slot, number(xp, cutting & ~stuck))
        if bool(xp.any(joining)):
            slot = forest.join(edge, number(xp, joining))
            lanes = positions(xp, joining)
            here = xp.take(slot * self.home.shape[0] + forest.lane, lanes)
            put(xp, self.log_multiplier, here, xp.take(enters, lanes))

    def _finish(self, fit: Fit, step: int, f: Array, done: Array) -> None:
        xp, forest, n = self.xp, self.forest, fit.steps.shape[0]
        lanes = positions(xp, done)
        if lanes.shape[0] == 0:
            return
        home = xp.take(self.home, lanes)
        fit.f[:, home] = select(f, lanes)
        fit.forest[:, home] = select(forest.inside, lanes) > 0
        for slot in range(forest.used.shape[0]):
            taken = positions(xp, done & (forest.used[slot, :] > 0))
            here = xp.take(forest.pair[slot, :], taken) * n + xp.take(self.home, taken)
            put(xp, fit.log_multiplier, here, xp.take(self.log_multiplier[slot, :], taken))
        fit.steps[home] = step
        fit.found[home] = True
        self.alive = self.alive & ~done

    def _circulate(self, edge: Array, lanes: Array) -> tuple[Array, Array, Array]:
        """Send a flow round the cycle that each pair closes, until a pair of it is free.

        Pairs that the path winner → loser runs forwards lose it, the others and the new one gain
        it. Returns the slots freed, log λ of the new pairs, and in which lanes there is no pair to
        free: the margins of the cycle sum above zero.
        """
        xp, forest = self.xp, self.forest
        above, below = forest.ends_of(edge)
        turn = select(forest.sides_of(above) - forest.sides_of(below), lanes)
        heft = select(forest.heft(forest.winner, above), lanes)  # a flow is λ·weight
        before = select(self.log_multiplier, lanes)
        flow = before + heft
        ahead = xp.where(turn > 0, flow, xp.full_like(flow, xp.inf))
        least, weakest = xp.min(ahead, axis=0), xp.argmin(ahead, axis=0)
        part = xp.where(flow > least, least - flow, xp.zeros_like(flow))
        fallen = xp.where(flow > least, flow + xp.log1p(-xp.exp(part)), xp.full_like(flow, -xp.inf))
        risen = xp.logaddexp(flow, least + xp.zeros_like(flow))
        after = xp.where(turn > 0, fallen, risen) - heft
        self.log_multiplier[:, lanes] = xp.where(turn != 0, after, before)
        return weakest, least, ~xp.any(turn > 0, axis=0)


def _touch(problem: Problem, w: Array, lo: Array) -> Array:
    """Return which pairs (P, n) have w or lo (n,) among their ends."""
    winner, loser = problem.winner, problem.loser
    return (winner == w) | (winner == lo) | (loser == w) | (loser == lo)


def _stop_at_zero(
    xp: Any, before: Array, push: Array, size: Array, negative: Array
) -> tuple[Array, Array]:
    """Walk from λ towards λ' = ±e^size until the first one is zero: (its slot, log λ there).

    The part t of the way has t/(1 − t) = e^−reach, `reach` the largest log |λ'|/λ where λ' < 0.
    """
    none = xp.full_like(size, -xp.inf)
    ratio = xp.where(negative, size - before, none)
    reach, first = xp.max(ratio, axis=0), xp.argmax(ratio, axis=0)
    stay, go = -softplus(xp, -reach), -softplus(xp, reach)  # log(1 − t), log t
    kept = stay + before
    rest = xp.where(ratio < reach, ratio - reach, xp.zeros_like(ratio))
    fallen = kept + xp.log1p(-xp.exp(rest))
    risen = xp.logaddexp(kept, go + xp.where(push > 0, size, none))
    return first, xp.where(negative, xp.where(ratio < reach, fallen, none), risen)
