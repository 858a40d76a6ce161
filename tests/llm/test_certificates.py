"""What a mean loss certifies is true, and as sharp as it can be."""

from __future__ import annotations

import math

import numpy as np
import pytest

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
    assert nothing["mean_margin_at_least"] == math.inf
    assert nothing["misaligned_share_at_most"] == 0.0
    far = certificate(LOSSES["dpo"], 1e-300, -600.0, -600.0, 1.0)
    assert far["misaligned_share_at_most"] == pytest.approx(1e-300 / math.exp(-600))
    lost = certificate(LOSSES["easy"], 0.1, -math.inf, -math.inf, 1.0)
    assert lost["misaligned_share_at_most"] == 1.0
    assert certificate(LOSSES["ipo"], 0.1, -9.0, -9.0, 1.0)["loss_that_aligns"] is None
    assert certificate(LOSSES["dpo"], math.inf, 0.0, 0.0, 1.0)["mean_margin_at_least"] == -math.inf
