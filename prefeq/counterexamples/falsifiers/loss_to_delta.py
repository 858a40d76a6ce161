"""How the readings of `loss-to-delta` are attacked; those about averages are in `_averages`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from prefeq import losses, margins
from prefeq._namespace import LN2
from prefeq.claims import formulas, loss_to_delta, soft_certificates
from prefeq.claims.ball import BALL, ball
from prefeq.claims.evidence import Evidence
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Falsifier, Kind, Source
from prefeq.counterexamples.falsifiers import _averages
from prefeq.counterexamples.falsifiers import _common as common
from prefeq.counterexamples.falsifiers import _numbers as numbers

_PAIR: dict[str, Kind] = {"delta": "real", "target": "real", "beta": "positive"}
_LEVEL: dict[str, Kind] = {**_PAIR, "level": "positive"}
_SOFT: dict[str, Kind] = {**_PAIR, "gap": "nonnegative"}
_BETWEEN: dict[str, Kind] = {
    "share": "unit",
    "target": "real",
    "beta": "positive",
    "gap": "positive",
}

MEMBERS: tuple[Callable[[float], losses.Loss], ...] = (
    lambda gamma: losses.DPO,
    lambda gamma: losses.CLIP,
    lambda gamma: losses.smooth(gamma=gamma),
    lambda gamma: losses.simpo(gamma),
    lambda gamma: losses.eq17(gamma),
)
"""The losses whose two targets have no negative sum, for γ > 0."""


def _levels(kind: str, case: Case) -> tuple[float, float, float]:
    """Return δ less the margin that is certified, level less loss, and the rounding of z."""
    delta, target, beta = numbers.floats(case, "delta target beta")
    loss = float(losses.DPO.value(delta, target, beta))
    if kind == "level":
        (level,) = numbers.floats(case, "level")
        bound = float(margins.margin_lower_bound(level, target, beta))
    else:
        level, bound = (LN2, target) if kind == "ln2" else (_zero(target, beta), 0.0)
    size = 1 + beta * (abs(delta) + abs(target)) + abs(level)
    return beta * (delta - bound), level - loss, common.ROUNDING * size


def _zero(target: float, beta: float) -> float:
    return float(margins.softplus(beta * target))


def _iff(kind: str, part: str, case: Case) -> float:
    """Measure how far a loss below a level and a margin above its own are apart."""
    over, under, rounding = _levels(kind, case)
    given, found = (under, over) if part == "if" else (over, under)
    return min(given, -found) - rounding


def _certify_iff(kind: str, part: str, case: Case) -> Evidence:
    def under() -> Any:
        delta, target, beta = numbers.balls(case, "delta target beta")
        loss = formulas.pair_loss(BALL, delta, target, beta)
        if kind == "level":
            return numbers.balls(case, "level")[0] - loss
        zero = formulas.softplus(BALL, beta * target)
        return (ball(2).log() if kind == "ln2" else zero) - loss

    def over() -> Any:
        delta, target, beta = numbers.balls(case, "delta target beta")
        if kind == "level":
            (level,) = numbers.balls(case, "level")
            return delta - formulas.certified_margin(BALL, level, target, beta)
        return delta - (target if kind == "ln2" else 0 * target)

    given, found = (under, over) if part == "if" else (over, under)
    tied = {"ln2": case.numbers["delta"] == case.numbers["target"], "level": False}
    if tied.get(kind, case.numbers["delta"] == 0):
        return common.harmless(case, "both sides are equalities")
    words = "the loss is below the level iff the margin is above its own"
    return numbers.broken(case, words, [given], lambda: -found())


def _aligned(case: Case) -> float:
    """Measure by how much a policy with a loss below ln 2 is misaligned."""
    if not numbers.single(case, "ordered"):
        return common.OUTSIDE
    delta_ref, _, beta = common.pair_of(case)
    delta = common.policy_margin(case)
    loss = float(losses.DPO.value(delta, delta_ref, beta))
    return min(LN2 - loss, -delta)


def _certify_aligned(case: Case) -> Evidence:
    if not numbers.single(case, "ordered"):
        return common.harmless(case, "not one ordered pair")
    return loss_to_delta.small_loss(common.policy_case(case))


def _fixed(case: Case) -> float:
    """Measure how far below its fixed target a soft label of risk at most ln 2 is."""
    delta, target, beta, gap = numbers.floats(case, "delta target beta gap")
    risk = float(losses.DPO.population_value(delta, target, beta, gap))
    size = 1 + beta * (abs(delta) + abs(target)) + gap
    return min(LN2 - risk, beta * (target - delta)) - common.ROUNDING * size


def _risk(case: Case, delta: Any) -> Any:
    target, beta, gap = numbers.balls(case, "target beta gap")
    return formulas.pair_loss(BALL, delta, target, beta, formulas.sigmoid(BALL, gap))


def _certify_fixed(case: Case) -> Evidence:
    if case.numbers["delta"] >= case.numbers["target"]:
        return common.harmless(case, "delta >= t")

    def low() -> Any:
        return ball(2).log() - _risk(case, numbers.balls(case, "delta")[0])

    return numbers.broken(case, "below t the risk is above ln 2", [], low)


def _draw_soft(source: Source) -> Case:
    made = common.draw_pair(source, "bradley-terry")
    return Case(instance=made, policies={"pi": common.draw_policy(source, made)})


def _sure(case: Case) -> float:
    """Measure by how much the risk of a policy at or above its target exceeds ln 2."""
    delta_ref, gap, beta = common.pair_of(case)
    if not numbers.single(case, "bradley-terry") or gap < 0:
        return common.OUTSIDE
    delta = common.policy_margin(case)
    risk = float(losses.DPO.population_value(delta, delta_ref, beta, gap))
    return min(risk - LN2, delta - delta_ref)


def _certify_sure(case: Case) -> Evidence:
    if not numbers.single(case, "bradley-terry"):
        return common.harmless(case, "not one soft label")
    return soft_certificates.high_loss(common.policy_case(case))


def _between(case: Case) -> float:
    """Measure by how much the risk exceeds ln 2 between t and t + 2Δr/β."""
    share, target, beta, gap = numbers.floats(case, "share target beta gap")
    delta = target + 2 * share * gap / beta
    risk = float(losses.DPO.population_value(delta, target, beta, gap))
    return risk - LN2 - common.ROUNDING * (1 + beta * abs(target) + 2 * gap)


def _certify_between(case: Case) -> Evidence:
    def high() -> Any:
        share, target, beta, gap = numbers.balls(case, "share target beta gap")
        return _risk(case, target + 2 * share * gap / beta) - ball(2).log()

    return numbers.broken(case, "there the risk is at most ln 2", [], high)


def _draw_recomputed(kinds: dict[str, Kind], source: Source) -> Case:
    case = _draw_soft(source)
    found = {name: draws.number(source, kind) for name, kind in kinds.items()}
    return Case(found, case.instance, case.policies)


def _recomputed(loss: losses.Loss, case: Case) -> tuple[float, float]:
    """Return ln 2 − R with recomputed targets, and β(t − δ)."""
    made = common.instance_of(case)
    _, gap, beta = common.pair_of(case)
    winner, loser = made.pairs[0]
    logp = common.logs(made.ref)
    both = losses.Reference(logp[winner], logp[loser])
    delta = common.policy_margin(case)
    risk = float(loss.population_value(delta, both, beta, gap, "per-label"))
    return LN2 - risk, beta * (float(loss.target(both, beta)) - delta)


def _easy(case: Case) -> float:
    """Measure how far below its target `easy` lets a soft label of risk below ln 2 be."""
    if not numbers.single(case, "bradley-terry") or common.instance_of(case).gap(0) < 0:
        return common.OUTSIDE
    return min(_recomputed(losses.easy(numbers.floats(case, "gamma")[0]), case))


def _certify_easy(case: Case) -> Evidence:
    if not numbers.single(case, "bradley-terry"):
        return common.harmless(case, "not one soft label")
    return soft_certificates.below_target(common.policy_case(case), case.numbers["gamma"])


def _others(case: Case) -> float:
    """Measure the same of the losses whose targets have no negative sum."""
    if not numbers.single(case, "bradley-terry") or common.instance_of(case).gap(0) < 0:
        return common.OUTSIDE
    gamma, which = numbers.floats(case, "gamma loss")
    low, short = _recomputed(MEMBERS[int(which) % len(MEMBERS)](gamma), case)
    delta_ref, _, beta = common.pair_of(case)
    size = 1 + beta * (abs(delta_ref) + abs(common.policy_margin(case))) + gamma + abs(short)
    return min(low, short) - common.ROUNDING * size


def _targets(case: Case) -> tuple[Any, Any]:
    """Enclose t and t′ of the loss that the case names."""
    made, (gamma,) = common.instance_of(case), numbers.balls(case, "gamma")
    winner, loser = made.pairs[0]
    ref, beta = made.delta_ref(0), ball(made.beta)
    inverse = gamma / beta * (1 / ball(made.ref[winner]) + 1 / ball(made.ref[loser]))
    pairs = (
        (ref, -ref),
        (ref.max(0 * ref), (-ref).max(0 * ref)),
        (
            ref + formulas.softplus(BALL, gamma - ref),
            -ref + formulas.softplus(BALL, gamma + ref),
        ),
        (gamma / beta, gamma / beta),
        (ref + inverse, -ref + inverse),
    )
    return pairs[int(case.numbers["loss"]) % len(pairs)]


def _certify_others(case: Case) -> Evidence:
    made = common.policy_case(case)
    instance = made.instance
    if not numbers.single(case, "bradley-terry") or instance.gap(0) < 0:
        return common.harmless(case, "not one soft label with q >= 1/2")

    def low() -> Any:
        target, swapped = _targets(case)
        q = formulas.sigmoid(BALL, ball(instance.gap(0)))
        beta = ball(instance.beta)
        risk = formulas.two_target_risk(BALL, made.margin(0), target, swapped, beta, q)
        return ball(2).log() - risk

    def short() -> Any:
        return _targets(case)[0] - made.margin(0)

    below = numbers.positive(short)
    if below is not True:
        return common.harmless(case, "delta >= t", below)
    return numbers.broken(case, "below t the risk is above ln 2", [], low)


def _both(name: str, kind: str, kinds: dict[str, Kind]) -> dict[str, Falsifier]:
    return {
        f"{name} ({part})": Falsifier(
            numbers.draw_of(kinds),
            partial(_iff, kind, part),
            partial(_certify_iff, kind, part),
            kinds,
        )
        for part in ("if", "only-if")
    }


_GAMMA: dict[str, Kind] = {"gamma": "positive"}
_NAMED: dict[str, Kind] = {**_GAMMA, "loss": "integer"}

FALSIFIERS: dict[str, Falsifier] = {
    **_both("per-pair", "level", _LEVEL),
    **_both("ln2", "ln2", _PAIR),
    "aligned-by-ln2": Falsifier(common.draw_with_policy("ordered"), _aligned, _certify_aligned),
    **_both("aligned-by-its-own-bound", "zero", _PAIR),
    **_averages.FALSIFIERS,
    "soft-fixed-target (if)": Falsifier(numbers.draw_of(_SOFT), _fixed, _certify_fixed, _SOFT),
    "soft-fixed-target (only-if)": Falsifier(_draw_soft, _sure, _certify_sure),
    "soft-fixed-target-corrected": Falsifier(
        numbers.draw_of(_BETWEEN), _between, _certify_between, _BETWEEN
    ),
    "soft-recomputed-target": Falsifier(
        partial(_draw_recomputed, _GAMMA), _easy, _certify_easy, _GAMMA
    ),
    "soft-recomputed-target-corrected": Falsifier(
        partial(_draw_recomputed, _NAMED), _others, _certify_others, _NAMED
    ),
}
