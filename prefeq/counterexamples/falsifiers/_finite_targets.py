"""How finite-target losses are attacked: IPO, hinge and label-smoothed DPO stop at δ_ref + target.

Readings of `pathological-convergence`; alone a pair, and IPO on all pairs of three responses.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from prefeq import losses, margins
from prefeq.arrays import FloatArray
from prefeq.claims import formulas, gallery
from prefeq.claims.ball import BALL, ball, sign, sign_of_log
from prefeq.claims.contradiction import counterexample, every
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Instance
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Falsifier, Kind, Source
from prefeq.counterexamples.falsifiers import _common as common


@dataclass(frozen=True)
class Finite:
    """A loss: its target in floats and in balls from (β, ε), and the package's own."""

    target: Callable[[float, float], float]
    enclosed: Callable[[Any, Any], Any]
    loss: Callable[[float], losses.Loss]


FINITE = {
    "ipo": Finite(
        lambda beta, eps: 1 / (2 * beta),
        lambda beta, eps: formulas.ipo_target(beta),
        lambda eps: losses.IPO,
    ),
    "hinge": Finite(
        lambda beta, eps: 1 / beta,
        lambda beta, eps: formulas.hinge_target(beta),
        lambda eps: losses.HINGE,
    ),
    "cdpo": Finite(
        lambda beta, eps: (math.log1p(-eps) - math.log(eps)) / beta,
        lambda beta, eps: formulas.smoothed_target(BALL, beta, eps),
        lambda eps: losses.cdpo(eps),
    ),
}

KINDS: dict[str, Kind] = {"smoothing": "unit", "share": "unit"}


def _draw(source: Source) -> Case:
    """Draw a pair, ε = smoothing/2, and where between start and end the slope is looked at.

    As often as not β puts one of the thresholds near δ_ref.
    """
    made = common.lowered(common.draw_pair(source, "ordered"))
    if source.integer(0, 1):
        size = abs(common.logs([made.ref_ratio(0)])[0])
        beta = draws.near(source, common.rational(source.choice((0.5, 1.0, 2.0)) / (size or 1.0)))
        made = dataclasses.replace(made, beta=beta if beta > 0 else made.beta)
    return Case({name: draws.number(source, "unit") for name in KINDS}, made)


def _threshold(name: str, case: Case) -> tuple[float, float, float, float]:
    """Return δ_ref, β, ε and how far δ_ref is below −target."""
    delta_ref, _, beta = common.pair_of(case)
    eps = float(case.numbers["smoothing"]) / 2
    return delta_ref, beta, eps, -FINITE[name].target(beta, eps) - delta_ref


def _stops(loss: losses.Loss, case: Case, end: float) -> bool:
    """Tell whether the loss falls up to the end of the flow, and not beyond."""
    delta_ref, _, beta = common.pair_of(case)
    step = float(case.numbers["share"]) * (end - delta_ref)
    if abs(step) < common.CLOSE * (abs(delta_ref) + abs(end)):
        return True
    before, beyond = loss.gradient([end - step, end + step], delta_ref, beta)
    return bool(before < 0 <= beyond)


def _violation(name: str, part: str, case: Case) -> float:
    """Measure how far δ_ref is on one side of −target while the flow ends as on the other."""
    delta_ref, beta, eps, below = _threshold(name, case)
    loss = FINITE[name].loss(eps)
    end = float(loss.minimiser(delta_ref, beta))
    inside = bool(margins.undesirable(end, delta_ref) and loss.traps(delta_ref, beta))
    if delta_ref >= 0 or ((below <= 0) if part == "if" else not inside):
        return common.OUTSIDE
    amount = abs(below) - common.ROUNDING * (abs(delta_ref) + 8 / beta)
    return amount if inside != (below > 0) or not _stops(loss, case, end) else -abs(below)


def _certify(name: str, part: str, case: Case) -> Evidence:
    """Decide δ_ref < −target and δ_ref < δ_ref + target < 0, each on its own."""
    made = common.instance_of(case)

    def target() -> Any:
        return FINITE[name].enclosed(ball(made.beta), ball(case.numbers["smoothing"] / 2))

    below = sign(lambda: -target() - made.delta_ref(0))[0]
    rises, ends = sign(target)[0], sign(lambda: made.delta_ref(0) + target())[0]
    if below is None or rises is None or ends is None:
        return common.harmless(case, "too close to the threshold", None)
    inside = rises > 0 and ends < 0
    answer = below > 0 and not inside if part == "if" else inside and below <= 0
    return common.harmless(case, "the flow ends at delta_ref + target", answer)


def _draw_three(source: Source) -> Case:
    """Draw an order of three responses that, as often as not, the reference has backwards."""
    made = draws.instance(
        source, labels="ordered", min_responses=3, max_responses=3, shapes=("complete",)
    )
    if source.integer(0, 1):
        best, middle, worst = sorted(range(3), key=made.ref.__getitem__)
        pairs = ((best, middle), (middle, worst), (best, worst))
        slope = common.logs([made.ref[best] / made.ref[middle]])[0]
        beta = common.rational(source.choice((0.35, 0.4, 0.45, 0.6)) / max(abs(slope), 0.05))
        made = dataclasses.replace(made, pairs=pairs, beta=beta or made.beta)
    return Case(instance=made)


def _neighbours(made: Instance) -> tuple[int, ...]:
    """Return the two pairs of neighbours of a total order of three, () of anything else."""
    if made.size != 3 or len(set(made.pairs)) != 3 or not common.acyclic(made):
        return ()
    wins = [sum(winner == y for winner, _ in made.pairs) for y in range(3)]
    found = [k for k, (w, lo) in enumerate(made.pairs) if wins[w] == wins[lo] + 1]
    return tuple(found) if len(made.pairs) == 3 and len(found) == 2 else ()


def _end(made: Instance) -> tuple[FloatArray, FloatArray]:
    """Return δ_ref and the δ where the package's IPO gradient vanishes on all three pairs.

    The gradient is linear and D'D = 3 − J, so that Newton's step is D'g/6.
    """
    delta_ref = common.margins_of(made, made.ref)
    rows = np.zeros((3, 3))
    for k, (winner, loser) in enumerate(made.pairs):
        rows[k, winner], rows[k, loser] = 1.0, -1.0
    theta = np.zeros(3)
    for _ in range(3):
        slope = losses.IPO.gradient(delta_ref + rows @ theta, delta_ref, float(made.beta))
        theta = theta - rows.T @ slope / 6
    return delta_ref, delta_ref + rows @ theta


def _overlapping(case: Case) -> float:
    """Measure how far above −1/(2β) the reference is of a pair of neighbours that ends in U."""
    made = common.instance_of(case)
    amounts = [common.OUTSIDE]
    near = _neighbours(made)
    if near:
        delta_ref, end = _end(made)
        above = delta_ref + 0.5 / float(made.beta)
        inside = margins.undesirable(end, delta_ref)
        amounts += [min(above[k], -end[k]) for k in near if inside[k]]
    return float(max(amounts))


def _two_thirds(case: Case) -> float:
    """Measure how far neighbours end from δ_ref + 1/(3β), or on the wrong side of U."""
    made = common.instance_of(case)
    near, beta = list(_neighbours(made)), float(made.beta)
    if not near:
        return common.OUTSIDE
    delta_ref, end = _end(made)
    size = common.ROUNDING * (1 / beta + float(np.max(np.abs(delta_ref))))
    error = float(np.max(np.abs(end - delta_ref - 1 / (3 * beta))[near]))
    below = -1 / (3 * beta) - delta_ref
    depth = np.minimum(end - delta_ref, -end)
    depth = np.where(margins.undesirable(end, delta_ref), np.abs(depth), -np.abs(depth))
    wrong = max(common.disagreement(float(depth[k]), float(below[k])) for k in near)
    return max(error, wrong) - size


def _certify_overlapping(case: Case) -> Evidence:
    """Decide in balls, pair by pair; show the first that refutes the threshold of a lone pair."""
    made = common.instance_of(case)
    bound, shift = Fraction(-1, 2) / made.beta, 1 / (3 * made.beta)
    found: Evidence | None = None
    for k in _neighbours(made):
        steps = [shift if j in _neighbours(made) else 2 * shift for j in range(3)]
        data = {
            "instance": made.to_data(),
            "ref_margin": gallery.numbers_of(partial(_moved, made, [Fraction(0)] * 3)),
            "ipo_margin": gallery.numbers_of(partial(_moved, made, steps)),
        }
        ratio = made.ref_ratio(k)
        signs = {
            f"ref_margin[{k}] >= {bound}": _at_least(ratio, bound),
            f"ipo_margin[{k}] < 0": _at_least(1 / ratio, shift, strict=True),
        }
        words = f"pair {k} ends at delta_ref + 1/(3 beta) < 0, yet delta_ref >= -1/(2 beta)"
        evidence = counterexample(words, data, signs)
        if found is None or every(signs.values()):
            found = evidence
    return found or common.harmless(case, "not all pairs of three ordered responses")


def _moved(made: Instance, steps: list[Fraction]) -> list[Any]:
    return [made.delta_ref(k) + ball(step) for k, step in enumerate(steps)]


def _at_least(ratio: Fraction, bound: Fraction, *, strict: bool = False) -> bool | None:
    """Decide log(ratio) ≥ bound, or > bound."""
    found = sign_of_log(ratio, -bound)
    return None if found is None else found > 0 or (found == 0 and not strict)


def _certify_two_thirds(case: Case) -> Evidence:
    """Decide in rationals whether the slopes of all three cancel at 1/(3β), 1/(3β), 2/(3β)."""
    made = common.instance_of(case)
    near = _neighbours(made)
    slopes = [Fraction(0)] * made.size
    for k, (winner, loser) in enumerate(made.pairs):
        rise = (1 if k in near else 2) / (3 * made.beta) - 1 / (2 * made.beta)
        slopes[winner] += rise
        slopes[loser] -= rise
    return common.harmless(
        case, "neighbours end at delta_ref + 1/(3 beta)", bool(near and any(slopes))
    )


FALSIFIERS: dict[str, Falsifier] = {
    f"{name} ({part})": Falsifier(
        _draw, partial(_violation, name, part), partial(_certify, name, part), KINDS
    )
    for name in FINITE
    for part in ("if", "only-if")
} | {
    "ipo-overlapping": Falsifier(_draw_three, _overlapping, _certify_overlapping),
    "ipo-overlapping-corrected": Falsifier(_draw_three, _two_thirds, _certify_two_thirds),
}
