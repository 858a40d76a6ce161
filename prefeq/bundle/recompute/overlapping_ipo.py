"""Where IPO on all pairs of three responses comes to rest: its normal equations, solved."""

from __future__ import annotations

from typing import Any

from mpmath import mp

from prefeq.bundle import bandits
from prefeq.bundle.recompute.instances import problem_of, ref_margin
from prefeq.bundle.registry import Item, number


@number("ipo_margin")
def ipo_margin(item: Item) -> list[Any]:
    """Return δ_ref + x, where x = D u least-squares fits 1/(2β) on every pair (u_2 = 0)."""
    problem = problem_of(item)
    rows = [[(v == w) - (v == lo) for v in range(2)] for w, lo in problem.pairs]
    target = mp.matrix([1 / (2 * bandits.real(problem.beta))] * len(rows))
    logits = mp.lu_solve(mp.matrix(rows), target)  # overdetermined: least squares
    rise = mp.matrix(rows) * logits
    return [lean + x for lean, x in zip(ref_margin(item), rise, strict=True)]
