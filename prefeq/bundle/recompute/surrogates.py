"""Numbers of `e-cpo` and `e-cpoc`: targets, and where population losses are least, by bisection."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from mpmath import mp, mpf

from prefeq.bundle import bandits
from prefeq.bundle.recompute.instances import problem_of
from prefeq.bundle.registry import Item, Number, boxed, number

CLAIMS = ("e-cpo", "e-cpoc")
HALVINGS = 240


def _number(name: str) -> Callable[[Number], Number]:
    """Register a function for both claims."""

    def add(function: Number) -> Number:
        for claim in CLAIMS:
            number(name, claim)(function)
        return function

    return add


def _target(item: Item, winner: int, loser: int) -> Any:
    """Return the target margin of a pair, from the reference probabilities themselves."""
    problem, given = problem_of(item), item.inputs
    win, lose = bandits.real(problem.ref[winner]), bandits.real(problem.ref[loser])
    margin, beta = mp.log(win / lose), bandits.real(problem.beta)
    match given["loss"]:
        case "dpo":
            return margin
        case "clip":
            return mp.log(max(win, lose) / lose)
        case "smooth":
            alpha, gamma, tau = (bandits.real(given[k]) for k in ("alpha", "gamma", "tau"))
            power = mp.power(win / lose, tau)
            return margin + mp.log((power + mp.exp(tau * gamma)) / power) / (alpha * tau)
        case "eq17":
            return margin + bandits.real(given["gamma"]) / beta * (win + lose) / (win * lose)
        case "easy":
            logs = mp.log(win), mp.log(lose)
            return margin + bandits.real(given["gamma"]) / beta * sum(logs) / (logs[0] * logs[1])
    raise ValueError(f"no such loss: {given['loss']!r}")


def _targets(item: Item, pair: tuple[int, int]) -> tuple[Any, Any]:
    """Return the targets of the label and of the flipped label."""
    t = _target(item, *pair)
    return t, -t if item.inputs["flipped_label"] == "fixed" else _target(item, *pair[::-1])


def _pulls(item: Item, pair: tuple[int, int], delta: Any) -> tuple[Any, Any]:
    """Return how hard the label pushes δ up, and the flipped label down."""
    beta, (t, swapped) = bandits.real(problem_of(item).beta), _targets(item, pair)
    return 1 / (1 + mp.exp(beta * (delta - t))), 1 / (1 + mp.exp(-beta * (delta + swapped)))


def _gaps(item: Item) -> list[Fraction]:
    problem = problem_of(item)
    return [problem.reward[w] - problem.reward[lo] for w, lo in problem.pairs]


@_number("gap")
def gap(item: Item) -> list[Fraction]:
    """Return the reward gaps."""
    return _gaps(item)


@_number("target")
def target(item: Item) -> list[Any]:
    """Return t(w, l)."""
    return [_target(item, *pair) for pair in problem_of(item).pairs]


@_number("swapped_target")
def swapped_target(item: Item) -> list[Any]:
    """Return t(l, w)."""
    return [_target(item, *pair[::-1]) for pair in problem_of(item).pairs]


@_number("critical_gap")
def critical_gap(item: Item) -> list[Any]:
    """Return the log-odds of the label at which both pulls balance at δ = 0."""
    pulls = [_pulls(item, pair, mpf(0)) for pair in problem_of(item).pairs]
    return [mp.log(down / up) for up, down in pulls]


@_number("minimiser")
def minimiser(item: Item) -> list[Any]:
    """Return where q up = (1 − q) down, by bisection: down rises with δ and up falls."""
    return [
        _balance(item, pair, gap)
        for pair, gap in zip(problem_of(item).pairs, _gaps(item), strict=True)
    ]


def _balance(item: Item, pair: tuple[int, int], gap: Fraction) -> Any:
    odds, beta = mp.exp(bandits.real(gap)), bandits.real(problem_of(item).beta)
    t, swapped = _targets(item, pair)
    room = (abs(bandits.real(gap)) + 1) / beta
    low, high = min(t, -swapped) - room, max(t, -swapped) + room
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        up, down = _pulls(item, pair, middle)
        if odds * up > down:
            low = middle
        else:
            high = middle
    return (low + high) / 2


@number("peak", "e-cpo")
def peak(item: Item) -> Any:
    """Return where d/(2 + 2 cosh d) is largest: the fixed point of d ↦ coth(d/2)."""
    return mp.findroot(lambda d: mp.coth(d / 2) - d, mpf("1.5"))


@number("least_gamma_over_beta", "e-cpo")
def least_gamma_over_beta(item: Item) -> Any:
    """Return that largest value, (d − 1/d)/4."""
    d = peak(item)
    return (d - 1 / d) / 4


@boxed("eq17-target-at-nine-fortieths")
def eq17_target(m: Any, d: Any) -> Any:
    """Return (γ/β)(1/π_ref(w) + 1/π_ref(l)) − d at γ/β = 9/40, two responses, δ_ref = −d."""
    return m.exact("9/10") * m.cosh(d / 2) ** 2 - d
