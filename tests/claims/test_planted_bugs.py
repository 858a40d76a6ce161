"""Plant one bug at a time: each must turn at least one verdict red."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from claims import planted_bugs

from prefeq.claims import registry, run

READINGS = {
    f"{claim.id}/{reading.label}": reading
    for claim in registry.select()
    for reading in claim.readings
}


@cache
def baseline(name):
    return run.check_reading(READINGS[name]).verdict


BUGS = planted_bugs.all_bugs()
HERE = tuple({planted_bugs.where(bug): bug for bug in BUGS}.values())
"""One bug of every function; benchmarks/mutants.py plants them all, in every reading."""

MUTANTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "mutants.json"


@pytest.mark.parametrize("bug", HERE, ids=lambda bug: bug.name)
def test_a_planted_bug_turns_a_verdict_red(bug, monkeypatch):
    sound = {name: baseline(name) for name in bug.touches}
    original = vars(bug.owner)[bug.attribute]
    monkeypatch.setattr(bug.owner, bug.attribute, bug.mutate(original))
    briefs = []
    for name in bug.touches:  # the first reading that notices is enough here
        result = run.check_reading(READINGS[name])
        # ... by a comparison that came out wrong, not by a crash of the mutant.
        failed = any(item.outcome == "fails" for item in result.evidence)
        if failed and result.verdict is not sound[name]:
            return
        briefs.append(result.brief)
    pytest.fail(f"{bug.name}: nothing noticed among {bug.touches}: {briefs}")


def test_the_table_is_long_and_names_each_bug_once():
    names = [bug.name for bug in BUGS]
    assert len(set(names)) == len(names) >= 30


def test_the_committed_campaign_planted_them_all_and_lost_few():
    result = json.loads(MUTANTS.read_text("utf-8"))
    rows = result["rows"]
    assert sorted(row["bug"] for row in rows) == sorted(bug.name for bug in BUGS), "make campaign"
    noticed = [row for row in rows if row["noticed_by"]]
    assert len(noticed) == result["noticed"] >= 0.95 * result["bugs"]
    assert result["survivors"] == [row["bug"] for row in rows if not row["noticed_by"]]


def test_the_page_shows_the_table():
    page = Path(__file__).resolve().parents[2] / "docs" / "planted-bugs.md"
    assert page.read_text("utf-8") == planted_bugs.page()
