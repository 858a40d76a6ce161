"""Faults planted in a correct DPO loss: an assertion of prefeq.testing catches and names each."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from testing import planted_losses as planted

from prefeq import losses
from prefeq.testing import (
    PropertyFailure,
    assert_gradient,
    assert_margin_loss,
    assert_no_trap,
    assert_same_loss,
    assert_stable,
)

EXAMPLES = 30

Check = Callable[..., None]


def same(loss: Any, **options: Any) -> None:
    assert_same_loss(loss, "dpo", beta=0.1, **options)


def same_smoothed(loss: Any, **options: Any) -> None:
    assert_same_loss(loss, losses.cdpo(planted.SMOOTHING), **options)


def same_mean(loss: Any, **options: Any) -> None:
    assert_same_loss(loss, planted.dpo_mean, **options)


def relative(loss: Any, **options: Any) -> None:
    assert_margin_loss(loss, relative=True, **options)


NUMPY: Mapping[str, tuple[Check, str]] = {
    "sign": (same, "with a mistake, sign"),
    "swapped_reference": (same, "with a mistake, swapped-reference"),
    "swapped_sides": (same, "with a mistake, swapped-sides"),
    "missing_beta": (same, "with a mistake, missing-beta"),
    "beta_on_policy_only": (same, "with a mistake, beta-on-policy-only"),
    "one_sided_reference": (
        assert_margin_loss,
        "depends on the absolute log-probs of the reference",
    ),
    "probabilities": (assert_margin_loss, "depends on the absolute log-probs of the"),
    "sum_for_mean": (same_mean, "returns its sum"),
    "per_token": (assert_margin_loss, "depends on the token counts"),
    "mean_in_link": (assert_margin_loss, "depends on the other pairs of the batch"),
    "smoothing_wrong_side": (same_smoothed, "smoothing-wrong-side"),
    "clamped": (assert_stable, "dead gradient"),
    "half_precision": (assert_stable, "it casts down"),
    "overflowing": (assert_stable, "overflow"),
}

TORCH: Mapping[str, tuple[Check, str]] = {
    "detached_policy": (assert_gradient, "chosen_logps get no gradient"),
    "half_detached": (assert_gradient, "rejected_logps get no gradient"),
    "torch_nan": (assert_stable, "overflow"),
    "torch_clamped": (assert_stable, "dead gradient"),
    "torch_down_cast": (assert_stable, "it casts down"),
}

ALSO: tuple[tuple[str, Check, str], ...] = (
    ("swapped_reference", relative, "depends on more than delta - delta_ref"),
    ("beta_on_policy_only", relative, "depends on more than delta - delta_ref"),
    ("one_sided_reference", same, "with a mistake, one-sided-reference"),
)


def caught(name: str, check: Check) -> PropertyFailure:
    with pytest.raises(PropertyFailure) as caught:
        check(getattr(planted, name), examples=EXAMPLES)
    return caught.value


def test_there_are_twelve_and_more() -> None:
    assert len({*NUMPY, *TORCH}) >= 12


@pytest.mark.parametrize("name", NUMPY)
def test_a_fault_in_numpy_is_caught_and_named(name: str) -> None:
    check, words = NUMPY[name]
    assert words in str(caught(name, check))


@pytest.mark.parametrize("name", TORCH)
def test_a_fault_in_torch_is_caught_and_named(name: str) -> None:
    pytest.importorskip("torch")
    check, words = TORCH[name]
    assert words in str(caught(name, check))


@pytest.mark.parametrize(("name", "check", "words"), ALSO)
def test_a_second_assertion_catches_it_too(name: str, check: Check, words: str) -> None:
    assert words in str(caught(name, check))


def test_a_policy_that_is_detached_is_a_trap_everywhere() -> None:
    pytest.importorskip("torch")
    assert "whose gradient is 0 everywhere" in str(caught("detached_policy", assert_no_trap))


@pytest.mark.parametrize("name", [*(n for n in NUMPY if n != "sum_for_mean")])
def test_every_failure_prints_a_table_that_prefeq_solve_reads(name: str) -> None:
    from prefeq.tabular import solve_table

    failure = caught(name, NUMPY[name][0])
    assert failure.instance is not None
    table = failure.instance.table()
    assert table in str(failure)
    assert failure.instance.command() in str(failure)
    columns: dict[str, list[Any]] = {}
    for row in csv.DictReader(io.StringIO(table)):
        for key, value in row.items():
            columns.setdefault(key, []).append(value)
    report = solve_table(columns, beta=failure.instance.beta, labels=failure.instance.labels)
    assert report.summary["pairs"] == len(columns["prompt"]) // 2


CORRECT: tuple[tuple[str, Check], ...] = (
    *((name, check) for name in ("dpo", "dpo_mean") for check in (same, relative, assert_stable)),
    ("dpo", assert_no_trap),
    ("smoothed", same_smoothed),
    ("smoothed", relative),
)


@pytest.mark.parametrize(("name", "check"), CORRECT)
def test_the_correct_loss_passes(name: str, check: Check) -> None:
    check(getattr(planted, name), examples=EXAMPLES)


@pytest.mark.parametrize("check", [same, relative, assert_stable, assert_gradient, assert_no_trap])
def test_the_correct_loss_passes_in_torch(check: Check) -> None:
    pytest.importorskip("torch")
    check(planted.torch_dpo, examples=EXAMPLES)
