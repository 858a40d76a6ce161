"""Planted faults: each is named by the card, which is not told what the loss is meant to be."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from loss_cards import planted

import prefeq as pq
from prefeq.errors import ProblemError
from prefeq.loss_cards.faults import Fault
from prefeq.testing import PropertyFailure, assert_stable


@cache
def faults(name: str) -> dict[str, Fault]:
    return {f.name: f for f in pq.analyse_loss(planted.FAULTS[name], beta=0.2).faults}


@pytest.mark.parametrize("name", planted.FAULTS)
def test_the_card_names_the_fault(name: str) -> None:
    found = faults(name)
    assert name in found, found
    fault = found[name]
    assert fault.severity == "fault"
    assert fault.instance
    assert "\n" not in fault.message


@pytest.mark.parametrize("name", ["good", "mean", "clip"])
def test_sound_code_has_no_fault(name: str) -> None:
    def mean(*logps: Any, beta: float = 0.1) -> Any:
        return planted.dpo(*logps, beta).mean()

    loss = {"good": planted.dpo, "mean": mean, "clip": planted.released_clip}[name]
    assert [f for f in pq.analyse_loss(loss, beta=0.2).faults if f.severity == "fault"] == []


def test_the_negated_loss_is_a_sign() -> None:
    found = pq.analyse_loss(planted.negated, beta=0.2)
    assert "sign" in [fault.name for fault in found.faults]
    assert found.first_step.direction == "down"
    assert not found.shape.bounded_below


def test_a_purpose_makes_differences_faults() -> None:
    def plain(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
        return planted.softplus(-beta * (c - r))

    alone = {f.name: f.severity for f in pq.analyse_loss(plain).faults}
    meant = {f.name: f.severity for f in pq.analyse_loss(plain, against="dpo").faults}
    assert alone == {"no-reference": "note"}
    assert meant == {"no-reference": "fault", "differs": "fault"}
    tokens = {f.name: f.severity for f in pq.analyse_loss(planted.per_token).faults}
    assert tokens == {"per-token": "note"}
    tokens = {f.name: f.severity for f in pq.analyse_loss(planted.per_token, against="dpo").faults}
    assert tokens["per-token"] == "fault"


def test_a_clamp_traps() -> None:
    found = pq.analyse_loss(planted.clamped, beta=1.0)
    assert found.trap is True
    (region,) = found.trap_region.regions
    assert region[1] == pytest.approx(-5.0, abs=2e-3)  # the step of the differences


@pytest.mark.parametrize(
    "name",
    [
        "detached-policy",
        "half-detached",
        "gradient-mismatch",
        "clamp",
        "swapped-reference",
        "dtype",
    ],
)
def test_the_card_names_the_fault_of_torch_code(name: str) -> None:
    pytest.importorskip("torch")
    found = pq.analyse_loss(planted.torch_faults()[name], beta=0.2)
    assert found.library == "torch"
    assert name in [fault.name for fault in found.faults if fault.severity == "fault"]


def test_a_detached_loss_trains_nothing() -> None:
    pytest.importorskip("torch")
    found = pq.analyse_loss(planted.torch_faults()["detached-policy"], beta=0.2)
    assert found.first_step.direction == "none"
    assert found.aligned is False
    assert found.trap is True


def test_torch_losses_are_run_in_every_dtype() -> None:
    torch = pytest.importorskip("torch")

    def naive(c: Any, r: Any, rc: Any, rr: Any, beta: float = 1.0) -> Any:
        return torch.log(1 + torch.exp(-beta * (c - r - rc + rr)))

    def sound(c: Any, r: Any, rc: Any, rr: Any, beta: float = 1.0) -> Any:
        return -torch.nn.functional.logsigmoid(beta * (c - r - rc + rr))

    def square(c: Any, r: Any, rc: Any, rr: Any, beta: float = 1.0) -> Any:
        return (c - r - rc + rr - 1 / (2 * beta)) ** 2

    found = {(f.kind, f.dtype) for f in pq.analyse_loss(naive).findings}
    assert {("overflow", dtype) for dtype in ("float64", "float32", "bfloat16", "float16")} <= found
    assert pq.analyse_loss(sound).findings == ()
    beyond = [f for f in pq.analyse_loss(square, library="torch").findings if f.kind == "overflow"]
    assert [(f.dtype, f.beyond) for f in beyond] == [("float16", True)]  # 1600² is beyond it


def test_a_loss_that_is_no_number_is_said_to_be_so() -> None:
    def broken(c: Any, r: Any, rc: Any, rr: Any) -> Any:
        with np.errstate(all="ignore"):
            return (c - r) + np.log(0.0)

    found = pq.analyse_loss(broken)
    assert next(fault.name for fault in found.faults) == "not-finite"
    assert (found.aligned, found.aligned_per_label) in ((None, None), (False, False))
    found.to_dict()
    assert str(found)
    found.to_html()


def test_an_error_of_the_code_is_one_line() -> None:
    def moody(c: Any, r: Any, rc: Any, rr: Any) -> Any:
        if (c < -700).any():
            raise RuntimeError("too\nfar")
        return (c - r - rc + rr) ** 2

    (found,) = [f for f in pq.analyse_loss(moody).faults if f.name == "raises"]
    assert "RuntimeError: too far at delta = " in found.message
    assert "\n" not in found.message


def test_a_parameter_of_token_counts_is_used() -> None:
    def lengthy(
        c: Any, r: Any, rc: Any, rr: Any, chosen_tokens: Any, rejected_tokens: Any,
        beta: float = 0.1, alpha: float = 0.01, unused: float = 0.2,
    ) -> Any:  # fmt: skip
        return planted.softplus(
            -beta * (c - r - rc + rr) + alpha * (chosen_tokens - rejected_tokens)
        )

    found = {f.name: f.message for f in pq.analyse_loss(lengthy).faults}
    assert set(found) == {"per-token", "unused-unused"}
    assert found["per-token"].startswith("token counts enter")


def test_a_loss_of_batches_alone_has_no_verdict() -> None:
    def normalised(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
        x = c - r - rc + rr
        return planted.softplus(-beta * (x - x.mean()) / (x.std() + 1e-6))

    card = pq.analyse_loss(normalised)
    assert (card.aligned, card.aligned_per_label, card.trap) == (None, None, None)
    assert str(card).count("only batches") == 1


def test_a_second_loss_gets_the_first_s_beta_and_the_parameters_it_knows() -> None:
    def smoothed(
        c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.5, label_smoothing: float = 0.0
    ) -> Any:
        z = beta * (c - r - rc + rr)
        return (1 - label_smoothing) * planted.softplus(-z) + label_smoothing * planted.softplus(z)

    def other(c: Any, r: Any, rc: Any, rr: Any, label_smoothing: float = 0.0) -> Any:
        return smoothed(c, r, rc, rr, label_smoothing=label_smoothing)

    def names(*against: Any, **parameters: Any) -> list[str]:
        found = pq.analyse_loss(smoothed, against=list(against), **parameters).faults
        return [f.name for f in found if f.severity == "fault"]

    assert names("dpo") == []
    assert names(other, label_smoothing=0.1) == []
    assert "differs" in names("dpo", label_smoothing=0.1)


def raising(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    z = -beta * (c - r - rc + rr)
    return np.array([math.log1p(math.exp(x)) for x in z])  # OverflowError beyond 709


def raising_mean(*logps: Any, beta: float = 0.1) -> Any:
    return raising(*logps, beta).mean()


@pytest.mark.parametrize("loss", [raising, raising_mean])
def test_a_loss_that_raises_far_out_has_a_card(loss: Any) -> None:
    card = pq.analyse_loss(loss, against="dpo")
    assert (card.aligned, card.trap, card.target.name) == (False, False, "delta_ref")
    found = {f.name: f for f in card.faults}
    assert found["raises"].severity == "fault"
    assert "OverflowError: math range error at delta = " in found["raises"].message
    assert "differs" not in found  # within 709/beta
    with pytest.raises(PropertyFailure, match="it is not stable: raises"):
        assert_stable(loss, examples=20)


def test_a_loss_that_raises_on_plain_pairs_has_none() -> None:
    def broken(c: Any, r: Any, rc: Any, rr: Any) -> Any:
        if len(c) != 3:
            raise RuntimeError("no")
        return c - r

    with pytest.raises(ProblemError, match=r"broken fails on .* RuntimeError: no"):
        pq.analyse_loss(broken)
