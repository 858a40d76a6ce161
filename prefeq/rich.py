"""Tables as Jupyter shows them: HTML on a screen, LaTeX where a notebook becomes a paper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_NUMBER = re.compile(r"([+-]?\d+(?:\.\d+)?)(?:e([+-]?\d+))?")
_INFINITE = {"inf": r"\infty", "-inf": r"-\infty"}
_SPECIAL = {
    "\\": r"\backslash ",
    "^": r"\hat{\ }",
    "~": r"\sim ",
    **{c: f"\\{c}" for c in "&%$#_{}"},
}
"""What stands outside \\text{} where it has a meaning inside it."""


@dataclass(frozen=True)
class Table:
    """Cells of text, ready to be shown.

    Attributes
    ----------
    header
        Names of the columns; empty: none.
    rows
        As many cells each.
    left
        How many columns hold words, flush left; the others hold numbers.
    caption
        Said above the table.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    caption: str = ""


def html(*tables: Table) -> str:
    """Return tables as HTML, every text in them escaped.

    >>> html(Table((), [["a > b", "-inf"]], left=0))
    '<table><tbody><tr><td>a &gt; b</td><td>-inf</td></tr></tbody></table>'
    """
    return "".join(map(_html, tables))


def _html(table: Table) -> str:
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    head = _html_row(table.header, "th", table.left)
    body = "".join(_html_row(row, "td", table.left) for row in table.rows)
    thead = f"<thead>{head}</thead>" if table.header else ""
    return f"<table>{caption}{thead}<tbody>{body}</tbody></table>"


def _html_row(cells: Sequence[str], tag: str, left: int) -> str:
    style = [' style="text-align:left"' if i < left else "" for i in range(len(cells))]
    inside = (
        f"<{tag}{look}>{escape(cell)}</{tag}>" for look, cell in zip(style, cells, strict=True)
    )
    return f"<tr>{''.join(inside)}</tr>"


def latex(*tables: Table) -> str:
    r"""Return tables as displayed LaTeX arrays, which MathJax reads too.

    >>> print(latex(Table(["pair", "δ"], [["a_1 > b", "-1.5e-04"]])))
    $$\begin{array}{lr}
    \text{pair} & \text{δ} \\ \hline
    \text{a}\_\text{1 > b} & -1.5\times10^{-4} \\
    \end{array}$$
    """
    return "\n\n".join(map(_latex, tables))


def _latex(table: Table) -> str:
    columns = max(map(len, [table.header, *table.rows]), default=0)
    shape = "l" * min(table.left, columns) + "r" * (columns - table.left)
    lines = [rf"{_words(table.caption)}\\ " + "\n"] if table.caption else []
    head = [" & ".join(map(_words, table.header)) + r" \\ \hline" + "\n"] if table.header else []
    body = [" & ".join(map(latex_cell, row)) + r" \\" + "\n" for row in table.rows]
    array = rf"\begin{{array}}{{{shape}}}" + "\n" + "".join([*head, *body]) + r"\end{array}"
    if lines:
        array = r"\begin{array}{l}" + "\n" + "".join(lines) + array + "\n" + r"\end{array}"
    return f"$${array}$$"


def latex_cell(cell: str) -> str:
    r"""Return a cell in math mode: a number as a number, anything else as text.

    >>> latex_cell("1.5e-04"), latex_cell("-inf"), latex_cell("holds"), latex_cell("50 %")
    ('1.5\\times10^{-4}', '-\\infty', '\\text{holds}', '\\text{50 }\\%')
    """
    if cell in _INFINITE:
        return _INFINITE[cell]
    found = _NUMBER.fullmatch(cell)
    if found is None:
        return _words(cell)
    power = "" if found[2] is None else rf"\times10^{{{int(found[2])}}}"
    return found[1] + power


def _words(text: str) -> str:
    pieces = re.split(r"([\\^~&%$#_{}])", " ".join(text.split()))
    return "".join(_SPECIAL.get(piece) or rf"\text{{{piece}}}" for piece in pieces if piece)
