"""What Jupyter shows: well-formed HTML with everything escaped, and LaTeX that MathJax can read."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

import prefeq as pq
from prefeq import rich

BANDIT = pq.Bandit.from_probs(reward=[1, 0, 0], ref=[0.05, 0.9, 0.05], beta=1.0)
PAIRS = pq.Preferences.bradley_terry(BANDIT)


class Cells(HTMLParser):
    """Collects the cells of tables, and refuses tags that do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.captions: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert tag in {"table", "caption", "thead", "tbody", "tr", "th", "td", "p", "br"}, tag
        if tag != "br":
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "caption":
            self.captions.append(data)
        else:
            self.rows[-1][-1] += data


def check_latex(shown: str) -> None:
    """Raise unless braces and environments match and every row has as many cells as columns."""
    assert shown.count("$$") % 2 == 0
    assert shown.replace("$$", "").count("$") == shown.count(r"\$")
    bare = shown.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    assert shown.count(r"\begin{array}") == shown.count(r"\end{array}")
    for shape, body in re.findall(
        r"\\begin\{array\}\{([lr]{2,})\}\n(.*?)\\end\{array\}", shown, re.S
    ):
        lines = [x for x in body.splitlines() if x]
        assert all(len(re.split(r"(?<!\\)&", line)) == len(shape) for line in lines)


def shown() -> dict[str, Any]:
    batch = pq.load_capitals(0.5)
    certain = pq.Preferences.ordered(BANDIT)
    return {
        "bandit": BANDIT,
        "batch": batch,
        "grid": pq.Bandit(np.zeros((2, 2, 3)), np.zeros((2, 2, 3)), 1.0),
        "empty batch": pq.Bandit(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0)),
        "wide": pq.Bandit(np.zeros(50), np.zeros(50), 1.0),
        "off support": pq.Bandit([1.0, 0.0], [0.0, -np.inf], 1e-6),
        "pairs": PAIRS,
        "many pairs": pq.Preferences.bradley_terry(pq.Bandit(np.arange(9.0), np.zeros(9), 1.0)),
        "pairs of a batch": pq.Preferences.ordered(batch),
        "comparison": pq.compare(BANDIT, PAIRS),
        "optimal": pq.solve_cpo(BANDIT, PAIRS),
        "diverging": pq.solve_dpo(BANDIT, certain),
        "solved batch": pq.solve_rlhf(batch),
        "verdicts": pq.verify("assumption"),
    }


SHOWN = shown()


@pytest.mark.parametrize("name", SHOWN)
def test_html_and_latex_are_well_formed(name: str) -> None:
    Cells(SHOWN[name]._repr_html_())
    check_latex(SHOWN[name]._repr_latex_())


def test_a_bandit_shows_its_responses() -> None:
    cells = Cells(BANDIT._repr_html_())
    assert cells.captions == ["Bandit(K=3, beta=1.0)"]
    assert cells.rows[1] == ["0", "1.000", "0.050", "-2.996"]
    assert len(cells.rows) == 4
    assert r"0 & 1.000 & 0.050 & -2.996" in BANDIT._repr_latex_()
    first = Cells(SHOWN["batch"]._repr_html_())
    assert first.captions[0].endswith(SHOWN["batch"].prompts[0])
    assert [row[0] for row in first.rows[1:]] == list(SHOWN["batch"].responses[0])
    assert len(Cells(SHOWN["wide"]._repr_html_()).rows) == 21
    assert Cells(SHOWN["off support"]._repr_html_()).rows[2] == ["1", "0.000", "0.000", "-inf"]
    assert r"-\infty" in SHOWN["off support"]._repr_latex_()


def test_pairs_and_comparisons_show_what_the_terminal_shows() -> None:
    cells = Cells(PAIRS._repr_html_())
    assert cells.rows[1] == ["0 > 1", "0.731", "0.500"]
    table = SHOWN["comparison"]
    words = [w for row in Cells(table._repr_html_()).rows for cell in row for w in cell.split()]
    assert words == repr(table).split()


def test_solutions_and_verdicts_say_the_same_in_both() -> None:
    assert Cells(SHOWN["diverging"]._repr_html_()).rows[0] == ["status", "diverges"]
    assert r"\text{status} & \text{diverges}" in SHOWN["diverging"]._repr_latex_()
    assert r"\text{threshold} & \text{proved}" in SHOWN["verdicts"]._repr_latex_()


def test_texts_are_escaped() -> None:
    table = rich.Table(["<b>", "$x$"], [["<script>&", r"\end{array} 50%_"]], caption="a<b & $c$")
    page = rich.html(table)
    assert "<script>" not in page
    assert "<b>" not in page
    assert Cells(page).rows == [["<b>", "$x$"], ["<script>&", r"\end{array} 50%_"]]
    check_latex(rich.latex(table))


@pytest.mark.parametrize(
    "broken", [r"$$\begin{array}{lr}" + "\n1 \\\\\n" + r"\end{array}$$", "$$a$", r"$$\text{a$$"]
)
def test_the_helper_sees_broken_latex(broken: str) -> None:
    with pytest.raises(AssertionError):
        check_latex(broken)


def test_the_helper_sees_broken_html() -> None:
    with pytest.raises(AssertionError):
        Cells("<table><tr><td>1</tr></table>")
