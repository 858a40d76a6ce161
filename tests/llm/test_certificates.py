"""What a mean loss certifies is true, and as sharp as it can be."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest
from llm import naive

import prefeq as pq
from prefeq.llm.certificates import certificate
from prefeq.llm.plan import FAMILY
from prefeq.losses import LOSSES, Reference

BETAS = (1e-3, 0.1, 1.0, 50.0)


def pairs(rng: np.random.Generator, nats: float, n: int = 300) -> tuple[np.ndarray, Reference]:
    ref = Reference(*(-nats * rng.random((2, n)) - 1e-3))
    return rng.normal(0, nats, n) + nats * rng.random(), ref


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("nats", [0.1, 3.0, 60.0])
def test_it_is_true(rng: np.random.Generator, name: str, beta: float, nats: float) -> None:
    loss = LOSSES[name]
    for _ in range(5):
        margin, ref = pairs(rng, nats)
        target = np.broadcast_to(loss.target(ref, beta), margin.shape)
        value = loss.value(margin, ref, beta)
        mean = float(np.mean(value))
        found = certificate(loss, mean, float(np.mean(target)), float(target.min()), beta)
        slack = 1e-9 * (1 + np.abs(margin).max() + np.abs(target).max() + 1 / beta)
        assert found["mean_margin_at_least"] <= np.mean(margin) + slack
        assert np.mean(margin <= 0) <= found["misaligned_share_at_most"] * (1 + 1e-9)
        if found["loss_that_aligns"] is not None:
            assert (margin[value < found["loss_that_aligns"] * (1 - 1e-9)] > 0).all()


@pytest.mark.parametrize("name", [name for name in FAMILY if name != "easy"])
def test_it_is_sharp(name: str) -> None:
    loss, beta = LOSSES[name], 0.7
    for ref in (-0.4, 0.0, 1.5):
        best = float(loss.minimiser(ref, beta)) if name in ("ipo", "hinge", "cdpo") else math.inf
        for margin in (-0.3, 0.2, 0.9):
            if margin > best:
                continue
            target = float(loss.target(ref, beta))
            value = float(loss.value(margin, ref, beta))
            found = certificate(loss, value, target, target, beta)
            assert found["mean_margin_at_least"] == pytest.approx(margin, abs=1e-9)
        if best > 0:
            target, at_zero = float(loss.target(ref, beta)), float(loss.value(0.0, ref, beta))
            found = certificate(loss, at_zero, target, target, beta)
            assert found["loss_that_aligns"] == pytest.approx(at_zero, rel=1e-12)
            assert found["misaligned_share_at_most"] == pytest.approx(1.0)


def test_certificates_at_the_ends() -> None:
    nothing = certificate(LOSSES["dpo"], 0.0, -800.0, -800.0, 1.0)
    assert nothing["mean_margin_at_least"] == pytest.approx(-800 - math.log(sys.float_info.min))
    assert nothing["misaligned_share_at_most"] == 1.0
    assert nothing["loss_that_aligns"] is None
    assert certificate(LOSSES["dpo"], 0.0, 0.0, 0.0, 1.0)["misaligned_share_at_most"] < 1e-300
    far = certificate(LOSSES["dpo"], 1e-300, -600.0, -600.0, 1.0)
    assert far["misaligned_share_at_most"] == pytest.approx(1e-300 / math.exp(-600))
    lost = certificate(LOSSES["easy"], 0.1, -math.inf, -math.inf, 1.0)
    assert lost["misaligned_share_at_most"] == 1.0
    assert certificate(LOSSES["ipo"], 0.1, -9.0, -9.0, 1.0)["loss_that_aligns"] is None
    assert certificate(LOSSES["dpo"], math.inf, 0.0, 0.0, 1.0)["mean_margin_at_least"] == -math.inf


@pytest.mark.parametrize(
    ("beta", "margin", "ref_margin"),
    [(1.0, -1.0, -800.0), (10.0, 0.0, -80.0), (1e6, 3.0, 0.0), (1.0, -1.0, -730.0), (1, 0, -745.1)],
)
@pytest.mark.parametrize("name", ["dpo", "hypo", "smooth", "easy", "cdpo"])
def test_a_loss_that_underflowed_is_no_loss_of_zero(
    name: str, beta: float, margin: float, ref_margin: float
) -> None:
    logps = [-900 + margin, -900, -900 + ref_margin, -900]
    columns = dict(zip(naive.LOGPS, ([logp] * 100 for logp in logps), strict=True))
    report = pq.audit(columns, beta=beta)
    found = report["losses"][name]["certificate"]
    assert found["mean_margin_at_least"] <= margin
    assert found["misaligned_share_at_most"] >= (margin <= 0)
    assert found["mean_margin_at_least"] < math.inf


def test_a_target_far_below_certifies_nothing() -> None:
    columns = dict(zip(naive.LOGPS, ([-3.0], [-1.0], [-1e-300], [-1e-300]), strict=True))
    report = pq.audit(columns, beta=1.0)
    assert report["losses"]["easy"]["mean"] == 0
    found = report["losses"]["easy"]["certificate"]
    assert found["misaligned_share_at_most"] == 1
    assert found["loss_that_aligns"] is None


def test_margins_of_means_certify_nothing_of_sums() -> None:
    # summed, the longer answer is the less likely; by the token, the more likely
    data = dict(zip(naive.LOGPS, ([-30.0], [-20.0], [-90.0], [-10.0]), strict=True))
    data |= {"chosen_tokens": [1000], "rejected_tokens": [2]}
    for normalize, other in (("sum", True), ("mean", False)):
        report = pq.audit(data, beta=10.0, normalize=normalize)
        for name in FAMILY:
            found = report["losses"][name]["certificate"]
            assert found["per_token"] == (other and name in ("simpo", "ipo"))
            wrong = found["misaligned_share_at_most"]
            assert (wrong is None) == found["per_token"]
            assert wrong is None or wrong >= (report["absolute_accuracy"] == 0)
        assert report["losses"]["simpo"]["mean"] < 1e-30


@pytest.mark.parametrize("margin", [-3.0, -5000.0])
def test_margins_far_below_are_found(margin: float) -> None:
    loss = LOSSES["cdpo"]
    found = certificate(loss, float(loss.value(margin, 0.0, 1.0)), 0.0, 0.0, 1.0)
    assert found["mean_margin_at_least"] == pytest.approx(margin, rel=1e-9)


@pytest.mark.parametrize("beta", [1e-154, 1e-200, 1e-298])
def test_tiny_beta(beta: float) -> None:
    data = dict(zip(naive.LOGPS, ([-3.0], [-1.0], [-2.0], [-1.0]), strict=True))
    found = pq.audit(data, beta=beta)["losses"]["ipo"]["certificate"]
    assert found["misaligned_share_at_most"] == 1
    json.dumps(pq.audit(data, beta=beta).to_dict(), allow_nan=False)
