"""Planted bugs in the likelihood of lanes: each turns one of its checks red."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from solvers import checks
from solvers.batched import pair_lanes, test_laplacian, test_likelihood

from prefeq import component_lanes as components
from prefeq.solvers.batched import comparisons, likelihood, newton, wide
from prefeq.solvers.batched.narrow import Narrow
from prefeq.solvers.batched.wide import Wide

KINDS = ("counts", "few counts", "mixed", "sparse")
PROBLEMS = {
    kind: pair_lanes.draw(kind, np.random.default_rng(20), 4, 7, 12)
    for kind in (*KINDS, "masses", "far")
}
TWICE = pair_lanes.draw("soft", np.random.default_rng(21), 2, 4, 12)


def all_done_and_right(*problems: tuple[Any, ...]) -> None:
    for problem in problems:
        answer = test_likelihood.solve(problem)
        assert answer.done.all()
        for lane in range(answer.done.size):
            test_likelihood.check_lane(problem, answer, lane)


def plain_arithmetic_is_enough() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(likelihood, "wide", None)  # calling it fails
        try:
            all_done_and_right(*(PROBLEMS[kind] for kind in KINDS), TWICE)
        except TypeError as error:
            raise AssertionError("some lanes needed logarithms") from error


def logarithms_are_enough() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparisons, "FLOOR", 2.0)  # every lane is faint
        all_done_and_right(*PROBLEMS.values(), TWICE)


def few_steps_are_enough() -> None:
    test_likelihood.test_labels_of_many_nats_do_not_take_a_step_a_nat()


def consistent_labels_take_none() -> None:
    test_likelihood.test_consistent_labels_are_solved_at_once()


def bounds_cover() -> None:
    for make in (comparisons.narrow, comparisons.wide):
        for off in (1e-9, 1e-3):
            check = test_likelihood.test_the_bound_of_a_moved_answer_covers_how_far_it_was_moved
            check(make, off)


def noise_covers() -> None:
    test_laplacian.test_potentials_are_exact_to_their_noise(3)


def noise_in_logarithms_covers() -> None:
    test_laplacian.test_potentials_in_logarithms_span_any_number_of_orders(100.0)


def done_is_proved() -> None:
    """Lanes that were given two steps are right where they are called done."""
    problem = PROBLEMS["counts"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(likelihood, "NARROW_STEPS", 2)
        patch.setattr(likelihood, "WIDE_STEPS", 2)
        answer = minimise(problem)
    for lane in np.flatnonzero(answer.done):
        test_likelihood.check_lane(problem, answer, int(lane))


def minimise(problem: tuple[Any, ...]) -> Any:
    return likelihood.minimise_lanes(pair_lanes.XP, *problem)


CHECKS = (
    plain_arithmetic_is_enough,
    logarithms_are_enough,
    few_steps_are_enough,
    consistent_labels_take_none,
    bounds_cover,
    noise_covers,
    noise_in_logarithms_covers,
    done_is_proved,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_without_a_bug_every_check_is_green(check: Callable[[], None]) -> None:
    check()


def times(factor: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return lambda right: lambda *args: factor * right(*args)


def swapped(right: Callable[..., Any]) -> Callable[..., Any]:
    """Take wins for losses."""

    def wrong(*args: Any) -> Any:
        found = right(*args)
        return replace(found, wins=found.losses, losses=found.wins)

    return wrong


def turned(right: Callable[..., Any]) -> Callable[..., Any]:
    """Take σ(t) for σ(−t)."""

    def wrong(*args: Any) -> Any:
        t, up, down = right(*args)
        return t, down, up

    return wrong


def massless(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda xp, k, w, lo, x, mass, here: right(xp, k, w, lo, x, np.ones_like(mass), here)


def overwritten(_: Any) -> Callable[..., Any]:
    """Let the last of several duplicates stand for them all."""

    def wrong(xp: Any, values: Any, flat: Any, amounts: Any) -> None:
        for row in range(flat.shape[0]):
            xp.reshape(values, (-1,))[flat[row, :]] = amounts[row, :]

    return wrong


def unflipped(_: Any) -> Callable[..., Any]:
    """Give the loser the winner's label."""

    def wrong(self: Any, xp: Any) -> Any:
        one, other, size = self.winner, self.loser, self.triangle.size
        yield self.log_odds, comparisons.flat_index(xp, one * size + other)
        yield self.log_odds, comparisons.flat_index(xp, other * size + one)

    return wrong


def absent_pairs_counted(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda xp, k, w, lo, x, mass, here: right(
        xp, k, w, (lo + (w == lo)) % k, x, np.where(here, mass, 1.0), np.ones_like(here)
    )


def undirected(_: Any) -> Callable[..., Any]:
    return lambda xp, beats: components.joined(xp, beats)


def noiseless(right: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(*args: Any) -> Any:
        move, blur = right(*args)
        return move, 0.0 * blur

    return wrong


def pathless(_: Any) -> Callable[..., Any]:
    """Take each pair's own conductance for its base."""
    return lambda xp, triangle, bend: bend


def backwards(right: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(*args: Any) -> Any:
        move, size, reach = right(*args)
        return -move, size, reach

    return wrong


def unstretched(_: Any) -> Callable[..., Any]:
    return lambda xp, last, reach, turn: xp.ones_like(last)


def proved_anyway(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda xp, size, nu: xp.minimum(right(xp, size, nu), xp.full_like(nu, 1e-12))


BUGS = {
    "wins and losses swapped": (likelihood, "narrow", swapped, plain_arithmetic_is_enough),
    "and in logarithms": (likelihood, "wide", swapped, logarithms_are_enough),
    "sigmoid of the wrong sign": (Narrow, "_sigmoids", turned, plain_arithmetic_is_enough),
    "a step uphill": (Narrow, "step", backwards, plain_arithmetic_is_enough),
    "and in logarithms, uphill": (Wide, "step", backwards, logarithms_are_enough),
    "a start from zero": (Narrow, "start", times(0.0), consistent_labels_take_none),
    "masses dropped": (comparisons.Pairs, "of", massless, plain_arithmetic_is_enough),
    "absent pairs counted": (
        comparisons.Pairs,
        "of",
        absent_pairs_counted,
        plain_arithmetic_is_enough,
    ),
    "duplicates not added": (comparisons, "add_at", overwritten, plain_arithmetic_is_enough),
    "and in logarithms, the larger kept": (
        comparisons,
        "log_add",
        lambda _: lambda xp, a, b: xp.maximum(a, b),
        logarithms_are_enough,
    ),
    "labels of losers not turned": (
        comparisons.Pairs,
        "_sides",
        unflipped,
        plain_arithmetic_is_enough,
    ),
    "strong components undirected": (
        components,
        "mutual",
        undirected,
        plain_arithmetic_is_enough,
    ),
    "means not taken off": (
        components,
        "centred",
        lambda _: lambda xp, values, same: values,
        plain_arithmetic_is_enough,
    ),
    "half the loss": (Narrow, "loss", times(0.5), plain_arithmetic_is_enough),
    "and in logarithms, half of it": (Wide, "loss", times(0.5), logarithms_are_enough),
    "a bound too small": (likelihood, "error_bound", times(0.2), bounds_cover),
    "a bound of nothing": (likelihood, "error_bound", proved_anyway, done_is_proved),
    "no rounding in the bound": (test_laplacian, "noisy_potentials", noiseless, noise_covers),
    "nor in logarithms": (wide._System, "solve", noiseless, noise_in_logarithms_covers),
    "conductances of their own as bases": (
        wide,
        "_bottleneck",
        pathless,
        test_laplacian.test_a_weak_pair_may_pull_hard,
    ),
    "no stretching": (newton, "_stretch", unstretched, few_steps_are_enough),
    "Newton stops early": (newton, "CLOSE", lambda _: 1e-2, plain_arithmetic_is_enough),
    "tolerance loosened": (likelihood, "TOLERANCE", lambda _: 1.0, done_is_proved),
}


@pytest.mark.parametrize("bug", BUGS)
def test_every_planted_bug_turns_a_check_red(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, name, plant, check = BUGS[bug]
    right = getattr(place, name)
    wrong = plant(right)
    monkeypatch.setattr(place, name, wrong)
    checks.assert_red(check)
