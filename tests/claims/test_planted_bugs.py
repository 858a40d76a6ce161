"""Plant one bug at a time: each must turn at least one verdict red."""

from __future__ import annotations

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


@pytest.mark.parametrize("bug", planted_bugs.BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_turns_a_verdict_red(bug, monkeypatch):
    sound = {name: baseline(name) for name in bug.touches}
    original = vars(bug.owner)[bug.attribute]
    monkeypatch.setattr(bug.owner, bug.attribute, bug.mutate(original))
    broken = {name: run.check_reading(READINGS[name]) for name in bug.touches}
    changed = [result for name, result in broken.items() if result.verdict is not sound[name]]
    assert changed, f"{bug.name}: nothing noticed among {bug.touches}"
    # ... and by a comparison that came out wrong, not by a crash of the mutant.
    findings = [item.outcome for result in changed for item in result.evidence]
    assert "fails" in findings, [result.brief for result in changed]


def test_the_table_is_long_and_names_each_bug_once():
    names = [bug.name for bug in planted_bugs.BUGS]
    assert len(set(names)) == len(names) >= 30


def test_the_page_shows_the_table():
    page = Path(__file__).resolve().parents[2] / "docs" / "planted-bugs.md"
    assert page.read_text("utf-8") == planted_bugs.page()
