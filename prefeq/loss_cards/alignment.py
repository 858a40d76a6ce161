"""Is a loss aligned? Every local minimum under Bradley–Terry labels has to have δ > 0."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from prefeq.arrays import FloatArray
from prefeq.loss_cards.counterexample import Counterexample, Reading, log_ratio
from prefeq.loss_cards.curve import Ranges
from prefeq.loss_cards.dependence import Dependence
from prefeq.loss_cards.field import CONSTANT_ALONE, Field
from prefeq.loss_cards.risk import Risk, lowest_at
from prefeq.loss_cards.target import Target
from prefeq.losses import Loss, Reference

TRIES = 40
"""Simple instances that are looked at before a point of the grid is taken as it is."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """The verdict of one reading.

    Attributes
    ----------
    verdict
        True, False, or None where it could not be decided; `reason` says why.
    needed
        Per δ_ref of the ranges, the largest reward gap with a minimum at δ ≤ 0, in `ranges.gaps`;
        0 where there is none.
    certified
        Whether the closed form of the loss, one of ours, says the same at every δ_ref and for
        every Δr of the range, those between the grid's included.
    """

    reading: Reading
    verdict: bool | None
    reason: str
    needed: FloatArray
    counterexample: Counterexample | None = None
    certified: bool = False


def alignment(
    field: Field, reading: Reading, dependence: Dependence, target: Target | None
) -> Alignment:
    """Decide one reading over the declared ranges.

    A flipped label swaps the two responses. With per-label targets, and where the reference
    enters through log-ratios of single responses alone, it swaps all four log-probs; with a fixed
    target it reflects the curve about t.
    """
    nothing = np.zeros(len(field.ranges.ref_margin))
    if field.constant_alone:
        return Alignment(reading, None, CONSTANT_ALONE, nothing)
    risk = Risk.of(field, reading, dependence, target)
    if risk is None:
        return Alignment(
            reading, None, "it has no target margin that a flipped label could keep", nothing
        )
    needed, undecided = risk.needed()
    needed, exact = _certificate(risk, reading, needed)
    if needed.any():
        found = _counterexample(risk, needed)
        reason = "a local minimum at delta <= 0 where the reward gap is positive"
        return Alignment(reading, False, reason, needed, found, exact)
    if undecided:
        return Alignment(reading, None, "its slope is not a number everywhere in range", needed)
    return Alignment(reading, True, "every local minimum found has delta > 0", needed, None, exact)


def _counterexample(risk: Risk, needed: FloatArray) -> Counterexample | None:
    """Return the simplest bandit that shows a violation, confirmed by values and solvers."""
    tries = 0
    for ref, gap in _simple(risk.field.ranges):
        delta_ref = log_ratio(ref)
        if not _likely(risk.field.ranges, needed, delta_ref, float(gap)):
            continue
        tries += 1
        if tries > TRIES:
            break
        minimiser = lowest_at(risk, delta_ref, float(gap))
        if minimiser < -1e-6 / risk.field.ranges.beta:
            return confirmed(risk, ref, gap, minimiser)
    worst = int(np.argmax(needed))
    p = Fraction(math.exp(min(risk.field.ranges.ref_margin[worst], 0))).limit_denominator(10**9)
    if not 0 < p < 1:
        return None
    gap = Fraction(float(needed[worst])).limit_denominator(1000)
    minimiser = lowest_at(risk, log_ratio((p, 1 - p)), float(gap))
    return confirmed(risk, (p, 1 - p), gap, minimiser) if minimiser <= 0 else None


def _likely(ranges: Ranges, needed: FloatArray, ref: float, gap: float) -> bool:
    """Tell whether the grid has a violation beside this point."""
    if not ranges.ref_margin[0] <= ref <= ranges.ref_margin[-1]:
        return False
    if not ranges.gaps[0] <= gap <= ranges.gaps[-1]:
        return False
    i = int(np.searchsorted(ranges.ref_margin, ref))
    return bool(needed[max(i - 1, 0) : i + 1].max() * 1.8 >= gap)


def _simple(ranges: Ranges) -> Iterator[tuple[tuple[Fraction, Fraction], Fraction]]:
    """Yield bandits, the simplest first."""
    from prefeq.counterexamples.simplest import cost

    tails = [Fraction(1, n) for n in (2, 3, 4, 5, 10, 20, 50, 100, 1000, 10**4, 10**6, 10**9)]
    probs = [p for tail in tails for p in {tail, 1 - tail}]
    gaps = [Fraction(x) for x in ("1", "2", "3", "5", "1/2", "1/4", "1/5", "1/10", "1/20", "1/50")]
    pairs = [((p, 1 - p), gap) for p in probs for gap in gaps]
    yield from sorted(pairs, key=lambda x: (cost(x[0][0]) + cost(x[1]), x[0][0] > x[0][1], x))


def confirmed(
    risk: Risk, ref: tuple[Fraction, Fraction], gap: Fraction, minimiser: float
) -> Counterexample:
    """Return the counterexample with what the solvers and the values of the risk say of it."""
    from prefeq.solvers import solve_cpo, solve_dpo, solve_rlhf

    made = Counterexample(risk.reading, ref, gap, risk.field.ranges.beta, minimiser, {})
    bandit, prefs = made.bandit(), made.preferences()
    said: dict[str, Any] = {
        "rlhf": float(solve_rlhf(bandit).margin(prefs)[0]),
        "dpo": float(solve_dpo(bandit, prefs).margin(prefs)[0]),
        "cpo": float(solve_cpo(bandit, prefs).margin(prefs)[0]),
        "lower": None,
    }
    if math.isfinite(minimiser):
        near = minimiser + np.array([0.0, -0.05, -0.02, 0.02, 0.05]) / risk.field.ranges.beta
        values = risk.value(near, made.ref_margin, float(gap))
        said["lower"] = bool((values[0] <= values[1:] + 1e-12 * np.abs(values[1:])).all())
    return Counterexample(risk.reading, ref, gap, made.beta, minimiser, said)


def _certificate(risk: Risk, reading: Reading, needed: FloatArray) -> tuple[FloatArray, bool]:
    """Compare with the exact critical gap of a loss of ours; it decides where floats cannot."""
    field, own = risk.field, risk.field.curve.loss.own
    if own is None:
        return needed, False
    gaps, refs = field.ranges.gaps, field.ranges.ref_margin
    exact = np.array([_critical(own, r, field.ranges.beta, reading) for r in refs])

    def largest(critical: FloatArray) -> FloatArray:
        below = np.searchsorted(gaps, critical, side="right")
        return np.where(below > 0, gaps[np.maximum(below - 1, 0)], 0.0)

    # A gap that is the critical one to the last digit has its minimum at 0, on either side.
    room = 1e-9 * (1 + np.where(np.isfinite(exact), np.abs(exact), 0.0))
    low, high = largest(exact - room), largest(exact + room)
    blind = field.dead | field.dead[::-1] | ~np.isin(np.arange(len(refs)), risk.rows)
    agrees = (low <= needed) & (needed <= high) | blind
    return np.where(blind, largest(exact), needed), bool(agrees.all())


def _critical(own: Loss, ref_margin: float, beta: float, reading: Reading) -> float:
    ref: Any = ref_margin
    if own.target_rule.needs_logps:
        ref = reference(ref_margin)
    return float(own.critical_gap(ref, beta, reading))


def reference(ref_margin: float) -> Reference:
    """Return the log-probs of a two-response reference."""
    from prefeq.margins import log_sigmoid

    return Reference(log_sigmoid(ref_margin), log_sigmoid(-ref_margin))
