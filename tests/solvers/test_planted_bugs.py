"""A table of planted bugs in RLHF, DPO and descent: each turns one of the suite's checks red."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from solvers import checks, instances

import prefeq as pq
from prefeq import graphs, preferences
from prefeq.arrays import log_normalise
from prefeq.solvers import blocks, descent, dpo, likelihood, rlhf

CONTRADICTORY, DIVERGING = ([], [])
for _seed in range(20):  # drawn here, before any bug is planted
    CONTRADICTORY.append(instances.contradictory(np.random.default_rng(_seed), "counts"))
    DIVERGING.append(instances.diverging(np.random.default_rng(_seed)))


def rlhf_is_right() -> None:
    checks.rlhf(pq.Bandit([1.0, 0.0, -2.0], [0.0, -3.0, 4.0], 0.5))


def dpo_gives_rlhf() -> None:
    rng = np.random.default_rng(1)
    for _ in range(10):
        bandit, pairs = instances.consistent(rng)
        found = pq.solve_dpo(bandit, pairs)
        checks.residual_small(found)
        error = checks.distance(found.logp, pq.solve_rlhf(bandit).logp)
        assert error * bandit.beta <= 1e-9


def dpo_matches_fifty_digits() -> None:
    for bandit, pairs in CONTRADICTORY[:10]:
        checks.dpo(bandit, pairs)


def dpo_adds_up_duplicates() -> None:
    bandit = pq.Bandit([0, 0], [0, -1], 1.0)
    checks.dpo(bandit, pq.Preferences([0, 1, 0], [1, 0, 1], prob=[0.9, 0.4, 0.6], mass=[1, 2, 3]))


def dpo_lands_on_the_limit() -> None:
    bandit = pq.Bandit([2, 1, 0, -3], [0, 0, 0, 0], 1.0)
    found = pq.solve_dpo(bandit, pq.Preferences.bradley_terry(bandit, [[0, 1], [2, 3]]))
    checks.residual_small(found)
    theta = np.array([0.5, -0.5, 1.5, -1.5])  # r less each component's mean
    np.testing.assert_allclose(found.logp, log_normalise(theta), atol=1e-14)


def directions_are_max_margin() -> None:
    for bandit, pairs in DIVERGING:
        checks.direction(bandit, pairs)


def descent_descends() -> None:
    bandit = pq.Bandit([0, 0, 0], [0, 0, 0], 2.0)
    pairs = pq.Preferences([0, 1], [1, 2], prob=[0.9, 0.2])
    found = pq.solve_dpo(bandit, pairs, "gradient-descent", max_steps=500)
    assert np.all(np.diff(found.trajectory.loss) <= 1e-15)
    exact = pq.solve_dpo(bandit, pairs)
    checks.residual_small(found)
    size = checks.nats_of(exact.logp)
    assert checks.distance(found.logp, exact.logp) <= (found.residual + exact.residual) * size


CHECKS = (
    rlhf_is_right,
    dpo_gives_rlhf,
    dpo_matches_fifty_digits,
    dpo_adds_up_duplicates,
    dpo_lands_on_the_limit,
    directions_are_max_margin,
    descent_descends,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_without_a_bug_every_check_is_green(check: Callable[[], None]) -> None:
    check()


def negated(right: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(*args: Any) -> Any:
        sign, size = right(*args)
        return -sign, size

    return wrong


def unflipped(right: Callable[..., Any]) -> Callable[..., Any]:
    """Merge duplicates without turning the label of a pair that is given in the other order."""

    def wrong(n: int, winner: Any, loser: Any, odds: Any, mass: Any) -> Any:
        return right(n, winner, loser, np.where(winner > loser, -odds, odds), mass)

    return wrong


def halfway(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda pairs, max_steps=1: right(pairs, 1)


def uncentred(right: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(pairs: Any, *rest: Any) -> Any:
        s, steps = right(pairs, *rest)
        return s - s[0], steps

    return wrong


def times(factor: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return lambda right: lambda *args: factor * right(*args)


def massless(right: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(*args: Any) -> Any:
        merged = right(*args)
        return dataclasses.replace(merged, log_mass=np.zeros_like(merged.log_mass))

    return wrong


def unweighted(right: Callable[..., Any]) -> Callable[..., Any]:
    """Forget how many responses a strong component has."""

    def wrong(target: Any, log_weight: Any, *rest: Any, **more: Any) -> Any:
        return right(target, np.zeros_like(log_weight), *rest, **more)

    return wrong


def tilted(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **more: right(*args, **{**more, "tilt": 1.0})


def undirected(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda n, tail, head: graphs.components(n, tail, head)


def divided(right: Callable[..., Any]) -> Callable[..., Any]:
    """Label with σ(Δr/β) instead of σ(Δr)."""

    def wrong(cls: Any, bandit: pq.Bandit, pairs: Any = None) -> pq.Preferences:
        good = right(bandit, pairs)
        odds = good.log_odds / bandit.beta
        return pq.Preferences(good.winner, good.loser, log_odds=odds, mass=good.mass)

    return classmethod(wrong)


BUGS = {
    "sign of beta": (rlhf, "rlhf_logp", lambda _: upside_down, rlhf_is_right),
    "reference dropped": (rlhf, "rlhf_logp", lambda _: without_reference, rlhf_is_right),
    "winner and loser swapped in the gradient": (
        likelihood,
        "misfit",
        negated,
        dpo_matches_fifty_digits,
    ),
    "and in descent": (likelihood, "misfit", negated, descent_descends),
    "labels of turned pairs kept": (likelihood, "merge", unflipped, dpo_gives_rlhf),
    "labels of turned duplicates kept": (likelihood, "merge", unflipped, dpo_adds_up_duplicates),
    "masses dropped": (likelihood, "merge", massless, dpo_matches_fifty_digits),
    "labels divided by beta": (preferences.Preferences, "bradley_terry", divided, dpo_gives_rlhf),
    "Newton stops early": (likelihood, "minimise", halfway, dpo_matches_fifty_digits),
    "components not centred": (likelihood, "minimise", uncentred, dpo_lands_on_the_limit),
    "a residual that bounds nothing": (
        likelihood,
        "error_bound",
        times(0.0),
        dpo_matches_fifty_digits,
    ),
    "strong components unweighted": (dpo, "project", unweighted, directions_are_max_margin),
    "direction in the wrong metric": (dpo, "project", tilted, directions_are_max_margin),
    "Ford's condition on undirected edges": (
        graphs,
        "strong_components",
        undirected,
        directions_are_max_margin,
    ),
    "step size too large": (descent, "lipschitz", times(0.2), descent_descends),
    "step size too small": (descent, "lipschitz", times(100.0), descent_descends),
    "tolerance loosened": (dpo, "TOLERANCE", lambda _: 1e-2, descent_descends),
}


def upside_down(bandit: pq.Bandit) -> np.ndarray:
    return log_normalise(bandit.ref_logp - bandit.tilt)


def without_reference(bandit: pq.Bandit) -> np.ndarray:
    return log_normalise(bandit.tilt)


@pytest.mark.parametrize("bug", BUGS)
def test_every_planted_bug_turns_a_check_red(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, name, plant, check = BUGS[bug]
    monkeypatch.setattr(place, name, plant(getattr(place, name)))
    if bug == "a residual that bounds nothing":  # the exact answer needs no bound: stop early too
        monkeypatch.setattr(likelihood, "minimise", halfway(likelihood.minimise))
    checks.assert_red(check)


def test_a_comparison_that_stays_green_is_noticed() -> None:
    with pytest.raises(pytest.fail.Exception):
        checks.assert_red(rlhf_is_right)


def test_a_projection_that_forgets_constraints_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_absorb", lambda *_: False)
    checks.assert_red(directions_are_max_margin)
    bandit = pq.Bandit([0, 1, 2, 3], [0, 0, 0, 0], 1.0)
    pairs = pq.Preferences([0, 0, 1, 2], [1, 2, 3, 3])
    assert pq.solve_cpo(bandit, pairs).status is pq.Status.ITERATION_LIMIT
