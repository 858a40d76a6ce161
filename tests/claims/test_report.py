"""The report: the JSON shape of the command line, and tables for people."""

from __future__ import annotations

import json

import pytest

import prefeq as pq
from prefeq.claims.evidence import Evidence
from prefeq.claims.report import ClaimResult, ReadingResult, VerificationReport
from prefeq.claims.verdict import Verdict


@pytest.fixture(scope="module")
def report():
    return pq.verify(["margin-ranking", "assumption"])


def made(verdict, evidence, **kwargs):
    fields = {"reading": "r", "part": None, "vacuous": False, "scope": "s", **kwargs}
    return ReadingResult(verdict=verdict, evidence=tuple(evidence), **fields)


def test_the_json_shape(report):
    form = report.to_dict()
    assert set(form) == {"version", "claims"}
    assert form["version"] == pq.__version__
    assert [claim["id"] for claim in form["claims"]] == ["assumption", "margin-ranking"]
    for claim in form["claims"]:
        assert set(claim) == {"id", "title", "source", "provenance", "readings"}
    assert json.loads(json.dumps(form, allow_nan=False)) == form


def test_it_is_deterministic(report):
    again = pq.verify(["margin-ranking", "assumption"])
    assert json.dumps(again.to_dict()) == json.dumps(report.to_dict())


def test_one_line_a_reading(report):
    lines = str(report).splitlines()
    for claim in report.claims:
        for reading in claim.readings:
            (line,) = [x for x in lines if x.startswith(f"  {reading.label} ")]
            assert reading.verdict.value in line
    assert all(len(line) <= 132 for line in lines if line.startswith("  "))
    assert repr(report) == str(report)
    count = sum(len(claim.readings) for claim in report.claims)
    assert f"{count} readings: {count - 1} proved, 1 refuted, 0 supported, 0 open" in lines[-1]


def test_html_is_escaped():
    counter = Evidence("counterexample", "delta < 0 & <b>", "holds")
    claim = ClaimResult("c", "t <i>", "s", "quoted", (made(Verdict.REFUTED, [counter]),))
    html = VerificationReport((claim,))._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert "<i>" not in html
    assert html.count("<tr>") == 3


def test_access_by_name(report):
    assert report.verdict("margin-ranking", "limit") is Verdict.PROVED
    assert report.reading("assumption", "identity").label == "identity"
    with pytest.raises(pq.ProblemError, match="no reading 'limit' with part 'if'"):
        report.verdict("margin-ranking", "limit", "if")


def test_the_brief_of_each_verdict():
    counter = Evidence("counterexample", "an instance", "holds")
    reason = Evidence("reason", "it broke", "undecided")
    step = Evidence("symbolic", "a step", "holds", step="one")
    tie = Evidence("tie", "tied", "holds", data={"runs": {"count": 128}})
    assert made(Verdict.REFUTED, [step, counter]).brief == "an instance"
    assert made(Verdict.OPEN, [step, reason]).brief == "it broke"
    assert made(Verdict.PROVED, [step, tie]).brief == "1 symbolic; tied at 128 points"


def test_ok_needs_every_finding_to_hold():
    good = Evidence("symbolic", "a step", "holds")
    bad = Evidence("tie", "torn", "fails")
    assert made(Verdict.PROVED, [good]).ok
    assert not made(Verdict.PROVED, [good, bad]).ok
    assert not made(Verdict.OPEN, [good]).ok
    assert not VerificationReport(()).ok


def test_progress_sees_every_reading():
    seen = []

    def watch(items, label):
        for item in items:
            seen.append((label, item))
            yield item

    report = pq.verify("margin-ranking", watch)
    assert len(seen) == len(report.claims[0].readings)


def test_unknown_claims_are_refused():
    with pytest.raises(pq.ProblemError, match="unknown claim 'nope'"):
        pq.verify("nope")
