"""The committed campaign keeps its promises, each of which can be broken; a small one runs."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from benchmarks import resume, search_campaign

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
JOBS = [
    ("margin-ranking", "limit", False, 0, 60),
    ("margin-ranking", "zero-limit-loss-ranks", True, 0, 10_000),
    ("undesirable-space", "non-empty (only-if)", True, 1, 10_000),
]


@pytest.fixture(scope="module")
def small() -> list[dict]:
    return [search_campaign.run(job) for job in JOBS]


def test_a_small_campaign_keeps_its_promises(small: list[dict]) -> None:
    generous = [{**result, "seconds": 0.0} for result in small]
    assert list(search_campaign.broken(generous)) == []
    assert [result["found"] for result in small] == [False, True, True]
    assert small[0]["tries"] == 60


@pytest.mark.parametrize(
    ("at", "change"),
    [
        (0, {"found": True}),
        (0, {"uncertified": 1}),
        (0, {"tries": 59}),
        (1, {"found": False}),
        (1, {"certified": False}),
        (2, {"seconds": 5.1}),
    ],
)
def test_a_broken_promise_is_seen(small: list[dict], at: int, change) -> None:
    results = copy.deepcopy(small)
    results[at].update(change)
    (fault,) = [f for f in search_campaign.broken(results) if results[at]["reading"] in f]
    assert fault


def test_the_whole_campaign_is_every_reading() -> None:
    work = search_campaign.jobs()
    readings = {(c.id, r.label) for c in search_campaign.registry.select() for r in c.readings}
    assert {job[:2] for job in work} == readings
    assert len(work) == len(set(work))
    for claim, label, refutable, seed, budget in work:
        assert budget == 100_000, (claim, label)
        assert seed in (0, 1, 2)
        assert refutable or seed == 0


def test_a_stopped_campaign_goes_on(tmp_path: Path) -> None:
    partial = tmp_path / "partial.jsonl"
    whole = search_campaign.campaign(JOBS[:2], partial, workers=1, sources="now")
    kept = partial.read_text()
    assert kept.count("\n") == 2
    partial.write_text(kept + '{"sources": "now", "jo')  # stopped while it was writing
    assert resume.done_before(partial, "now") == dict(zip(JOBS[:2], whole, strict=True))
    assert resume.done_before(partial, "then") == {}
    marked = kept.replace('"in_scope": 60', '"in_scope": 59')
    partial.write_text(marked)
    again = search_campaign.campaign(JOBS[:2], partial, workers=1, sources="now")
    assert again[0]["in_scope"] == 59  # taken from the file
    assert partial.read_text() == marked


def test_the_committed_campaign_keeps_its_promises() -> None:
    committed = json.loads((BENCHMARKS / "results" / "search.json").read_text("utf-8"))
    results = committed["results"]
    assert list(search_campaign.broken(results)) == []
    fields = ("claim", "reading", "refutable", "seed", "budget")
    work = search_campaign.jobs(committed["tries"])
    assert {tuple(r[f] for f in fields) for r in results} == set(work)
