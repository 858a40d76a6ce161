"""Enclosures done again: the subdivision that the file states, with a second copy of the function.

The tree of a subdivision tiles its box by construction, so what has to be seen is that the text is
one whole tree, and that the function is positive on every one of its leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from flint import ctx
from mpmath import mp

from prefeq.bundle.arithmetic import BALLS, POINTS
from prefeq.bundle.expression import ExpressionError
from prefeq.bundle.registry import BOXED

MORE_CELLS = 64
"""How many halvings of its own a leaf may take: another copy of a formula encloses differently."""

LONGEST_TREE = 40_000

Cell = list[tuple[Fraction, Fraction]]


def replay(inputs: Mapping[str, Any], tree: str) -> tuple[dict[str, Any], bool | None]:
    """Enclose a function over a box along a given tree.

    Parameters
    ----------
    inputs
        ``function``, its name in `registry.BOXED`; ``box``, variable → [low, high] as rationals;
        ``bits``, the precision.
    tree
        Preorder, lower half first: 1 for a cell halved at the middle of its longest side relative
        to the box (the first such), 0 for a leaf.

    Returns
    -------
    tuple
        ``cells``, ``worst_cell`` and ``worst_value``; and whether the function is positive on all
        leaves (None if the balls do not decide).

    Raises
    ------
    ExpressionError
        If the tree is not one whole tree, or the function has no second copy.
    """
    name, box = inputs["function"], inputs["box"]
    if name not in BOXED:
        raise ExpressionError(f"no second copy of the enclosed function {name!r}")
    names = list(box)
    whole = [(Fraction(low), Fraction(high)) for low, high in box.values()]
    leaves = _leaves(whole, tree)
    with ctx.workprec(inputs["bits"]):
        signs = [_positive(BOXED[name], names, leaf, whole) for leaf in leaves]
    values = [_at_centre(BOXED[name], names, leaf) for leaf in leaves]
    worst = min(range(len(leaves)), key=lambda i: float(mp.nstr(values[i], 15)))
    numbers = {
        "cells": len(leaves),
        "worst_cell": {
            n: [str(low), str(high)] for n, (low, high) in zip(names, leaves[worst], strict=True)
        },
        "worst_value": values[worst],
    }
    if False in signs:
        return numbers, False
    return numbers, None if None in signs else True


def _leaves(whole: Cell, tree: str) -> list[Cell]:
    """Return the leaves of a tree in preorder; they tile the box if it is one whole tree."""
    if not isinstance(tree, str) or len(tree) > LONGEST_TREE or set(tree) - {"0", "1"}:
        raise ExpressionError(f"a tree is written in 0 and 1, at most {LONGEST_TREE} of them")
    open_cells = 1
    for digit in tree:
        if not open_cells:
            raise ExpressionError("the tree goes on after its last leaf: the cells overlap")
        open_cells += 1 if digit == "1" else -1
    if open_cells:
        raise ExpressionError("the tree ends too early: its cells do not cover the box")
    stack, leaves = [whole], list[Cell]()
    for digit in tree:
        cell = stack.pop()
        if digit == "0":
            leaves.append(cell)
        else:
            stack.extend(reversed(_halves(cell, whole)))
    return leaves


def _halves(cell: Cell, whole: Cell) -> list[Cell]:
    """Halve a cell across its longest side, relative to the box."""
    shares = [
        (high - low) / ((top - bottom) or 1)
        for (low, high), (bottom, top) in zip(cell, whole, strict=True)
    ]
    axis = shares.index(max(shares))
    low, high = cell[axis]
    middle = (low + high) / 2
    return [[*cell[:axis], side, *cell[axis + 1 :]] for side in ((low, middle), (middle, high))]


def _positive(
    function: Callable[..., Any], names: list[str], leaf: Cell, whole: Cell
) -> bool | None:
    """Decide whether a function is positive on a cell."""
    stack, halved = [leaf], 0
    while stack:
        cell = stack.pop()
        sides = (BALLS.exact(low).union(BALLS.exact(high)) for low, high in cell)
        value = function(BALLS, **dict(zip(names, sides, strict=True)))
        if value > 0:
            continue
        if value <= 0:
            return False
        if halved == MORE_CELLS:
            return None
        halved += 1
        stack.extend(_halves(cell, whole))
    return True


def _at_centre(function: Callable[..., Any], names: list[str], leaf: Cell) -> Any:
    middle = (POINTS.exact((low + high) / 2) for low, high in leaf)
    return function(POINTS, **dict(zip(names, middle, strict=True)))
