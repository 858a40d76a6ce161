"""Every layer of an atlas against the package's solvers, one cell at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from scipy import optimize

import prefeq as pq
from prefeq import margins
from prefeq.atlas import Axis, compute, grid, methods, penalty
from prefeq.losses import LOSSES, Loss, Reference, easy, eq17, smooth

LEAST = {
    "delta_ref": lambda rng: rng.uniform(-5, 2),
    "gap": lambda rng: rng.uniform(0.05, 3),
    "beta": lambda rng: 10.0 ** rng.uniform(-1, 0.7),
    "margin": lambda rng: rng.uniform(-1, 1),
    "gamma": lambda rng: 10.0 ** rng.uniform(-3, 0.3),
}
STEPS = 25


def random_atlas(rng: np.random.Generator, k: int, **options: Any) -> pq.atlas.Atlas:
    """Return 2 × 2 cells over two random parameters, the others at random values."""
    names = list(LEAST)
    axes = []
    for name in rng.choice(names, 2, replace=False).tolist():
        values = np.sort([LEAST[name](rng) for _ in range(2)])
        axes.append(Axis(name, values))
        names.remove(name)
    fixed = {name: LEAST[name](rng) for name in names} | {"K": k}
    fixed |= {"alpha": rng.uniform(0.3, 2.0), "tau": rng.uniform(0.3, 3.0)}
    return compute(*axes, fixed=fixed, steps=STEPS, **options)


def cells(atlas: pq.atlas.Atlas) -> Iterator[tuple[tuple[int, int], dict[str, float]]]:
    for index in np.ndindex(atlas.shape):
        names = [*LEAST, "K", "alpha", "tau"]
        values = {n: float(atlas.value(n)[index]) for n in names if n not in atlas.fixed}
        yield index, {**atlas.fixed, **values}


def world(cell: dict[str, float]) -> tuple[pq.Bandit, list[tuple[int, int]]]:
    """Build a cell by hand: rewards and reference log-probabilities rung by rung."""
    k = int(cell["K"])
    reward, ref = [0.0], [0.0]
    for _ in range(k - 1):
        reward.append(reward[-1] - cell["gap"])
        ref.append(ref[-1] - cell["delta_ref"])
    bandit = pq.Bandit(reward, ref, cell["beta"])
    return bandit, [(i, i + 1) for i in range(k - 1)]


def nats(cell: dict[str, float]) -> float:
    return cell["K"] * max(1.0, abs(cell["delta_ref"]), cell["gap"] / cell["beta"])


def rlhf(cell: dict[str, float]) -> float:
    bandit, pairs = world(cell)
    return pq.solve_rlhf(bandit).margin(pq.Preferences.ordered(bandit, pairs)).min()


def dpo(cell: dict[str, float]) -> float:
    bandit, pairs = world(cell)
    labels = pq.Preferences.bradley_terry(bandit, pairs)
    return pq.solve_dpo(bandit, labels).margin(labels).min()


def ordered(cell: dict[str, float]) -> float:
    bandit, pairs = world(cell)
    labels = pq.Preferences.ordered(bandit, pairs)
    return pq.solve_dpo(bandit, labels, "gradient-descent", max_steps=STEPS).margin(labels).min()


def hypo(cell: dict[str, float]) -> float:
    """Descend the loss family's own gradient."""
    bandit, pairs = world(cell)
    labels = pq.Preferences.ordered(bandit, pairs)
    run = pq.solve_dpo(bandit, labels, "gradient-descent", max_steps=1).trajectory
    theta, delta_ref = bandit.ref_logp.copy(), labels.ref_margin(bandit)
    for _ in range(STEPS):
        delta = theta[labels.winner] - theta[labels.loser]
        pull = labels.mass * LOSSES["hypo"].gradient(delta, delta_ref, bandit.beta)
        np.subtract.at(theta, labels.winner, run.step_size * pull)
        np.add.at(theta, labels.loser, run.step_size * pull)
    return (theta[labels.winner] - theta[labels.loser]).min()


def cpo(cell: dict[str, float]) -> float:
    bandit, pairs = world(cell)
    labels = pq.Preferences.ordered(bandit, pairs)
    return pq.solve_cpo(bandit, labels, margin=cell["margin"]).margin(labels).min()


def penalised(cell: dict[str, float]) -> float:
    bandit, pairs = world(cell)
    labels = pq.Preferences.ordered(bandit, pairs)
    solution = pq.solve_penalty(bandit, labels, cell["gamma"])
    return -np.inf if solution.logp is None else solution.margin(labels).min()


def population(loss: Callable[[dict[str, float]], Loss]) -> Callable[[dict[str, float]], float]:
    """Return the oracle of a surrogate: each pair at the root of its own risk's gradient.

    That the pairs of a ladder do not disturb each other is what the oracle of `dpo` shows.
    """

    def oracle(cell: dict[str, float]) -> float:
        bandit, pairs = world(cell)

        def rest(pair: tuple[int, int]) -> float:
            winner, loser = bandit.ref_logp[list(pair)]
            ref = Reference(winner, loser)
            ref = ref if loss(cell).target_rule.needs_logps else winner - loser

            def slope(delta: float) -> float:
                return loss(cell).population_gradient(delta, ref, bandit.beta, cell["gap"])

            middle = float(loss(cell).target(ref, bandit.beta))
            reach = 5.0 * (1.0 + cell["gap"]) / bandit.beta
            return float(optimize.brentq(slope, middle - reach, middle + reach, xtol=1e-13))

        return min(map(rest, pairs))

    return oracle


ORACLES = {
    "rlhf": (rlhf, 1e-12),
    "dpo": (dpo, 1e-12),
    "dpo-ordered": (ordered, 1e-12),
    "hypo": (hypo, 1e-11),
    "cpo": (cpo, 1e-9),
    "penalty": (penalised, 1e-7),
    "eq17": (population(lambda c: eq17(c["gamma"])), 1e-7),
    "smooth": (population(lambda c: smooth(c["alpha"], c["margin"], c["tau"])), 1e-7),
    "easy": (population(lambda c: easy(c["gamma"])), 1e-7),
}


@pytest.mark.parametrize("method", ORACLES)
def test_least_margins_and_verdicts_are_the_solvers(method: str) -> None:
    oracle, tolerance = ORACLES[method]
    rng = np.random.default_rng(sum(map(ord, method)))
    seen = set()
    for k in (2, 2, 2, 3, 3, 4, 5):
        atlas = random_atlas(rng, k, methods=[method])
        for index, cell in cells(atlas):
            want, got = oracle(cell), atlas.least[method][index]
            code = atlas.verdict[method][index]
            seen.add(int(code))
            assert got == want or abs(got - want) <= tolerance * nats(cell), cell
            if np.isneginf(want):
                assert code == 2
            elif abs(want) > tolerance * nats(cell):
                assert code == np.sign(want)
    assert seen >= {"penalty": {1, -1, 2}, "hypo": {1}, "smooth": {1}}.get(method, {1, -1})


def test_cpo_at_no_margin_is_weak_exactly_where_rlhf_is_misaligned() -> None:
    atlas = compute("delta_ref=-4:2:13", "gap=0.25:2:8", fixed={"K": 4}, methods=["rlhf", "cpo"])
    codes = atlas.verdict["rlhf"]
    assert {-1, 0, 1} == set(codes.ravel().tolist())  # δ* = 0 lies on cells of this grid
    np.testing.assert_array_equal(atlas.verdict["cpo"], np.maximum(codes, 0))
    assert np.all(atlas.layers["price"][codes >= 0] == 0)
    assert np.all(atlas.layers["price"][codes < 0] > 0)


def test_the_price_is_what_the_objective_loses() -> None:
    rng = np.random.default_rng(5)
    for k in (2, 3, 5):
        atlas = random_atlas(rng, k, methods=["cpo"])
        for index, cell in cells(atlas):
            bandit, pairs = world(cell)
            labels = pq.Preferences.ordered(bandit, pairs)
            values = [
                pq.solve_rlhf(bandit).value,
                pq.solve_cpo(bandit, labels, margin=cell["margin"]).value,
            ]
            size = 1e-12 * nats(cell) * cell["beta"]
            assert atlas.layers["price"][index] == pytest.approx(values[0] - values[1], abs=size)
    two = compute("delta_ref=-9:-2.001:40", "beta=0.5:5:3", fixed={"gap": 1}, methods=["cpo"])
    star = margins.optimal_margin(*(two.value(name) for name in ("delta_ref", "gap", "beta")))
    closed = margins.price_of_alignment(star, two.value("beta"))
    np.testing.assert_allclose(two.layers["price"], closed, rtol=1e-9, atol=1e-25)


def test_exits_of_two_responses_obey_the_law_and_of_more_are_counted() -> None:
    options: dict[str, Any] = {"methods": ["exit", "dpo-ordered"], "steps": 60}
    two = compute("delta_ref=-5:1:13", "beta=0.1:4:7:log", **options)
    ref, beta = two.value("delta_ref"), two.value("beta")
    np.testing.assert_array_equal(two.layers["exit_time"], margins.exit_time(ref, beta))
    step = two.layers["exit_time"][0, 0] / two.layers["exit_steps"][0, 0]
    assert step == pytest.approx(2 / beta[0, 0] ** 2)  # Lip = β² · 2/4
    low, high = margins.exit_steps_bounds(ref, beta, 2 / beta**2)
    done = two.verdict["dpo-ordered"] >= 0
    assert np.all(done[high <= 60])
    assert not np.any(done[low > 60])
    for k in (3, 5):
        atlas = compute("delta_ref=-5:1:7", "beta=0.1:4:4:log", fixed={"K": k}, **options)
        steps = atlas.layers["exit_steps"]
        np.testing.assert_array_equal(np.isfinite(steps), atlas.verdict["dpo-ordered"] >= 0)
        for index, cell in cells(atlas):
            bandit, pairs = world(cell)
            labels = pq.Preferences.ordered(bandit, pairs)
            run = pq.solve_dpo(
                bandit, labels, "gradient-descent", max_steps=60, record_every=1
            ).trajectory
            out = np.flatnonzero(np.all(run.margin >= 0, axis=1))
            assert steps[index] == (out[0] if out.size else np.inf)
            time = steps[index] * run.step_size
            assert atlas.layers["exit_time"][index] == pytest.approx(time, rel=1e-12)


def test_both_readings_of_a_flipped_label() -> None:
    rng = np.random.default_rng(2)
    for name, loss in (("eq17", eq17), ("easy", easy)):
        found = {}
        for flipped in ("fixed", "per-label"):
            rng = np.random.default_rng(2)
            atlas = random_atlas(rng, 3, methods=[name], flipped=flipped)
            found[flipped] = atlas.least[name]
            for index, cell in cells(atlas):
                bandit, pairs = world(cell)
                ends = [Reference(*bandit.ref_logp[list(pair)]) for pair in pairs]
                want = [
                    loss(cell["gamma"]).minimiser(end, cell["beta"], cell["gap"], flipped)
                    for end in ends
                ]
                assert atlas.least[name][index] == pytest.approx(min(want), rel=1e-12)
        assert np.all(found["fixed"] != found["per-label"])


def test_an_axis_that_a_method_ignores_changes_nothing_and_k_may_be_an_axis() -> None:
    names = [name for name in pq.atlas.METHODS if name != "exit"]
    fixed = {"beta": 0.7, "gamma": 0.05}
    whole = compute("delta_ref=-3:1:4", "K=2:4", fixed=fixed, steps=STEPS)
    for row, k in enumerate((2, 3, 4)):
        one = compute("delta_ref=-3:1:4", "margin=0:1:2", fixed=fixed | {"K": k}, steps=STEPS)
        for name in names:
            np.testing.assert_array_equal(whole.least[name][row], one.least[name][0])
            np.testing.assert_array_equal(whole.verdict[name][row], one.verdict[name][0])
            if name not in ("cpo", "smooth"):
                assert np.all(one.least[name][0] == one.least[name][1])
        for name, layer in whole.layers.items():
            np.testing.assert_array_equal(layer[row], one.layers[name][0])


def test_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    axes = "gamma=0:0.5:5", "delta_ref=-3:1:6"
    whole = compute(*axes, fixed={"K": 3}, steps=STEPS)
    monkeypatch.setattr(grid, "CHUNK", 4)
    monkeypatch.setattr(pq.chunks, "HOST_BYTES", 1)
    small = compute(*axes, fixed={"K": 3}, steps=STEPS)
    for name in whole.least:
        np.testing.assert_allclose(small.least[name], whole.least[name], rtol=0, atol=1e-12)
        np.testing.assert_array_equal(small.verdict[name], whole.verdict[name])
    dpo_margins = compute(*axes, fixed={"K": 3}, methods=["dpo"]).least["dpo"][:, 0]
    for name in ("eq17", "easy", "penalty"):  # γ = 0 is DPO, and no penalty
        np.testing.assert_allclose(whole.least[name][:, 0], dpo_margins, atol=1e-12)


def test_what_a_solver_left_undone_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = methods.solve_cpo

    def lame(*args: Any, **options: Any) -> pq.Solution:
        solution = real(*args, **options)
        solution.status.flat[0] = pq.Status.ITERATION_LIMIT
        return solution

    axes = "delta_ref=-3:1:4", "beta=1:2:2"
    whole = compute(*axes, methods=["cpo"]).verdict["cpo"]
    monkeypatch.setattr(methods, "solve_cpo", lame)
    atlas = compute(*axes, methods=["cpo"])
    assert atlas.verdict["cpo"].ravel().tolist() == [3, *whole.ravel()[1:].tolist()]
    assert np.isneginf(atlas.least["cpo"][0, 0])
    assert np.isposinf(atlas.layers["price"][0, 0])


def test_eight_hundred_nats_leave_no_nan() -> None:
    for k in (2, 4):
        atlas = compute(
            Axis("delta_ref", np.array([-800.0, -30.0, 0.0, 800.0])),
            Axis("beta", np.array([1e-6, 1.0, 1e6]), log=True),
            fixed={"K": k, "gamma": 0.3, "margin": 40.0},
            steps=5,
        )
        for found in (atlas.least, atlas.layers):
            assert not any(np.isnan(array).any() for array in found.values())
        assert atlas.verdict["eq17"][1, 0] == 3  # 1/π_ref is beyond the floats: not computed
        assert np.all(atlas.verdict["cpo"] == 1)


@pytest.mark.parametrize("nats_of_star", [1.0, 30.0, 800.0])
def test_the_penalty_s_branch_against_the_closed_form_and_the_solver(nats_of_star: float) -> None:
    rng = np.random.default_rng(9)
    star, beta = rng.normal(0, nats_of_star, 400), 10.0 ** rng.uniform(-3, 3, 400)
    fold = np.asarray(margins.penalty_fold(star, beta)[1])
    share = np.concatenate([rng.uniform(0, 1.1, 200), 1 + 10.0 ** rng.uniform(-12, -2, 100),
                            1 - 10.0 ** rng.uniform(-12, -2, 100)])  # fmt: skip
    gamma = np.where(fold > 1e-290, fold * share, 0.0)
    with np.errstate(all="ignore"):
        got, want = (penalty.least_margin(star, beta, gamma, 2),
                     np.asarray(margins.penalty_margin(star, beta, gamma)))  # fmt: skip
    gone = np.isinf(want)
    assert 60 < gone.sum() < 300
    np.testing.assert_array_equal(np.isneginf(got), gone)
    near = np.maximum(1e-12, 1e-15 / np.sqrt(np.abs(share - 1) + 1e-300))  # a double root
    error = np.abs(got - want)[~gone] / np.maximum(1, np.abs(star[~gone]))
    assert np.all(error <= 4 * near[~gone])
    for i in range(12):
        k = int(rng.integers(3, 6))
        bandit = pq.Bandit(np.zeros(k), -star[i] * np.arange(k), beta[i])
        pairs = pq.Preferences(np.arange(k - 1), np.arange(1, k))
        solution = pq.solve_penalty(bandit, pairs, gamma[i])
        want = -np.inf if solution.logp is None else solution.margin(pairs).min()
        (got,) = penalty.least_margin(star[i : i + 1], beta[i : i + 1], gamma[i : i + 1], k)
        assert got == want or abs(got - want) <= 1e-7 * max(1, abs(star[i]))


def test_a_branch_that_is_not_found_in_time_is_not_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    star, beta = rng.normal(0, 3, 300), np.ones(300)
    gamma = 10.0 ** rng.uniform(-3, 1, 300)
    right = penalty.least_margin(star, beta, gamma, 3)
    assert not np.isnan(right).any()
    for steps in (2, 4, 6):
        monkeypatch.setattr(penalty, "MOST_STEPS", steps)
        found = penalty.least_margin(star, beta, gamma, 3)
        known = ~np.isnan(found)
        assert known.sum() < 300
        np.testing.assert_allclose(found[known], right[known], rtol=1e-9)
    monkeypatch.undo()
    real = penalty.rising_root
    monkeypatch.setattr(penalty, "rising_root", lambda *given: real(*given) + 1e-3)
    assert not np.isfinite(penalty.least_margin(star, beta, gamma, 3)).any()


def test_likely_responses_keep_their_last_digit() -> None:
    wide = compute("delta_ref=-40:40:9", "beta=0.1:2:2", methods=["easy"])
    log_top = -np.log1p(np.exp(-40.0))
    expected = -40 + (0.1 / 0.1) * (1 / (log_top - 40) + 1 / log_top) + 1 / 0.1
    assert wide.least["easy"][0, 0] == pytest.approx(expected, rel=1e-12)
    assert not np.any(wide.verdict["easy"] == 2)


@pytest.mark.parametrize("flipped", ["fixed", "per-label"])
def test_what_is_beyond_the_floats_is_not_computed(flipped: str) -> None:
    found = compute("delta_ref=-800:800:9", "beta=0.1:2:2", flipped=flipped, steps=10)
    for name in ("easy", "eq17"):
        assert np.all(found.verdict[name][:, [0, -1]] == 3)
        assert np.all(found.verdict[name][:, 4] == 1)


def test_a_verdict_hangs_on_what_the_method_needs_alone() -> None:
    fixed = {"delta_ref": -1.5}
    far, near = (
        compute(f"margin=-{m}:1:3", "beta=0.5:1:2", fixed=fixed, methods=["rlhf"])
        for m in ("1e9", "1")
    )
    np.testing.assert_array_equal(far.verdict["rlhf"], near.verdict["rlhf"])
