"""Plain-text tables that fit a terminal, whatever the texts in them hold."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence


def number(value: float | None, digits: int = 3) -> str:
    """Return a number for a narrow column; "-" for one that does not exist.

    Examples
    --------
    >>> number(-2.5), number(-0.0001), number(None), number(float("-inf")), number(123456789.0)
    ('-2.500', '-1.00e-04', '-', '-inf', '1.23e+08')
    """
    if value is None:
        return "-"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value and not 10.0**-digits <= abs(value) < 1e5:
        return f"{value:.2e}"
    return f"{value:.{digits}f}"


def width(text: str) -> int:
    """Return how many terminal columns `text` takes: wide letters two, combining marks none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def fit(text: str, columns: int) -> str:
    """Return `text` on one line, printable, cut to `columns` and marked where it was cut.

    Examples
    --------
    >>> fit("two\\nlines", 20), fit("a long sentence", 8)
    ('two lines', 'a long …')
    """
    text = " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in text).split())
    if width(text) <= columns:
        return text
    while text and width(text) > columns - 1:
        text = text[:-1]
    return f"{text}…"


def align(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Return lines of a table: the first `left` columns flush left, the others flush right.

    Examples
    --------
    >>> for line in align(["pair", "margin"], [["a > b", "1.5"], ["b > c", "-10.25"]]):
    ...     print(line)
    pair   margin
    a > b     1.5
    b > c  -10.25
    """
    table = [list(header), *(list(row) for row in rows)]
    widths = [max(width(row[c]) for row in table) for c in range(len(header))]
    lines = []
    for row in table:
        pads = [" " * (w - width(cell)) for cell, w in zip(row, widths, strict=True)]
        cells = [
            cell + pad if c < left else pad + cell
            for c, (cell, pad) in enumerate(zip(row, pads, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
