"""Expressions and comparisons of the bundle, evaluated in mpmath from a short list of nodes.

A bundle is a file that anybody may have written: nothing in it is executed. Python's parser makes
a tree, every node of which must be on the list below, and numbers that would not fit are refused.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

from mpmath import inf, mp, mpf

from prefeq.errors import ProblemError

MAX_LENGTH = 20_000
MAX_DEPTH = 200
LARGEST_EXPONENT = 10**9
"""exp(x) and x**y are refused beyond e^±1e9: a ten-letter text could ask for days of work."""

EQUAL = mpf(10) ** -45
NOTHING = mpf(10) ** -50


class ExpressionError(ProblemError):
    """A text that is not an expression of this small language, or has no real value."""


def evaluate(text: str, names: Mapping[str, Any]) -> Any:
    """Return the value of an expression at mpmath's working precision.

    Parameters
    ----------
    text
        Numbers, names, subscripts, ``+ - * / **``, and the functions of `FUNCTIONS`.
    names
        Values by name: numbers, or lists of them for subscripts. They come before the constants
        ``pi``, ``E`` and ``oo``.

    Raises
    ------
    ExpressionError
        If the text holds anything else, or its value is not a real number.

    Examples
    --------
    >>> evaluate("2*x[1] - 1/4", {"x": [0, Fraction(1, 8)]})
    mpf('0.0')
    >>> evaluate("__import__('os')", {})
    Traceback (most recent call last):
    prefeq.bundle.expression.ExpressionError: unknown function '__import__' in "__import__('os')"
    """
    return _Evaluator(text, names).value(parse(text))


def holds(text: str, names: Mapping[str, Any]) -> bool | None:
    """Decide one comparison, such as ``"loss[0] > log(2)"``; None if the two sides are too close.

    Sides that differ by less than 1e-45 of their size, or by less than 1e-50, are equal: that
    makes ``==``, ``>=`` and ``<=`` true and leaves the strict ones undecided.

    Examples
    --------
    >>> holds("loss[0] > log(2)", {"loss": [mpf("0.7")]})
    True
    >>> holds("x > 1/3", {"x": Fraction(1, 3)}) is None
    True
    """
    tree = parse(text)
    if not isinstance(tree, ast.Compare) or len(tree.ops) != 1:
        raise ExpressionError(f"not one comparison: {_short(text)}")
    evaluator = _Evaluator(text, names)
    left, right = evaluator.value(tree.left), evaluator.value(tree.comparators[0])
    operator = type(tree.ops[0])
    if operator not in _SIGNS:
        raise ExpressionError(f"the comparison in {_short(text)} is not one of > >= < <= ==")
    difference = left - right
    if abs(difference) <= max(NOTHING, EQUAL * max(abs(left), abs(right))):
        return True if 0 in _SIGNS[operator] else None
    return int(mp.sign(difference)) in _SIGNS[operator]


@lru_cache(maxsize=4096)
def parse(text: str) -> ast.expr:
    """Return the syntax tree of a text of reasonable size."""
    if not isinstance(text, str):
        raise ExpressionError(f"an expression is a string, not {type(text).__name__}")
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"an expression of {len(text)} characters: at most {MAX_LENGTH}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ExpressionError(f"not an expression: {_short(text)} ({error})") from None
    if _depth(tree) > MAX_DEPTH:
        raise ExpressionError(f"an expression nested more than {MAX_DEPTH} deep: {_short(text)}")
    return tree


def number(value: Any) -> Any:
    """Return an int, a fraction or a string such as ``"1/3"`` at the working precision."""
    if isinstance(value, bool):
        raise ExpressionError("a truth value is not a number")
    if isinstance(value, str):
        try:
            value = Fraction(value)
        except (ValueError, ZeroDivisionError):
            raise ExpressionError(f"not a rational number: {_short(value)}") from None
    if isinstance(value, Fraction):
        return mpf(value.numerator) / value.denominator
    if isinstance(value, int | float | mpf):
        return mpf(value)
    raise ExpressionError(f"not a number: {_short(str(value))}")


def _exp(x: Any) -> Any:
    if abs(x) > LARGEST_EXPONENT:
        raise ExpressionError(f"exp of {mp.nstr(x, 5)} is out of range")
    return mp.exp(x)


def _log(x: Any, base: Any = None) -> Any:
    if x <= 0:
        raise ExpressionError(f"log of {mp.nstr(x, 5)}, which is not positive")
    return mp.log(x) if base is None else mp.log(x) / _log(base)


def _softplus(x: Any) -> Any:
    return x + mp.log1p(_exp(-x)) if x > 0 else mp.log1p(_exp(x))


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + _exp(-x))


def _lambert(x: Any, branch: Any = 0) -> Any:
    if branch not in (0, -1):
        raise ExpressionError("LambertW has two real branches, 0 and -1")
    return mp.lambertw(x, int(branch))


def _tame(function: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse arguments that make a hyperbolic function overflow."""

    def tamed(x: Any) -> Any:
        if abs(x) > LARGEST_EXPONENT:
            raise ExpressionError(f"{function.__name__} of {mp.nstr(x, 5)} is out of range")
        return function(x)

    return tamed


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": _exp,
    "log": _log,
    "log1p": lambda x: _log(1 + x),
    "sqrt": lambda x: mp.sqrt(x),
    "sinh": _tame(mp.sinh),
    "cosh": _tame(mp.cosh),
    "tanh": _tame(mp.tanh),
    "coth": _tame(mp.coth),
    "asinh": lambda x: mp.asinh(x),
    "acosh": lambda x: mp.acosh(x),
    "atanh": lambda x: mp.atanh(x),
    "acoth": lambda x: mp.acoth(x),
    "softplus": _softplus,
    "sigmoid": _sigmoid,
    "sign": lambda x: mp.sign(x),
    **dict.fromkeys(("LambertW", "W"), _lambert),
    **dict.fromkeys(("Abs", "abs"), abs),
    **dict.fromkeys(("Max", "max"), max),
    **dict.fromkeys(("Min", "min"), min),
}
"""What an expression may call."""

CONSTANTS: dict[str, Callable[[], Any]] = {
    "pi": lambda: +mp.pi,
    "E": lambda: +mp.e,
    "oo": lambda: inf,
}

_SIGNS: dict[type[ast.cmpop], tuple[int, ...]] = {
    ast.Gt: (1,),
    ast.GtE: (0, 1),
    ast.Lt: (-1,),
    ast.LtE: (-1, 0),
    ast.Eq: (0,),
}
"""The signs of left − right that make a comparison true."""


class _Evaluator:
    """One walk over one tree."""

    def __init__(self, text: str, names: Mapping[str, Any]) -> None:
        self.text, self.names = text, names

    def value(self, node: ast.expr) -> Any:
        """Return the number at a node, never a list."""
        found = self._any(node)
        if isinstance(found, list | tuple):
            raise self._error("a list where a number must stand")
        found = number(found) if not isinstance(found, mpf) else found
        if found != found:
            raise self._error("no value")
        return found

    def _any(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return mpf(repr(value))  # "0.1" is a tenth, not the float nearest to it
            case ast.Name(id=name):
                return self._name(name)
            case ast.Subscript(value=of, slice=index):
                return self._item(of, index)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.value(operand)
            case ast.BinOp(left=left, op=op, right=right):
                return self._binary(op, self.value(left), self.value(right))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self._call(name, args)
        raise self._error(f"{type(node).__name__} is not allowed")

    def _name(self, name: str) -> Any:
        if name in self.names:
            return self.names[name]
        if name in CONSTANTS:
            return CONSTANTS[name]()
        raise self._error(f"unknown name {name!r}")

    def _item(self, of: ast.expr, index: ast.expr) -> Any:
        match self._any(of), index:
            case (list() | tuple() as items, ast.Constant(value=int() as k)) if k < len(items):
                return items[k]
        raise self._error("no such element")

    def _binary(self, op: ast.operator, left: Any, right: Any) -> Any:
        match op:
            case ast.Add():
                return left + right
            case ast.Sub():
                return left - right
            case ast.Mult():
                return left * right
            case ast.Div() if right != 0:
                return left / right
            case ast.Div():
                raise self._error("division by zero")
            case ast.Pow():
                return self._power(left, right)
        raise self._error(f"{type(op).__name__} is not allowed")

    def _power(self, base: Any, exponent: Any) -> Any:
        if base == 0 and exponent <= 0:
            raise self._error("zero to a power that is not positive")
        if base not in (0, 1, -1) and abs(exponent * mp.log(abs(base))) > LARGEST_EXPONENT:
            raise self._error("a power out of range")
        return self._real(mp.power(base, exponent))

    def _call(self, name: str, args: list[ast.expr]) -> Any:
        if name not in FUNCTIONS:
            raise self._error(f"unknown function {name!r}")
        values = [self.value(arg) for arg in args]
        try:
            return self._real(FUNCTIONS[name](*values))
        except (TypeError, ValueError, ZeroDivisionError) as error:
            if isinstance(error, ExpressionError):
                raise
            raise self._error(f"{name} has no value there") from None

    def _real(self, value: Any) -> Any:
        if isinstance(value, mpf):
            return value
        if value.imag == 0:
            return value.real
        raise self._error("a value that is not real")

    def _error(self, what: str) -> ExpressionError:
        return ExpressionError(f"{what} in {_short(self.text)}")


def _depth(tree: ast.expr) -> int:
    """Return how deep a tree is, without recursion."""
    depth, level = 0, [tree]
    while level:
        depth += 1
        level = [
            child
            for node in level
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.expr)
        ]
    return depth


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
