"""Every reading of every claim, driven by the registry."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest

import prefeq as pq
from prefeq.claims import registry, run
from prefeq.claims.evidence import PROOF_KINDS
from prefeq.claims.instance import build
from prefeq.claims.verdict import Verdict

READINGS = [(claim, reading) for claim in registry.select() for reading in claim.readings]
IDS = [f"{claim.id}/{reading.label}" for claim, reading in READINGS]

# What mathematics says of each reading, so that a wrong verdict cannot pass as a decided one.
REFUTED = {
    "equivalence/ordered-pair (if)",
    "equivalence/ordered-pair-with-cycles (only-if)",
    "equivalence/bradley-terry-connected (only-if)",
    "equivalence/bradley-terry-disconnected (if)",
    "equivalence/bradley-terry-disconnected (only-if)",
    "relative-advantage/absolute-margin",
    "undesirable-space/non-empty (only-if)",
    "undesirable-space/lower-loss-soft-labels",
    "undesirable-space/loss-certificate-soft-labels (if)",
    "undesirable-space/loss-certificate-soft-labels (only-if)",
    "pathological-convergence/ordered-acyclic",
    "pathological-convergence/ipo-overlapping",
    "cpo-constrained/rlhf-strict (only-if)",
    "cpo-constrained/strict-alignment-zero-margin",
    "margin-ranking/zero-limit-loss-ranks",
    "cpo-penalty/has-optimum",
    "cpo-margin/several-pairs",
    "cpo-margin/aligned-for-all-larger-gamma",
    "cpo-margin/eq17-exact",
    "cpo-margin/eq17-sign (if)",
    "cpo-alignment/strict",
    "cpo-alignment/existence",
    "cpo-alignment/one-gamma-for-all-prompts",
    "cpo-alignment/chain",
    "cpo-alignment/overlapping",
    "cpo-alignment/some-gamma",
    "cpo-alignment/more-gamma-is-better",
    "e-cpo/eq17-fixed",
    "e-cpo/eq17-per-label",
    "e-cpo/easy-raises-target",
    "e-cpo/easy-fixed",
    "e-cpo/easy-per-label",
    "e-cpoc/smooth-alpha-above-one",
    "e-cpoc/smooth-per-label",
    "e-cpoc/clip-per-label",
    "violation-rate/quoted-rate-carries-over",
    "violation-rate/sum-or-mean",
    "gradient-weakening/vanishes-at-boundary",
    "gradient-weakening/soft-labels",
    "gradient-weakening/never-escapes",
    "different-objectives/argmins-ordered (only-if)",
    "different-objectives/argmins-bradley-terry (if)",
    "different-objectives/order-ordered (only-if)",
    "different-objectives/order-population (only-if)",
    "different-objectives/alignment",
    "loss-to-delta/aligned-by-ln2",
    "loss-to-delta/mean-certifies-each",
    "loss-to-delta/averages-soft-labels",
    "loss-to-delta/soft-fixed-target (only-if)",
    "loss-to-delta/soft-recomputed-target",
}
VACUOUS = {
    "equivalence/ordered-pair (only-if)",
    "equivalence/ordered-pair-with-cycles (if)",
    "different-objectives/argmins-bradley-terry (only-if)",
}


@cache
def result_of(index):
    return run.check_reading(READINGS[index][1])


@pytest.fixture(params=range(len(READINGS)), ids=IDS)
def found(request):
    return IDS[request.param], result_of(request.param)


def test_it_is_decided_and_as_mathematics_has_it(found):
    name, result = found
    reasons = [item.summary for item in result.evidence if item.kind == "reason"]
    assert result.verdict is (Verdict.REFUTED if name in REFUTED else Verdict.PROVED), reasons
    assert result.vacuous == (name in VACUOUS)
    assert result.ok


def test_all_evidence_holds_and_is_tied_to_the_package(found):
    _, result = found
    assert [item.summary for item in result.evidence if not item.holds] == []
    kinds = {item.kind for item in result.evidence}
    assert kinds & {"tie", "recheck"}
    for item in result.evidence:
        if item.kind == "tie":
            assert item.data["runs"]["count"] >= 100


def test_both_sides_of_an_identity_are_shown(found):
    """Computer algebra cancels on its own: "0 = 0" in the evidence would show nothing."""
    _, result = found
    for item in result.evidence:
        if item.kind == "symbolic":
            inputs = item.data["inputs"]
            for left, right in zip(inputs["left"], inputs.get("right", ()), strict=False):
                assert left != right, item.summary


def test_a_refutation_has_an_instance_and_says_what_contradicts_what(found):
    _, result = found
    counters = [item for item in result.evidence if item.kind == "counterexample"]
    assert bool(counters) == (result.verdict is Verdict.REFUTED)
    for item in counters:
        problem, prefs = build(item.data["instance"])
        assert len(item.data["instance"]["pairs"]) == prefs.P
        assert len(item.data["instance"]["exact"]["ref"]) == problem.K
        assert item.data["inequalities"]


def test_a_proof_has_steps_that_prove(found):
    _, result = found
    if result.verdict is Verdict.PROVED:
        steps = [item for item in result.evidence if item.kind in PROOF_KINDS and item.step]
        assert steps, "nothing but samples"


def test_it_has_a_strict_json_form(found):
    _, result = found
    text = json.dumps(result.to_dict(), allow_nan=False)
    form = json.loads(text)
    assert set(form) == {"reading", "part", "verdict", "vacuous", "scope", "evidence"}
    for item in form["evidence"]:
        assert set(item) == {"kind", "summary", "data"}
        assert item["summary"]
    assert form == result.to_dict(), "tuples or other types that JSON would change"


def test_a_refutation_carries_an_instance_that_feeds_the_solvers(found):
    _, result = found
    if result.verdict is not Verdict.REFUTED:
        assert result.instance is None
        return
    instance = json.loads(json.dumps(result.instance))
    assert {"reward", "ref", "beta", "pairs", "labels"} <= set(instance)
    bandit, prefs = build(instance)
    rlhf = pq.solve_rlhf(bandit)
    # The closed form, spelled out: pi* is proportional to ref e^(r/beta).
    weight = np.array(instance["ref"]) * np.exp(np.array(instance["reward"]) / instance["beta"])
    np.testing.assert_allclose(np.exp(rlhf.logp), weight / weight.sum(), rtol=1e-12)
    for item in result.evidence:
        if item.kind == "counterexample" and "rlhf_margin" in item.data:
            want = np.atleast_1d(item.data["rlhf_margin"])
            np.testing.assert_allclose(rlhf.margin(prefs), want, rtol=1e-12, atol=1e-12)


def counterexample(name):
    (item,) = [i for i in result_of(IDS.index(name)).evidence if i.kind == "counterexample"]
    return item.data


def sigma(z):
    return 1 / (1 + np.exp(-z))


class TestTheRefutationsByHand:
    """A few lines of NumPy a refutation, with none of the package's formulas."""

    def test_ordered_pair(self):
        data = counterexample("equivalence/ordered-pair (if)")
        instance = data["instance"]
        assert (instance["reward"], instance["ref"], instance["beta"]) == ([1, 0], [0.5, 0.5], 1)
        # delta* = 1, delta_ref = 0: dL/ddelta = -sigma(-1), L(2) < L(1)
        assert data["rlhf_margin"] == [1.0]
        assert np.isclose(data["dpo_slope_at_rlhf"][0], -sigma(-1), rtol=1e-14)
        assert np.isclose(-sigma(-1), -0.268941, atol=1e-6)
        assert np.log1p(np.exp(-2)) < np.log1p(np.exp(-1))

    def test_bradley_terry_connected(self):
        data = counterexample("equivalence/bradley-terry-connected (only-if)")
        probs = np.array([0.02, 0.9, 0.08]) * np.exp([1, 0, 0.5])
        probs /= probs.sum()
        np.testing.assert_allclose(data["rlhf_probs"], probs, rtol=1e-13)
        np.testing.assert_allclose(probs, [0.050048, 0.828528, 0.121423], atol=1e-6)
        assert np.isclose(data["rlhf_margin"][0], np.log(probs[0] / probs[1]), rtol=1e-13)
        # the population gradient vanishes there: sigma(x) = q on every pair
        ref = np.array([0.02, 0.9, 0.08])
        for w, lo, gap in ((0, 1, 1.0), (0, 2, 0.5), (2, 1, 0.5)):
            x = np.log(probs[w] / probs[lo]) - np.log(ref[w] / ref[lo])
            assert abs(sigma(x) - sigma(gap)) < 1e-15

    def test_bradley_terry_disconnected(self):
        data = counterexample("equivalence/bradley-terry-disconnected (if)")
        np.testing.assert_allclose(
            data["dpo_probs"], [0.36553, 0.13447, 0.36553, 0.13447], atol=1e-5
        )
        np.testing.assert_allclose(
            data["rlhf_probs"], [0.64391, 0.23688, 0.08714, 0.03206], atol=1e-5
        )
        theta = np.zeros(4)
        for _ in range(4000):  # plain gradient descent on softmax logits from the uniform policy
            for w, lo in ((0, 1), (2, 3)):
                push = 0.25 * (sigma(1) - sigma(theta[w] - theta[lo]))
                theta[[w, lo]] += push, -push
        probs = np.exp(theta) / np.exp(theta).sum()
        np.testing.assert_allclose(data["dpo_probs"], probs, atol=1e-12)

    def test_soft_label_in_undesirable_space(self):
        data = counterexample("undesirable-space/lower-loss-soft-labels")
        q, x = sigma(0.1), np.log(9 / 10) + np.log(10000)
        loss = q * np.log1p(np.exp(-x)) + (1 - q) * np.log1p(np.exp(x))
        assert np.isclose(data["loss"][0], loss, rtol=1e-12)
        assert loss > np.log(2)

    def test_certificate_with_soft_label(self):
        data = counterexample("undesirable-space/loss-certificate-soft-labels (if)")
        q, x = sigma(1), np.log(2) - np.log(3 / 5)
        loss = q * np.log1p(np.exp(-x)) + (1 - q) * np.log1p(np.exp(x))
        assert np.isclose(data["loss"][0], loss, rtol=1e-12)
        assert np.log1p(3 / 5) < loss < np.log(2)

    def test_ordered_pairs_leave_undesirable_space(self):
        data = counterexample("pathological-convergence/ordered-acyclic")
        delta_ref = np.log(1 / 19)
        delta, path = delta_ref, [delta_ref]
        for _ in range(60):
            delta += 2 * sigma(-(delta - delta_ref))
            path.append(delta)
        np.testing.assert_allclose(data["path"], path, rtol=1e-11, atol=1e-12)
        first = int(np.argmax(np.array(path) > 0))
        assert (first, first - 1) == (data["first_aligned_step"], data["steps_in_U"])

    def test_the_constrained_program_stops_at_zero(self):
        data = counterexample("cpo-constrained/strict-alignment-zero-margin")
        assert np.isclose(data["rlhf_margin"], np.log(1 / 19) + 1, rtol=1e-13)
        grid = np.linspace(0, 5, 2001)
        win = sigma(grid)
        ref = np.array([1 / 20, 19 / 20])
        objective = win - (win * np.log(win / ref[0]) + (1 - win) * np.log((1 - win) / ref[1]))
        assert int(np.argmax(objective)) == 0, "J falls on delta >= 0: the optimum is at delta = 0"
