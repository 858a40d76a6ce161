"""What stands in the file against what was recomputed, digit by digit."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from mpmath import mp, mpf

SHOWN = 15
"""Significant digits of a number in the bundle."""

ZERO = mpf(10) ** -45
"""A recomputed number below it is zero: it is what 60 digits leave of terms that cancel."""


def shown(value: Any, found: Any = None) -> Any:
    """Return a recomputed value as the bundle writes it: floats of 15 digits, fractions as text.

    Parameters
    ----------
    value
        What was recomputed.
    found
        What stands in the file: a number below `ZERO` is shown as 0.0 unless something else than
        zero stands there.

    Examples
    --------
    >>> shown(mpf(1) / 3), shown(Fraction(1, 3)), shown([2, mpf("1e-50")])
    (0.333333333333333, '1/3', [2, 0.0])
    >>> shown(mpf("1e-50"), 2e-50)
    1e-50
    """
    if isinstance(value, mpf):
        zero = abs(value) < ZERO and not (isinstance(found, float) and found)
        return 0.0 if zero else float(mp.nstr(value, SHOWN))
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, list | tuple):
        row = found if isinstance(found, list) else []
        return [shown(v, row[i] if i < len(row) else None) for i, v in enumerate(value)]
    if isinstance(value, dict):
        beside = found if isinstance(found, dict) else {}
        return {key: shown(item, beside.get(key)) for key, item in value.items()}
    if value is None or isinstance(value, int | str):
        return value
    raise TypeError(f"a recomputed number is of type {type(value).__name__}")


def differences(found: Any, computed: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield (path, what stands there, what belongs there) wherever two JSON values differ.

    Types count (1 is not 1.0 and not true), and so does the sign of zero.

    Examples
    --------
    >>> list(differences({"a": [1, 2.0]}, {"a": [1, 2]}, "/x"))
    [('/x/a/1', 2.0, 2)]
    """
    if isinstance(found, dict) and isinstance(computed, dict):
        for key in [*computed, *(key for key in found if key not in computed)]:
            here = f"{path}/{_escaped(key)}"
            if key not in found:
                yield here, MISSING, computed[key]
            elif key not in computed:
                yield here, found[key], MISSING
            else:
                yield from differences(found[key], computed[key], here)
    elif isinstance(found, list) and isinstance(computed, list):
        for i in range(max(len(found), len(computed))):
            here = f"{path}/{i}"
            if i >= len(found):
                yield here, MISSING, computed[i]
            elif i >= len(computed):
                yield here, found[i], MISSING
            else:
                yield from differences(found[i], computed[i], here)
    elif type(found) is not type(computed) or repr(found) != repr(computed):
        yield path, found, computed


def count(value: Any) -> int:
    """Return how many numbers a value holds.

    >>> count([1, [2.5, "1/3"]])
    3
    """
    if isinstance(value, dict):
        return sum(map(count, value.values()))
    return sum(map(count, value)) if isinstance(value, list) else 1


class _Missing:
    """Nothing stands there, or nothing belongs there."""

    def __repr__(self) -> str:
        return "nothing"


MISSING = _Missing()


def _escaped(key: str) -> str:
    """Return a key as a JSON pointer writes it."""
    return key.replace("~", "~0").replace("/", "~1")
