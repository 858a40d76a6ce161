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


def test_every_reading_is_a_row() -> None:
    report = verify("assumption")
    rows = markdown.table(report).splitlines()[2:-2]
    assert len(rows) == len(report.claims[0].readings)
    for row, reading in zip(rows, report.claims[0].readings, strict=True):
        assert f"| {reading.label} | {reading.verdict.value} |" in row
    assert all(row.count(" | ") == 4 for row in rows)


def test_a_page_without_the_region_is_refused_and_another_is_only_changed_there() -> None:
    with pytest.raises(pq.ProblemError, match="no region"):
        markdown.replace_region("nothing here", "table")
    page = f"before {markdown.START}\nold\n{markdown.END} after"
    changed = markdown.replace_region(page, "new")
    assert changed == f"before {markdown.START}\nnew\n{markdown.END} after"
