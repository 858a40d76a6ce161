"""Identities and signs proved by computer algebra, under the assumptions their symbols carry.

Each helper returns evidence that `holds`, that `fails` (the opposite was shown), or that is
`undecided` because simplification did not get there: then nothing was proved.
"""

from __future__ import annotations

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


def prove_zero(step: str, summary: str, *expressions: Any) -> Evidence:
    """Prove that every expression is identically zero.

    >>> x = real("x")
    >>> prove_zero("square", "(x+1)² = x² + 2x + 1", (x + 1)**2 - x**2 - 2*x - 1).outcome
    'holds'
    >>> prove_zero("wrong", "x² = x", x**2 - x).outcome
    'fails'
    """
    answers = [_is_zero(sp.sympify(expression)) for expression in expressions]
    return _evidence(step, summary, answers, expressions, "= 0")


def prove_positive(step: str, summary: str, *expressions: Any) -> Evidence:
    """Prove that every expression is positive wherever its symbols' assumptions hold."""
    answers = [_is_positive(sp.sympify(expression)) for expression in expressions]
    return _evidence(step, summary, answers, expressions, "> 0")


def prove_limit(step: str, summary: str, expression: Any, symbol: Any, to: Any, value: Any) -> Any:
    """Prove a one-sided limit (from below at a positive point or +∞, from above at 0 or −∞)."""
    found = sp.limit(expression, symbol, to)
    equal = None if isinstance(found, sp.Limit) else _same(found, value)
    return _evidence(step, summary, [equal], (expression,), f"-> {value} as {symbol} -> {to}")


def prove_independent(step: str, summary: str, expression: Any, *symbols: Any) -> Evidence:
    """Prove that an expression does not depend on some of its symbols: its derivatives vanish."""
    slopes = [sp.diff(expression, symbol) for symbol in symbols]
    answers = [_is_zero(slope) for slope in slopes]
    names = ", ".join(map(str, symbols))
    return _evidence(step, summary, answers, (expression,), f"does not depend on {names}")


def _same(found: Any, value: Any) -> bool | None:
    if found == value:
        return True
    return False if found.is_infinite or sp.sympify(value).is_infinite else _is_zero(found - value)


def _is_zero(expression: Any) -> bool | None:
    for attempt in (sp.expand, sp.simplify):
        expression = attempt(expression)
        if expression == 0:
            return True
    if not expression.free_symbols:
        return None if expression.is_zero is None else bool(expression.is_zero)
    return False if expression.equals(0) is False else None


def _is_positive(expression: Any) -> bool | None:
    for attempt in (lambda e: e, sp.factor, sp.simplify):
        answer = attempt(expression).is_positive
        if answer is not None:
            return bool(answer)
    return None


def _evidence(
    step: str, summary: str, answers: list[bool | None], expressions: Any, relation: str
) -> Evidence:
    if any(answer is False for answer in answers):
        answer: bool | None = False
    else:
        answer = True if answers and all(answers) else None
    free = sorted(set().union(*(sp.sympify(e).free_symbols for e in expressions)), key=str)
    data = {
        "relation": relation,
        "expressions": [str(e) for e in expressions],
        "assumptions": {str(s): _assumption(s) for s in free},
    }
    return Evidence("symbolic", summary, outcome_of(answer), step, data)


def _assumption(symbol: Any) -> str:
    for name in ("positive", "negative", "nonnegative", "nonpositive", "real"):
        if getattr(symbol, f"is_{name}"):
            return name
    return "complex"
