"""Attacks with two prompts of two responses each: does one γ serve both?"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from prefeq import margins
from prefeq.claims import penalty_refutations as refutations
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Instance
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Kind, Source
from prefeq.counterexamples.falsifiers import _common as common

PROMPTS: dict[str, Kind] = {
    "ref": "unit",
    "gap": "real",
    "other_ref": "unit",
    "other_gap": "real",
    "beta": "positive",
}

SERVED: dict[str, Kind] = {**PROMPTS, "gamma": "positive"}


def draw(kinds: dict[str, Kind], source: Source) -> Case:
    """Draw two two-response prompts, mostly violated."""
    numbers = {name: draws.number(source, kind) for name, kind in kinds.items()}
    for name in ("ref", "other_ref"):
        if source.integer(0, 1):
            numbers[name] = Fraction(1, source.choice((2, 5, 10, 20, 50, 100)))
    for name in ("gap", "other_gap"):
        numbers[name] = Fraction(source.integer(-4, 1)) if source.integer(0, 2) else numbers[name]
    return Case(numbers)


def _stars(case: Case) -> tuple[list[float], float]:
    """Return δ* of both prompts, and β."""
    beta = float(case.numbers["beta"])
    found = []
    for prefix in ("", "other_"):
        ref = float(case.numbers[f"{prefix}ref"])
        delta_ref = math.log(ref) - math.log1p(-ref)
        gap = float(case.numbers[f"{prefix}gap"])
        found.append(float(margins.optimal_margin(delta_ref, gap, beta)))
    return found, beta


def apart(case: Case) -> float:
    """Measure the distance between the windows [γ*, γ_fold) of two prompts, in units of β."""
    stars, beta = _stars(case)
    if max(stars) >= 0 or min(stars) < -100 or beta < 1e-6 or beta > 1e6:
        return common.OUTSIDE
    low, high = margins.penalty_critical_gamma(np.array(stars), beta), _folds(stars, beta)
    return float(max(low[1] - high[0], low[0] - high[1])) / beta


def _folds(stars: list[float], beta: float) -> list[float]:
    return [float(margins.penalty_fold(star, beta)[1]) for star in stars]


def _prompts(case: Case) -> tuple[Instance, Instance]:
    """Return both prompts as instances."""
    made = []
    for prefix in ("", "other_"):
        ref, gap = case.numbers[f"{prefix}ref"], case.numbers[f"{prefix}gap"]
        reward = (gap, Fraction(0))
        beta = case.numbers["beta"]
        made.append(Instance("found", reward, (ref, 1 - ref), beta, ((0, 1),), "ordered"))
    return made[0], made[1]


def certify_apart(case: Case) -> Evidence:
    first, second = _prompts(case)
    stars = first.sign_of_optimal_margin(0), second.sign_of_optimal_margin(0)
    if stars != (-1, -1):
        return common.harmless(case, "a prompt is not violated", None if None in stars else False)
    try:
        found = refutations.no_common_gamma(first, second)
        return found if found.holds else refutations.no_common_gamma(second, first)
    except ArithmeticError as error:
        return common.harmless(case, str(error), None)


def served(case: Case) -> float:
    """Say 1 where a γ serves both prompts outside the common window, or not inside."""
    stars, beta = _stars(case)
    gamma = float(case.numbers["gamma"])
    if max(map(abs, stars)) > 100 or not 1e-4 <= gamma / beta <= 1e4:
        return common.OUTSIDE
    low = float(np.max(margins.penalty_critical_gamma(np.array(stars), beta)))
    high = min(_folds(stars, beta))
    if abs(gamma - low) < 1e-9 * gamma or abs(gamma - high) < 1e-9 * gamma:
        return common.OUTSIDE
    found = margins.penalty_margin(np.array(stars), beta, gamma)
    served = bool(np.all(np.isfinite(found) & (found >= 0)))
    return 1.0 if served != (low <= gamma < high) else -min(abs(gamma - low), abs(gamma - high))
