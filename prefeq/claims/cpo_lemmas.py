"""Steps of the proofs about Constrained PO: max J(π) subject to δ ≥ m (arXiv:2605.20834).

p is log π_ref of a response, r its reward, s the (Aᵀλ)/β that the constraints add to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import sympy as sp

from prefeq.claims import exact_graphs
from prefeq.claims.evidence import Evidence, outcome_of
from prefeq.claims.symbolic import (
    as_written,
    positive,
    prove_equal,
    prove_independent,
    prove_limit,
    prove_positive,
    real,
)

MarginedEdges = dict[tuple[int, int], int]


def _term() -> tuple[sp.Expr, sp.Symbol, sp.Symbol, sp.Symbol, sp.Symbol]:
    """Return π(r − β log(π/π_ref)), J's term of one response, and π, p, r, β."""
    p, reward = real("p r")
    beta, prob = positive("beta pi")
    return prob * (reward - beta * (sp.log(prob) - p)), prob, p, reward, beta


def strict_concavity() -> list[Evidence]:
    """J is strictly concave, and its slope is +∞ where a probability vanishes."""
    term, prob, p, reward, beta = _term()
    slope = sp.diff(term, prob).subs({p: 0, reward: 0, beta: 1})
    return [
        prove_positive("strictly-concave", "-d2J/dpi2 = beta/pi > 0", -sp.diff(term, prob, 2)),
        prove_limit(
            "interior-optimum",
            "dJ/dpi -> +oo as pi -> 0: no optimum on the boundary",
            slope,
            prob,
            0,
            sp.oo,
        ),
    ]


def stationarity() -> list[Evidence]:
    """Where log π = log π* + s − c, the slope dJ/dπ + βs is one constant for all responses.

    So λ ≥ 0 with s = Aᵀλ/β satisfies the optimality conditions of CPO(0), whose constraints
    π(w) ≥ π(l) have gradient ±1, iff it satisfies those of min ½|f − log π*|² under f(w) ≥ f(l).
    """
    term, prob, p, reward, beta = _term()
    push, c, logz = real("s c logZ")
    optimal = p + reward / beta - logz
    there = {sp.log(prob): optimal + push - c}
    diff = sp.diff(term, prob)
    slope = as_written(lambda: diff.xreplace(there) + beta * push)
    f, target = real("f target")
    pull = sp.diff((f - target) ** 2 / 2, f)
    step = "same-conditions"
    return [
        prove_independent(
            step,
            "dJ/dpi + beta s is the same at every response: free of p, r, s",
            slope,
            p,
            reward,
            push,
        ),
        prove_equal(
            step,
            "d/df (f - log pi*)^2/2 = s at f = log pi* + s",
            (as_written(lambda: pull.xreplace({f: target + push})), push),
        ),
        prove_equal(
            "constant-cancels",
            "f(w) - f(l) does not see the constant: same slack",
            (as_written(lambda: (target - c) - (push - c)), target - push),
        ),
    ]


def two_responses() -> list[Evidence]:
    """With two responses dJ/dδ = βπ(w)π(l)(δ* − δ): J rises to δ*, hence δ_CPO = max(δ*, m)."""
    delta, delta_ref, gap = real("delta delta_ref gap")
    beta, short = positive("beta h")
    win = 1 / (1 + sp.exp(-delta))
    # log π(w) = δ − softplus(δ) and log π(l) = −softplus(δ), and likewise for the reference
    kl = win * (delta - delta_ref) - sp.log(1 + sp.exp(delta)) + sp.log(1 + sp.exp(delta_ref))
    objective = win * gap - beta * kl
    claimed = beta * win * (1 - win) * (delta_ref + gap / beta - delta)
    slope = beta * win * (1 - win) * short
    return [
        prove_equal(
            "two-responses",
            "dJ/ddelta = beta pi(w) pi(l) (delta* - delta)",
            (sp.diff(objective, delta), claimed),
        ),
        prove_positive(
            "two-responses", "> 0 below delta*: J rises to delta* and falls beyond it", slope
        ),
    ]


def feasible(size: int, edges: MarginedEdges) -> bool:
    """Decide in integers whether f with f(w) − f(l) ≥ m exists: relax as long as it can help."""
    f = [0] * size
    for _ in range(size + 1):
        moved = False
        for (winner, loser), margin in edges.items():
            if f[winner] < f[loser] + margin:
                f[winner], moved = f[loser] + margin, True
        if not moved:
            return True
    return False


def largest_cycle(size: int, edges: MarginedEdges) -> int | None:
    """Return the largest sum of margins around a simple directed cycle, None without a cycle."""
    best = None
    for length in range(2, size + 1):
        for cycle in itertools.permutations(range(size), length):
            hops = list(itertools.pairwise((*cycle, cycle[0])))
            if all(hop in edges for hop in hops):
                total = sum(edges[hop] for hop in hops)
                best = total if best is None else max(best, total)
    return best


def margined_digraphs(size: int, margins: tuple[int, ...]) -> Iterator[MarginedEdges]:
    """Yield every directed graph on `size` vertices with every assignment of the margins."""
    for edges in exact_graphs.digraphs(size):
        for values in itertools.product(margins, repeat=len(edges)):
            yield dict(zip(edges, values, strict=True))


def feasibility() -> Evidence:
    """A policy that meets the margins exists iff no directed cycle has a positive sum of them.

    Margins around a cycle add up to zero (step `cycle-sum`). Without a positive cycle the longest
    walk into each response is a path, and the lengths of those meet every margin (Bellman-Ford).
    """
    count, good = 0, True
    margins, largest_size = (-1, 0, 1), 3
    for size in range(2, largest_size + 1):
        for edges in margined_digraphs(size, margins):
            largest = largest_cycle(size, edges)
            good &= feasible(size, edges) == (largest is None or largest <= 0)
            count += 1
    good &= count == 4**2 + 4**6  # an ordered pair of responses: no edge, or one of three margins
    return Evidence(
        "exact",
        "feasible iff no cycle has a positive sum (a relaxation that never ends runs around one), "
        f"checked on all {count} graphs with margins -1, 0, 1 up to K=3",
        outcome_of(good),
        "feasible-iff-no-positive-cycle",
        {"inputs": {"largest_K": largest_size, "margins": list(margins)}, "count": count},
    )
