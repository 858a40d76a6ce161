"""The accuracy campaigns: the committed numbers keep their promises, and so does a small run."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import ModuleType

import pytest
from script_loader import load_script

from benchmarks import performance_audit

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
COMMITTED = json.loads((BENCHMARKS / "results" / "accuracy.json").read_text())


@pytest.fixture(scope="module")
def accuracy() -> ModuleType:
    return load_script(BENCHMARKS / "accuracy.py")


def test_the_committed_numbers_keep_their_promises(accuracy: ModuleType) -> None:
    assert accuracy.keeps_its_promises(COMMITTED)
    sizes = {name: COMMITTED[name]["problems"] for name in COMMITTED if name != "versions"}
    assert sizes == {
        "rlhf": 5000,
        "dpo": 1000,
        "cpo_moderate": 2000,
        "cpo_800_nats": 2000,
        "cpo_against_clarabel": 500,
        "penalty": 1000,
    }
    assert COMMITTED["cpo_moderate"]["not_optimal"] == COMMITTED["cpo_800_nats"]["not_optimal"] == 0


@pytest.mark.parametrize(
    ("campaign", "number"),
    [
        ("rlhf", "worst_error"),
        ("dpo", "worst_error_of_beta_log_pi"),
        ("dpo", "residual_below_the_error"),
        ("cpo_800_nats", "worst_residual"),
        ("cpo_against_clarabel", "worst_difference_in_pi"),
        ("penalty", "worst_error"),
        ("penalty", "worst_fold_error"),
        ("penalty", "not_answered"),
    ],
)
def test_a_broken_promise_is_seen(accuracy: ModuleType, campaign: str, number: str) -> None:
    broken = copy.deepcopy(COMMITTED)
    broken[campaign][number] = 1.0
    assert not accuracy.keeps_its_promises(broken)


def test_a_small_run_of_every_campaign(accuracy: ModuleType) -> None:
    assert accuracy.keeps_its_promises(
        {
            "rlhf": accuracy.measure_rlhf(100),
            "dpo": accuracy.measure_dpo(100),
            "cpo_moderate": accuracy.measure_cpo(100, 3.0, 13),
            "cpo_800_nats": accuracy.measure_cpo(100, 800.0, 14),
            "cpo_against_clarabel": accuracy.measure_clarabel(20),
            "penalty": accuracy.measure_penalty(40),
        }
    )


def test_the_readme_shows_the_committed_numbers(accuracy: ModuleType) -> None:
    page = accuracy.README.read_text("utf-8")
    shown = accuracy.table(COMMITTED)
    assert page == accuracy.replace_region(page, shown, accuracy.START, accuracy.END)


def test_the_import_stays_under_its_limit() -> None:
    result = json.loads((BENCHMARKS / "results" / "import.json").read_text())
    assert result["prefeq_best_s"] <= result["limit_s"] == 0.3


def test_the_readme_says_what_the_campaigns_found():
    root = Path(__file__).resolve().parents[1]
    readme = " ".join((root / "README.md").read_text("utf-8").split())
    mutants, tampering, search = (
        json.loads((root / "benchmarks" / "results" / f"{name}.json").read_text("utf-8"))
        for name in ("mutants", "tampering", "search")
    )
    assert f"{mutants['noticed']} of {mutants['bugs']} planted bugs were noticed" in readme
    assert f"{tampering['caught']} of {tampering['tamperings']} tamperings were caught" in readme
    hard = json.loads((root / "benchmarks" / "results" / "hard_inputs.json").read_text("utf-8"))
    assert f"Of {hard['problems']:,} hard problems in batches" in readme
    for found in hard["solvers"].values():
        assert found["failures"] == found["unflagged"] == found["flagged"] == 0
    false = [r for r in search["results"] if r["refutable"]]
    true = [r for r in search["results"] if not r["refutable"]]
    assert all(r["found"] and r["certified"] for r in false)
    assert not any(r["found"] for r in true)
    slowest = max(r["seconds"] for r in false)
    assert f"each of the {len(false) // 3} refuted readings" in readme
    assert f"from each of three seeds, within {slowest:.1f} s" in readme
    assert f"none to the {len(true)} proved ones in {search['tries']:,} tries each" in readme


def test_the_readme_says_what_the_races_measured():
    root = Path(__file__).resolve().parents[1]
    readme = " ".join((root / "README.md").read_text("utf-8").split())
    cpo, dpo, rlhf = (
        json.loads((root / "benchmarks" / "results" / f"{name}.json").read_text("utf-8"))["cases"]
        for name in ("cpo", "dpo", "rlhf")
    )

    def micro(found: dict) -> float:
        return found["microseconds_a_problem"]

    chains, graphs = cpo["chains"], cpo["graphs"]
    ours = (micro(chains), micro(graphs))
    clarabel = [micro(case["peers"]["cvxpy + Clarabel, reused"]) for case in (chains, graphs)]
    assert f"takes {ours[0]:.1f} µs for chains and single pairs and {ours[1]:.1f} µs for" in readme
    assert f"takes {clarabel[0]:,.0f} and {clarabel[1]:,.0f} µs" in readme
    choix = min(micro(v) for k, v in dpo["counts"]["peers"].items() if "opt_pairwise" in k)
    learn = min(micro(v) for k, v in dpo["counts"]["peers"].items() if "scikit" in k)
    told = (
        f"DPO takes {micro(dpo['counts']):.1f} µs, choix {choix:,.0f} and scikit-learn {learn:,.0f}"
    )
    assert told in readme
    times = rlhf["log-softmax"]["peers"]["NumPy log-softmax"]["times_as_long"]
    assert f"{times:.1f} times one NumPy log-softmax" in readme


def test_the_readme_says_what_the_audit_took() -> None:
    root = Path(__file__).resolve().parents[1]
    readme = " ".join((root / "README.md").read_text("utf-8").split())
    audit, scale = (
        json.loads((root / "benchmarks" / "results" / f"{name}.json").read_text("utf-8"))["cases"]
        for name in ("audit", "scale")
    )
    ratios = [case["ratio"] for name, case in audit.items() if name != performance_audit.UNBOUNDED]
    assert f"take {min(ratios):.1f} to {max(ratios):.1f} times one bare mean DPO loss" in readme
    rows = scale["100,000,000 rows"]
    took = f"take {rows['seconds']:.0f} seconds and {rows['bytes_peak'] / 1e9:.1f} GB"
    assert f"100,000,000 rows of Parquet {took}" in readme
