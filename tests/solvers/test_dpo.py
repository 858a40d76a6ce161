"""DPO by Newton: RLHF on connected problems, 50-digit truths, argmin sets, divergence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from solvers import checks, instances, oracle, planted

import prefeq as pq
from prefeq import strategies
from prefeq.errors import ProblemError
from prefeq.solvers import likelihood

INF = np.inf


@pytest.mark.parametrize("seed", range(10))
def test_connected_bradley_terry_problems_give_rlhf(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(100):
        bandit, pairs = instances.consistent(rng)
        found, truth = pq.solve_dpo(bandit, pairs), pq.solve_rlhf(bandit)
        assert found.status is pq.Status.OPTIMAL
        assert found.dimension == 0
        assert np.max(np.abs(found.logp - truth.logp)) * bandit.beta <= 1e-9
        size = checks.nats_of(found.logp, bandit.ref_logp)
        assert np.max(np.abs(found.logp - truth.logp)) <= (found.residual + truth.residual) * size


def test_beta_up_to_a_million_relative_to_the_rounding_of_log_pi() -> None:
    rng = np.random.default_rng(11)
    for _ in range(100):
        bandit, pairs = instances.consistent(rng, max_beta=1e6)
        found, truth = pq.solve_dpo(bandit, pairs).logp, pq.solve_rlhf(bandit).logp
        size = checks.nats_of(bandit.beta * found, bandit.beta * bandit.ref_logp)
        assert np.max(np.abs(found - truth)) * bandit.beta <= 1e-9 * size


@pytest.mark.parametrize("kind", ["counts", "soft", "vast", "mixed"])
def test_the_residual_bounds_the_true_error_of_contradictory_labels(kind: str) -> None:
    rng = np.random.default_rng(7)
    for _ in range(8 if kind == "vast" else 30):
        checks.dpo(*instances.contradictory(rng, kind))


@pytest.mark.parametrize("nats", [0.1, 5.0, 50.0, 800.0])
def test_planted_optima(nats: float) -> None:
    rng = np.random.default_rng(3)
    for _ in range(60):
        k, beta = int(rng.integers(3, 9)), 10.0 ** rng.uniform(-3, 3)
        bandit, pairs, s = planted.likelihood(rng, k, int(rng.integers(1, k)), nats=nats, beta=beta)
        found = pq.solve_dpo(bandit, pairs)
        checks.residual_small(found)
        moved = beta * (found.logp - bandit.ref_logp)
        size = beta * checks.nats_of(found.logp, bandit.ref_logp) + nats
        assert np.max(np.abs(moved - np.mean(moved) - s)) <= 1e-12 * size


@given(strategies.problems(min_responses=2, limit=60.0))
def test_the_residual_of_a_moved_policy_bounds_its_distance(problem) -> None:
    bandit, pairs = problem
    exact = pq.solve_dpo(bandit, pairs)
    assume(exact.status is pq.Status.OPTIMAL)
    moved = pq.Bandit(np.zeros(bandit.K), exact.logp + 1e-7 * np.arange(bandit.K), 1.0).ref_logp
    from prefeq.solvers.dpo import _Problem

    claimed = _Problem.of(bandit, pairs).residual(moved)
    bound = (claimed + exact.residual) * checks.nats_of(moved, bandit.ref_logp)
    assert checks.distance(moved, exact.logp) <= bound


def test_the_instance_of_two_components() -> None:
    bandit = pq.Bandit([2, 1, 0, -1], [0, 0, 0, 0], 1.0)
    pairs = pq.Preferences.bradley_terry(bandit, [[0, 1], [2, 3]])
    dpo = pq.solve_dpo(bandit, pairs)
    assert dpo.status is pq.Status.NOT_UNIQUE
    assert dpo.dimension == 1
    np.testing.assert_allclose(np.exp(dpo.logp), [0.36553, 0.13447, 0.36553, 0.13447], atol=5e-6)
    rlhf = np.exp(pq.solve_rlhf(bandit).logp)
    np.testing.assert_allclose(rlhf, [0.64391, 0.23688, 0.08714, 0.03206], atol=5e-6)


@pytest.mark.parametrize("seed", range(5))
def test_disconnected_problems_keep_each_components_mean_logit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(20):
        k = int(rng.integers(3, 9))
        bandit = pq.Bandit(rng.normal(0, 5, k), rng.normal(0, 20, k), 10.0 ** rng.uniform(-2, 2))
        cut = int(rng.integers(1, k))
        edges = [p for p in instances.spanning_pairs(rng, k, 2) if (p[0] < cut) == (p[1] < cut)]
        pairs = pq.Preferences.bradley_terry(bandit, edges)
        component = pairs.components(bandit)
        found = pq.solve_dpo(bandit, pairs)
        assert found.dimension == component.max() == len(set(component)) - 1
        assert found.status is pq.Status.NOT_UNIQUE
        mean = np.array([bandit.reward[component == c].mean() for c in component])
        theta = bandit.ref_logp + (bandit.reward - mean) / bandit.beta
        want = planted.log_normalise(theta)
        np.testing.assert_allclose(found.logp, want, rtol=0, atol=1e-13 * checks.nats_of(theta))
        equal_means = pq.Bandit(bandit.reward - mean, bandit.ref_logp, bandit.beta)
        rlhf = pq.solve_rlhf(equal_means).logp
        np.testing.assert_allclose(found.logp, rlhf, rtol=0, atol=1e-13 * checks.nats_of(theta))


def test_another_member_of_the_argmin_set_is_not_the_limit() -> None:
    from prefeq.solvers.dpo import _Problem

    bandit = pq.Bandit([2, 1, 0, -1], [0, 0, 0, 0], 1.0)
    pairs = pq.Preferences.bradley_terry(bandit, [[0, 1], [2, 3]])
    rlhf = pq.solve_rlhf(bandit).logp  # a minimiser too
    assert _Problem.of(bandit, pairs).residual(pq.solve_dpo(bandit, pairs).logp) < 1e-14
    assert _Problem.of(bandit, pairs).residual(rlhf) > 0.1


@pytest.mark.parametrize("seed", range(6))
def test_the_direction_of_divergence_solves_its_quadratic_program(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(40):
        checks.direction(*instances.diverging(rng))


def test_margins_of_a_diverging_problem_are_their_limits() -> None:
    rng = np.random.default_rng(5)
    for _ in range(60):
        bandit, pairs = instances.diverging(rng)
        found = pq.solve_dpo(bandit, pairs)
        strong = pairs.strong_components(bandit)
        inside = strong[pairs.winner] == strong[pairs.loser]
        margin = found.margin(pairs)
        assert np.all(np.isfinite(margin) == inside)
        ahead = ~inside
        assert np.array_equal(np.sign(margin[ahead]), np.sign(pairs.log_odds[ahead]))
        for part in np.unique(strong[pairs.winner[inside]]):
            members = np.flatnonzero(strong == part)
            rank = {int(v): i for i, v in enumerate(members)}
            labels = [
                oracle.Label(rank[w], rank[lo], odds, mass)
                for w, lo, odds, mass in checks.labels_of(pairs)
                if w in rank and lo in rank
            ]
            s = oracle.dpo(members.size, labels, np.zeros(members.size), dps=30)
            for k in np.flatnonzero(inside & (strong[pairs.winner] == part)):
                x = float(s[rank[int(pairs.winner[k])]] - s[rank[int(pairs.loser[k])]])
                want = pairs.ref_margin(bandit)[k] + x / bandit.beta
                assert margin[k] == pytest.approx(want, abs=1e-11 * max(1, abs(want)))
        assert found.loss >= 0


def test_rewards_have_no_say() -> None:
    pairs = pq.Preferences([0, 1], [1, 2], prob=[0.9, 0.3])
    small, large = (pq.Bandit([r, 0, 0], [0, -1, -2], 0.5) for r in (1.0, 1e15))
    one, two = pq.solve_dpo(small, pairs), pq.solve_dpo(large, pairs)
    np.testing.assert_array_equal(one.logp, two.logp)
    assert one.residual == two.residual


@given(strategies.problems(min_responses=2, labels="soft"))
def test_duplicates_add_up_and_absent_pairs_vanish(problem) -> None:
    bandit, pairs = problem
    base = pq.solve_dpo(bandit, pairs)
    split = pq.Preferences(
        np.tile(pairs.winner, 2),
        np.tile(pairs.loser, 2),
        log_odds=np.tile(pairs.log_odds, 2),
        mass=np.concatenate([pairs.mass * 0.25, pairs.mass * 0.75]),
    )
    turned = pq.Preferences(pairs.loser, pairs.winner, log_odds=-pairs.log_odds, mass=pairs.mass)
    keep = pairs.present
    kept = pq.Preferences(
        pairs.winner[keep], pairs.loser[keep], log_odds=pairs.log_odds[keep], mass=pairs.mass[keep]
    )
    for other in (split, turned, kept):
        found = pq.solve_dpo(bandit, other)
        size = checks.nats_of(base.logp, bandit.ref_logp)
        bound = (base.residual + found.residual + 1e-13) * size + 1e-13 / bandit.beta
        assert found.status is base.status
        assert checks.distance(found.logp, base.logp) <= bound


@given(strategies.problems(min_responses=2), st.sampled_from([0.5, 4.0]), st.randoms())
def test_invariances(problem, scale, random) -> None:
    bandit, pairs = problem
    base = pq.solve_dpo(bandit, pairs)
    order = np.array(random.sample(range(bandit.K), bandit.K))
    place = np.argsort(order)
    turned = pq.solve_dpo(
        pq.Bandit(bandit.reward[order], bandit.ref_logp[order], bandit.beta),
        pq.Preferences(
            place[pairs.winner], place[pairs.loser], log_odds=pairs.log_odds, mass=pairs.mass
        ),
    )
    heavier = pq.Preferences(
        pairs.winner, pairs.loser, log_odds=pairs.log_odds, mass=pairs.mass * scale
    )
    massive = pq.solve_dpo(bandit, heavier)
    assert turned.status is massive.status is base.status
    if base.logp is None:
        np.testing.assert_allclose(turned.direction[place], base.direction, atol=1e-9)
        np.testing.assert_allclose(massive.direction, base.direction, atol=1e-9)
        return
    bound = (base.residual + turned.residual + massive.residual) * checks.nats_of(
        base.logp, bandit.ref_logp
    )
    assert checks.distance(turned.logp[place], base.logp) <= bound
    assert checks.distance(massive.logp, base.logp) <= bound


@given(strategies.problems(ill_scaled=True))
def test_ill_scaled_masses_give_an_honest_answer(problem) -> None:
    bandit, pairs = problem
    found = pq.solve_dpo(bandit, pairs)
    ford = bool(pairs.has_ford_condition(bandit))
    if found.status is pq.Status.DIVERGES:
        assert not ford
        assert np.all(np.isfinite(found.direction))
        return
    assert ford
    assert not np.any(np.isnan(found.logp))
    assert np.isfinite(found.loss)
    if found.status is pq.Status.ITERATION_LIMIT:  # at beta of 1e-5 and below rounding may win
        assert found.residual > 1e-9


def test_no_pairs_and_one_response() -> None:
    bandit = pq.Bandit([1, 2, 3], [0, -1, -INF], 1.0)
    found = pq.solve_dpo(bandit, pq.Preferences([], []))
    np.testing.assert_array_equal(found.logp, bandit.ref_logp)
    assert (found.status, found.dimension, found.loss) == (pq.Status.NOT_UNIQUE, 1, 0.0)
    single = pq.solve_dpo(pq.Bandit([1.0], [0.0], 1.0), pq.Preferences([], []))
    assert (single.status, single.logp.tolist()) == (pq.Status.OPTIMAL, [0.0])


def test_the_loss_is_the_formula() -> None:
    bandit = pq.Bandit([0, 0, 0], [0, -1, 2], 0.5)
    pairs = pq.Preferences([0, 1, 0], [1, 2, 2], prob=[0.8, 0.4, 0.5], mass=[1, 2, 3])
    found = pq.solve_dpo(bandit, pairs)
    x = 0.5 * (found.margin(pairs) - pairs.ref_margin(bandit))
    q, soft = pairs.prob, lambda z: np.log1p(np.exp(z))
    want = np.sum(pairs.mass * (q * soft(-x) + (1 - q) * soft(x)))
    assert found.loss == pytest.approx(want, rel=1e-14)


def test_unknown_methods_are_refused() -> None:
    bandit, pairs = pq.Bandit([1, 0], [0, 0], 1.0), pq.Preferences([0], [1])
    with pytest.raises(ProblemError, match=r"method = 'adam': choose 'newton'"):
        pq.solve_dpo(bandit, pairs, "adam")


def test_ill_conditioned_chains_of_200() -> None:
    rng = np.random.default_rng(0)
    a = np.arange(199)
    bandit = pq.Bandit(np.zeros(200), np.zeros(200), 1.0)
    odds, mass = rng.uniform(-300, 300, 199), 10.0 ** rng.uniform(-100, 100, 199)
    found = pq.solve_dpo(bandit, pq.Preferences(a, a + 1, log_odds=odds, mass=mass))
    checks.residual_small(found)
    np.testing.assert_allclose(-np.diff(found.logp), odds, rtol=1e-12, atol=1e-10)


def test_the_newton_start_is_not_the_answer() -> None:
    rng = np.random.default_rng(2)
    steps = [pq.solve_dpo(*instances.contradictory(rng, "soft")).steps for _ in range(20)]
    assert max(steps) > 3  # so that the oracle comparisons above test the iteration itself
    assert likelihood.error_bound(likelihood.merge(1, *np.zeros((4, 0), int)), np.zeros(1)) == 0.0
