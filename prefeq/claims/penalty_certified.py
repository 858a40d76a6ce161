"""Numbers about Eq. 10 enclosed in balls that are steps of a proof."""

from __future__ import annotations

from fractions import Fraction

from prefeq.claims import penalty_cases, stationary
from prefeq.claims.contradiction import counterexample
from prefeq.claims.evidence import Evidence
from prefeq.claims.gallery import numbers_of
from prefeq.claims.instance import Instance
from prefeq.claims.penalty_cases import Answer, PenaltyCase, decided


def stationary_point(case: PenaltyCase, point: stationary.Point, start: list[str]) -> Evidence:
    """Show that a stationary point of one pair satisfies Eqs. 13–16 and has a margin that is not 0.

    That βx and the printed gap are equal is the theorem (steps `pair-stationarity`, `one-pair`).
    """
    found = PenaltyCase(case.instance, case.gamma)
    vars(found)["point"] = point  # any stationary point, not only a local maximum
    gaps = numbers_of(lambda: list(found.gaps(0)))
    negative = point.margin(0) < 0
    data = {
        **case.chosen(),
        **penalty_cases.shown(point),
        "implicit_gap": [gaps[0]],
        "printed_gap": [gaps[1]],
    }
    data["inputs"]["start"] = start
    sign = decided(lambda: point.margin(0), -1 if negative else 1)
    answers: dict[str, Answer] = {
        f"stationary_margin[0] {'<' if negative else '>'} 0": sign,
        "implicit_gap[0] == printed_gap[0]": gaps[0] == gaps[1],
    }
    words = (
        f"{case.instance.name}, gamma = {case.gamma}: stationary at delta = "
        f"{data['stationary_margin'][0]:.5f}, beta x = {gaps[0]:.6f} as Eqs. 13-16 have it"
    )
    shape = counterexample(words, data, answers)
    return Evidence("ball", words, shape.outcome, "certified-points", shape.data)


def fold_values() -> Evidence:
    """The fold of δ* = −2 and −4 (β = m = 1), in balls."""
    stars = (-2, -4)
    cases = [
        PenaltyCase(Instance.of("", reward=[s, 0], ref=["1/2"] * 2, pairs=[(0, 1)]), Fraction(1))
        for s in stars
    ]
    data = {
        "inputs": {"optimal_margin": [str(s) for s in stars]},
        "fold_margin": numbers_of(lambda: [case.fold()[0] for case in cases]),
        "fold_gamma": numbers_of(lambda: [case.fold()[1] for case in cases]),
        "critical_gamma": numbers_of(lambda: [case.critical_gamma() for case in cases]),
    }
    answers = {
        f"critical_gamma[{i}] < fold_gamma[{i}]": case.has_window() for i, case in enumerate(cases)
    }
    text = " and ".join(
        f"[{low:.5g}, {high:.5g}) for delta* = {s}"
        for s, low, high in zip(stars, data["critical_gamma"], data["fold_gamma"], strict=True)
    )
    words = f"[gamma*, gamma_fold) is {text} (beta = m = 1)"
    shape = counterexample(words, data, answers)
    return Evidence("ball", words, shape.outcome, "fold-values", shape.data)
