"""A campaign that was stopped, in whatever line of its file, loses what it was doing, no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import resume

JOBS = [("rlhf", 0, 150), ("dpo", 1, 150)]


def keep(path: Path, sources: str, number: int) -> None:
    with resume.kept(path, sources) as kept:
        kept(JOBS[number], {"number": number})


@pytest.mark.parametrize("torn", ["", '{"sources": "no', '{"sources": "now", "job": ["rlhf"'])
def test_what_is_kept_is_found_again(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "partial.jsonl"
    assert resume.done_before(path, "now") == {}
    keep(path, "now", 0)
    path.write_text(path.read_text() + torn)
    keep(path, "now", 1)
    keep(path, "then", 0)
    assert resume.done_before(path, "now") == {job: {"number": i} for i, job in enumerate(JOBS)}
    assert resume.done_before(path, "then") == {JOBS[0]: {"number": 0}}
    assert resume.done_before(path, "never") == {}


def test_a_result_is_in_the_file_when_the_next_job_begins(tmp_path: Path) -> None:
    path = tmp_path / "partial.jsonl"
    with resume.kept(path, "now") as kept:
        kept(JOBS[0], {})
        assert resume.done_before(path, "now") == {JOBS[0]: {}}
