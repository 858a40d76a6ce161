"""The benchmarks at tiny sizes: they run, and a wrong answer would show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import prefeq as pq
from benchmarks import (
    bench_atlas,
    bench_cpo,
    bench_dpo,
    bench_gpu,
    bench_growth,
    bench_memory,
    bench_rlhf,
    peers,
    problems,
    record,
)
from benchmarks.recheck.answers import log_target

COUNT, SAMPLE = 24, 6


@pytest.mark.parametrize("case", bench_cpo.CASES)
def test_the_peers_of_cpo_agree(case: str) -> None:
    found = bench_cpo.measure(case, COUNT, SAMPLE)
    assert found["problems"] == COUNT
    assert found["not_optimal"] == found["recheck"]["not_confirmed"] == 0
    assert max(found["worst_residual"], found["worst_textbook_kkt"]) < 1e-12
    limits = dict(zip(found["peers"], (2e-4, 2e-4, 1e-6, 1e-6), strict=True))
    for name, peer in found["peers"].items():
        assert peer["problems"] == SAMPLE
        assert peer["worst_difference"] < limits[name], name
        assert peer["ratio"] > 0
    ours = found["microseconds_a_problem"]
    other = found["peers"]["cvxpy + Clarabel, reused"]
    assert other["ratio"] == pytest.approx(other["microseconds_a_problem"] / ours)


def test_the_peers_of_dpo_agree() -> None:
    pytest.importorskip("choix")
    pytest.importorskip("sklearn")
    found = bench_dpo.measure(COUNT, SAMPLE)
    assert found["statuses"] == {"optimal": COUNT}
    assert found["largest_gradient"] < 1e-14
    limits = dict(zip(found["peers"], (1e-4, 1e-3, 1e-6, 0.1, 1e-6), strict=True))
    for name, peer in found["peers"].items():
        assert peer["worst_difference"] < limits[name], name


def test_a_wrong_answer_would_show() -> None:
    batch = problems.acyclic(4, 1)
    logp = problems.solve("cpo", batch).logp
    arguments = peers.cpo_arguments(batch, log_target(batch).astype(np.float64))
    right = bench_cpo.race(peers.dual, arguments, np.exp(logp), np.exp, 1.0)
    wrong = bench_cpo.race(peers.dual, arguments, np.exp(logp[::-1]), np.exp, 1.0)
    assert right["worst_difference"] < 1e-6 < 1e-2 < wrong["worst_difference"]


def test_answers_that_clarabel_doubts_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = problems.acyclic(4, 1)
    arguments = peers.cpo_arguments(batch, log_target(batch).astype(np.float64))
    conic = peers.Conic(6, 6, options={"max_iter": 3})
    found = bench_cpo.race(conic, arguments, np.ones((4, 6)), np.exp, 1.0)
    assert found["called_inaccurate_by_itself"] == 4
    assert found["worst_difference"] == 0.0
    assert found["median_difference"] > 0.1


def test_counts_have_a_finite_fit() -> None:
    batch = problems.counted(300, 1, k=5, pairs=6)
    pairs = batch.preferences()
    assert pairs.is_connected(batch.bandit()).all()
    assert pairs.has_ford_condition(batch.bandit()).all()
    for counts, odds in zip(peers.dpo_arguments(batch, 10), batch.log_odds, strict=True):
        assert np.all(counts[0].wins + counts[0].losses == 10)
        assert len(counts[0].tuples) == 60
        with np.errstate(divide="ignore"):
            again = np.log(counts[0].wins) - np.log(counts[0].losses)
        np.testing.assert_allclose(again, odds)


def test_chains_are_chains_and_graphs_acyclic() -> None:
    batch = problems.chains(200, 1)
    lengths = batch.present.sum(axis=-1)
    assert set(lengths) == {1, 2, 3, 4, 5}
    assert np.mean(lengths == 1) > 0.3
    np.testing.assert_array_equal(batch.loser[:, :-1], batch.winner[:, 1:])
    graphs = problems.acyclic(100, 1)
    for row in range(100):
        assert graphs.preferences()[row].find_cycle(graphs.bandit()[row]) is None


@pytest.mark.parametrize("name", problems.DRAWS)
def test_a_large_draw_is_made_of_pieces(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "PIECE", 10)
    whole = problems.drawn_in_pieces(problems.DRAWS[name], 25, 1)
    assert len(whole) == 25
    piece = problems.DRAWS[name](10, 11)
    np.testing.assert_array_equal(whole[10:20].ref_logp, piece.ref_logp)
    np.testing.assert_array_equal(whole[10:20].winner, piece.winner)


def test_rlhf_agrees_with_log_softmax() -> None:
    found = bench_rlhf.measure(1000, stream=1000)
    assert found["recheck"]["worst_violation"] < 1e-14
    assert all(p["worst_difference"] < 1e-13 for p in found["peers"].values())
    assert found["bytes_in_and_out"] == 1000 * 8 * (8 + 8 + 1 + 8 + 1 + 1)
    best = max(found["bandwidth_bytes_a_second"].values())
    assert len(found["bandwidth_bytes_a_second"]) == 4
    share = found["bytes_in_and_out"] / found["seconds"] / best
    assert found["share_of_bandwidth"] == pytest.approx(share)


@pytest.mark.parametrize("solver", problems.DRAWS)
def test_growth_is_measured(solver: str) -> None:
    points = bench_growth.measure(solver, [(5, 4, 4), (10, 4, 4)])
    assert [p["problems"] for p in points] == [5, 10]
    assert all(p["not_optimal"] == 0 and p["k"] == 4 for p in points)
    doubled = [{"microseconds_a_problem": x} for x in (1.0, 2.5, 2.0)]
    assert bench_growth.variation(doubled) == 2.5


def test_memory_is_that_of_a_fresh_process() -> None:
    ballast = np.ones(40_000_000)  # 320 MB here are not there
    found = bench_memory.measure("rlhf", 1000)
    assert ballast.nbytes > found["bytes_peak"] >= found["bytes_drawn"] >= found["bytes_imported"]
    more = bench_memory.measure("rlhf", 200_000)
    arrays = 200_000 * 8 * (8 + 8 + 1)
    assert more["bytes_peak"] - found["bytes_peak"] > arrays


@pytest.mark.parametrize("solver", bench_gpu.COUNTS)
def test_tensors_go_the_same_way(solver: str) -> None:
    pytest.importorskip("torch")
    found = bench_gpu.measure(solver, 50, device="cpu")
    assert found["worst_difference"] < 1e-12
    assert found["statuses"] == {"optimal": 50}
    assert found["problems_a_second"] * found["seconds"] == pytest.approx(50)


def test_the_atlas_is_timed_and_described(tmp_path: Path) -> None:
    found = bench_atlas.measure(tmp_path, 4)
    assert found["cells"] == 16
    assert {"rlhf", "dpo", "cpo", "hypo"} <= set(found["verdicts"])
    assert all(sum(counts.values()) == 16 for counts in found["verdicts"].values())


def test_results_are_kept_case_by_case(tmp_path: Path) -> None:
    record.store(tmp_path, "cpo", "chains", {"seconds": 1.0})
    record.store(tmp_path, "cpo", "graphs", {"seconds": 2.0})
    record.store(tmp_path, "cpo", "chains", {"seconds": 3.0})
    stored = json.loads((tmp_path / "cpo.json").read_text())
    assert stored["cases"] == {"chains": {"seconds": 3.0}, "graphs": {"seconds": 2.0}}
    assert "cores of a" in stored["machine"]
    with pytest.raises(ValueError, match="not JSON compliant"):
        record.store(tmp_path, "cpo", "chains", {"seconds": float("nan")})
    assert json.loads((tmp_path / "cpo.json").read_text()) == stored


def test_a_summary_tells_answers_apart() -> None:
    batch = problems.tilted(10, 1)
    right = problems.solve("rlhf", batch)
    other = problems.solve("rlhf", problems.tilted(10, 2))
    assert record.summary(right) == record.summary(problems.solve("rlhf", batch))
    assert record.summary(right)["sha256"] != record.summary(other)["sha256"]


def test_a_report_counts_what_is_not_optimal() -> None:
    batch = problems.tilted(10, 1)
    right = problems.solve("rlhf", batch)
    status: Any = right.status.copy()
    status[3] = pq.Status.ITERATION_LIMIT
    found = record.report(
        "rlhf", batch, pq.Solution(right.logp, right.value, status, right.residual), 1
    )
    assert found["not_optimal"] == 1
    assert found["statuses"] == {"iteration-limit": 1, "optimal": 9}


def test_best_of_takes_the_best() -> None:
    answer, seconds = record.best_of(lambda: 7, 3)
    assert answer == 7
    assert 0 <= seconds < 0.1
