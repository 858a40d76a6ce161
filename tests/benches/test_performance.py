"""docs/performance.md: what the results files say, targets that are missed included."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from benchmarks import performance
from benchmarks import performance_audit as audit

RESULTS = performance.load()
TARGETS = len(performance.TARGETS)

PEERS = ("cvxpy + Clarabel, rebuilt", performance.REUSED, *performance.CHOIX, *performance.SKLEARN)


def raced(ratio: float) -> dict[str, Any]:
    peer = {
        "problems": 300,
        "microseconds_a_problem": 2000.0,
        "ratio": ratio,
        "worst_difference": 1e-5,
        "called_inaccurate_by_itself": 3,
        "inside_clarabel_microseconds": 250.0,
    }
    return {
        "problems": 100_000,
        "microseconds_a_problem": 2000.0 / ratio,
        "worst_residual": 1e-12,
        "not_optimal": 0,
        "largest_gradient": 1e-15,
        "recheck": {"worst_violation": 1e-14, "not_confirmed": 0},
        "peers": dict.fromkeys(PEERS, peer),
    }


def wrapped(**cases: Any) -> dict[str, Any]:
    return {"machine": "2 cores", "versions": {"numpy": "2"}, "cases": cases}


def points(key: str, *times: float) -> dict[str, Any]:
    return {"points": [{key: i, "microseconds_a_problem": t} for i, t in enumerate(times)]}


def hard() -> dict[str, Any]:
    found = dict.fromkeys(("failures", "unflagged", "flagged", "by_the_single_solver"), 0)
    more = {"sampled": 10, "sample_undecided": 1, "problems": 10**6, "statuses": {"optimal": 10**6}}
    worst = {"violation": 1e-12, "true_error": 1e-13}
    solvers = {"cpo": {**found, **more, "worst": worst}}
    return {"machine": "2 cores", "versions": {}, "problems": 10**6, "solvers": solvers}


def audited() -> dict[str, Any]:
    memory = {
        **{"pairs": 10**7, "columns": 6, "seconds": 0.6, "bare_seconds": 0.2, "ratio": 3.0},
        **{"nanoseconds_a_pair": 60.0, "extra_peak_bytes": 2e8},
    }
    rows = {
        f"{n:,} rows": {
            **{"pairs": n, "shards": 9, "file_bytes": 30 * n, "seconds": 1e-7 * n},
            **{"nanoseconds_a_pair": 100.0, "bytes_peak": 5e8},
        }
        for n in (25_000_000, 100_000_000)
    }
    figures = {
        **{"pairs": 10**6, "shares": 30, "wrong_shares": [], "worst_mean": 1e-16},
        **{"worst_quantile": 0.8, "good": True},
    }
    faults = {"planted": 16, "named_alone": 16, "kinds": 9}
    core = {
        **{"device": "a GPU", "pairs": 10**8, "share_of_bandwidth": 0.8},
        **{"bandwidth_bytes_a_second": 3e12, "seconds_of_all_figures": 0.5},
        **{"shares_are_the_audits": True},
    }
    logps = {"peak_over_logits": 1.04, "nanoseconds_a_logit": 4.0, "worst_error_nats": 1e-5}
    return {
        "audit": wrapped(policy=memory, **{audit.UNBOUNDED: {**memory, "ratio": 9.0}}),
        "scale": wrapped(**rows, **{"two workers": {"identical": True, "ratio": 1.6}}),
        "audit_figures": wrapped(plain=figures),
        "audit_faults": wrapped(planted=faults),
        "gpu_audit": wrapped(core=core),
        "logps": wrapped(**{"value float32": {"prefeq": logps, "trl": logps}}),
    }


def carded() -> dict[str, Any]:
    return {
        **{"machine": "2 cores", "versions": {}, "limits": {"card_s": 10.0, "zoo_s": 180.0}},
        **{"cards": 30, "loading_trl_s": 4.0, "zoo_s": 60.0},
        **{"card_s": {"dpo": 1.0, "trl:ipo": 2.0}, "cold_s": {"trl:ipo": 9.0}},
    }


@pytest.fixture
def good() -> dict[str, Any]:
    """Results that meet every target."""
    softmax = {"seconds": 0.1, "times_as_long": 2.5}
    rlhf = {
        "problems": 10**6,
        "seconds": 0.25,
        "peers": {"NumPy log-softmax": softmax},
        "bandwidth_bytes_a_second": {"copy, one thread": 1e10},
        "bytes_in_and_out": 216 * 10**6,
        "share_of_bandwidth": 0.1,
        "share_of_bandwidth_log_softmax": 0.2,
    }
    gpu = {
        "device": "a GPU",
        "problems_a_second": 1e8,
        "problems_a_second_numpy": 1e6,
        "ratio": 100.0,
        "share_of_bandwidth": 0.5,
        "bandwidth_bytes_a_second": 1e12,
        "microseconds_a_problem": 0.01,
        "worst_difference": 1e-14,
    }
    growth = {
        "rlhf, batch": points("problems", 1.0, 1.4, 1.2),
        "rlhf, responses": points("k", 1.0),
        "dpo, pairs": points("pairs", 1.0, 9.0),
    }
    return {
        "cpo": wrapped(chains=raced(1500.0), graphs=raced(60.0)),
        "dpo": wrapped(counts=raced(400.0)),
        "rlhf": wrapped(**{"log-softmax": rlhf}),
        "growth": wrapped(**growth),
        "memory": wrapped(rlhf={"bytes_drawn": 1e8, "bytes_peak": 3.9e9}),
        "hard_inputs": hard(),
        "atlas": wrapped(**{"all methods": {"seconds": 59.0, "cells": 10**6}}),
        "gpu": wrapped(**{"rlhf, 1000000": gpu}),
        **audited(),
        "zoo_time": carded(),
    }


def verdicts(results: dict[str, Any]) -> list[str]:
    return [
        line.split(" | ")[-1].strip(" |") for line in performance.targets(results)[2 : 2 + TARGETS]
    ]


def test_the_page_is_current() -> None:
    assert performance.PAGE.read_text("utf-8") == performance.page(RESULTS)


def test_a_target_that_is_missed_has_its_reason() -> None:
    for name, work, _, judge in performance.TARGETS:
        if RESULTS[name]:
            assert judge(RESULTS)[1] or work in performance.REMARKS, work


def test_good_results_meet_every_target(good: dict[str, Any]) -> None:
    assert verdicts(good) == ["yes"] * TARGETS
    assert "not measured" not in performance.page(good)


@pytest.mark.parametrize(
    ("path", "value", "missed"),
    [
        (("cpo", "cases", "chains", "peers", performance.REUSED, "ratio"), 999.0, 0),
        (("cpo", "cases", "chains", "recheck", "worst_violation"), 1e-8, 0),
        (("cpo", "cases", "graphs", "peers", performance.REUSED, "ratio"), 49.0, 1),
        (("cpo", "cases", "graphs", "worst_residual"), 1e-8, 1),
        (("cpo", "cases", "graphs", "not_optimal"), 1, 1),
        (("dpo", "cases", "counts", "peers", performance.CHOIX[0], "ratio"), 299.0, 2),
        (("dpo", "cases", "counts", "peers", performance.SKLEARN[1], "ratio"), 99.0, 2),
        (("dpo", "cases", "counts", "largest_gradient"), 1e-9, 2),
        (
            ("rlhf", "cases", "log-softmax", "peers", "NumPy log-softmax", "times_as_long"),
            3.1,
            3,
        ),
        (("growth", "cases", "rlhf, batch"), points("problems", 1.0, 1.6), 4),
        (("memory", "cases", "rlhf", "bytes_peak"), 4.1e9, 5),
        (("hard_inputs", "solvers", "cpo", "unflagged"), 1, 6),
        (("hard_inputs", "solvers", "cpo", "failures"), 1, 6),
        (("hard_inputs", "problems"), 999_999, 6),
        (("atlas", "cases", "all methods", "seconds"), 61.0, 7),
        (("zoo_time", "cold_s", "trl:ipo"), 10.1, 14),
        (("zoo_time", "card_s", "dpo"), 10.1, 14),
        (("zoo_time", "zoo_s"), 181.0, 15),
        (("gpu", "cases", "rlhf, 1000000", "worst_difference"), 1e-8, 8),
        (("audit", "cases", "policy", "ratio"), 4.01, 9),
        (("audit", "cases", "policy", "extra_peak_bytes"), 3.01e8, 9),
        (("audit", "cases", "policy", "pairs"), 9_999_999, 9),
        (("scale", "cases", "100,000,000 rows", "bytes_peak"), 1.1e9, 10),
        (("scale", "cases", "100,000,000 rows", "nanoseconds_a_pair"), 126.0, 10),
        (("scale", "cases", "100,000,000 rows", "pairs"), 99_999_999, 10),
        (("scale", "cases", "two workers", "identical"), False, 11),
        (("audit_figures", "cases", "plain", "good"), False, 12),
        (("audit_figures", "cases", "plain", "pairs"), 999_999, 12),
        (("audit_faults", "cases", "planted", "named_alone"), 15, 12),
        (("audit_faults", "cases", "planted", "kinds"), 8, 12),
        (("gpu_audit", "cases", "core", "share_of_bandwidth"), 0.69, 13),
        (("gpu_audit", "cases", "core", "shares_are_the_audits"), False, 13),
    ],
)
def test_a_missed_target_is_seen(
    good: dict[str, Any], path: tuple[str, ...], value: Any, missed: int
) -> None:
    results = copy.deepcopy(good)
    inner: Any = results
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    expected = ["yes"] * TARGETS
    expected[missed] = "**no**"
    assert verdicts(results) == expected


def test_what_is_not_measured_is_said() -> None:
    nothing: dict[str, Any] = {name: {} for name in performance.NAMES}
    page = performance.page(nothing)
    assert page.count("not measured yet") == len(performance.TARGETS)


def test_remarks_are_shown(good: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    work = performance.TARGETS[3][1]
    monkeypatch.setattr(performance, "REMARKS", {work: "allocation"})
    assert "allocation" not in performance.page(good)
    good["rlhf"]["cases"]["log-softmax"]["peers"]["NumPy log-softmax"]["times_as_long"] = 4.0
    assert f"- {work}: allocation" in performance.page(good)
