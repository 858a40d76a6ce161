"""Attacks on Eq. 17, which puts π_ref for π in the margin of the penalty's optimum."""

from __future__ import annotations

import math
from fractions import Fraction

from prefeq import losses, margins
from prefeq.claims.evidence import Evidence
from prefeq.claims.penalty_cases import PenaltyCase, decided
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Kind, Source
from prefeq.counterexamples.falsifiers import _common as common
from prefeq.counterexamples.falsifiers import _penalty as penalty

LANDING: dict[str, Kind] = {"delta_ref": "real", "gamma": "positive", "beta": "positive"}


def margin(solved: penalty.Solved) -> float:
    """Return Eq. 17's margin by the package's loss."""
    winner, loser = solved.made.pairs[0]
    logp = solved.bandit.ref_logp
    ref = losses.Reference(logp[winner], logp[loser])
    loss = losses.eq17(solved.gamma)
    return float(loss.minimiser(ref, solved.beta, float(solved.made.gap(0))))


def exact(case: Case) -> float:
    """Measure how far Eq. 17's margin is from the local maximum's."""
    solved = penalty.pair(case)
    if solved is None or solved.local is None:
        return common.OUTSIDE
    return abs(margin(solved) - float(solved.local[0])) - 1e-6 * solved.size


def sign(case: Case) -> float:
    """Measure how clearly Eq. 17 is positive where the local maximum is negative."""
    solved = penalty.pair(case)
    if solved is None or solved.local is None:
        return common.OUTSIDE
    return min(margin(solved), -float(solved.local[0]))


def optimistic(case: Case) -> float:
    """Measure how clearly Eq. 17 is negative where the local maximum is positive, or δ* ≥ 0.

    Or on the wrong side of zero for its threshold, or that above γ* although δ* ≤ 0.
    """
    solved = penalty.pair(case)
    if solved is None:
        return common.OUTSIDE
    star, beta, gamma = float(solved.star[0]), solved.beta, solved.gamma
    ref = float(solved.prefs.ref_margin(solved.bandit)[0])
    if abs(ref) > 300:
        return common.OUTSIDE
    push, surrogate = 2 + 2 * math.cosh(ref), margin(solved)
    threshold, slack = -beta * star / push, common.CLOSE * (solved.size + gamma / beta * push)
    wrong = [(-surrogate if gamma > threshold else surrogate) - slack]
    if star <= 0:
        wrong.append((threshold - solved.critical) / beta - common.ROUNDING * solved.size)
    if star >= 0:
        wrong.append(-surrogate - slack)
    if gamma < solved.fold:
        delta = float(margins.penalty_margin(star, beta, gamma))
        wrong.append(min(delta, -surrogate) - common.CLOSE * solved.size)
    return max(wrong)


def certify_optimistic(case: Case) -> Evidence:
    def wrong(found: PenaltyCase) -> Evidence:
        late = decided(found.eq17_margin, -1)
        aligned = decided(lambda: found.star(0), 1) or decided(lambda: penalty.enclosed(found), 1)
        known = aligned is not None and late is not None
        words = "Eq. 17 is positive wherever the local maximum is"
        return common.harmless(case, words, aligned and late if known else None)

    return penalty.decide(wrong, case) if penalty.is_pair(case) else common.harmless(case, "")


def draw_landing(source: Source) -> Case:
    return Case({name: draws.number(source, kind) for name, kind in LANDING.items()})


def lands(case: Case) -> float:
    """Choose Δr so that Eq. 17's margin is δ_ref or −δ_ref; measure whether that is stationary."""
    delta_ref, gamma, beta = (float(case.numbers[name]) for name in LANDING)
    share = gamma / beta
    if abs(delta_ref) > 15 or not 1e-4 <= share <= 1e4:
        return common.OUTSIDE
    worst = common.OUTSIDE
    for surrogate in (delta_ref, -delta_ref):
        star = surrogate - share * (2 + 2 * math.cosh(delta_ref))
        end = float(margins.penalty_fold(star, beta)[0])
        if surrogate < end - 1e-2 * (1 + abs(star)):
            found = float(margins.penalty_margin(star, beta, gamma))
            worst = max(worst, abs(found - surrogate) / (1 + abs(star)) - penalty.CLOSE)
    return worst


def certify_lands(case: Case) -> Evidence:
    return common.harmless(case, "g(delta) = gamma where cosh delta = cosh delta_ref")


def meets(case: Case) -> float:
    """Measure ||δ| − |δ_ref|| where Eq. 17's margin is the local maximum's."""
    solved = penalty.pair(case)
    if solved is None or solved.local is None or solved.size > 16:
        return common.OUTSIDE
    delta, ref = float(solved.local[0]), float(solved.prefs.ref_margin(solved.bandit)[0])
    if abs(ref) > 15:
        return common.OUTSIDE
    apart = abs(margin(solved) - delta) * solved.beta / solved.gamma
    return abs(abs(delta) - abs(ref)) - 1e-3 if apart <= 1e-9 else -apart


def certify_meets(case: Case) -> Evidence:
    def wrong(found: PenaltyCase) -> Evidence:
        apart = decided(lambda: (found.eq17_margin() - penalty.enclosed(found)) ** 2, 1)
        words = "Eq. 17's margin is not the local maximum's"
        return common.harmless(case, words, False if apart else None)

    return penalty.decide(wrong, case) if penalty.is_pair(case) else common.harmless(case, "")


def draw(source: Source) -> Case:
    """Draw a violated pair and a γ for which Eq. 17 may already be positive."""
    case = penalty.draw_pair(source)
    made = common.instance_of(case)
    scale = Fraction(source.integer(1, 9), 10 ** source.integer(1, 3))
    gamma = case.numbers["gamma"] if source.integer(0, 1) else made.beta * scale
    return Case({"gamma": gamma}, made.labelled("bradley-terry"))


def draw_either(source: Source) -> Case:
    """Draw likewise, with δ* ≥ 0 half of the time."""
    case = draw(source)
    up = bool(source.integer(0, 1))
    return Case(case.numbers, common.oriented(common.instance_of(case), up=up))
