"""`different-objectives` by hand: NumPy, with none of the package's formulas."""

from __future__ import annotations

import numpy as np
import pytest

from prefeq.claims import different_objectives, gallery, policy_order, registry, run
from prefeq.claims.instance import Instance
from prefeq.claims.several_policies import Policies


def sigma(z):
    return 1 / (1 + np.exp(-z))


def counterexample(label):
    claim = registry.get_claim("different-objectives")
    (reading,) = [r for r in claim.readings if r.label == label]
    (item,) = [i for i in run.check_reading(reading).evidence if i.kind == "counterexample"]
    assert item.holds
    return item.data


def value(win, ref, gap, beta):
    """J of two responses with rewards Δr and 0."""
    leash = win * np.log(win / ref) + (1 - win) * np.log((1 - win) / (1 - ref))
    return win * gap - beta * leash


def loss(win, ref, beta, q):
    z = beta * (np.log(win / (1 - win)) - np.log(ref / (1 - ref)))
    return q * np.log1p(np.exp(-z)) + (1 - q) * np.log1p(np.exp(z))


@pytest.mark.parametrize(
    ("label", "wins", "q"),
    [
        ("order-ordered (only-if)", (0.9, 0.75), 1.0),
        ("order-population (only-if)", (0.5, 0.9), sigma(1)),
    ],
)
def test_two_policies_are_ordered_oppositely_though_nothing_is_violated(label, wins, q):
    data = counterexample(label)
    assert data["instance"]["ref"] == [0.5, 0.5]
    assert data["rlhf_margin"] == [1.0]
    first, second = wins
    assert loss(first, 0.5, 1, q) < loss(second, 0.5, 1, q)
    assert value(first, 0.5, 1, 1) < value(second, 0.5, 1, 1)
    np.testing.assert_allclose(data["policy_loss"], [loss(w, 0.5, 1, q) for w in wins])
    np.testing.assert_allclose(data["policy_value"], [value(w, 0.5, 1, 1) for w in wins])


def test_mirrored_policies_are_ordered_alike_iff_not_violated():
    rng = np.random.default_rng(0)
    for _ in range(300):
        ref, gap, beta = rng.uniform(0.05, 0.95), rng.uniform(0.1, 3), rng.uniform(0.3, 3)
        star, h = np.log(ref / (1 - ref)) + gap / beta, rng.uniform(0.1, 3)
        out, back = sigma(star + h), sigma(star - h)
        assert loss(out, ref, beta, sigma(gap)) < loss(back, ref, beta, sigma(gap))
        assert (value(out, ref, gap, beta) > value(back, ref, gap, beta)) == (star > 0)


def test_curves_of_the_same_skew_order_alike():
    """Where 2 tanh(δ*/2) = β tanh(Δr/2) the cubic terms agree: no swap near δ* to third order."""
    gap, beta = 1.0, 1.0
    star = 2 * np.arctanh(beta * np.tanh(gap / 2) / 2)
    ref = sigma(star - gap / beta)
    for y, power in ((0.1, 5), (0.05, 5)):
        below = star - y
        top = value(sigma(star), ref, gap, beta)

        def short(delta, top=top, ref=ref):
            return top - value(sigma(delta), ref, gap, beta)

        low, high = star, star + 2 * y
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if short(middle) < short(below) else (low, middle)
        gain = loss(sigma(low), ref, beta, sigma(gap)) - loss(sigma(below), ref, beta, sigma(gap))
        assert abs(gain) < y**power


def test_population_optima_agree_whatever_the_sign():
    data = counterexample("argmins-bradley-terry (if)")
    made = data["instance"]
    assert min(data["rlhf_margin"]) < 0
    ref, reward = np.array(made["ref"]), np.array(made["reward"])
    probs = ref * np.exp(reward / made["beta"])
    for w, lo in made["pairs"]:
        x = np.log(probs[w] / probs[lo]) - np.log(ref[w] / ref[lo])
        assert abs(sigma(made["beta"] * x) - sigma(reward[w] - reward[lo])) < 1e-15


def test_ordered_pairs_never_have_an_optimum():
    data = counterexample("argmins-ordered (only-if)")
    assert data["rlhf_margin"][0] > 0
    assert data["dpo_slope_at_rlhf"][0] != 0


def test_where_violated_rlhf_and_dpo_align_the_same_pairs():
    data = counterexample("alignment")
    star = np.log(1 / 19) + 1
    assert np.isclose(data["rlhf_margin"][0], star)
    grid = np.linspace(-8, 8, 16001)  # DPO's minimiser, looked for on a grid
    x, q = grid - np.log(1 / 19), 1 / (1 + np.exp(-1))
    loss = q * np.log1p(np.exp(-x)) + (1 - q) * np.log1p(np.exp(x))
    assert np.isclose(data["dpo_margin"][0], grid[np.argmin(loss)], atol=2e-3)
    assert data["inequalities"] == ["rlhf_margin[0] < 0", "dpo_margin[0] < 0"]


@pytest.mark.parametrize("reward", [[1, 0, 0], [5, 3, 0], [0, 0, 0]])
def test_ordered_pairs_part_iff_violated(reward):
    """Plain descent from the reference: DPO aligns the whole chain, RLHF where delta* > 0."""
    ref_margin = np.log([1 / 2, 1 / 3])
    star = ref_margin - np.diff(reward)
    theta = np.zeros(3)
    for _ in range(4000):
        push = 1 / (1 + np.exp(theta[:2] - theta[1:]))
        theta += 0.2 * np.array([push[0], push[1] - push[0], -push[1]])
    dpo = ref_margin + theta[:2] - theta[1:]
    assert np.all(dpo > 0)
    assert np.any((star > 0) != (dpo > 0)) == np.any(star <= 0)


def test_what_refutes_nothing_is_not_a_counterexample():
    assert different_objectives.aligned_alike(policy_order.EVEN).outcome == "fails"
    same = Policies.of(policy_order.EVEN, [["3/4", "1/4"], ["3/4", "1/4"]])
    assert policy_order.opposite(same).outcome == "fails"
    low = Instance.of("violated", reward=[1, 0], ref=["1/10", "9/10"], pairs=[(0, 1)])
    assert gallery.assumption(low).answer is False
    assert policy_order.opposite(Policies.of(low, [["9/10", "1/10"], ["3/4", "1/4"]])).outcome == (
        "fails"
    )
