"""How the readings of `undesirable-space` are attacked: U = {δ_ref < δ < 0} and its losses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

from prefeq import losses, margins
from prefeq._namespace import LN2
from prefeq.claims import formulas, gallery
from prefeq.claims.ball import BALL, ball, digits, sign_of_log
from prefeq.claims.contradiction import counterexample, has_sign
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Labels
from prefeq.claims.policy_case import PolicyCase
from prefeq.counterexamples.case import Case, Falsifier, Source
from prefeq.counterexamples.falsifiers import _common as common

Signs = dict[str, bool | None]


def _draw_low(labels: Labels, source: Source) -> Case:
    """Draw a reference that prefers the loser and, often, a policy on its way to a tie."""
    made = common.lowered(common.draw_pair(source, labels))
    winner, loser = made.pairs[0]
    ref = list(made.ref)
    if source.integer(0, 1):
        return Case(instance=made, policies={"pi": common.draw_policy(source, made)})
    even, share = (ref[winner] + ref[loser]) / 2, Fraction(source.integer(1, 9), 10)
    for y in (winner, loser):
        ref[y] += share * (even - ref[y])
    return Case(instance=made, policies={"pi": tuple(ref)})


_draw_any = common.draw_with_policy("ordered")
_draw_inside = partial(_draw_low, "ordered")
_draw_soft_inside = partial(_draw_low, "bradley-terry")


def _draw_either(source: Source) -> Case:
    return (_draw_inside if source.integer(0, 1) else _draw_any)(source)


def _draw_sure(source: Source) -> Case:
    """Draw a label sure enough, as often as not, for aligned policies to have a low loss."""
    made = common.lowered(common.draw_pair(source, "bradley-terry"))
    if source.integer(0, 1):
        winner, loser = made.pairs[0]
        size = common.rational(-common.logs([made.ref_ratio(0)])[0]) * source.integer(1, 3)
        reward = list(made.reward)
        reward[winner] = reward[loser] + made.beta * size
        made = dataclasses.replace(made, reward=tuple(reward))
    return Case(instance=made, policies={"pi": common.draw_policy(source, made)})


def _in_scope(case: Case) -> bool:
    """Whether Δr ≥ 0; of a soft label, that it says something: Δr > 0."""
    made = common.instance_of(case)
    return made.gap(0) > 0 or (made.gap(0) == 0 and made.labels == "ordered")


def _depth(case: Case) -> float:
    """Return how deep in U the package sees the policy, negative outside."""
    delta_ref, _, _ = common.pair_of(case)
    delta = common.policy_margin(case)
    depth = abs(min(float(margins.relative_margin(delta, delta_ref)), -delta))
    return depth if margins.undesirable(delta, delta_ref) else -depth


def _non_empty(hypothesis: str, case: Case) -> float:
    """Measure how strongly the hypothesis holds where U has no point half-way to zero."""
    delta_ref, gap, beta = common.pair_of(case)
    if not _in_scope(case):
        return common.OUTSIDE
    star = float(margins.optimal_margin(delta_ref, gap, beta))
    slack = -star if hypothesis == "violated" else -delta_ref
    if slack <= 0:
        return common.OUTSIDE
    return delta_ref / 2 if margins.undesirable(delta_ref / 2, delta_ref) else slack


def _certify_non_empty(hypothesis: str, case: Case) -> Evidence:
    """Decide exactly: U = (δ_ref, 0) is empty iff δ_ref ≥ 0."""
    made = common.instance_of(case)
    star, empty = made.sign_of_optimal_margin(0), made.ref_ratio(0) >= 1
    holds = None if star is None else (star < 0 if hypothesis == "violated" else not empty)
    answer = None if holds is None else _in_scope(case) and holds and empty
    return common.harmless(case, "U = (delta_ref, 0) is not empty for delta_ref < 0", answer)


def _not_violated(case: Case) -> float:
    """Measure by how much Assumption 3.1 holds although the policy is in U."""
    delta_ref, gap, beta = common.pair_of(case)
    if not _in_scope(case) or not margins.undesirable(common.policy_margin(case), delta_ref):
        return common.OUTSIDE
    return float(margins.optimal_margin(delta_ref, gap, beta))


def _certify_not_violated(case: Case) -> Evidence:
    made = common.policy_case(case)
    inside, star = made.in_undesirable(0), made.instance.sign_of_optimal_margin(0)
    data = {**made.data(), **gallery.assumption(made.instance).numbers}
    signs = {
        "ref_margin[0] < margin[0]": inside,
        "margin[0] < 0": inside,
        "rlhf_margin[0] >= 0": None if star is None else star >= 0,
    }
    words = "delta* >= 0, so the assumption is not violated, yet pi is in U"
    return counterexample(words, data, signs)


def _needs_reference(case: Case) -> float:
    """Measure how far above 0 the reference is of a policy in U."""
    delta_ref, _, _ = common.pair_of(case)
    if not _in_scope(case) or not margins.undesirable(common.policy_margin(case), delta_ref):
        return common.OUTSIDE
    return delta_ref


def _certify_needs_reference(case: Case) -> Evidence:
    made = common.policy_case(case)
    inside = made.in_undesirable(0)
    answer = None if inside is None else inside and made.instance.ref_ratio(0) >= 1
    return common.harmless(case, "a policy in U has delta_ref < delta < 0", answer)


def _loss(case: Case) -> float:
    """Return the policy's loss under the instance's label."""
    delta_ref, gap, beta = common.pair_of(case)
    delta = common.policy_margin(case)
    if common.instance_of(case).labels == "ordered":
        return float(losses.DPO.value(delta, delta_ref, beta))
    return float(losses.DPO.population_value(delta, delta_ref, beta, gap))


def _rounding(case: Case) -> float:
    """Return the rounding of a loss: it is as large as its argument."""
    delta_ref, gap, beta = common.pair_of(case)
    size = beta * (abs(delta_ref) + abs(common.policy_margin(case))) + gap
    return common.ROUNDING * (1.0 + size)


def _lower_loss(case: Case) -> float:
    """Measure by how much the loss of a policy in U exceeds that of the reference."""
    delta_ref, _, _ = common.pair_of(case)
    if not _in_scope(case) or not margins.undesirable(common.policy_margin(case), delta_ref):
        return common.OUTSIDE
    return _loss(case) - LN2 - _rounding(case)


def _certificate(part: str, case: Case) -> float:
    """Measure how far the loss's certificate and membership of U disagree."""
    if not _in_scope(case):
        return common.OUTSIDE
    delta_ref, _, beta = common.pair_of(case)
    loss, low = _loss(case), float(margins.softplus(beta * delta_ref))
    room = abs(min(loss - low, LN2 - loss))
    certified = room if margins.undesirable_from_loss(loss, delta_ref, beta) else -room
    depth, rounding = _depth(case), _rounding(case)
    given, found = (certified, depth) if part == "if" else (depth, certified)
    return common.OUTSIDE if given <= 0 else min(given, -found) - rounding


def _below_optimum(case: Case) -> float:
    """Measure by how much the loss exceeds the reference's at δ_ref < δ ≤ δ*."""
    delta_ref, gap, beta = common.pair_of(case)
    delta = common.policy_margin(case)
    star = float(margins.optimal_margin(delta_ref, gap, beta))
    if gap <= 0 or not delta_ref < delta <= star:
        return common.OUTSIDE
    return _loss(case) - LN2 - _rounding(case)


def _rises(case: Case) -> float:
    """Measure how far below the reference's margin a loss below ln 2 is seen."""
    delta_ref, gap, _ = common.pair_of(case)
    room = LN2 - _loss(case)
    if gap <= 0 or room <= 0:
        return common.OUTSIDE
    rise = float(margins.relative_margin(common.policy_margin(case), delta_ref))
    return min(room, -rise) - _rounding(case)


def _certify_losses(decide: Callable[[PolicyCase], Signs], words: str, case: Case) -> Evidence:
    """Decide something of one policy's loss and margin, and show both."""
    made = common.policy_case(case)
    if not _in_scope(case):
        return common.harmless(case, "the reward gap is negative")
    data = {
        **made.data(),
        "reference_loss": digits(_log2),
        "lower_end": digits(partial(_lower_end, made)),
    }
    return counterexample(words, data, decide(made))


def _log2() -> Any:
    return ball(2).log()


def _lower_end(made: PolicyCase) -> Any:
    """Enclose softplus(βδ_ref), the loss of an ordered pair at δ = 0."""
    return formulas.softplus(BALL, ball(made.instance.beta) * made.instance.delta_ref(0))


def _inside_but_worse(made: PolicyCase) -> Signs:
    inside = made.in_undesirable(0)
    above = made.compare_loss(0, _log2) if inside else -1
    return {
        "ref_margin[0] < margin[0]": inside,
        "margin[0] < 0": inside,
        "loss[0] >= reference_loss": None if above is None else above >= 0,
    }


def _outside_but_certified(made: PolicyCase) -> Signs:
    # Where δ < 0 a loss below ln 2 means δ > δ_ref, hence U; at δ = 0 an ordered pair's loss is
    # the lower end itself.
    ratio, ordered = made.ratio(0), made.instance.labels == "ordered"
    low: int | None = 0
    if ratio > 1 or not ordered:
        low = made.compare_loss(0, partial(_lower_end, made))
    high = made.compare_loss(0, _log2)
    return {
        "lower_end < loss[0]": has_sign(low, 1),
        "loss[0] < reference_loss": has_sign(high, -1),
        "margin[0] >= 0": ratio >= 1,
    }


def _certify_below_optimum(case: Case) -> Evidence:
    made = common.policy_case(case)
    instance = made.instance
    tilt = instance.gap(0) / instance.beta
    room = sign_of_log(instance.ref_ratio(0) / made.ratio(0), tilt)
    if instance.gap(0) <= 0 or made.sign_of_rise(0) != 1 or room == -1:
        return common.harmless(case, "not in delta_ref < delta <= delta*")
    above = made.compare_loss(0, _log2)
    answer = None if room is None or above is None else above >= 0
    return common.harmless(case, "the loss falls from delta_ref to delta*", answer)


def _certify_rises(case: Case) -> Evidence:
    made = common.policy_case(case)
    if made.instance.gap(0) <= 0 or made.sign_of_rise(0) in (0, 1):
        return common.harmless(case, "delta >= delta_ref, and L = ln 2 at delta_ref")
    below = made.compare_loss(0, _log2)
    answer = None if below is None else below < 0
    return common.harmless(case, "below delta_ref the loss is at least ln 2", answer)


_inside = partial(
    _certify_losses, _inside_but_worse, "the policy is in U, yet its loss is not below ln 2"
)
_outside = partial(
    _certify_losses,
    _outside_but_certified,
    "the policy is not in U, yet softplus(beta delta_ref) < L < ln 2",
)

FALSIFIERS: dict[str, Falsifier] = {
    "non-empty (if)": Falsifier(
        _draw_inside, partial(_non_empty, "violated"), partial(_certify_non_empty, "violated")
    ),
    "non-empty (only-if)": Falsifier(_draw_inside, _not_violated, _certify_not_violated),
    "non-empty-corrected (if)": Falsifier(
        _draw_inside, partial(_non_empty, "negative"), partial(_certify_non_empty, "negative")
    ),
    "non-empty-corrected (only-if)": Falsifier(
        _draw_either, _needs_reference, _certify_needs_reference
    ),
    "lower-loss": Falsifier(_draw_inside, _lower_loss, _inside),
    "lower-loss-soft-labels": Falsifier(_draw_soft_inside, _lower_loss, _inside),
    "loss-certificate (if)": Falsifier(_draw_inside, partial(_certificate, "if"), _outside),
    "loss-certificate (only-if)": Falsifier(
        _draw_inside, partial(_certificate, "only-if"), _inside
    ),
    "loss-certificate-soft-labels (if)": Falsifier(
        _draw_sure, partial(_certificate, "if"), _outside
    ),
    "loss-certificate-soft-labels (only-if)": Falsifier(
        _draw_soft_inside, partial(_certificate, "only-if"), _inside
    ),
    "lower-loss-soft-labels-corrected": Falsifier(
        _draw_soft_inside, _below_optimum, _certify_below_optimum
    ),
    "loss-certificate-soft-labels-corrected": Falsifier(_draw_sure, _rises, _certify_rises),
}
