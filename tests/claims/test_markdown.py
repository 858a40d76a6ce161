"""The table of verdicts in the README is the registry's, today."""

from __future__ import annotations

from pathlib import Path

import pytest

import prefeq as pq
from prefeq.claims import markdown, verify

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.mark.slow
def test_the_readme_shows_what_verify_finds() -> None:
    report, page = verify(), README.read_text("utf-8")
    assert page == markdown.replace_region(page, markdown.table(report)), "run `make readme`"
    claims = (README.parent / "docs" / "claims.md").read_text("utf-8")
    assert claims == markdown.page(report), "run `make readme`"


def test_the_proved_readings_share_a_row_and_every_other_has_its_own() -> None:
    report = verify("undesirable-space")
    rows = [row.split(" | ") for row in markdown.table(report).splitlines()[2:-2]]
    refuted = [r for r in report.claims[0].readings if r.verdict == "refuted"]
    assert [len(row) for row in rows] == [5] * (1 + len(refuted))
    assert "undesirable-space" in rows[0][0]
    assert rows[0][2] == "proved"
    for reading in report.claims[0].readings:
        if reading.verdict == "proved":
            assert reading.reading in rows[0][1]
    for row, reading in zip(rows[1:], refuted, strict=True):
        assert row[1:3] == [reading.label, "refuted"]
        assert row[3] == reading.brief


def test_a_refuted_reading_says_what_is_true_instead() -> None:
    report = verify("undesirable-space")
    text = markdown.page(report)
    wrong = report.reading("undesirable-space", "non-empty", "only-if")
    right = report.reading("undesirable-space", "non-empty-corrected", "only-if")
    assert wrong.verdict == "refuted"
    assert right.verdict == "proved"
    after = text[text.index("**non-empty (only-if): refuted.**") :]
    assert after.index("True instead, non-empty-corrected (only-if)") < after.index("- **")


def test_a_page_without_the_region_is_refused_and_another_is_only_changed_there() -> None:
    with pytest.raises(pq.ProblemError, match="no region"):
        markdown.replace_region("nothing here", "table")
    page = f"before {markdown.START}\nold\n{markdown.END} after"
    changed = markdown.replace_region(page, "new")
    assert changed == f"before {markdown.START}\nnew\n{markdown.END} after"
