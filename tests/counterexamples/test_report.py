"""A report reads well in a terminal and in a notebook, and is strict JSON."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest

import prefeq as pq
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Instance, build
from prefeq.counterexamples.case import Case
from prefeq.counterexamples.report import NearestMiss, SearchReport, SearchResult
from prefeq.errors import ProblemError

CASE = Case(
    {"gamma": Fraction(1, 3)},
    Instance.of("x", reward=[1, 0], ref=["1/4", "3/4"], pairs=[(0, 1)]),
    {"pi": (Fraction(1, 3), Fraction(2, 3))},
    (Fraction(-1, 2),),
)
HEAD = {"claim": "assumption", "reading": "a<b", "statement": "it holds", "uncertified": 0}
FOUND = SearchResult(
    **HEAD, part="if", tries=7, in_scope=6, shrinks=1, case=CASE,
    evidence=Evidence("counterexample", "1 < 2, yet it holds", "holds"),
    nearest_miss=None, interrupted=False,
)  # fmt: skip
MISSED = SearchResult(
    **HEAD, part=None, tries=10, in_scope=9, shrinks=0, case=None, evidence=None,
    nearest_miss=NearestMiss(-0.25, CASE), interrupted=True,
)  # fmt: skip
REPORT = SearchReport(3, 10, (FOUND, MISSED), True)

TEXT = """\
assumption/a<b (if): it holds
  counterexample after 7 tries, 1 simplification
    gamma = 1/3
    reward = (1, 0), pi_ref = (1/4, 3/4), beta = 1
    ordered pairs 0>1
    policy pi = (1/3, 2/3)
    margins = (-1/2)
    1 < 2, yet it holds

assumption/a<b: it holds
  none in 10 tries, 9 of them in scope; nearest miss -0.25 (interrupted)
    gamma = 1/3
    reward = (1, 0), pi_ref = (1/4, 3/4), beta = 1
    ordered pairs 0>1
    policy pi = (1/3, 2/3)
    margins = (-1/2)

2 readings: a counterexample to 1, none to 1 (seed 3, at most 10 tries each); interrupted."""


def test_text() -> None:
    assert str(REPORT) == repr(REPORT) == TEXT


def test_html_is_escaped() -> None:
    page = REPORT._repr_html_()
    assert "assumption/a&lt;b (if)" in page
    assert "1 &lt; 2, yet it holds" in page
    assert "pi_ref = (1/4, 3/4)" in page
    assert page.count("<tr>") == 3


def test_json_is_strict_and_complete() -> None:
    form = json.loads(json.dumps(REPORT.to_dict(), allow_nan=False))
    assert list(form) == ["version", "seed", "budget", "results"]
    assert (form["version"], form["seed"], form["budget"]) == (pq.__version__, 3, 10)
    found, missed = form["results"]
    assert found["found"]
    assert found["part"] == "if"
    assert found["nearest_miss"] is None
    assert found["evidence"]["kind"] == "counterexample"
    case = found["case"]
    assert case["numbers"] == {"gamma": "1/3"}
    assert case["policies"] == {"pi": ["1/3", "2/3"]}
    assert case["margins"] == ["-1/2"]
    assert case["instance"]["exact"]["ref"] == ["1/4", "3/4"]
    bandit, prefs = build(case["instance"])
    assert (bandit.K, prefs.P) == (2, 1)
    assert missed["nearest_miss"] == {"violation": -0.25, "case": case}
    assert missed["case"] is missed["evidence"] is None
    assert missed["interrupted"]


def test_a_result_by_name() -> None:
    assert REPORT.result("assumption", "a<b", "if") is FOUND
    with pytest.raises(ProblemError, match="no reading 'c'"):
        REPORT.result("assumption", "c")


@pytest.mark.parametrize("name", ["tries", "case"])
def test_it_is_frozen(name: str) -> None:
    frozen: Any = FOUND
    with pytest.raises(AttributeError):
        setattr(frozen, name, None)
