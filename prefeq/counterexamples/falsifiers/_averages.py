"""How the readings of `loss-to-delta` about mean losses and shares of pairs are attacked."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from prefeq import losses, margins
from prefeq.arrays import FloatArray
from prefeq.claims import formulas, loss_averages
from prefeq.claims.ball import BALL, ball
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Labels
from prefeq.claims.policy_case import PolicyCase
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Falsifier, Kind, Source
from prefeq.counterexamples.falsifiers import _common as common
from prefeq.counterexamples.falsifiers import _numbers as numbers

FAR = 60.0
"""The z at which a loss is below the rounding of the others."""

LEAST = 1e-290
"""Losses below it have lost digits, and soon are 0: they certify nothing in floats."""

_SHARE: dict[str, Kind] = {"target": "real", "beta": "positive", "share": "unit", "z": "positive"}


def _draw(labels: Labels, source: Source) -> Case:
    """Draw an instance and a policy, as often as not one that ties or halves the reference."""
    made = draws.instance(source, labels=labels, max_responses=4)
    return Case(instance=made, policies={"pi": common.draw_policy(source, made)})


def _seen(case: Case) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """Return δ, δ_ref and the package's losses of all pairs, and β."""
    made = common.instance_of(case)
    delta, ref = common.margins_of(made, case.policies["pi"]), common.margins_of(made, made.ref)
    beta = float(made.beta)
    odds = np.inf if made.labels == "ordered" else common.gaps(made)
    return delta, ref, np.asarray(losses.DPO.population_value(delta, ref, beta, odds)), beta


def _misaligned(case: Case) -> float:
    """Return the share of pairs with δ ≤ 0, exactly."""
    made, policy = common.instance_of(case), case.policies["pi"]
    return sum(policy[w] <= policy[lo] for w, lo in made.pairs) / len(made.pairs)


def _share(labels: str, case: Case) -> float:
    """Measure by how much the share of pairs with δ ≤ 0 exceeds the package's bound."""
    if common.instance_of(case).labels != labels:
        return common.OUTSIDE
    delta, ref, loss, beta = _seen(case)
    if float(np.min(loss)) < LEAST:
        return common.OUTSIDE
    bound = float(margins.misaligned_share_bound(loss.mean(), ref, beta))
    size = 1 + beta * float(np.max(np.abs(ref)) + np.max(np.abs(delta)))
    rounding = common.ROUNDING * size
    return _misaligned(case) - bound - (rounding if labels == "ordered" else 0.0)


def _certify_share(labels: str, case: Case) -> Evidence:
    made = common.policy_case(case)
    if made.instance.labels != labels:
        return common.harmless(case, "another kind of label")
    if labels == "ordered" and all(r == 1 for r in map(made.ratio, _pairs(made))):
        return common.harmless(case, "delta = 0 on all pairs: the mean is at least the least loss")
    return loss_averages.misaligned_share(made)


def _pairs(made: PolicyCase) -> range:
    return range(len(made.instance.pairs))


def _sharp(case: Case) -> float:
    """Measure how far the mean with δ = 0 on a share and large δ elsewhere is from its limit."""
    target, beta, share, z = numbers.floats(case, "target beta share z")
    scaled = beta * target
    at = np.array([0.0, FAR + scaled, z + scaled]) / beta
    zero, far, near = losses.DPO.value(at, target, beta)
    limit = share * float(margins.softplus(scaled))
    missed = abs(share * zero + (1 - share) * far - limit)
    return float(max(missed, -near) - common.ROUNDING * (1 + abs(scaled)) * (1 + limit))


def _certify_sharp(case: Case) -> Evidence:
    def mean(z: Any) -> Any:
        target, beta, share = numbers.balls(case, "target beta share")
        zero = formulas.pair_loss(BALL, ball(0), target, beta)
        other = formulas.pair_loss(BALL, z / beta + target, target, beta)
        return share * zero + (1 - share) * other

    def limit() -> Any:
        target, beta, share = numbers.balls(case, "target beta share")
        return share * formulas.softplus(BALL, beta * target)

    def excess() -> Any:
        return mean(ball(200)) - limit() - ball(2) ** -200

    def below() -> Any:
        return limit() - mean(ball(case.numbers["z"]))

    return numbers.broken(case, "share softplus(beta t) is the infimum", [], excess, below)


def _each(case: Case) -> float:
    """Measure how far below the margin of a pair with the mean loss some pair is, in nats."""
    if common.instance_of(case).labels != "ordered":
        return common.OUTSIDE
    delta, ref, loss, beta = _seen(case)
    if float(np.min(loss)) < LEAST:
        return common.OUTSIDE
    return float(np.max(margins.margin_lower_bound(loss.mean(), ref, beta) - delta))


def _certify_each(case: Case) -> Evidence:
    made = common.policy_case(case)
    if made.instance.labels != "ordered":
        return common.harmless(case, "not ordered pairs")
    delta, ref, loss, beta = _seen(case)
    short = margins.margin_lower_bound(loss.mean(), ref, beta) - delta
    return loss_averages.uneven(made, int(np.argmax(short)))


def _mean(weakly: bool, case: Case) -> float:
    """Measure how far the mean of β(δ − t), or each one, is below what the mean loss certifies."""
    if common.instance_of(case).labels != "ordered":
        return common.OUTSIDE
    delta, ref, loss, beta = _seen(case)
    level = float(loss.mean()) * (len(loss) if weakly else 1)
    if float(np.min(loss)) < LEAST:
        return common.OUTSIDE
    z = beta * (delta - ref)
    bound = float(margins.margin_lower_bound(level, 0.0, 1.0))
    rounding = common.ROUNDING * (1 + beta * float(np.max(np.abs(delta) + np.abs(ref))))
    return bound - float(np.min(z) if weakly else np.mean(z)) - rounding


def _certify_mean(weakly: bool, case: Case) -> Evidence:
    made = common.policy_case(case)
    if made.instance.labels != "ordered":
        return common.harmless(case, "not ordered pairs")
    every = _pairs(made)

    def level() -> Any:
        terms = [made.loss(k) for k in every]
        total = sum(terms[1:], terms[0])
        return total if weakly else total / len(terms)

    def z(k: int) -> Any:
        return ball(made.instance.beta) * (made.margin(k) - made.instance.delta_ref(k))

    def shortfall(k: int) -> Any:
        """Enclose loss − level where the loss is that of pair k, or of the mean z."""
        total = sum((z(j) for j in every[1:]), z(0)) / len(every)
        return formulas.softplus(BALL, -(z(k) if weakly else total)) - level()

    alike = not weakly and all(
        made.ratio(k) / made.instance.ref_ratio(k) == made.ratio(0) / made.instance.ref_ratio(0)
        for k in every
    )
    if alike or (weakly and len(every) == 1):
        return common.harmless(case, "all losses alike: the mean is each of them")
    words = "no margin is below what the mean loss certifies"
    breaks = [partial(shortfall, k) for k in every] if weakly else [partial(shortfall, 0)]
    return numbers.broken(case, words, [], *breaks)


def _floor(case: Case) -> float:
    """Measure by how much the share exceeds mean R over the least R that a pair with δ ≤ 0 has."""
    made = common.instance_of(case)
    if made.labels != "bradley-terry" or not common.in_range(made):
        return common.OUTSIDE
    _, ref, loss, beta = _seen(case)
    odds = common.gaps(made)
    lowest = ref + np.minimum(odds, -beta * ref) / beta
    floor = float(np.min(losses.DPO.population_value(lowest, ref, beta, odds)))
    if floor == 0:
        return common.OUTSIDE
    rounding = common.ROUNDING * (1 + float(np.max(beta * np.abs(ref) + np.abs(odds))))
    return _misaligned(case) - float(loss.mean()) / floor * (1 + rounding)


def _certify_floor(case: Case) -> Evidence:
    """Decide in balls, pair by pair: R ≥ R(min(logit q, −βt)) wherever δ ≤ 0."""
    made = common.policy_case(case)
    instance = made.instance
    if instance.labels != "bradley-terry":
        return common.harmless(case, "not soft labels")

    def excess(k: int) -> Any:
        beta, gap, ref = ball(instance.beta), ball(instance.gap(k)), instance.delta_ref(k)
        lowest = gap.min(-beta * ref)
        q = formulas.sigmoid(BALL, gap)
        return formulas.pair_loss(BALL, lowest, ball(0), ball(1), q) - made.loss(k)

    low = [k for k in _pairs(made) if made.ratio(k) < 1]
    breaks = [partial(excess, k) for k in low]
    return numbers.broken(case, "a pair with delta <= 0 has at least that risk", [], *breaks)


FALSIFIERS: dict[str, Falsifier] = {
    "averages": Falsifier(
        partial(_draw, "ordered"), partial(_share, "ordered"), partial(_certify_share, "ordered")
    ),
    "averages-sharp": Falsifier(numbers.draw_of(_SHARE), _sharp, _certify_sharp, _SHARE),
    "mean-certifies-each": Falsifier(partial(_draw, "ordered"), _each, _certify_each),
    "mean-certifies-mean": Falsifier(
        partial(_draw, "ordered"), partial(_mean, False), partial(_certify_mean, False)
    ),
    "mean-certifies-weakly": Falsifier(
        partial(_draw, "ordered"), partial(_mean, True), partial(_certify_mean, True)
    ),
    "averages-soft-labels": Falsifier(
        partial(_draw, "bradley-terry"),
        partial(_share, "bradley-terry"),
        partial(_certify_share, "bradley-terry"),
    ),
    "averages-soft-labels-corrected": Falsifier(
        partial(_draw, "bradley-terry"), _floor, _certify_floor
    ),
}
