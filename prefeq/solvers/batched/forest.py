"""Forests of tight pairs, dense over (K, K) and (K, S): block solutions, multipliers, cut, join.

`reach[y, v]` is the position of y less that of v if one block holds both, else APART. Tight pairs
sit in slots, K − 1 at most; `side[y, s]` is HUGE if y lies on the winner's side of the pair in slot
s, −HUGE on the loser's, 0 elsewhere. Both follow a join or a cut by rank-one updates: no walk along
the trees, hence no loop over problems.
"""

from __future__ import annotations

from prefeq._namespace import Array
from prefeq.lanes import device_of, pick, put, select
from prefeq.solvers.batched.problem import Problem, number, positions

HUGE = 2.0**50
"""Further than any two responses of one block lie apart; 0·HUGE is 0, as ∞'s product is not."""

APART = -HUGE


class Forest:
    """The tight pairs of each lane: `pair`, `winner`, `loser` (S, n) by slot, `used` 1 or 0.

    `inside` (P, n) is 1 for the pairs that sit in a slot.
    """

    def __init__(self, problem: Problem) -> None:
        xp, (k, p, n) = problem.xp, problem.shape
        where, slots = device_of(problem.goal), min(k - 1, p)
        self.problem = problem
        self.reach = xp.full((k, k, n), APART, dtype=xp.float64, device=where)
        xp.reshape(self.reach, (k * k, n))[:: k + 1, :] = 0.0
        self.side = xp.zeros((k, slots, n), dtype=xp.float64, device=where)
        self.pair = xp.zeros((slots, n), dtype=xp.int64, device=where)
        self.winner, self.loser = xp.zeros_like(self.pair), xp.zeros_like(self.pair)
        self.used = xp.zeros((slots, n), dtype=xp.float64, device=where)
        self.inside = xp.zeros((p, n), dtype=xp.float64, device=where)
        self._index()

    def _index(self) -> None:
        xp, (k, _, n) = self.problem.xp, self.problem.shape
        where, slots = device_of(self.reach), self.used.shape[0]
        self.lane = xp.arange(n, dtype=xp.int64, device=where)
        self.row = xp.arange(k, dtype=xp.int64, device=where)[:, None] * n
        self.slot = xp.arange(slots, dtype=xp.int64, device=where)[:, None] * n
        self.ends = self.problem.ends
        kept, margin = self.problem.kept, self.problem.margin
        self.demand = xp.where(kept, margin, xp.full_like(margin, APART))

    def keep(self, lanes: Array) -> None:
        """Drop all lanes but those at the positions given."""
        self.problem = self.problem.lanes(lanes)
        xp, k, n = self.problem.xp, self.reach.shape[0], lanes.shape[0]
        for name in ("reach", "side"):
            dense = getattr(self, name)
            flat = select(xp.reshape(dense, (-1, dense.shape[-1])), lanes)
            setattr(self, name, xp.reshape(flat, (k, dense.shape[1], n)))
        for name in ("pair", "winner", "loser", "used", "inside"):
            setattr(self, name, select(getattr(self, name), lanes))
        self._index()

    def settle(self) -> tuple[Array, Array]:
        """Return f (K, n), every block at its weighted mean, and the log weights it used.

        The weights (K, K, n) are those of y relative to v, −HUGE or so in other blocks.
        """
        xp, goal = self.problem.xp, self.problem.goal
        weight = self._weights()
        share = weight - xp.max(weight, axis=0)
        share = xp.exp(share)
        total = xp.sum(share, axis=0)
        share *= goal[:, None, :] - self.reach
        return xp.sum(share, axis=0) / total, weight

    def _weights(self) -> Array:
        xp, problem = self.problem.xp, self.problem
        if problem.tilt == 0:  # only the membership of the block counts
            weight = self.reach + 0.5 * HUGE
            weight = xp.minimum(weight, xp.zeros_like(weight))
        else:
            weight = self.reach if problem.tilt == 1 else problem.tilt * self.reach
        if problem.log_weight is not None:
            weight = weight + problem.log_weight[:, None, :]
        return weight

    def pushes(self, weight: Array, pull: Array) -> tuple[Array, Array]:
        """Return each slot's multiplier λ as (push, unit): λ = push·e^unit, push 0 if empty.

        λ is the sum of weight·pull, pull = f − goal, over the winner's side, or minus that over the
        loser's: over the lighter of the two, as the sums cancel. Relative to the winner's weight.
        """
        xp, problem = self.problem.xp, self.problem
        shape, flat = self.side.shape, self.winner * self.lane.shape[0] + self.lane
        rows = xp.take(xp.reshape(weight, (shape[0], -1)), xp.reshape(flat, (-1,)), axis=1)
        rows = xp.reshape(rows, shape)
        up = xp.max(rows + self.side, axis=0)  # to an eighth of a nat: it only chooses the unit
        down = xp.max(rows - self.side, axis=0)
        light = 2.0 * number(xp, up < down) - 1.0
        mask = self.side * light
        mask -= HUGE
        rows += mask
        unit = xp.minimum(up, down) - HUGE
        rows -= unit
        rows = xp.exp(rows)
        rows *= pull[:, None, :]
        push = light * self.used * xp.sum(rows, axis=0)
        if problem.log_weight is not None:
            unit = unit - pick(xp, problem.log_weight, flat)
        return push, unit

    def short(self, f: Array) -> Array:
        """Return by how much each pair misses its margin (P, n); −HUGE if tight or not kept."""
        xp, (winner, loser) = self.problem.xp, self.ends
        short = self.demand - pick(xp, f, winner) + pick(xp, f, loser)
        return short - self.inside * HUGE

    def sides_of(self, vertex: Array) -> Array:
        """Return on which side of every slot's pair (S, n) the responses `vertex` (n,) lie."""
        place = vertex * self.used.shape[0] * self.lane.shape[0] + self.slot + self.lane
        return pick(self.problem.xp, self.side, place)

    def cut(self, slot: Array, on: Array) -> None:
        """Let the pairs in the slots (n,) go in the lanes where `on` (n,) is 1."""
        xp, (_, slots, n) = self.problem.xp, self.side.shape
        here = slot * n + self.lane
        place = self.row * slots + here
        wall = pick(xp, self.side, place)
        put(xp, self.side, place, wall * (1.0 - on))
        lanes = positions(xp, on > 0)
        freed = xp.take(here, lanes)
        pair = xp.take(xp.reshape(self.pair, (-1,)), freed) * n + xp.take(self.lane, lanes)
        put(xp, self.used, freed, 0.0)
        put(xp, self.inside, pair, 0.0)
        wall *= on / HUGE
        part = pick(xp, wall, self.winner * n + self.lane)  # in which part each pair is left
        apart = wall[:, None, :] * wall[None, :, :]
        apart += 0.5
        apart *= 2.0 * HUGE
        self.reach = xp.minimum(self.reach, apart)
        stays = wall[:, None, :] * part[None, :, :]
        stays += 1.0
        self.side *= xp.minimum(stays, xp.ones_like(part))

    def join(self, edge: Array, on: Array) -> Array:
        """Make the pairs `edge` (n,), between two blocks, tight where `on` (n,) is 1: the slots."""
        xp, n = self.problem.xp, edge.shape[0]
        w, lo = self.ends_of(edge)
        margin = pick(xp, self.problem.margin, edge * n + self.lane)
        upper, lower = self._merge(w, lo, margin, on)
        of_w, of_lo = self.sides_of(w), self.sides_of(lo)
        self.side += of_w[None, :, :] * lower[:, None, :]
        self.side += of_lo[None, :, :] * upper[:, None, :]
        slot = xp.argmin(self.used, axis=0)
        lanes = positions(xp, on > 0)
        here = xp.take(slot * n + self.lane, lanes)
        wall = select(upper - lower, lanes) * HUGE
        put(xp, self.side, self.row * self.used.shape[0] + here, wall)
        self._seat(here, *(xp.take(x, lanes) for x in (edge, w, lo, self.lane)))
        return slot

    def pair_up(
        self, slot: int, edge: Array, w: Array, lo: Array, margin: Array, lane: Array
    ) -> None:
        """Make tight, in some lanes, pairs whose ends are blocks of their own."""
        xp, (k, slots, n) = self.problem.xp, self.side.shape
        put(xp, self.reach, (w * k + lo) * n + lane, margin)
        put(xp, self.reach, (lo * k + w) * n + lane, -margin)
        put(xp, self.side, (w * slots + slot) * n + lane, HUGE)
        put(xp, self.side, (lo * slots + slot) * n + lane, -HUGE)
        self._seat(slot * n + lane, edge, w, lo, lane)

    def _merge(self, w: Array, lo: Array, margin: Array, on: Array) -> tuple[Array, Array]:
        """Join the blocks of w and lo (n,) in `reach`; return their members (K, n) as 0 and 1."""
        xp, k = self.problem.xp, self.reach.shape[0]
        above = pick(xp, self.reach, self.row * k + (w * self.lane.shape[0] + self.lane))
        below = pick(xp, self.reach, self.row * k + (lo * self.lane.shape[0] + self.lane))
        upper, lower = number(xp, above > 0.5 * APART) * on, number(xp, below > 0.5 * APART) * on
        level = upper * (above + margin) + lower * below  # positions less the loser's
        outside = (upper + lower - 1.0) * (2.0 * HUGE)
        apart = (level + outside)[:, None, :] + (outside - level)[None, :, :]
        self.reach = xp.maximum(self.reach, apart)
        return upper, lower

    def _seat(self, here: Array, edge: Array, w: Array, lo: Array, lane: Array) -> None:
        """Write down the pairs `edge` (n,), w over lo, in the slots at flat positions `here`."""
        put(self.problem.xp, self.pair, here, edge)
        put(self.problem.xp, self.winner, here, w)
        put(self.problem.xp, self.loser, here, lo)
        put(self.problem.xp, self.used, here, 1.0)
        put(self.problem.xp, self.inside, edge * self.lane.shape[0] + lane, 1.0)

    def ends_of(self, edge: Array) -> tuple[Array, Array]:
        """Return winner and loser (n,) of the pairs `edge` (n,)."""
        xp, here = self.problem.xp, edge * edge.shape[0] + self.lane
        return pick(xp, self.problem.winner, here), pick(xp, self.problem.loser, here)

    def heft(self, y: Array, v: Array) -> Array:
        """Return the log weight of y less that of v, a response of its block."""
        xp, problem = self.problem.xp, self.problem
        k, n = problem.goal.shape
        heft = problem.tilt * pick(xp, self.reach, (y * k + v) * n + self.lane)
        if problem.log_weight is None:
            return heft
        at_y, at_v = (pick(xp, problem.log_weight, x * n + self.lane) for x in (y, v))
        return heft + (at_y - at_v)

    def together(self, y: Array, v: Array) -> Array:
        """Return whether one block holds y and v (n,)."""
        k, n = self.problem.goal.shape
        return pick(self.problem.xp, self.reach, (y * k + v) * n + self.lane) > 0.5 * APART
