"""Cards of our losses and of the released ones, against closed forms written here."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from loss_cards import planted

import prefeq as pq
from prefeq.loss_cards import LossCard, Pairs, adapt
from prefeq.losses import LOSSES


@cache
def card(name: str, **parameters: float) -> LossCard:
    return pq.analyse_loss(name, **parameters)


def of(function: Any, **parameters: Any) -> LossCard:
    return pq.analyse_loss(function, **parameters)


KEYS = {
    "loss", "margin_only", "first_step", "minimisers", "target_margin", "aligned",
    "aligned_per_label", "trap", "exit_time_ratio", "counterexample", "faults",
}  # fmt: skip

VERDICTS = {
    # name: aligned, aligned per label, trap
    "dpo": (False, False, False),
    "hypo": (True, False, False),
    "smooth": (True, False, False),
    "easy": (False, False, False),
    "simpo": (True, True, False),
    "ipo": (False, False, True),
    "hinge": (False, False, True),
    "cdpo": (False, False, True),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_the_verdicts_of_ours_are_measured_and_certified(name: str) -> None:
    found = card(name, beta=1.0)
    assert (found.aligned, found.aligned_per_label, found.trap) == VERDICTS[name]
    assert all(found.certified.values()), found.certified
    assert found.same_as == (name,)
    assert not [fault for fault in found.faults if fault.severity == "fault"]


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_every_loss_of_ours_has_a_card_that_is_strict_json(beta: float) -> None:
    for name in LOSSES:
        plain = card(name, beta=beta).to_dict()
        assert set(plain) >= KEYS
        json.dumps(plain, allow_nan=False)
        for key in ("aligned", "aligned_per_label", "trap"):
            assert plain[key] in (True, False, None)


@pytest.mark.parametrize("beta", [0.1, 1.0, 7.0])
@pytest.mark.parametrize(
    ("name", "threshold"), [("ipo", -0.5), ("hinge", -1.0), ("cdpo", -math.log(9.0))]
)
def test_traps_begin_where_the_closed_form_says(name: str, threshold: float, beta: float) -> None:
    (region,) = card(name, beta=beta).trap_region.regions
    assert region == pytest.approx((-10 / beta, threshold / beta), rel=1e-8)


def test_the_clip_branch_is_hypo_and_the_card_says_so() -> None:
    found = of(planted.released_clip, beta=0.5)
    assert found.same_as == ("hypo",)
    assert found.target is not None
    assert found.target.name == "max(delta_ref, 0)"
    assert (found.aligned, found.aligned_per_label, found.trap) == (True, False, False)


def test_the_easy_branch_lowers_the_target_below_dpo() -> None:
    found = of(planted.released_easy, beta=1.0)
    target = found.target
    assert target is not None
    assert target.below_dpo > 0
    assert (target.values < target.ref_margin).all()
    for ref, t in zip(target.ref_margin, target.values, strict=True):
        inverse = sum(1 / float(np.logaddexp(0, s * ref)) for s in (-1, 1))
        assert t == pytest.approx(ref - 0.1 * inverse, rel=1e-6)
    assert found.dependence.kind == "margin and reference log-probs"
    assert not found.margin_only
    assert found.aligned is False


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.1, 2.0])
def test_the_smooth_branch_loses_its_guarantee_above_one(alpha: float) -> None:
    found = of(planted.released_smooth, beta=1.0, alpha=alpha)
    assert found.aligned is (alpha <= 1)
    assert found.target is not None
    assert found.target.tail == pytest.approx(1 - 1 / alpha, abs=1e-6)
    if alpha < 1:  # the least target is H(α)/(ατ) for γ = 0
        entropy = -alpha * math.log(alpha) - (1 - alpha) * math.log(1 - alpha)
        assert found.target.lowest >= entropy / alpha - 1e-9


def test_dpo_itself() -> None:
    found = of(planted.dpo, beta=1.0)
    assert found.same_as == ("dpo",)
    assert found.first_step.direction == "up"
    assert found.first_step.slope == pytest.approx(-0.5, rel=1e-9)
    assert found.first_step.value == pytest.approx(math.log(2))
    assert found.shape.monotone == "decreasing"
    assert found.shape.convex
    assert found.shape.smooth
    assert found.shape.bounded_below
    for row in found.exits:
        u = -row["ref_margin"]
        assert row["time"] == pytest.approx((math.exp(u) + u - 1) / 2, rel=1e-6)
    # |f'| < .05 where βx > logit(.95): a share of 1 − logit(.95)/10 of U at δ_ref = −10.
    assert found.weak[2]["share"] == pytest.approx(1 - math.log(19) / 10, abs=0.004)
    assert not found.faults


def test_clip_leaves_u_in_linear_time() -> None:
    a = 3.0
    clip, dpo = (1 + a - math.exp(-a)) / 2, (math.exp(a) + a - 1) / 2
    assert card("clip", beta=1.0).exit_time_ratio == pytest.approx(clip / dpo, rel=1e-9)


def test_the_counterexample_is_one() -> None:
    for name in ("dpo", "ipo", "easy"):
        found = card(name, beta=1.0)
        example = found.fixed.counterexample
        assert example is not None
        assert example.gap > 0
        assert example.minimiser < 0
        assert example.solvers["lower"] is True
        assert example.solvers["cpo"] >= 0
        bandit, prefs = example.bandit(), example.preferences()
        dpo = float(pq.solve_dpo(bandit, prefs).margin(prefs)[0])
        assert example.solvers["dpo"] == dpo
        if name == "dpo":
            assert example.minimiser == pytest.approx(dpo, abs=1e-9)
            assert dpo == pytest.approx(example.ref_margin + float(example.gap), abs=1e-9)


def test_the_counterexample_is_a_table_that_prefeq_solves(tmp_path: Any) -> None:
    from prefeq.tabular import solve_table

    example = card("dpo", beta=1.0).fixed.counterexample
    assert example is not None
    path = tmp_path / "table.csv"
    path.write_text(example.table())
    report = solve_table(path, None, beta=example.beta)
    assert "misaligned" in str(report) or f"{example.minimiser:.3f}" in str(report)


def test_per_label_targets_of_clip_are_aligned_from_two_thirds_on() -> None:
    needed = card("clip", beta=1.0).per_label.needed
    assert 0 < needed.max() <= math.log(2)


def test_kinds_of_dependence() -> None:
    kinds = {name: card(name, beta=1.0).dependence.kind for name in VERDICTS}
    assert kinds == {
        "dpo": "relative margin",
        "ipo": "relative margin",
        "hinge": "relative margin",
        "cdpo": "relative margin",
        "hypo": "margins",
        "smooth": "margins",
        "simpo": "policy margin",
        "easy": "margin and reference log-probs",
    }
    assert card("dpo", beta=1.0).dependence.shift_invariant
    assert not card("easy", beta=1.0).dependence.shift_invariant


def test_shapes() -> None:
    hinge, ipo = card("hinge", beta=1.0).shape, card("ipo", beta=1.0).shape
    assert not hinge.smooth
    assert hinge.kink == pytest.approx(1.0, abs=1e-5)
    assert (ipo.monotone, ipo.convex, ipo.smooth) == ("neither", True, True)
    assert (ipo.left, ipo.right) == ("rises", "rises")


def test_agreement_names_the_first_pair() -> None:
    same = pq.analyse_loss(planted.dpo, against=["dpo", "hypo"], beta=1.0).agreements
    assert [found.same for found in same] == [True, False]
    first = same[1].first
    assert first is not None
    assert first["ref_chosen_logps"] < first["ref_rejected_logps"]  # where clip is not DPO
    assert first["values"][0] != first["values"][1]


def test_the_values_of_batches_and_of_pairs_are_told_apart() -> None:
    def mean(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
        return planted.dpo(c, r, rc, rr, beta).mean()

    loss = adapt(mean, beta=1.0)
    assert (loss.reduction, loss.coupled) == ("mean", False)
    pairs = Pairs.two_responses([1.0, -2.0, 0.5], [0.0, -1.0, 3.0])
    expected = planted.softplus(-(pairs.margin - pairs.ref_margin))
    np.testing.assert_allclose(loss.value(pairs), expected, rtol=1e-12)
    chosen, rejected = loss.gradient(pairs)
    slope = -1 / (1 + np.exp(pairs.margin - pairs.ref_margin))
    np.testing.assert_allclose(chosen, slope, rtol=1e-8)
    np.testing.assert_allclose(rejected, -slope, rtol=1e-8)


def test_text_and_page() -> None:
    found = card("hinge", beta=1.0)
    text = str(found)
    assert max(map(len, text.splitlines())) < 100
    assert "trap              yes: for delta_ref < -1.000 (beta*delta_ref < -1.000)" in text
    page = found.to_html()
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("<svg") == 1
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert found._repr_html_() in page
    import xml.etree.ElementTree as xml

    xml.fromstring(page.removeprefix("<!DOCTYPE html>\n"))


def test_the_card_can_be_told_where_to_look() -> None:
    near = pq.analyse_loss("ipo", beta=1.0, ref_limit=0.4)
    assert near.trap is False  # the traps begin at −½
    assert pq.analyse_loss("dpo", beta=1.0, ref_limit=0.5, gaps=(1.0, 5.0)).aligned is True


def test_a_loss_that_is_least_at_the_reference_does_not_move() -> None:
    def parabola(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
        return (beta * (c - r - rc + rr)) ** 2

    step = pq.analyse_loss(parabola).first_step
    assert (step.direction, step.chosen, step.rejected) == ("none", 0, 0)


@pytest.mark.parametrize("gap", [0.5, 2.0])
def test_a_fixed_target_of_an_offset_loss_is_kept(gap: float) -> None:
    def odpo(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1, m: float = 1.0) -> Any:
        return np.logaddexp(0, -(beta * (c - r - rc + rr) - m))

    card = pq.analyse_loss(odpo)
    rows = [row for row in card.population if row["reward_gap"] == gap]
    fixed = {row["ref_margin"]: row["minima"] for row in rows if row["reading"] == "fixed"}
    for ref, ((low, high),) in fixed.items():
        assert low == high == pytest.approx(ref + 1.0 / 0.1 + gap / 0.1, abs=1e-6)  # t + gap/beta
