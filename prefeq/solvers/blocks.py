"""The block projection behind Constrained PO and behind the direction of a diverging DPO.

Given targets a_y, log-weights u_y and constraints f_w − f_l ≥ m on a directed graph, find the f of
which every *block* (vertices joined by tight constraints: f = c + s with s_w = s_l + m) sits at its
weighted mean, Σ e^{u + κs}(c + s − a) = 0, and in which every tight constraint pushes its winner up
and its loser down. With κ = 1 and a = log π* this f is, after one normalisation, the KL projection
of π* on {π(w) ≥ e^m π(l)}; with κ = 0 it is weighted least squares, min Σ e^u (f − a)².

The method is a dual active set (Goldfarb & Idnani 1983, with the pivots of network simplex). A
violated constraint is pulled from its present gap to its margin; on the way the two parts that it
joins move rigidly, and a tight constraint whose push fades to zero lets go. The distance to the
target grows strictly, so no set of tight constraints comes back and the method ends. Only
*differences* of f are ever exponentiated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prefeq.arrays import FloatArray, IntArray, logsumexp
from prefeq.solvers.bodies import EPS, NOTHING, Body, Part, Travel


class Forest:
    """Positions f and the forest of tight constraints, with the rigid bodies that they form."""

    def __init__(
        self,
        target: FloatArray,
        log_weight: FloatArray,
        tail: IntArray,
        head: IntArray,
        margin: FloatArray,
        tilt: float,
    ) -> None:
        self.target, self.log_weight, self.tilt = target, log_weight, tilt
        self.ends = list(zip(tail.tolist(), head.tolist(), strict=True))
        self.margin = margin
        self.f = np.array(target, dtype=np.float64)
        self.adjacent: list[dict[int, int]] = [{} for _ in range(target.size)]
        self.edges: set[int] = set()

    def link(self, edge: int) -> None:
        """Make a constraint tight."""
        winner, loser = self.ends[edge]
        self.adjacent[winner][edge], self.adjacent[loser][edge] = loser, winner
        self.edges.add(edge)

    def cut(self, edge: int) -> None:
        """Let a tight constraint go."""
        for end in self.ends[edge]:
            del self.adjacent[end][edge]
        self.edges.remove(edge)

    def walk(self, root: int) -> list[tuple[int, int, int]]:
        """Return (vertex, edge to its parent, parent) of the root's block, parents first."""
        order = [(root, -1, -1)]
        for vertex, via, _ in order:
            order += [(v, e, vertex) for e, v in self.adjacent[vertex].items() if e != via]
        return order

    def survey(self, root: int, height: float = 0.0) -> tuple[Body, dict[int, Part], list[int]]:
        """Return the root's block as one body, the part beyond each of its edges, its vertices.

        Weights come from margins, with the root at `height`, and not from f: at positions of 1e12
        nats rounding would swallow the margins.
        """
        order = self.walk(root)
        vertices = [vertex for vertex, _, _ in order]
        level = self.levels(order, height)
        weight = self.log_weight[vertices] + self.tilt * np.array([level[v] for v in vertices])
        pull = self.f[vertices] - self.target[vertices]
        alone = {v: Body(float(weight[i]), float(pull[i])) for i, v in enumerate(vertices)}
        below, children = dict(alone), {v: list[int]() for v in vertices}
        for vertex, _, parent in reversed(order[1:]):
            below[parent] = below[parent].join(below[vertex])
            children[parent].append(vertex)
        outside, beyond = {root: NOTHING}, {}
        for vertex, edge, parent in order[1:]:
            rest = alone[parent].join(outside[parent])
            for sibling in children[parent]:
                rest = rest if sibling == vertex else rest.join(below[sibling])
            outside[vertex] = rest
            beyond[edge] = Part(below[vertex], rest, vertex, self.ends[edge][0] == vertex)
        return below[root], beyond, vertices

    def levels(self, order: list[tuple[int, int, int]], height: float) -> dict[int, float]:
        """Return where the margins put the vertices of a walk if its root is at `height`."""
        level = {order[0][0]: height}
        for vertex, edge, parent in order[1:]:
            step = self.margin[edge] if self.ends[edge][0] == vertex else -self.margin[edge]
            level[vertex] = level[parent] + float(step)
        return level

    def lump(self, vertices: set[int]) -> Body:
        """Return any set of vertices as one body."""
        members = sorted(vertices)
        if not members:
            return NOTHING
        weight = self.log_weight[members] + self.tilt * self.f[members]
        total = logsumexp(weight)
        pull = np.sum(np.exp(weight - total) * (self.f[members] - self.target[members]))
        return Body(float(total), float(pull))

    def side(self, edge: int, end: int) -> set[int]:
        """Return the vertices on one end's side of a forest edge."""
        self.cut(edge)
        found = {vertex for vertex, _, _ in self.walk(end)}
        self.link(edge)
        return found

    def outpushes(self, inner: set[int], outer: set[int], everything: set[int]) -> bool:
        r"""Whether the sum of weight·(f − a) over `outer` exceeds that over `inner`, its subset.

        Where the two agree to the last digit (weights e^{800} apart) their difference still has a
        sign: it is the sum over outer \ inner, or minus the sum over all the rest.
        """
        between, rest = self.lump(outer - inner), self.lump(everything - outer | inner)
        if between.log_weight <= rest.log_weight:
            return between.pull > 0
        return rest.pull < 0

    def settle(self, root: int) -> None:
        """Recompute f on the root's block from its tight constraints and its weighted mean."""
        for vertex, level in self.levels(self.walk(root), float(self.f[root])).items():
            self.f[vertex] = level
        whole, _, vertices = self.survey(root)
        self.f[vertices] -= whole.pull

    def path(self, start: int, goal: int) -> list[int] | None:
        """Return the forest edges from start to goal, None if they are in different blocks."""
        came = {vertex: (edge, parent) for vertex, edge, parent in self.walk(start)}
        if goal not in came:
            return None
        edges = []
        while goal != start:
            edge, goal = came[goal]
            edges.append(edge)
        return edges[::-1]


@dataclass(frozen=True)
class Projection:
    """The answer: f, the forest of tight constraints, and how it was reached."""

    f: FloatArray
    forest: tuple[int, ...]
    steps: int
    converged: bool


def project(
    target: FloatArray,
    log_weight: FloatArray,
    tail: IntArray,
    head: IntArray,
    margin: FloatArray,
    tilt: float = 1.0,
) -> Projection:
    """Project `target` on {f_tail − f_head ≥ margin}; see the module's text for the metric.

    The constraints must be feasible and free of zero-sum cycles. ``converged`` is False if the step
    limit was reached (rounding on nearly degenerate data): the caller's certificate decides.
    """
    state = Forest(target, log_weight, tail, head, margin, tilt)
    size = max(1.0, float(np.max(np.abs(margin), initial=0.0)), float(np.max(np.abs(target))))
    rounding = 16 * EPS * size
    for steps in range(20 * (tail.size + target.size) + 100):
        violation = margin - (state.f[tail] - state.f[head])
        violation[sorted(state.edges)] = -np.inf
        worst = int(np.argmax(violation)) if violation.size else -1
        if worst < 0 or violation[worst] <= rounding:
            return Projection(state.f, tuple(sorted(state.edges)), steps, True)
        if not _absorb(state, worst, rounding):
            break
    return Projection(state.f, tuple(sorted(state.edges)), steps, False)


def _absorb(state: Forest, edge: int, rounding: float) -> bool:
    """Pull one violated constraint to its margin, letting go of tight ones that stop pushing."""
    winner, loser = state.ends[edge]
    path = state.path(winner, loser)
    if path is not None:
        weakest = _weakest_forward(state, path, winner)
        if weakest is None:
            return False  # a positive cycle of tight constraints: infeasible up to rounding
        state.cut(weakest)
    while True:
        gap = float(state.f[winner] - state.f[loser])
        upper, above, risers = state.survey(winner)
        lower, below, sinkers = state.survey(loser, -gap)
        need = float(state.margin[edge]) - gap
        travel = Travel(upper, lower, state.tilt, need)
        width, tied = travel.first_release(above, below, rounding)
        state.f[risers] += travel.high(width)
        state.f[sinkers] += travel.low(width)
        if not tied:
            break
        ends = {e: (above.get(e) or below[e]).vertex for e in tied}
        released = _break_tie(state, tied, ends, set(risers) | set(sinkers))
        state.cut(released)
        state.settle(ends[released])
    state.link(edge)
    state.settle(winner)
    return True


def _weakest_forward(state: Forest, path: list[int], start: int) -> int | None:
    """Return the edge with the least push among those that the path runs winner → loser."""
    block = {vertex for vertex, _, _ in state.walk(start)}
    weakest, upper, vertex = None, set[int](), start
    for edge in path:
        winner, loser = state.ends[edge]
        if winner == vertex:
            above = state.side(edge, winner)
            if weakest is None or not state.outpushes(upper, above, block):
                weakest, upper = edge, above
        vertex = loser if winner == vertex else winner
    return weakest


def _break_tie(state: Forest, tied: list[int], ends: dict[int, int], everything: set[int]) -> int:
    """Return which of the edges that let go together, nested ones, truly comes first.

    `ends` gives each edge's end on its far side. All of them are losing push to the same pull, so
    the one with the least push goes first.
    """
    first, part = tied[0], state.side(tied[0], ends[tied[0]])
    for edge in tied[1:]:
        other = state.side(edge, ends[edge])
        inner, outer = (part, other) if part < other else (other, part)
        if not inner < outer or (state.ends[edge][0] == ends[edge]) != (
            state.ends[first][0] == ends[first]
        ):
            continue
        grows = state.outpushes(inner, outer, everything)  # sums; pushes if the part is the winner
        outer_is_less = grows != (state.ends[edge][0] == ends[edge])
        if outer_is_less == (outer is other):
            first, part = edge, other
    return first
