"""A batch gives every problem the answer that it would get alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import prefeq as pq
from prefeq import chunks
from prefeq.component_lanes import LARGEST_IN_LANES
from prefeq.solvers.batched import constrained, likelihood
from prefeq.solvers.batched import cpo as batched_cpo
from prefeq.solvers.batched import dpo as batched_dpo
from prefeq.solvers.batched.fallback import ALONE

Numbers = dict[str, Any]


def mixture(size: int, k: int, pairs: int, seed: int, nats: float = 2.0) -> Numbers:
    """Return ragged problems of every kind: ties, cycles, duplicates, absent pairs, certain labels.

    All numbers are rounded, so that equalities occur; some margins contradict each other.
    """
    rng = np.random.default_rng(seed)
    ref_logp = np.round(rng.normal(size=(size, k)) * nats, 1)
    ref_logp[:, 2:][rng.random((size, k - 2)) < 0.25] = -np.inf
    on = np.isfinite(ref_logp)
    listed = np.argsort(~on, axis=-1, kind="stable")
    count = np.sum(on, axis=-1, keepdims=True)
    first = rng.integers(0, 1000, (size, pairs)) % count
    second = (first + 1 + rng.integers(0, 1000, (size, pairs)) % (count - 1)) % count
    margin = np.round(rng.normal(size=(size, pairs)) * nats - 0.5 * nats, 1)
    margin[rng.random((size, pairs)) < 0.3] = 0.0
    odds = np.round(rng.normal(size=(size, pairs)) * nats, 1)
    odds[rng.random((size, pairs)) < 0.1] = np.inf
    return {
        "reward": np.round(rng.normal(size=(size, k)), 1),
        "ref_logp": ref_logp,
        "beta": np.exp(rng.normal(size=size)),
        "winner": np.take_along_axis(listed, first, axis=-1),
        "loser": np.take_along_axis(listed, second, axis=-1),
        "log_odds": odds,
        "mass": rng.random((size, pairs)) * (rng.random((size, pairs)) < 0.7),
        "margin": margin,
    }


def build(numbers: Numbers) -> tuple[pq.Bandit, pq.Preferences, Any]:
    bandit = pq.Bandit(numbers["reward"], numbers["ref_logp"], numbers["beta"])
    labels = {name: numbers[name] for name in ("log_odds", "mass")}
    pairs = pq.Preferences(numbers["winner"], numbers["loser"], **labels)
    return bandit, pairs, numbers["margin"]


def solve(name: str, bandit: pq.Bandit, pairs: pq.Preferences, margin: Any) -> pq.Solution:
    if name == "cpo":
        return pq.solve_cpo(bandit, pairs, margin, throw=False)
    return pq.solve_dpo(bandit, pairs)


def same(name: str, batch: pq.Solution, index: Any, alone: pq.Solution) -> None:
    """Check one problem of a batch against its own solution."""
    assert batch.status[index] == alone.status, f"{batch.status[index]} is not {alone.status}"
    for field in ("logp", "value", "loss", "direction"):
        one = getattr(alone, field)
        if one is not None:
            found = np.asarray(getattr(batch, field))[index]
            np.testing.assert_allclose(found, one, rtol=1e-9, atol=1e-9, err_msg=field)
    if alone.logp is None:
        assert np.all(batch.logp[index] == -np.inf)
        assert batch.value[index] == -np.inf
    for field in ("component", "cycle", "dimension"):
        one = getattr(alone, field)
        if one is not None:
            assert getattr(batch, field)[index] == one, field
    assert batch.residual[index] <= 1e-9 or batch.residual[index] == alone.residual


@pytest.mark.parametrize("name", ["cpo", "dpo"])
@pytest.mark.parametrize(
    ("k", "pairs", "nats"), [(2, 1, 1.0), (3, 4, 2.0), (6, 6, 2.0), (9, 12, 4.0), (5, 7, 300.0)]
)
def test_every_problem_gets_its_own_answer(name: str, k: int, pairs: int, nats: float) -> None:
    bandit, preferences, margin = build(mixture(120, k, pairs, seed=k, nats=nats))
    found = solve(name, bandit, preferences, margin)
    for i in range(120):
        same(name, found, i, solve(name, bandit[i], preferences[i], margin[i]))


def test_the_comparison_sees_a_wrong_answer() -> None:
    bandit, pairs, margin = build(mixture(20, 4, 3, seed=0))
    found = pq.solve_rlhf(bandit)
    alone = [solve("cpo", bandit[i], pairs[i], margin[i]) for i in range(20)]
    differs = next(i for i in range(20) if np.any(np.abs(alone[i].logp - found.logp[i]) > 1e-6))
    with pytest.raises(AssertionError):
        same("cpo", found, differs, alone[differs])


@pytest.mark.parametrize("name", ["cpo", "dpo"])
def test_multipliers_and_limits_agree(name: str) -> None:
    bandit, pairs, margin = build(mixture(150, 5, 5, seed=3))
    found = solve(name, bandit, pairs, margin)
    for i in range(150):
        alone = solve(name, bandit[i], pairs[i], margin[i])
        if name == "cpo" and alone.multipliers is not None:
            pulls = [
                _pull(pairs[i], margin[i], m) for m in (found.multipliers[i], alone.multipliers)
            ]
            np.testing.assert_allclose(pulls[0], pulls[1], rtol=1e-8, atol=1e-8)
        if alone.limit is not None:
            for one, other in zip(found.limit, alone.limit, strict=True):
                np.testing.assert_allclose(one[i], other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kernel", ["all", "none"])
def test_what_converges_among_what_diverges_has_its_policy_for_its_limit(
    kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel == "none":  # so that all are solved alone, and put together
        monkeypatch.setattr(likelihood, "minimise_lanes", _undone(likelihood.minimise_lanes, 1))
    found = pq.solve_dpo(*build(mixture(150, 5, 5, seed=3))[:2])
    diverges = found.status == pq.Status.DIVERGES
    assert 10 < np.sum(diverges) < 140
    finite, part = found.limit
    np.testing.assert_array_equal(finite[~diverges], found.logp[~diverges])
    assert np.all(part[~diverges] == 0)
    assert np.all(np.any(finite != found.logp, axis=-1)[diverges])


def _pull(pairs: pq.Preferences, margin: Any, multipliers: Any) -> Any:
    """Return the reward change of the multipliers: unique even where they are not (ties)."""
    pull = np.zeros(16)
    np.add.at(pull, pairs.winner, multipliers / (1 + np.exp(margin)))
    np.add.at(pull, pairs.loser, -multipliers / (1 + np.exp(-margin)))
    return pull


@pytest.mark.parametrize("name", ["cpo", "dpo"])
def test_chunks_leading_axes_and_shared_pairs_do_not_matter(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = mixture(144, 4, 3, seed=5)
    whole = solve(name, *build(numbers))
    folded = {key: value.reshape(2, 72, *value.shape[1:]) for key, value in numbers.items()}
    monkeypatch.setattr(chunks, "HOST_BYTES", 1)  # the least chunk: 64 problems
    cut = solve(name, *build(folded))
    assert cut.logp.shape == (2, 72, 4)
    np.testing.assert_array_equal(cut.logp.reshape(144, 4), whole.logp)
    np.testing.assert_array_equal(cut.status.reshape(144), whole.status)
    bandit = pq.Bandit(numbers["reward"][:, :2], numbers["ref_logp"][:, :2], numbers["beta"])
    shared = solve(name, bandit, pq.Preferences([0], [1], prob=0.9), 0.1)
    for i in (0, 100):
        same(name, shared, i, solve(name, bandit[i], pq.Preferences([0], [1], prob=0.9), 0.1))


@pytest.mark.parametrize(("name", "kernel"), [("cpo", constrained), ("dpo", likelihood)])
def test_what_a_kernel_leaves_undone_is_solved_alone(
    name: str, kernel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = mixture(60, 4, 4, seed=6)
    expected = solve(name, *build(numbers))
    entry = "solve_lanes" if name == "cpo" else "minimise_lanes"
    monkeypatch.setattr(kernel, entry, _undone(getattr(kernel, entry)))
    found = solve(name, *build(numbers))
    for i in range(60):
        same(name, found, i, solve(name, *(part[i] for part in build(numbers))))
    np.testing.assert_array_equal(found.status, expected.status)
    answered = found.status != pq.Status.INFEASIBLE
    assert solved_alone(found)[answered].tolist() == (np.arange(60) % 2 == 1)[answered].tolist()
    assert not solved_alone(expected)[answered].any()


def solved_alone(found: pq.Solution) -> Any:
    """Tell which problems of a batch say that they were not solved among the others."""
    return np.array([route is not None and route.endswith(ALONE) for route in found.route])


@pytest.mark.parametrize("shift", [0.1, 1e-6, -1e-6])
@pytest.mark.parametrize(("name", "places"), [("cpo", "all"), ("dpo", "all"), ("dpo", "one")])
def test_a_wrong_policy_is_noticed_and_solved_alone(
    name: str, places: str, shift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is not normalised or only not the kernel's: its residual says so."""
    numbers = mixture(60, 4, 4, seed=6)
    expected = solve(name, *build(numbers))
    hit = np.arange(60) % 3 == 0
    if name == "cpo":
        right = constrained.solve_lanes

        def wrong(*args: Any, **options: Any) -> Any:
            answer = right(*args, **options)
            return replace(answer, logp=answer.logp + shift * hit)

        monkeypatch.setattr(constrained, "solve_lanes", wrong)
    else:
        normalise = batched_dpo.log_normalise

        def wrong(logp: Any, axis: int) -> Any:
            step = shift * hit * (np.arange(4)[:, None] <= (3 if places == "all" else 0))
            moved = normalise(logp, axis) + step
            return moved if places == "all" else normalise(moved, axis)

        monkeypatch.setattr(batched_dpo, "log_normalise", wrong)
    found = solve(name, *build(numbers))
    np.testing.assert_array_equal(found.status, expected.status)
    np.testing.assert_allclose(found.logp, expected.logp, rtol=1e-9, atol=1e-9)
    answered = np.isfinite(found.value)  # a policy that is nowhere is not shifted
    assert 40 < answered.sum() < 60
    assert solved_alone(found)[answered].tolist() == hit[answered].tolist()


def test_the_residual_of_dpo_is_twice_the_spread_of_what_is_off() -> None:
    rng = np.random.default_rng(2)
    ref_logp, s = rng.normal(size=(2, 4, 9))
    ref_logp[3, ::2] = -np.inf
    beta, off = np.exp(rng.normal(size=9)), np.logspace(-9, -1, 9)
    on = ref_logp > -np.inf
    right = batched_dpo.log_normalise(ref_logp + s / beta, 0)
    moved = np.where(np.arange(4)[:, None] == 1, off, 0.0)
    wrong = batched_dpo.log_normalise(right + moved, 0)  # normalised: nothing else can tell
    fit = SimpleNamespace(s=s, error=np.zeros(9))
    found = [
        batched_dpo._residual(np, on, ref_logp, beta, logp, fit)  # no NaN off the support
        for logp in (right, wrong)
    ]
    scale = np.max(np.maximum(-np.minimum(wrong, ref_logp), 1.0), axis=0, where=on, initial=1.0)
    assert np.all(found[0] < 1e-14)
    np.testing.assert_allclose(found[1], 2 * off / scale, rtol=1e-5)


@pytest.mark.parametrize("name", ["cpo", "dpo"])
def test_ordinary_problems_are_solved_in_lanes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = []
    for module in (batched_cpo, batched_dpo):
        solve_undone = module.solve_undone
        monkeypatch.setattr(
            module,
            "solve_undone",
            lambda b, p, where, s, call=solve_undone: alone.extend(where) or call(b, p, where, s),
        )
    found = solve(name, *build(mixture(400, 5, 5, seed=11)))
    assert set(alone) == set(np.flatnonzero([str(s) == "infeasible" for s in found.status]))


def _undone(kernel: Callable[..., Any], of: int = 2) -> Callable[..., Any]:
    """Return a kernel that gives up on all lanes but the first of every `of`, or on all if it is 1.

    What is given up is scribbled over.
    """

    def gives_up(*args: Any, **options: Any) -> Any:
        answer = kernel(*args, **options)
        done = answer.done & (np.arange(answer.done.size) % of == 0) & (of > 1)
        field = "logp" if hasattr(answer, "logp") else "s"
        scribbled = np.where(done, getattr(answer, field), 7.0)
        return replace(answer, done=done, **{field: scribbled})

    return gives_up


@pytest.mark.parametrize("name", ["cpo", "dpo"])
def test_too_many_responses_for_lanes_are_solved_alone(name: str) -> None:
    bandit, pairs, margin = build(mixture(6, LARGEST_IN_LANES + 2, 5, seed=8))
    found = solve(name, bandit, pairs, margin)
    for i in range(6):
        same(name, found, i, solve(name, bandit[i], pairs[i], margin[i]))


def test_a_batch_can_be_asked_to_raise() -> None:
    bandit = pq.Bandit(np.zeros((3, 2)), np.zeros((3, 2)), 1.0)
    tie = pq.Preferences([[0, 1]] * 3, [[1, 0]] * 3)
    margin = np.array([[0, 0], [1, -2], [2, -1]])
    statuses = pq.solve_cpo(bandit, tie, margin).status
    assert [str(s) for s in statuses] == ["optimal", "optimal", "infeasible"]
    with pytest.raises(pq.InfeasibleError, match="cycle"):
        pq.solve_cpo(bandit, tie, margin, throw=True)
    with pytest.raises(pq.UnsolvedError, match=r"prompt \[0\]: diverges"):
        pq.solve_dpo(bandit, pq.Preferences([0], [1]), throw=True)


@pytest.mark.parametrize("name", ["cpo", "dpo"])
def test_no_problems_and_no_pairs_are_ordinary(name: str) -> None:
    nothing = pq.Bandit(np.zeros((0, 3)), np.zeros((0, 3)), 1.0)
    assert solve(name, nothing, pq.Preferences([0], [1]), 0.0).logp.shape == (0, 3)
    bandit = pq.Bandit([[1, 0, 2.0]] * 4, np.zeros((4, 3)), 1.0)
    free = solve(name, bandit, pq.Preferences(np.zeros((4, 0), int), np.zeros((4, 0), int)), 0.0)
    expected = pq.solve_rlhf(bandit).logp if name == "cpo" else bandit.ref_logp
    np.testing.assert_allclose(free.logp, expected, atol=1e-15)


def descend(bandit: pq.Bandit, pairs: pq.Preferences, steps: int = 80) -> pq.Solution:
    return pq.solve_dpo(bandit, pairs, "gradient-descent", max_steps=steps, record_every=10)


def test_a_batch_descends_as_its_problems_do() -> None:
    bandit, pairs, _ = build(mixture(60, 4, 4, seed=9))
    found = descend(bandit, pairs)
    run = found.trajectory
    assert run.margin.shape == (9, 60, 4)
    for i in range(60):
        alone = descend(bandit[i], pairs[i])
        count = alone.trajectory.step.size
        # the batch's bound is the tighter one: it may call an end what the other nearly does
        assert found.status[i] == alone.status or 1e-9 < alone.residual < 5e-9
        for field in ("loss", "margin", "undesirable", "occupancy"):
            one, other = (getattr(t, field) for t in (run, alone.trajectory))
            np.testing.assert_allclose(one[:count, i], other, rtol=1e-11, atol=1e-11, err_msg=field)
        np.testing.assert_allclose(run.lipschitz[i], alone.trajectory.lipschitz, rtol=1e-12)
        np.testing.assert_allclose(found.logp[i], alone.logp, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(found.value[i], alone.value, rtol=1e-8, atol=1e-8)


def test_descent_ends_at_the_minimiser_and_says_so() -> None:
    numbers = mixture(40, 3, 4, seed=10)
    numbers["log_odds"] = np.clip(numbers["log_odds"], -2, 2)
    bandit, pairs, _ = build(numbers | {"mass": np.ones((40, 4))})
    found, exact = descend(bandit, pairs, 4000), pq.solve_dpo(bandit, pairs)
    good = found.residual <= 1e-9
    assert np.mean(good) > 0.8
    np.testing.assert_array_equal(found.status[good], exact.status[good])
    np.testing.assert_allclose(found.logp[good], exact.logp[good], rtol=1e-8, atol=1e-8)
    assert {str(s) for s in found.status[~good]} <= {"iteration-limit"}
    assert np.max(found.steps[good]) <= 4000
    short = descend(bandit, pairs, 1)
    moved = np.max(np.abs(np.exp(short.logp) - np.exp(exact.logp)), axis=-1) > 1e-6
    assert {str(s) for s in short.status[moved]} == {"iteration-limit"}


def test_a_batch_leaves_the_undesirable_space_by_the_law() -> None:
    ref_margin = -np.linspace(0.5, 4, 30)
    bandit = pq.Bandit(np.zeros((30, 2)), np.stack([ref_margin, np.zeros(30)], axis=-1), 1.0)
    pair = pq.Preferences([0], [1])
    run = pq.solve_dpo(
        bandit, pair, "gradient-descent", max_steps=400, step_size=0.5, record_every=1
    ).trajectory
    out = np.argmax(run.margin[..., 0] >= 0, axis=0)
    low, high = pq.margins.exit_steps_bounds(ref_margin, 1.0, 0.5)
    assert np.all((low <= out) & (out <= high))
    np.testing.assert_array_equal(np.sum(run.occupancy, axis=0), out - 1)  # not at step 0


def test_records_beyond_the_budget_are_refused() -> None:
    bandit = pq.Bandit(np.zeros((100_000, 2)), np.zeros((100_000, 2)), 1.0)
    with pytest.raises(pq.ProblemError, match=r"10001 records of 100000 problems are .* GiB"):
        pq.solve_dpo(bandit, pq.Preferences([0], [1]), "gradient-descent", record_every=1)


@pytest.mark.parametrize("beta", [1e-6, 1e-9, 1e-12, 1e-18])
def test_a_tiny_beta_costs_no_digits(beta: float) -> None:
    bandit = pq.Bandit(np.array([[0.5, 0.2, 0.0]] * 3) * beta, np.zeros((3, 3)), beta)
    found = pq.solve_dpo(bandit, pq.Preferences.bradley_terry(bandit))
    assert np.max(np.abs(found.logp - pq.solve_rlhf(bandit).logp)) < 1e-14
    assert np.max(found.residual) < 1e-9


def test_what_is_infeasible_has_no_route() -> None:
    bandit = pq.Bandit(np.zeros((3, 2)), np.zeros((3, 2)), np.ones(3))
    pairs = pq.Preferences([[0, 1], [0, 1], [0, 1]], [[1, 0], [1, 0], [1, 0]])
    margins = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, -2.0]])
    found = pq.solve_cpo(bandit, pairs, margin=margins, throw=False)
    assert [str(status) for status in found.status] == ["optimal", "infeasible", "optimal"]
    assert found.route[1] is None
    assert found.route[0] is not None
    assert found.route[2] is not None
