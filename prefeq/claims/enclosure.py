"""A strict inequality over a whole box, by branch and bound in ball arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from flint import ctx

from prefeq.claims.ball import ball, digits, exactly
from prefeq.claims.evidence import Evidence

Box = Mapping[str, tuple[Fraction | int, Fraction | int]]
Cell = list[tuple[Fraction, Fraction]]
BITS = 96


def positive_on_box(
    summary: str,
    function: Callable[..., Any],
    box: Box,
    *,
    name: str,
    step: str | None = None,
    max_cells: int = 4000,
) -> Evidence:
    """Enclose `function` over `box`, cell by cell, until every cell is decided positive.

    Parameters
    ----------
    function
        Called with one ball a variable; must be > 0 on the closed box.
    box
        Variable → exact closed interval.
    name
        The function's name, under which a re-check finds its own copy of it.
    max_cells
        Budget; if cells remain the outcome is undecided. A cell on which the function is decided
        to be ≤ 0 makes it fail.

    Notes
    -----
    An undecided cell is halved at the exact middle of its longest side relative to the box (the
    first such side). ``tree`` is the subdivision in preorder, lower half first: 1 for a cell that
    was halved, 0 for one that was decided; ``cells`` counts the latter. The worst cell is the one
    with the least value at its exact midpoint, rounded to 15 digits (the first in preorder if
    several have it); that value is ``worst_value``.
    """
    widths = [Fraction(high) - Fraction(low) for low, high in box.values()]
    stack: list[Cell] = [[(Fraction(low), Fraction(high)) for low, high in box.values()]]
    tree, decided = "", list[Cell]()
    with ctx.workprec(BITS):
        while stack:
            cell = stack.pop()
            value = function(*(ball(low).union(ball(high)) for low, high in cell))
            if value > 0:
                decided.append(cell)
                tree += "0"
                continue
            if value <= 0 or len(tree) + len(stack) >= max_cells:
                outcome = "fails" if value <= 0 else "undecided"
                data = {**_inputs(name, box), "worst_cell": _sides(box, cell)}
                return Evidence("enclosure", summary, outcome, step, data)  # type: ignore[arg-type]
            stack.extend(reversed(_halves(cell, widths)))
            tree += "1"
    values = [digits(lambda cell=cell: function(*map(ball, _middle(cell)))) for cell in decided]  # type: ignore[misc]
    worst = min(range(len(values)), key=values.__getitem__)
    data = {
        **_inputs(name, box),
        "tree": tree,
        "cells": len(decided),
        "worst_cell": _sides(box, decided[worst]),
        "worst_value": values[worst],
    }
    return Evidence("enclosure", summary, "holds", step, data)


def _halves(cell: Cell, widths: list[Fraction]) -> list[Cell]:
    """Split a cell across its longest side, measured against the side of the whole box."""
    axis = max(range(len(cell)), key=lambda i: (cell[i][1] - cell[i][0]) / (widths[i] or 1))
    low, high = cell[axis]
    middle = (low + high) / 2
    return [[*cell[:axis], part, *cell[axis + 1 :]] for part in ((low, middle), (middle, high))]


def _middle(cell: Cell) -> list[Fraction]:
    return [(low + high) / 2 for low, high in cell]


def _sides(box: Box, cell: Cell) -> dict[str, list[str]]:
    return {name: [exactly(lo), exactly(hi)] for name, (lo, hi) in zip(box, cell, strict=True)}


def _inputs(name: str, box: Box) -> dict[str, Any]:
    whole = _sides(box, [(Fraction(low), Fraction(high)) for low, high in box.values()])
    return {"inputs": {"function": name, "box": whole, "bits": BITS}}
