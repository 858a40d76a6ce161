"""The fused losses are those of `prefeq.losses`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from prefeq.llm import family
from prefeq.llm.metrics import Margins, Measures, _losses, _targets
from prefeq.losses import LOSSES, Reference

NAMES = ("dpo", "hypo", "smooth", "easy", "simpo", "ipo", "hinge", "cdpo")


def draw(rng: np.random.Generator, nats: float) -> Margins:
    logps = -nats * rng.random((4, 400))
    logps[:, :20] = -rng.integers(1, 4, (4, 20))
    logps[3, 5] = 0.0  # a certain response
    a, b, c, d = logps
    return Margins(c, d, c - d, a, b, a - b)


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("beta", [1e-6, 0.1, 2.0, 1e6])
@pytest.mark.parametrize("nats", [1e-3, 5.0, 800.0])
def test_every_loss(rng: np.random.Generator, nats: float, beta: float, library: str) -> None:
    at, xp = draw(rng, nats), np
    used = at
    if library == "torch":
        xp = pytest.importorskip("torch")
        used = Margins(**{name: xp.asarray(value) for name, value in vars(at).items()})
    values: dict[str, Any] = {}

    class Kept(Measures):
        def add_loss(self, name: str, value: Any) -> None:
            values[name] = np.array(value.tolist())  # a copy: the array is used up

    found = Kept(xp, 400)
    found.arrays["x"] = used.policy - used.ref
    with np.errstate(divide="ignore"):
        targets = _targets(found, used, beta)
        _losses(found, used, used, targets, beta)
    assert set(values) == set(NAMES)
    ref = Reference(at.ref_chosen, at.ref_rejected)
    for name in NAMES:
        true = LOSSES[name].value(at.policy, ref, beta)
        np.testing.assert_allclose(values[name], true, rtol=1e-12, atol=1e-300, err_msg=name)
    for name, target in zip(("hypo", "smooth", "easy"), targets, strict=True):
        true = LOSSES[name].target(ref, beta)
        np.testing.assert_allclose(np.maximum(true, -1e200), target.tolist(), 1e-13, 1e-300)


def test_parameters_are_the_defaults_of_the_losses() -> None:
    assert f"gamma={family.EASY_GAMMA:g}" in LOSSES["easy"].summary
    assert f"gamma={family.SIMPO_GAMMA:g}" in LOSSES["simpo"].summary
    assert f"eps={family.CDPO_EPS:g}" in LOSSES["cdpo"].summary
