"""The comparison of audits with direct computations: it agrees, and it sees what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from llm import naive

from benchmarks import audit_figures


def test_a_small_campaign_agrees() -> None:
    found = audit_figures.measure(2000)
    assert {title for title, case in found["cases"].items() if not case["good"]} == set()
    assert all(case["shares"] >= 17 for case in found["cases"].values())
    faults = found["faults"]
    assert faults["planted"] == faults["named_alone"] >= faults["kinds"] == 9
    assert faults["named_in_healthy_columns"] == []


@pytest.mark.parametrize("what", ["share", "mean", "interval", "quantile"])
def test_each_comparison_sees_a_wrong_figure(what: str) -> None:
    found = audit_figures.Agreement()
    values = np.linspace(1.0, 2.0, 101)
    right = {f"{q:g}": 1.0 + q for q in audit_figures.QUANTILES}
    found.share("rate", 0.5, 0.5)
    found.mean(1.0, 1.0, 1.0)
    found.interval([0.1, 0.2], [0.1, 0.2])
    found.spread(right, values)
    assert found.good
    if what == "share":
        found.share("rate", 0.5, np.nextafter(0.5, 1))
    elif what == "mean":
        found.mean(1.0 + 1e-10, 1.0, 1.0)
    elif what == "interval":
        found.interval([0.1, 0.2], [0.1, 0.20001])
    else:
        found.spread({**right, "0.5": 1.503}, values)
    assert not found.good


def test_another_beta_is_seen() -> None:
    data = naive.only(naive.draw(np.random.default_rng(1), 2000), "policy", "gap")
    assert audit_figures.compare(data, "sum").good
    assert not audit_figures.compare(data, "sum", direct_beta=0.101).good
