"""Re-checks and instances: what they compare, and that a wrong answer does not pass."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from prefeq import solvers
from prefeq.claims import (
    cpo_lemmas,
    cpo_theorems,
    equivalence,
    gallery,
    lemmas,
    pathological_convergence,
    recheck,
    samples,
)
from prefeq.claims.instance import Instance, build
from prefeq.claims.policy_case import Fed, PolicyCase
from prefeq.solvers import cpo

ONE = Instance.of("one", reward=[1, 0], ref=["1/4", "3/4"], pairs=[(0, 1)])


def test_close():
    assert recheck.close([1.0, -np.inf], [1.0 + 1e-10, -np.inf])
    assert recheck.close(1e6, 1e6 + 1e-4)
    assert not recheck.close(1.0, 1.0 + 1e-8)
    assert not recheck.close(np.nan, np.nan)
    assert not recheck.close([1.0], 1.0)
    assert not recheck.close(np.inf, 1.0)
    assert not recheck.close(1.0, np.inf)


def test_rechecked_names_the_first_failure_and_needs_one_comparison():
    assert recheck.rechecked("w", [("a", True), ("b", True)]).data["runs"] == {"count": 2}
    broken = recheck.rechecked("w", [("a", True), ("b", False), ("c", False)])
    assert broken.outcome == "fails"
    assert broken.summary == "w: b failed"
    assert recheck.rechecked("w", []).outcome == "fails"


def test_an_instance_survives_its_json():
    bandit, prefs = build(ONE.to_data())
    np.testing.assert_allclose(np.exp(bandit.ref_logp), [0.25, 0.75], rtol=1e-15)
    assert np.isinf(prefs.log_odds[0])
    soft = build(ONE.labelled("bradley-terry").to_data())[1]
    assert soft.log_odds[0] == 1.0
    assert ONE.to_data()["exact"] == {"reward": ["1", "0"], "ref": ["1/4", "3/4"], "beta": "1"}


@pytest.mark.parametrize("ref", [["1/4", "1/4"], ["5/4", "-1/4"], [0, 1]])
def test_an_instance_needs_a_reference_policy(ref):
    with pytest.raises(ValueError, match="positive with sum 1"):
        Instance.of("bad", reward=[1, 0], ref=ref, pairs=[(0, 1)])


@pytest.mark.parametrize("policy", [["1/4", "1/4"], ["1/3", "1/3", "1/3"], [0, 1]])
def test_a_case_needs_a_policy(policy):
    with pytest.raises(ValueError, match="not a policy"):
        PolicyCase.of(ONE, policy)


def test_a_tampered_case_is_noticed():
    case = PolicyCase.of(ONE, ["1/3", "2/3"])
    assert case.in_undesirable(0)
    data = case.data()
    assert all(good for _, good in Fed.back(data).comparisons(data, [True]))
    for name in ("ref_margin", "margin", "loss"):
        wrong = {**data, name: [data[name][0] + 1e-6]}
        assert not all(good for _, good in Fed.back(wrong).comparisons(wrong, [True]))
    assert not all(good for _, good in Fed.back(data).comparisons(data, [False]))


@pytest.mark.parametrize("instance", gallery.GALLERY, ids=lambda i: i.name)
def test_deciders_agree_with_plain_numpy(instance):
    ref = np.array([float(p) for p in instance.ref])
    reward = np.array([float(r) for r in instance.reward])
    star = np.log(ref) + reward / float(instance.beta)
    margin = np.array([star[w] - star[lo] for w, lo in instance.pairs])
    assert gallery.assumption(instance).answer == bool(np.all(margin > 0))
    assert gallery.weak_assumption(instance).answer == bool(np.all(margin >= 0))
    np.testing.assert_allclose(
        gallery.assumption(instance).numbers["rlhf_margin"], margin, atol=1e-14
    )


@pytest.mark.parametrize("labels", ["ordered", "bradley-terry"])
@pytest.mark.parametrize("instance", gallery.GALLERY, ids=lambda i: i.name)
def test_the_slope_at_rlhf_agrees_with_plain_numpy(instance, labels):
    instance = instance.labelled(labels)
    slope = np.zeros(instance.size)
    for k, (winner, loser) in enumerate(instance.pairs):
        gap = float(instance.gap(k))
        q = 1.0 if labels == "ordered" else 1 / (1 + np.exp(-gap))
        push = float(instance.beta) * (1 / (1 + np.exp(-gap)) - q) / len(instance.pairs)
        slope[winner] += push
        slope[loser] -= push
    found = gallery.dpo_is_rlhf(instance)
    np.testing.assert_allclose(found.numbers["dpo_slope_at_rlhf"], slope, atol=1e-15)
    if np.any(np.abs(slope) > 1e-12):
        assert found.answer is False


THEOREMS = (
    cpo_theorems.meets_margins,
    cpo_theorems.rlhf_iff,
    cpo_theorems.beats_all,
    cpo_theorems.one_pair,
    cpo_theorems.is_isotonic,
)


@pytest.mark.parametrize("theorem", THEOREMS, ids=lambda f: f.__name__)
def test_each_theorem_notices_a_policy_that_is_slightly_off(theorem, monkeypatch):
    assert samples.asserted("", samples.acyclic(10), theorem).holds
    right = cpo.log_normalise

    def off(logits):
        return right(np.asarray(logits) + 1e-5 * np.arange(np.size(logits)))

    monkeypatch.setattr(cpo, "log_normalise", off)
    assert samples.asserted("", samples.acyclic(10), theorem).outcome == "fails"


@pytest.mark.parametrize(
    ("theorem", "problems"),
    [
        (equivalence._same_policy, samples.connected),
        (equivalence._same_margins, lambda n: samples.acyclic(n, labels="bradley-terry")),
        (pathological_convergence._ends_at_optimum, samples.connected),
    ],
    ids=["same-policy", "same-margins", "ends-at-optimum"],
)
def test_each_sampled_equality_notices_an_answer_of_dpo_that_is_slightly_off(
    theorem, problems, monkeypatch
):
    assert samples.asserted("", problems(3), theorem).holds
    right = solvers.solve_dpo

    def off(bandit, *args, **kwargs):
        dpo = right(bandit, *args, **kwargs)
        return dataclasses.replace(dpo, logp=dpo.logp + 1e-3 * np.arange(bandit.K))

    monkeypatch.setattr(solvers, "solve_dpo", off)
    assert samples.asserted("", problems(3), theorem).outcome == "fails"


def test_a_direction_that_fails_one_pair_does_not_count_as_divergence(monkeypatch):
    right = solvers.solve_dpo

    def off(bandit, prefs, **kwargs):
        dpo = right(bandit, prefs, **kwargs)
        direction = np.array(dpo.direction)
        direction[prefs.winner[0]] = direction[prefs.loser[0]]
        return dataclasses.replace(dpo, direction=direction)

    assert samples.asserted("", samples.acyclic(10), equivalence._diverges).holds
    monkeypatch.setattr(solvers, "solve_dpo", off)
    for problem in samples.acyclic(10):
        assert not equivalence._diverges(*problem)


def test_cpo_is_told_from_rlhf_when_a_pair_is_violated(monkeypatch):
    assert samples.asserted("", samples.acyclic(10), equivalence._cpo_iff).holds
    monkeypatch.setattr(
        solvers, "solve_cpo", lambda bandit, prefs, margin: solvers.solve_rlhf(bandit)
    )
    assert samples.asserted("", samples.acyclic(10), equivalence._cpo_iff).outcome == "fails"


def test_finite_arguments_count_what_they_checked():
    """OEIS A003024 (acyclic orders) and A001187 (connected graphs); four states an ordered pair."""
    assert lemmas.acyclic_heights().data["count"] == 3 + 25 + 543
    kernel = lemmas.incidence_kernel().data
    assert (kernel["count"], kernel["connected"]) == (1099, 1 + 1 + 4 + 38 + 728)
    assert cpo_lemmas.feasibility().data["count"] == 4**2 + 4**6


def test_exact_fields_are_rationals():
    for instance in gallery.GALLERY:
        for field in ("reward", "ref"):
            exact = [Fraction(x) for x in instance.to_data()["exact"][field]]
            assert tuple(exact) == getattr(instance, field)
        assert dataclasses.replace(instance) == instance
