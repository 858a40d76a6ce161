"""Identities and signs proved by computer algebra, under the assumptions their symbols carry.

Each helper returns evidence that `holds`, that `fails` (the opposite was shown), or that is
`undecided` because simplification did not get there: then nothing was proved.

What was proved is in ``data["inputs"]``: other arithmetic can decide it from the JSON alone.

=====================  ===========================================================================
``relation``           ``left = right``, ``left > 0``, ``left -> value`` or ``left free of symbols``
``left``               the expressions, as strings; the relation is claimed of each of them
``right``              for ``left = right``: as many expressions
``symbol to side``     for ``left -> value``: symbol → to (``oo``, ``-oo`` or an expression), from
                       ``below`` or ``above``
``value``              for ``left -> value``: the limit (``oo``, ``-oo`` or an expression)
``symbols``            for ``left free of symbols``: the names of these
``assumptions``        every free symbol → ``positive``, ``negative``, ``nonnegative``,
                       ``nonpositive``, ``real`` or ``complex``
=====================  ===========================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import sympy as sp

from prefeq.claims.evidence import Evidence, outcome_of


class _SymPy:
    """The arithmetic of `formulas` in symbols."""

    def exp(self, z: Any) -> Any:
        return sp.exp(z)

    def log(self, z: Any) -> Any:
        return sp.log(z)

    def log1p(self, z: Any) -> Any:
        return sp.log(1 + z)

    def larger(self, a: Any, b: Any) -> Any:
        return sp.Max(a, b)


SYMPY = _SymPy()


def real(names: str) -> Any:
    """Return real symbols, one or a tuple."""
    return sp.symbols(names, real=True)


def positive(names: str) -> Any:
    """Return positive symbols, one or a tuple."""
    return sp.symbols(names, positive=True)


def negative(names: str) -> Any:
    """Return negative symbols, one or a tuple."""
    return sp.symbols(names, negative=True)


def as_written(side: Callable[[], Any]) -> Any:
    """Return an expression with nothing cancelled or collected, to be shown as one side.

    Differentiate before, and put in values with ``xreplace``: only plain arithmetic works inside.

    >>> w, l, c = real("w l c")
    >>> text((w - c) - (l - c)), text(as_written(lambda: (w - c) - (l - c)))
    ('w - l', '(w - c) - (l - c)')
    """
    with sp.evaluate(False):
        return side()


def prove_equal(step: str, summary: str, *sides: tuple[Any, Any]) -> Evidence:
    """Prove for every pair that its two sides are identically equal; both are recorded.

    >>> x = real("x")
    >>> found = prove_equal("square", "(x+1)² = x² + 2x + 1", ((x + 1)**2, x**2 + 2*x + 1))
    >>> found.outcome, found.data["inputs"]["left"], found.data["inputs"]["right"]
    ('holds', ['(1 + x)**2'], ['1 + x**2 + 2*x'])
    """
    left = [sp.sympify(side) for side, _ in sides]
    right = [sp.sympify(side) for _, side in sides]
    answers = [_is_zero(a - b) for a, b in zip(left, right, strict=True)]
    return _evidence(step, summary, answers, "left = right", left, right=right)


def prove_zero(step: str, summary: str, *expressions: Any) -> Evidence:
    """Prove that every expression is identically zero.

    >>> x = real("x")
    >>> prove_zero("square", "(x+1)² = x² + 2x + 1", (x + 1)**2 - x**2 - 2*x - 1).outcome
    'holds'
    >>> prove_zero("wrong", "x² = x", x**2 - x).outcome
    'fails'
    """
    left = [sp.sympify(expression) for expression in expressions]
    answers = [_is_zero(expression) for expression in left]
    return _evidence(step, summary, answers, "left = right", left, right=[sp.S.Zero] * len(left))


def prove_positive(step: str, summary: str, *expressions: Any) -> Evidence:
    """Prove that every expression is positive wherever its symbols' assumptions hold."""
    left = [sp.sympify(expression) for expression in expressions]
    answers = [_is_positive(expression) for expression in left]
    return _evidence(step, summary, answers, "left > 0", left)


def prove_limit(step: str, summary: str, expression: Any, symbol: Any, to: Any, value: Any) -> Any:
    """Prove a one-sided limit: from below at +∞, from above everywhere else."""
    found = _limit(expression, symbol, to)
    equal = None if isinstance(found, sp.Limit) else _same(found, value)
    more = {
        "symbol": str(symbol),
        "to": text(to),
        "side": "below" if to == sp.oo else "above",
        "value": text(value),
    }
    left = [sp.sympify(expression)]
    return _evidence(step, summary, [equal], "left -> value", left, more=more)


def prove_independent(step: str, summary: str, expression: Any, *symbols: Any) -> Evidence:
    """Prove that an expression does not depend on some of its symbols: its derivatives vanish."""
    left = sp.sympify(expression)
    answers = [_is_zero(sp.diff(left, symbol)) for symbol in symbols]
    more = {"symbols": list(map(str, symbols))}
    return _evidence(step, summary, answers, "left free of symbols", [left], more=more)


@lru_cache(maxsize=256)
def _limit(expression: Any, symbol: Any, to: Any) -> Any:
    return sp.limit(expression, symbol, to)


def _same(found: Any, value: Any) -> bool | None:
    if found == value:
        return True
    return False if found.is_infinite or sp.sympify(value).is_infinite else _is_zero(found - value)


@lru_cache(maxsize=2048)  # several readings lean on the same step; equal expressions, one answer
def _is_zero(expression: Any) -> bool | None:
    for attempt in (lambda e: e.doit(), sp.expand, sp.simplify):
        expression = attempt(expression)
        if expression == 0:
            return True
    if not expression.free_symbols:
        return None if expression.is_zero is None else bool(expression.is_zero)
    return False if expression.equals(0) is False else None


@lru_cache(maxsize=2048)
def _is_positive(expression: Any) -> bool | None:
    for attempt in (lambda e: e, sp.factor, sp.simplify):
        answer = attempt(expression).is_positive
        if answer is not None:
            return bool(answer)
    return None


def _evidence(
    step: str,
    summary: str,
    answers: list[bool | None],
    relation: str,
    left: list[Any],
    *,
    right: list[Any] | None = None,
    more: dict[str, Any] | None = None,
) -> Evidence:
    if any(answer is False for answer in answers):
        answer: bool | None = False
    else:
        answer = True if answers and all(answers) else None
    free = set().union(*(side.free_symbols for side in (*left, *(right or []))))
    inputs = {
        "relation": relation,
        "left": list(map(text, left)),
        **({} if right is None else {"right": list(map(text, right))}),
        **(more or {}),
        "assumptions": {str(s): _assumption(s) for s in sorted(free, key=str)},
    }
    return Evidence("symbolic", summary, outcome_of(answer), step, {"inputs": inputs})


def text(expression: Any) -> str:
    """Write an expression with its terms in the order in which they stand.

    The usual order is found by simplifying, which takes `as_written` sides apart or fails on them.
    """
    return str(sp.sstr(expression, order="none"))


def _assumption(symbol: Any) -> str:
    for name in ("positive", "negative", "nonnegative", "nonpositive", "real"):
        if getattr(symbol, f"is_{name}"):
            return name
    return "complex"
