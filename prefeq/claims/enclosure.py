"""A strict inequality over a whole box, by branch and bound in ball arithmetic."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from flint import ctx

from prefeq.claims.ball import ball, exactly
from prefeq.claims.evidence import Evidence

Box = Mapping[str, tuple[Fraction | int, Fraction | int]]
BITS = 96


def positive_on_box(
    summary: str,
    function: Callable[..., Any],
    box: Box,
    *,
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
    max_cells
        Budget; if cells remain the outcome is undecided. A cell on which the function is decided
        to be ≤ 0 makes it fail.

    Notes
    -----
    The cell with the widest enclosure is halved next, along its longest side relative to the
    box. The number of decided cells and the one with the least lower bound are in the data.
    """
    names = list(box)
    widths = [Fraction(box[n][1]) - Fraction(box[n][0]) for n in names]
    queue = [(0.0, 0, [(Fraction(low), Fraction(high)) for low, high in box.values()])]
    done, made, worst = 0, 1, (float("inf"), "")
    with ctx.workprec(BITS):
        while queue:
            _, _, cell = heapq.heappop(queue)
            value = function(*(ball(low).union(ball(high)) for low, high in cell))
            if value > 0:
                done += 1
                worst = min(worst, (float(value.lower()), _text(names, cell)))
                continue
            if value <= 0 or made >= max_cells:
                outcome = "fails" if value <= 0 else "undecided"
                data = _data(box, done, (float(value.lower()), _text(names, cell)))
                return Evidence("enclosure", summary, outcome, step, data)  # type: ignore[arg-type]
            for half in _halves(cell, widths):
                made += 1
                heapq.heappush(queue, (-float(value.rad()), made, half))
    return Evidence("enclosure", summary, "holds", step, _data(box, done, worst))


def _halves(
    cell: list[tuple[Fraction, Fraction]], widths: list[Fraction]
) -> list[list[tuple[Fraction, Fraction]]]:
    """Split a cell across its longest side, measured against the side of the whole box."""
    axis = max(range(len(cell)), key=lambda i: (cell[i][1] - cell[i][0]) / (widths[i] or 1))
    low, high = cell[axis]
    middle = (low + high) / 2
    return [[*cell[:axis], part, *cell[axis + 1 :]] for part in ((low, middle), (middle, high))]


def _text(names: list[str], cell: list[tuple[Fraction, Fraction]]) -> str:
    sides = zip(names, cell, strict=True)
    return ", ".join(f"{n} in [{exactly(lo)}, {exactly(hi)}]" for n, (lo, hi) in sides)


def _data(box: Box, cells: int, worst: tuple[float, str]) -> dict[str, Any]:
    sides = {name: [exactly(low), exactly(high)] for name, (low, high) in box.items()}
    return {
        "inputs": {"box": sides},
        "cells": cells,
        "bits": BITS,
        "worst_cell": worst[1],
        "worst_lower_bound": worst[0],
    }
