"""`loss-to-delta` by hand: NumPy, with none of the package's formulas."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from prefeq import losses, margins
from prefeq.claims import loss_averages, loss_to_delta, registry, run, soft_certificates
from prefeq.claims.policy_case import PolicyCase


def sigma(z):
    return 1 / (1 + np.exp(-z))


def softplus(z):
    return np.log1p(np.exp(z))


def counterexample(label):
    claim = registry.get_claim("loss-to-delta")
    (reading,) = [r for r in claim.readings if r.label == label]
    (item,) = [i for i in run.check_reading(reading).evidence if i.kind == "counterexample"]
    assert item.holds
    return item.data


def test_a_loss_below_ln2_is_not_aligned():
    data = counterexample("aligned-by-ln2")
    loss = softplus(-(np.log(1 / 3) - np.log(1 / 9)))
    np.testing.assert_allclose(data["loss"], [loss], rtol=1e-13)
    assert loss < np.log(2)
    assert data["margin"][0] < 0


def test_the_mean_does_not_certify_each():
    data = counterexample("mean-certifies-each")
    policy = np.array([3, 4, 1]) / 8
    delta = np.log(policy[:2] / policy[1:])
    mean = softplus(-delta).mean()  # a uniform reference, beta = 1
    assert np.isclose(data["mean_loss"], mean)
    bound = -np.log(np.exp(mean) - 1)
    np.testing.assert_allclose(data["certified_margin"], [bound, bound])
    assert mean < np.log(2), "even a mean below ln 2 ..."
    assert delta[0] < 0 < bound, "... leaves a pair misaligned"
    assert delta.mean() >= bound, "what it certifies is the mean"
    assert delta.min() >= -np.log(np.exp(2 * mean) - 1)


def test_a_soft_label_can_lose_above_its_target():
    data = counterexample("soft-fixed-target (only-if)")
    q, z = sigma(1), np.log(99)
    risk = q * softplus(-z) + (1 - q) * softplus(z)
    np.testing.assert_allclose(data["loss"], [risk], rtol=1e-12)
    assert risk > np.log(2)
    inside = q * softplus(-2) + (1 - q) * softplus(2)
    assert inside < np.log(2), "at t + 2 gap/beta it does not"


def test_easy_rewards_what_is_below_its_target():
    data = counterexample("soft-recomputed-target")
    shift = 0.5 * 2 / np.log(0.5)  # gamma/beta (1/log p_w + 1/log p_l), and delta_ref = 0
    delta, q = np.log(1 / 5), sigma(1)
    risk = q * softplus(-(delta - shift)) + (1 - q) * softplus(delta + shift)
    np.testing.assert_allclose(data["target"] + data["swapped_target"], [shift, shift])
    np.testing.assert_allclose(data["risk"], [risk], rtol=1e-12)
    assert delta < shift
    assert risk < np.log(2)


def test_soft_labels_break_the_share_bound():
    data = counterexample("averages-soft-labels")
    q, z = sigma(1), -np.log(3)  # delta = 0, delta_ref = log 3
    risk = q * softplus(-z) + (1 - q) * softplus(z)
    bound = risk / softplus(np.log(3))
    assert np.isclose(data["share_bound"], bound)
    assert bound < 1 == Fraction(data["misaligned_share"])
    low = np.linspace(-8, z, 2001)  # where delta <= 0
    floor = (q * softplus(-low) + (1 - q) * softplus(low)).min()
    assert np.isclose(risk / floor, 1), "the corrected bound is attained here"


def test_the_share_bound_is_nearly_attained():
    delta = np.array([0.0, 0.0, 60.0, 60.0, 60.0])
    mean = float(np.mean(losses.DPO.value(delta, 0.0, 1.0)))
    bound = float(margins.misaligned_share_bound(mean, 0.0, 1.0))
    assert np.isclose(bound, 0.4, rtol=1e-12)


def test_certificates_with_recomputed_targets_hold_for_the_rest_of_the_family():
    rng = np.random.default_rng(0)
    delta, ref, q = rng.normal(0, 3, 4000), rng.normal(0, 3, 4000), rng.uniform(0.5, 1, 4000)
    odds = np.log(q / (1 - q))
    for loss in (losses.DPO, losses.CLIP, losses.smooth(gamma=1.0), losses.simpo(0.5)):
        risk = loss.population_value(delta, ref, 1.0, odds, "per-label")
        sure = risk <= np.log(2)
        assert sure.sum() > 50
        assert np.all(delta[sure] >= loss.target(ref, 1.0)[sure])


def test_what_refutes_nothing_is_not_a_counterexample():
    made = loss_to_delta.LOW_BAR.instance
    assert loss_to_delta.small_loss(PolicyCase.of(made, ["3/4", "1/4"])).outcome == "fails"
    assert loss_averages.uneven(loss_averages.CHAIN, 1).outcome == "fails"
    calm = PolicyCase.of(soft_certificates.EVEN, ["2/3", "1/3"])
    assert soft_certificates.high_loss(calm).outcome == "fails"
    assert soft_certificates.below_target(calm, Fraction(1, 2)).outcome == "fails"
    aligned = PolicyCase.of(loss_averages.TIED.instance, ["2/3", "1/3"])
    assert loss_averages.misaligned_share(aligned).outcome == "fails"
