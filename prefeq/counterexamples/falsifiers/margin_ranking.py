"""How the readings of `margin-ranking` are attacked: L/β against the hinge max(0, δ_ref − δ)."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from prefeq import losses, margins
from prefeq._namespace import LN2
from prefeq.arrays import FloatArray
from prefeq.claims import formulas
from prefeq.claims.ball import BALL, ball, sign
from prefeq.claims.contradiction import counterexample
from prefeq.claims.evidence import Evidence
from prefeq.counterexamples.case import Case, Falsifier
from prefeq.counterexamples.falsifiers import _common as common

_draw = common.draw_with_policy("ordered", gap=False)
_draw_low_bar = common.draw_with_policy("ordered")


def _measured(case: Case, betas: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return β·(L/β − hinge) by the loss and by `hinge_gap`, and the rounding of the former."""
    delta_ref, _, _ = common.pair_of(case)
    delta = common.policy_margin(case)
    hinge = betas * max(0.0, delta_ref - delta)
    by_loss = np.asarray(losses.DPO.value(delta, delta_ref, betas)) - hinge
    closed = betas * np.asarray(margins.hinge_gap(delta, delta_ref, betas))
    return by_loss, closed, common.ROUNDING * (1.0 + betas * (abs(delta) + abs(delta_ref)))


def _bound(case: Case) -> float:
    """Measure how far L − β·hinge leaves [0, ln 2]."""
    return _beyond(case, np.array([common.pair_of(case)[2]]))


def _limit(case: Case) -> float:
    """Measure the same as β grows: L/β is within ln 2/β of its limit, so the bound vanishes."""
    return _beyond(case, common.pair_of(case)[2] * np.array([1e2, 1e4, 1e8]))


def _beyond(case: Case, betas: FloatArray) -> float:
    by_loss, closed, rounding = _measured(case, betas)
    worst = np.maximum(-by_loss, by_loss - LN2) - rounding
    return float(max(np.max(worst), np.max(-closed), np.max(closed) - LN2 - common.ROUNDING))


def _tight(case: Case) -> float:
    """Measure how far ln 2/β is from being attained at δ_ref, or how near it is reached elsewhere.

    The gap is at most ln 2 − t/4 for t = β|δ − δ_ref| ≤ 1, and below ln 2 − 1/4 beyond.
    """
    delta_ref, _, beta = common.pair_of(case)
    delta = common.policy_margin(case)
    at_ref = np.asarray(losses.DPO.value([delta_ref], [delta_ref], beta))
    by_loss, closed, rounding = _measured(case, np.array([beta]))
    missed = np.abs(np.append(at_ref, beta * margins.hinge_gap(delta_ref, delta_ref, beta)) - LN2)
    reached = np.maximum(by_loss, closed) - (LN2 - min(beta * abs(delta - delta_ref), 1.0) / 4)
    return float(max(np.max(missed), np.max(reached)) - rounding[0])


def _certify_bound(scale: int, case: Case) -> Evidence:
    """Decide 0 ≤ L − β·hinge ≤ ln 2 at a multiple of β, in balls."""
    made = common.policy_case(case)

    def gap() -> Any:
        a, beta = -_rise(case), ball(made.instance.beta * scale)
        loss = formulas.pair_loss(BALL, -a, 0, beta)
        return loss - beta * a.max(0 * a)

    low = sign(gap)[0]
    high = 0 if made.sign_of_rise(0) == 0 else sign(lambda: ball(2).log() - gap())[0]
    answer = None if low is None or high is None else low < 0 or high < 0
    return common.harmless(case, "0 <= L - beta max(0, delta_ref - delta) <= ln 2", answer)


def _rise(case: Case) -> Any:
    made = common.policy_case(case)
    return ball(made.ratio(0) / made.instance.ref_ratio(0)).log()


def _certify_tight(case: Case) -> Evidence:
    """Decide in balls whether the gap is ln 2 where δ ≠ δ_ref."""
    made = common.policy_case(case)
    if made.sign_of_rise(0) == 0:
        return common.harmless(case, "delta = delta_ref: softplus(0) = ln 2")

    def room() -> Any:
        t = ball(made.instance.beta) * abs(_rise(case))
        return ball(2).log() - BALL.log1p((-t).exp())

    below = sign(room)[0]
    answer = None if below is None else below <= 0
    return common.harmless(case, "the gap is below ln 2 away from delta_ref", answer)


def _ranks(case: Case) -> float:
    """Measure how wrong the order of a pair is whose limiting loss is zero."""
    delta_ref, _, _ = common.pair_of(case)
    delta = common.policy_margin(case)
    if float(margins.relative_margin(delta, delta_ref)) < 0:
        return common.OUTSIDE
    return -delta


def _certify_ranks(case: Case) -> Evidence:
    made = common.policy_case(case)
    rise, delta = made.sign_of_rise(0), made.sign_of_margin(0)
    signs = {
        "margin[0] >= ref_margin[0]": None if rise is None else rise >= 0,
        "margin[0] <= 0": None if delta is None else delta <= 0,
    }
    words = "max(0, delta_ref - delta) = 0, yet delta <= 0"
    return counterexample(words, {**made.data(), "limit_loss": 0}, signs)


def _above(case: Case) -> float:
    """Measure how far L/β for large β is on one side of zero with δ on the other of δ_ref.

    At β = B/|δ_ref − δ| it is below ln 2/β above δ_ref, and above B/β below.
    """
    delta_ref, _, _ = common.pair_of(case)
    rise = float(margins.relative_margin(common.policy_margin(case), delta_ref))
    if rise == 0:
        at_ref = float(losses.DPO.value(delta_ref, delta_ref, 1e9)) / 1e9
        return at_ref - 1e-9
    beta = 100 / abs(rise)
    loss = float(losses.DPO.value(common.policy_margin(case), delta_ref, beta))
    return common.disagreement(rise * beta, 50.0 - loss)


def _certify_above(case: Case) -> Evidence:
    """Decide in rationals: max(0, δ_ref − δ) = 0 and δ ≥ δ_ref are one comparison of ratios."""
    made = common.policy_case(case)
    rise = made.sign_of_rise(0)
    zero = made.instance.ref_ratio(0) <= made.ratio(0)
    answer = None if rise is None else zero != (rise >= 0)
    return common.harmless(case, "the hinge is zero from delta_ref on", answer)


FALSIFIERS: dict[str, Falsifier] = {
    "uniform-bound": Falsifier(_draw, _bound, partial(_certify_bound, 1)),
    "bound-is-tight": Falsifier(_draw, _tight, _certify_tight),
    "limit": Falsifier(_draw, _limit, partial(_certify_bound, 100)),
    "zero-limit-loss-ranks": Falsifier(_draw_low_bar, _ranks, _certify_ranks),
    "zero-limit-loss-ranks-corrected": Falsifier(_draw, _above, _certify_above),
}
