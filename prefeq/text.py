"""Plain-text tables that fit a terminal, whatever the texts in them hold."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence


def number(value: float | None) -> str:
    """Return a number for a narrow column; "-" for one that does not exist.

    Examples
    --------
    >>> number(-2.5), number(-0.0001), number(None), number(float("-inf")), number(-12345.678)
    ('-2.500', '-1.0e-04', '-', '-inf', '-1.2e+04')
    """
    if value is None:
        return "-"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value and not 1e-3 <= abs(value) < 1e4:
        return f"{value:.1e}"
    return f"{value:.3f}" if abs(value) < 1e3 else f"{value:.1f}"


def width(text: str) -> int:
    """Return how many terminal columns `text` takes: wide letters two, combining marks none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def fit(text: str, columns: int) -> str:
    """Return `text` on one line, printable, at most `columns` wide: the middle is left out.

    The middle, because prompts of one table often begin alike.

    Examples
    --------
    >>> fit("two\\nlines", 20), fit("What is the capital of Turkey?", 20)
    ('two lines', 'What is th…f Turkey?')
    """
    text = " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in text).split())
    if width(text) <= columns:
        return text
    head = tail = ""
    for i in range(len(text)):
        for longer in ((text[: i + 1], tail), (text[: i + 1], text[len(text) - i - 1 :])):
            if width("".join(longer)) > columns - 1:
                return f"{head}…{tail}"
            head, tail = longer
    return text


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
