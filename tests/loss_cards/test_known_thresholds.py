"""Made-up losses whose traps, minima and verdicts are known, beside what cards say."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from loss_cards.planted import of_probabilities, softplus
from scipy.optimize import brentq

import prefeq as pq
from prefeq.errors import ProblemError
from prefeq.loss_cards import adapt
from prefeq.testing import (
    PropertyFailure,
    assert_aligned,
    assert_margin_loss,
    assert_no_trap,
    assert_same_loss,
)

Formula = Callable[[Any, Any], Any]


def of(formula: Formula, scale: float = 1.0) -> Any:
    """Return the loss of a formula in βδ and βδ_ref, with β = `scale`."""

    def loss(c: Any, r: Any, rc: Any, rr: Any, beta: float = scale) -> Any:
        return formula(beta * (c - r), beta * (rc - rr))

    return loss


TRAPS: dict[str, tuple[Formula, float]] = {
    # The threshold of βδ_ref below which the minimum lies in U.
    "steep on the left": (lambda d, r: np.exp(-10 * (d - r - 5)) + 10 * (d - r - 5) - 1, -5.0),
    "Morse": (lambda d, r: (1 - np.exp(-2 * (d - r - 8))) ** 2, -8.0),
    "narrow Morse": (lambda d, r: (1 - np.exp(-5 * (d - r - 1))) ** 2, -1.0),
    "faint on the right": (
        lambda d, r: np.exp(-2 * (d - r - 5)) + 0.1 * (d - r), -5 - math.log(20) / 2,
    ),
    "steep, of the policy": (lambda d, r: np.exp(-5 * (d + 2)) + 5 * (d + 2) - 1, -2.0),
    "kinked": (
        lambda d, r: np.maximum(np.minimum(1 - (d - r), 2), 0.02 * (d - r - 1)), -1.0,
    ),
    "flat on both sides": (lambda d, r: np.minimum(np.maximum(1 - (d - r), 0), 2), -1.0),
}  # fmt: skip


@pytest.mark.parametrize("beta", [0.1, 1.0])
@pytest.mark.parametrize("name", TRAPS)
def test_traps_begin_where_they_do(name: str, beta: float) -> None:
    formula, threshold = TRAPS[name]
    card = pq.analyse_loss(of(formula, beta))
    (region,) = card.trap_region.regions
    assert (region[0] * beta, region[1] * beta) == pytest.approx((-10, threshold), abs=1e-5)
    assert "dtype" not in {fault.name for fault in card.faults}
    with pytest.raises(PropertyFailure):
        assert_no_trap(of(formula, beta), ref_margins=[(threshold - 0.01) / beta])
    assert_no_trap(of(formula, beta), ref_margins=[(threshold + 0.01) / beta])


WIDTH = 0.05


def well(z: Any, near: float) -> Any:
    return softplus(-z) - 0.5 * np.exp(-(((z - near) / WIDTH) ** 2) / 2)


def bottom(near: float) -> float:
    """Return where the well is least: a root of its derivative, written out here."""

    def slope(z: float) -> float:
        offset = (z - near) / WIDTH
        return 0.5 * offset / WIDTH * math.exp(-(offset**2) / 2) - 1 / (1 + math.exp(z))

    return float(brentq(slope, near, near + WIDTH, xtol=1e-12))


NARROW: dict[str, tuple[Formula, float]] = {
    "a shelf": (lambda d, r: -d + np.clip(d, -2, -1.9), -1.9),
    "a well": (lambda d, r: well(d, -3.0), bottom(-3.0)),
    "a well that moves": (lambda d, r: well(d - r, 2.0), -bottom(2.0)),
}


@pytest.mark.parametrize("name", NARROW)
def test_what_is_narrow_is_looked_for_at_every_reference(name: str) -> None:
    formula, threshold = NARROW[name]
    (region,) = pq.analyse_loss(of(formula)).trap_region.regions
    assert region == pytest.approx((-10, threshold), abs=1e-5)
    for ref in (-9.0, -6.0, -4.0):
        with pytest.raises(PropertyFailure):
            assert_no_trap(of(formula), ref_margins=[ref])
    assert_no_trap(of(formula), ref_margins=[threshold + 0.05])


def test_the_threshold_of_a_minimum_that_is_born_in_u() -> None:
    """NCA's slope in U is highest between the points of a grid."""
    pytest.importorskip("trl")
    (region,) = pq.analyse_loss("trl:nca_pair", beta=0.1).trap_region.regions
    assert region[1] == pytest.approx(-10.0738, abs=1e-4)
    with pytest.raises(PropertyFailure):
        assert_no_trap("trl:nca_pair", beta=0.1, ref_margins=[-10.075])


TORCH: dict[str, tuple[Callable[[Any, Any, Any], Any], bool | None, bool | None]] = {
    # A loss in torch, whether it traps, and whether it is aligned; beginning at 0 is not above it.
    "from 0 on": (lambda t, d, r: t.relu(-d), False, False),
    "squared from 0 on": (lambda t, d, r: t.relu(-d) ** 2, False, False),
    "hinge of HyPO": (lambda t, d, r: t.relu(t.relu(r) - d), False, False),
    "float32 tanh": (lambda t, d, r: -t.tanh((d - r).float()), None, True),
    "float32 sigmoid": (lambda t, d, r: -t.sigmoid((d - r).float()), False, True),
    "sigmoid of the policy": (lambda t, d, r: -t.sigmoid(d), False, True),
}


@pytest.mark.parametrize("name", TORCH)
def test_verdicts_of_saturating_losses(name: str) -> None:
    torch = pytest.importorskip("torch")
    formula, traps, aligned = TORCH[name]
    card = pq.analyse_loss(of(lambda d, r: formula(torch, d, r)))
    assert (card.trap, card.aligned) == (traps, aligned)


def test_numpy_and_torch_agree_on_a_flat_that_begins_at_0() -> None:
    loss = of(lambda d, r: np.maximum(-d, 0))
    assert (pq.analyse_loss(loss).trap, pq.analyse_loss(loss).aligned) == (False, False)
    assert_no_trap(loss)
    with pytest.raises(PropertyFailure):
        assert_aligned(loss, examples=10)


def test_a_clamp_on_the_policy_keeps_the_reference_in_place() -> None:
    torch = pytest.importorskip("torch")
    loss = of(lambda d, r: torch.clamp(-torch.nn.functional.logsigmoid(d), max=2.0))
    (region,) = pq.analyse_loss(loss).trap_region.regions
    threshold = -math.log(math.e**2 - 1)
    assert region[1] == pytest.approx(threshold, abs=1e-6)
    with pytest.raises(PropertyFailure):
        assert_no_trap(loss, ref_margins=[threshold - 0.01])


def test_what_is_no_number_outside_u_is_none_of_its_business() -> None:
    log = of(lambda d, r: -np.log(d - r + 12))
    assert pq.analyse_loss(log).trap is False
    assert_no_trap(log)
    root = pq.analyse_loss(of(lambda d, r: np.sqrt(3 - (d - r))))  # falls to where it ends
    assert all(row["minima"] == [] for row in root.ordered)


@pytest.mark.parametrize("place", [0.375, 3.32, 5.575, 7.81])
def test_a_dip_is_found_wherever_it_lies(place: float) -> None:
    def target(ref: Any) -> Any:
        return 1 - 1.05 * np.exp(-(((ref - place) / 0.1) ** 2))

    card = pq.analyse_loss(of(lambda d, r: softplus(-(d - target(r)))))
    assert card.aligned is False
    assert card.target is not None
    assert card.target.lowest == pytest.approx(-0.05, abs=1e-6)


AT_ZERO: dict[str, Callable[[Any, Any, Any], Any]] = {
    "a kink": lambda t, d, r: t.relu(-d) + 0.02 * (d - r) ** 2,
    "an absolute value": lambda t, d, r: abs(d) + 0.02 * (d - r) ** 2,
    "a smooth one": lambda t, d, r: (d - t.clamp(r, min=-1.0) - 1) ** 2,
}


@pytest.mark.parametrize("beta", [0.1, 7.0])
@pytest.mark.parametrize("name", AT_ZERO)
def test_a_minimum_at_0_is_not_in_u(name: str, beta: float) -> None:
    torch = pytest.importorskip("torch")
    loss = of(lambda d, r: AT_ZERO[name](torch, d, r), beta)
    assert pq.analyse_loss(loss).trap is False
    assert_no_trap(loss, examples=20)


@pytest.mark.parametrize("beta", [0.1, 7.0])
def test_an_exponential_to_the_right_has_no_logistic_link(beta: float) -> None:
    card = pq.analyse_loss(of(lambda d, r: np.exp(d) - d - 1, beta))
    assert card.trap is False
    assert [row["minima"][0][0] for row in card.ordered] == pytest.approx([0] * 4, abs=1e-6)
    (region,) = pq.analyse_loss(
        of(lambda d, r: np.exp(d - r) - 2 * (d - r), beta)
    ).trap_region.regions
    assert region[1] * beta == pytest.approx(-math.log(2), abs=1e-6)


def test_float32_at_a_large_beta_is_no_wrong_gradient() -> None:
    torch = pytest.importorskip("torch")

    def rounded(c: Any, r: Any, rc: Any, rr: Any, beta: float = 50.0) -> Any:
        x = (c.float() - r.float()) - (rc.float() - rr.float())
        return -torch.nn.functional.logsigmoid(beta * x)

    faults = {f.name for f in pq.analyse_loss(rounded).faults if f.severity == "fault"}
    assert faults == {"dtype"}


def test_probabilities_for_log_probs_are_named_at_every_beta() -> None:
    for beta in (0.05, 0.1, 1.0):
        names = {fault.name for fault in pq.analyse_loss(of_probabilities, beta=beta).faults}
        assert names & {"probabilities", "constant"}  # at .1 no digit of the loss moves


def test_a_million_beside_a_loss_makes_no_flats() -> None:
    card = pq.analyse_loss(of(lambda d, r: 1e6 + softplus(-(d - r)), 0.1))
    assert card.trap is False
    assert all(row["minima"] == [] for row in card.ordered)
    assert "clamp" not in {fault.name for fault in card.faults}


# What a function is -----------------------------------------------------------------------------


class Trainer:
    """A loss with its β inside."""

    def __init__(self, beta: float) -> None:
        self.beta = beta

    def __call__(self, c: Any, r: Any, rc: Any, rr: Any) -> Any:
        return softplus(-self.beta * (c - r - rc + rr))


def test_the_beta_inside_a_loss_can_be_told() -> None:
    card = pq.analyse_loss(Trainer(0.2), beta=0.2)
    assert (card.same_as, card.beta, card.faults) == (("dpo",), 0.2, ())
    assert card.exit_time_ratio == pytest.approx(1.0, rel=1e-6)
    assert "assumed" not in str(card)
    assert "1/beta = 1 nats (assumed: it takes no beta" in " ".join(
        str(pq.analyse_loss(Trainer(0.2))).split()
    )
    with pytest.raises(ProblemError, match="it has its own, 0"):
        adapt(Trainer(0.2), beta=0.2).with_parameters(beta=1.0)
    with pytest.raises(PropertyFailure):
        assert_same_loss(Trainer(0.2), "dpo", beta=0.1, examples=10)


def token_weighted(
    c: Any, r: Any, rc: Any, rr: Any, chosen_tokens: Any, rejected_tokens: Any, beta: float = 0.1
) -> Any:
    loss = softplus(-beta * (c - r - rc + rr))
    return (loss * chosen_tokens).sum() / chosen_tokens.sum()


def token_scaled(
    c: Any, r: Any, rc: Any, rr: Any, chosen_tokens: Any, rejected_tokens: Any, beta: float = 0.1
) -> Any:
    return softplus(-beta * (c - r - rc + rr)) * chosen_tokens / chosen_tokens.mean()


@pytest.mark.parametrize("loss", [token_weighted, token_scaled])
def test_a_mean_over_tokens_is_not_dpo(loss: Any) -> None:
    card = pq.analyse_loss(loss)
    assert card.same_as == ()
    assert not card.margin_only
    assert card.dependence.on_batch == "lengths"
    for check in (assert_margin_loss, lambda loss: assert_same_loss(loss, "dpo", examples=20)):
        with pytest.raises(PropertyFailure):
            check(loss)


def test_a_loss_of_no_numbers_is_not_decided() -> None:
    card = pq.analyse_loss(of(lambda d, r: np.full(np.shape(d), np.nan)))
    assert (card.aligned, card.trap, card.margin_only) == (None, None, False)
    assert "\nshape" not in str(card)
    with pytest.raises(PropertyFailure, match="no finite number"):
        assert_margin_loss(of(lambda d, r: np.full(np.shape(d), np.nan)))


def test_a_loss_in_steps_is_named_and_called_neither_smooth_nor_constant() -> None:
    for step in (lambda d, r: np.round(r - d).astype(int), lambda d, r: (d < r) * 1.0):
        card = pq.analyse_loss(of(step))
        assert {"stepwise", "dtype"} & {f.name for f in card.faults if f.severity == "fault"}
        assert (card.shape.smooth, card.shape.convex) == (False, False)
        assert card.shape.monotone != "constant"


def test_chance_is_refused() -> None:
    rng = np.random.default_rng(0)
    noisy = of(lambda d, r: softplus(r - d) + 0.01 * rng.standard_normal(np.shape(d)))
    for check in (pq.analyse_loss, assert_no_trap, assert_margin_loss):
        with pytest.raises(ProblemError, match="not deterministic"):
            check(noisy)
