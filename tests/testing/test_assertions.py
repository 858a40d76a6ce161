"""The assertions on losses agree with the theory, and say what they saw."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from testing import planted_losses as planted

import prefeq as pq
from prefeq._elementary import sigmoid
from prefeq.errors import ProblemError
from prefeq.figures.style import styled
from prefeq.loss_cards import adapt
from prefeq.losses import LOSSES, cdpo, smooth
from prefeq.testing import (
    PropertyFailure,
    assert_aligned,
    assert_gradient,
    assert_margin_loss,
    assert_no_trap,
    assert_same_loss,
    assert_stable,
)
from prefeq.testing.failures import Picture
from prefeq.testing.search import smallest

FEW = {"examples": 30}


def ipo(chosen: Any, rejected: Any, ref_chosen: Any, ref_rejected: Any, beta: float = 0.1) -> Any:
    return (chosen - rejected - ref_chosen + ref_rejected - 1 / (2 * beta)) ** 2


# Traps ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["dpo", "hypo", planted.dpo, planted.dpo_mean])
def test_losses_without_a_finite_target_have_no_trap(loss: Any) -> None:
    assert_no_trap(loss, **FEW)


@pytest.mark.parametrize(
    ("loss", "threshold"),
    [(ipo, -5.0), ("ipo", -5.0), ("hinge", -10.0), (cdpo(0.1), -math.log(9) / 0.1)],
)
def test_a_trap_is_shown_just_below_its_threshold(loss: Any, threshold: float) -> None:
    with pytest.raises(PropertyFailure) as caught:
        assert_no_trap(loss)
    ref = caught.value.measured["delta_ref"]
    assert threshold - 1 <= ref < threshold
    assert threshold < 0
    end = caught.value.measured["delta at the end of the flow"]
    assert end == pytest.approx(ref - threshold, abs=1e-6)
    assert_no_trap(loss, ref_limit=-threshold * 0.999, **FEW)


def test_references_of_one_s_own() -> None:
    refs = np.linspace(-4.9, 30.0, 1000)
    assert_no_trap(ipo, ref_margins=refs)
    assert_no_trap(ipo, ref_margins=[1.0, 2.0])  # U is empty
    with pytest.raises(PropertyFailure) as caught:
        assert_no_trap(ipo, ref_margins=[*refs, -30.0, -5.1])
    assert caught.value.measured["delta_ref"] == -5.1  # the mildest


def test_a_trap_that_nothing_drawn_shows_fails_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("aligned", "no_trap"):
        monkeypatch.setattr(f"prefeq.testing.{module}.smallest", lambda *_: None)
    with pytest.raises(PropertyFailure) as caught:
        assert_no_trap(ipo)
    assert caught.value.measured["delta_ref"] == pytest.approx(-52.5)
    with pytest.raises(PropertyFailure):
        assert_aligned("dpo")
    assert_aligned("hypo")


@pytest.mark.parametrize("refs", [[], [float("nan")], [-float("inf")]])
def test_references_that_are_none_are_refused(refs: Any) -> None:
    with pytest.raises(ProblemError, match="ref_margins"):
        assert_no_trap(ipo, ref_margins=refs)


def test_a_loss_of_nans_is_undecided_and_fails() -> None:
    def broken(c: Any, r: Any, rc: Any, rr: Any) -> Any:
        return np.log(-1.0 - 0 * c) + c

    for check in (assert_no_trap, assert_aligned):
        with pytest.raises(PropertyFailure, match="cannot be decided"):
            check(broken, **FEW)


# Alignment --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "labels", "aligned"),
    [
        ("hypo", "fixed", True),
        ("hypo", "per-label", False),
        ("simpo", "fixed", True),
        ("simpo", "per-label", True),
        (smooth(alpha=1.0), "fixed", True),
        (smooth(alpha=2.0), "fixed", False),
        ("dpo", "fixed", False),
        ("dpo", "per-label", False),
        (ipo, "fixed", False),
        (planted.dpo, "fixed", False),
    ],
)
def test_aligned_as_the_theory_says(loss: Any, labels: Any, aligned: bool) -> None:
    if aligned:
        assert_aligned(loss, labels=labels, **FEW)
        return
    with pytest.raises(PropertyFailure) as caught:
        assert_aligned(loss, labels=labels, **FEW)
    assert caught.value.measured["lowest local minimum"] < 0
    assert caught.value.instance is not None
    assert caught.value.instance.rows[0]["reward"] > 0


def apoz(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    return 1 - sigmoid(np, beta * (c - rc)) + sigmoid(np, beta * (r - rr))


def one_minus_tanh(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    return 1 - np.tanh(beta * (c - r - rc + rr))


@pytest.mark.parametrize("loss", [apoz, one_minus_tanh])
def test_rounding_in_a_tail_that_saturates_is_no_minimum(loss: Any) -> None:
    assert pq.analyse_loss(loss).aligned
    assert_aligned(loss, examples=60)
    assert_no_trap(loss, examples=60)


def test_a_reference_at_the_threshold_to_the_last_digit_is_no_trap() -> None:
    assert_no_trap(ipo, ref_margins=[-5.0])
    assert_no_trap(ipo, ref_limit=5.0, **FEW)
    with pytest.raises(PropertyFailure) as caught:
        assert_no_trap(ipo, ref_margins=[-5.0, -5.001])
    assert caught.value.measured["delta at the end of the flow"] == pytest.approx(-0.001, abs=1e-6)


def batch_normalised(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    x = c - r - rc + rr
    return np.logaddexp(0, -beta * (x - x.mean()) / (x.std() + 1e-6))


@pytest.mark.parametrize("check", [assert_no_trap, assert_aligned])
def test_a_loss_of_batches_alone_cannot_be_decided(check: Any) -> None:
    with pytest.raises(PropertyFailure, match="cannot be decided: a pair in a batch of its own"):
        check(batch_normalised)


def hypo_at_a_half(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.5) -> Any:
    return np.logaddexp(0, -beta * (c - r - np.maximum(rc - rr, 0)))


def test_a_second_loss_is_compared_at_the_first_s_beta() -> None:
    def at_a_tenth(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
        return hypo_at_a_half(c, r, rc, rr, beta)

    def without_beta(c: Any, r: Any, rc: Any, rr: Any) -> Any:
        return hypo_at_a_half(c, r, rc, rr)

    for second in ("hypo", LOSSES["hypo"], at_a_tenth, without_beta):
        assert_same_loss(hypo_at_a_half, second, **FEW)
    assert_same_loss(hypo_at_a_half, without_beta, beta=0.5, **FEW)  # which takes none
    with pytest.raises(PropertyFailure):
        assert_same_loss(hypo_at_a_half, adapt("hypo", beta=0.1), **FEW)  # as it is given


def test_lengths_are_compared_where_a_loss_is_given_them() -> None:
    with pytest.raises(PropertyFailure) as caught:
        assert_same_loss(planted.per_token, "dpo", **FEW)
    assert {"tokens"} <= set(caught.value.instance.rows[0])
    with pytest.raises(PropertyFailure):
        assert_same_loss("dpo", planted.per_token, **FEW)
    assert_same_loss(planted.per_token, planted.per_token, **FEW)


def test_a_fixed_target_is_asked_for_where_there_is_none() -> None:
    def product(c: Any, r: Any, rc: Any, rr: Any) -> Any:
        return np.logaddexp(0, -(c - r) * (2 + np.tanh(rc - rr)))

    with pytest.raises(PropertyFailure, match="per-label"):
        assert_aligned(product, **FEW)


@pytest.mark.parametrize("labels", ["fixed", "per-label"])
def test_dpo_s_counterexample_violates_the_assumption(labels: Any) -> None:
    with pytest.raises(PropertyFailure) as caught:
        assert_aligned(planted.dpo, labels=labels, **FEW)
    measured = caught.value.measured
    assert measured["lowest local minimum"] == pytest.approx(measured["delta* of RLHF"], abs=1e-6)
    assert measured["delta* of RLHF"] == measured["delta_ref"] + measured["reward gap"] / 0.1 < 0


def test_a_fixed_target_is_kept() -> None:
    loss = smooth(alpha=2.0)
    with pytest.raises(PropertyFailure) as caught:
        assert_aligned(loss, beta=0.1, **FEW)
    ref, gap, low, *_ = caught.value.measured.values()
    assert low == pytest.approx(float(loss.target(ref, 0.1)) + gap / 0.1, abs=1e-4)


def test_clip_aligns_from_two_thirds_on() -> None:
    assert_aligned("hypo", beta=0.1, labels="per-label", gaps=(math.log(2), 10.0), **FEW)


# The code ---------------------------------------------------------------------------------------


def test_what_matters_is_told() -> None:
    assert_margin_loss("hypo", **FEW)
    with pytest.raises(PropertyFailure, match=r"more than delta - delta_ref"):
        assert_margin_loss("hypo", relative=True, **FEW)
    with pytest.raises(PropertyFailure, match=r"reference"):
        assert_margin_loss("eq17", **FEW)


def test_a_shift_that_no_draw_shows_is_seen_by_the_card() -> None:
    def rare(c: Any, r: Any, rc: Any, rr: Any, beta: float = 1.0) -> Any:
        return planted.dpo(c, r, rc, rr, beta) * (1 + 1e-4 * np.tanh(c / 50))

    with pytest.raises(PropertyFailure):
        assert_margin_loss(rare, examples=1)


def test_gradients_of_numpy_functions_are_none_to_check() -> None:
    with pytest.raises(ProblemError, match="no gradient to check"):
        assert_gradient(planted.dpo)


def test_a_kink_is_no_wrong_gradient() -> None:
    torch = pytest.importorskip("torch")

    def hinge(c: Any, r: Any, rc: Any, rr: Any, beta: float = 1.0) -> Any:
        return torch.relu(-beta * (c - r - rc + rr)).mean()  # its kink is at a tie

    assert_gradient(hinge)


def test_the_smallest_overflow_is_found() -> None:
    with pytest.raises(PropertyFailure) as caught:
        assert_stable(planted.overflowing, beta=1.0)
    rows = caught.value.instance.rows if caught.value.instance else []
    logps = [abs(row[key] + 1) for row in rows for key in ("ref_logp", "logp")]
    assert max(logps) == 710.0  # exp overflows from 709.8 on
    assert sorted(logps)[:3] == [0.0, 0.0, 0.0]


def test_dtypes_can_be_left_out() -> None:
    with pytest.raises(PropertyFailure, match="float16"):
        assert_stable(lambda c, r, rc, rr: 1e3 * np.log(1 + np.exp((r - c) / 50)), **FEW)
    with pytest.raises(PropertyFailure, match="casts down"):
        assert_stable(planted.half_precision, **FEW)


def test_values_beyond_a_dtype_are_no_fault() -> None:
    assert_stable(ipo, beta=0.1, **FEW)  # 160000 is beyond float16


def test_a_rare_difference_is_found_by_drawing_and_shrunk() -> None:
    def odd(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
        right = planted.dpo(c, r, rc, rr, beta)
        return np.where((rc < -300) & (rc > -700), 1.5 * right, right)  # no standard pair is there

    with pytest.raises(PropertyFailure) as caught:
        assert_same_loss(odd, planted.dpo, examples=200)
    rows = caught.value.instance.rows if caught.value.instance else []
    assert -700 < rows[0]["ref_logp"] < -300
    assert rows[0]["logp"] > -50


def test_an_exception_on_some_pairs_is_a_failure() -> None:
    drawn = smallest(planted_numbers(), lambda z: 1 / (z - 5) == 0)
    assert drawn == 5


def planted_numbers() -> Any:
    from hypothesis import strategies as st

    return st.integers(0, 10)


def test_assertions_work_inside_a_hypothesis_test() -> None:
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    @settings(max_examples=3, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from([0.05, 0.1, 1.0]))
    def every_beta(beta: float) -> None:
        assert_margin_loss(planted.dpo, beta=beta, examples=5)

    every_beta()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: assert_aligned("dpo", labels="soft"), "labels = 'soft'"),  # type: ignore[arg-type]
        (lambda: assert_no_trap("no_such_module:loss"), "cannot be imported"),
        (lambda: assert_no_trap("dpo", beta=-1), "beta = -1"),
        (lambda: assert_margin_loss("dpo", examples=0), "examples = 0"),
        (lambda: assert_no_trap(ipo, figure="trap.txt"), "trap.txt"),
    ],
)
def test_bad_arguments_are_refused(call: Any, words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        call()


# Figures and files ------------------------------------------------------------------------------

FAILING = {
    "trap": lambda figure: assert_no_trap(ipo, figure=figure),
    "aligned": lambda figure: assert_aligned("dpo", figure=figure),
    "margin": lambda figure: assert_margin_loss(planted.one_sided_reference, figure=figure),
    "stable": lambda figure: assert_stable(planted.overflowing, figure=figure),
    "same": lambda figure: assert_same_loss(planted.sign, "dpo", beta=0.1, figure=figure),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_figure_on_demand(name: str, tmp_path: Path) -> None:
    with pytest.raises(PropertyFailure):
        FAILING[name](tmp_path / "failure.svg")
    assert "<svg" in (tmp_path / "failure.svg").read_text("utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["failure.svg"]


@pytest.mark.parametrize("name", FAILING)
def test_the_legend_lies_clear_of_the_axes(name: str) -> None:
    with pytest.raises(PropertyFailure) as caught:
        FAILING[name](None)
    check_legend(caught.value._picture())


def test_long_names_fit_into_the_legend() -> None:
    x = np.arange(2.0)
    name = "a_loss_of_a_package_that_has_quite_a_long_name, label_smoothing=0.1"
    lines = {name: x, name.replace("a_loss", "another"): -x}
    check_legend(Picture("", "", "", x, lines, {"δ_ref": -1.0}, (-1.0, 0.0)))


def check_legend(picture: Picture) -> None:
    """Raise unless the legend names everything, below the axes and inside the figure."""
    with styled():
        figure = picture.draw()
        figure.canvas.draw()
    (legend,) = figure.legends
    names = [*picture.lines, *picture.marks, *(["U"] if picture.span else [])]
    assert [text.get_text() for text in legend.get_texts()] == names
    box, axes = legend.get_window_extent(), figure.axes[0].get_tightbbox()
    assert axes is not None
    assert box.y1 <= axes.y0
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert figure.bbox.y0 <= box.y0


def test_a_failure_writes_itself(tmp_path: Path) -> None:
    with pytest.raises(PropertyFailure) as caught:
        assert_no_trap(ipo)
    paths = caught.value.write(tmp_path / "new", "trap")
    assert [path.name for path in paths] == ["trap.txt", "trap.csv", "trap.png"]
    assert paths[1].read_text("utf-8") in str(caught.value)


def test_the_printed_command_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from prefeq.cli import main

    with pytest.raises(PropertyFailure) as caught:
        assert_no_trap(ipo)
    instance = caught.value.instance
    assert instance is not None
    path = instance.write(tmp_path)[0]
    found = re.search(r"^\$ prefeq (solve) instance.csv (.*)$", str(caught.value), re.MULTILINE)
    assert found is not None
    assert main([found[1], str(path), *found[2].split()]) == 0
    assert "-6" in capsys.readouterr().out


# The door ---------------------------------------------------------------------------------------

BLOCKED = """
import sys
for name in ("torch", "trl", "transformers", "pytest", "matplotlib"):
    sys.modules[name] = None
import prefeq.testing as testing
assert set(testing.__all__) <= set(dir(testing))
testing.assert_no_trap("dpo", examples=3)
try:
    testing.assert_no_trap("ipo", examples=3)
except AssertionError as failure:
    print(failure.claim)
"""


def test_importing_needs_neither_torch_nor_trl() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "trapped" in done.stdout
