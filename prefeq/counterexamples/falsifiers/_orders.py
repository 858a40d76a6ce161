"""How the readings about the order of policies are attacked: L against J."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from prefeq import losses, margins
from prefeq.claims import exact_graphs, formulas, gallery, policy_order
from prefeq.claims.ball import BALL, ball
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Instance, Labels
from prefeq.claims.several_policies import Policies
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Falsifier, Kind, Source
from prefeq.counterexamples.falsifiers import _common as common
from prefeq.counterexamples.falsifiers import _numbers as numbers
from prefeq.solvers import rlhf

SHIFTS = np.array([0.0, 0.25, 1.0, 4.0])
GRID = np.linspace(-3.0, 3.0, 241)
LEAST_MISMATCH = 0.05
"""How unlike the two curves must be at δ* for the grid to see it beyond the rounding."""

_MIRROR: dict[str, Kind] = {"star": "real", "gap": "positive", "beta": "positive", "h": "positive"}
_SIDE: dict[str, Kind] = {
    "star": "real",
    "gap": "real",
    "beta": "positive",
    "y": "real",
    "share": "unit",
}
_UNEVEN: dict[str, Kind] = {"star": "real", "gap": "positive", "beta": "positive"}


def _ordered(made: Instance) -> bool:
    return made.labels == "ordered" and common.acyclic(made)


def _two(made: Instance) -> bool:
    alone = made.size == 2 and len(made.pairs) == 1
    return alone and made.labels == "bradley-terry" and made.gap(0) > 0


def _slack(made: Instance) -> float:
    """Return the least δ*, with the sign that the package's Assumption 3.1 gives it."""
    delta_ref, gap, beta = common.margins_of(made, made.ref), common.gaps(made), float(made.beta)
    star = np.abs(margins.optimal_margin(delta_ref, gap, beta))
    holds = margins.assumption_holds(delta_ref, gap, beta)
    return float(np.min(np.where(holds, star, -star)))


def _draw_acyclic(source: Source) -> Case:
    made = draws.instance(source, labels="ordered", max_responses=4, shapes=draws.ACYCLIC)
    return Case(instance=common.oriented(made, up=False) if source.integer(0, 1) else made)


def _tilted(violated: bool, case: Case) -> float:
    """Measure by how much L or J fails to fall on each of three steps from π* along the heights."""
    made = common.instance_of(case)
    if not common.in_range(made) or not _ordered(made) or (violated and _slack(made) > 0):
        return common.OUTSIDE
    loss, value = policy_order.along_tilt(made, SHIFTS)
    top = float(max(map(abs, made.reward)))
    size = 1 + float(np.max(np.abs(value))) + top + 50 * float(made.beta)
    falls = np.minimum(loss[0] - loss[1:], (value[0] - value[1:]) / size)
    return float(-np.max(falls)) - common.ROUNDING * (1 + float(loss[0]))


def _certify_tilted(violated: bool, case: Case) -> Evidence:
    """Decide in balls whether L and J fall from π* to π* e^h/Z."""
    made = common.instance_of(case)
    if not _ordered(made) or (violated and gallery.assumption(made).answer):
        return common.harmless(case, "not in the scope of the statement")
    heights = exact_graphs.heights(made.size, made.pairs)
    assert heights is not None

    def logps() -> tuple[list[Any], list[Any]]:
        best = made.rlhf_logp()
        raised = [z + h for z, h in zip(best, heights, strict=True)]
        total = sum((z.exp() for z in raised[1:]), raised[0].exp()).log()
        return best, [z - total for z in raised]

    def loss(logp: list[Any]) -> Any:
        beta, pairs = ball(made.beta), enumerate(made.pairs)
        terms = [
            formulas.pair_loss(BALL, logp[w] - logp[lo], made.delta_ref(k), beta)
            for k, (w, lo) in pairs
        ]
        return sum(terms[1:], terms[0])

    def lost() -> Any:
        """Enclose KL(π‖π*), by which J falls, over β."""
        best, moved = logps()
        terms = [z.exp() * (z - s) for z, s in zip(moved, best, strict=True)]
        return sum(terms[1:], terms[0])

    def rise() -> Any:
        best, moved = logps()
        return loss(moved) - loss(best)

    return numbers.broken(case, "L and J both fall along the heights", [], rise, lambda: -lost())


def _draw_opposite(labels: Labels, size: int, source: Source) -> Case:
    """Draw an instance on which, mostly, A 3.1 holds, and two policies."""
    made = draws.instance(
        source,
        labels=labels,
        max_responses=size,
        shapes=draws.ACYCLIC,
        by_reward=labels != "ordered",
    )
    if labels == "ordered" and source.integer(0, 3):
        made = common.oriented(made)
    policies = {name: draws.policy(source, made.size) for name in ("first", "second")}
    return Case(instance=made, policies=policies)


def _opposite(case: Case) -> float:
    """Measure by how much the first policy has the lower L and the lower J where A 3.1 holds."""
    made = common.instance_of(case)
    scope = _ordered(made) or _two(made)
    if not scope or not common.in_range(made) or _slack(made) <= 0:
        return common.OUTSIDE
    bandit, prefs = common.problem(made)
    logps = np.array([common.logs(case.policies[name]) for name in ("first", "second")])
    delta = logps[:, prefs.winner] - logps[:, prefs.loser]
    ref = prefs.ref_margin(bandit)
    loss = losses.DPO.population_value(delta, ref, bandit.beta, prefs.log_odds).mean(axis=-1)
    value = [float(rlhf.objective(bandit, logp)) for logp in logps]
    return float(min(loss[1] - loss[0], value[1] - value[0]))


def _certify_opposite(case: Case) -> Evidence:
    made = common.instance_of(case)
    if not (_ordered(made) or _two(made)):
        return common.harmless(case, "not in the scope of the statement")
    both = Policies.of(made, [case.policies["first"], case.policies["second"]])
    return policy_order.opposite(both)


def _curves(case: Case, delta: Any) -> tuple[Any, Any, float]:
    """Return the package's L and J at margins of two responses, and the size of the numbers."""
    star, gap, beta = numbers.floats(case, "star gap beta")
    delta_ref = star - gap / beta
    loss = losses.DPO.population_value(delta, delta_ref, beta, gap)
    value = policy_order.package_value(delta, delta_ref, gap, beta)
    far = float(np.max(np.abs(delta)))
    return loss, value, 1 + abs(gap) + (1 + beta) * (1 + far + abs(delta_ref))


def _mirrored(reading: str, case: Case) -> float:
    """Measure how L and J at δ* ± h break one of the readings about such policies."""
    star, h = numbers.floats(case, "star h")
    loss, value, size = _curves(case, np.array([star + h, star - h]))
    rounding = common.ROUNDING * size
    by_loss, by_value = float(loss[1] - loss[0]), float(value[0] - value[1])
    if reading == "if":
        return common.OUTSIDE if star <= 0 else max(-by_loss, -by_value) - rounding
    if star > 0:
        return common.OUTSIDE
    if reading == "only-if":
        return min(by_loss, by_value) - rounding
    return max(-by_loss, by_value) - rounding


def _loss_at(case: Case, delta: Any) -> Any:
    star, gap, beta = numbers.balls(case, "star gap beta")
    q = formulas.sigmoid(BALL, gap)
    return formulas.pair_loss(BALL, delta, star - gap / beta, beta, q)


def _value_at(case: Case, delta: Any) -> Any:
    star, gap, beta = numbers.balls(case, "star gap beta")
    return formulas.two_response_value(BALL, delta, star - gap / beta, gap, beta)


def _certify_mirrored(reading: str, case: Case) -> Evidence:
    """Decide the same in balls."""
    if (case.numbers["star"] > 0) != (reading == "if"):
        return common.harmless(case, "not in the scope of the statement")

    def lean(curve: Any) -> Any:
        star, h = numbers.balls(case, "star h")
        return curve(case, star + h) - curve(case, star - h)

    def by_loss() -> Any:
        return -lean(_loss_at)

    def by_value() -> Any:
        return lean(_value_at)

    words = "L prefers delta* + h, and J does iff delta* > 0"
    level = case.numbers["star"] == 0  # J has no preference: balls would not see the equality
    if reading == "if":
        return numbers.broken(case, words, [], lambda: -by_loss(), lambda: -by_value())
    if reading == "violated":
        breaks = [lambda: -by_loss()] if level else [lambda: -by_loss(), by_value]
        return numbers.broken(case, words, [], *breaks)
    if level:
        return common.harmless(case, words)
    return numbers.broken(case, words, [by_loss], by_value)


def _same_side(case: Case) -> float:
    """Measure by how much, on one side of δ*, the nearer policy has the higher L or lower J."""
    star, y, share = numbers.floats(case, "star y share")
    if y == 0:
        return common.OUTSIDE
    loss, value, size = _curves(case, np.array([star + share * y, star + y]))
    return float(max(loss[0] - loss[1], value[1] - value[0])) - common.ROUNDING * size


def _certify_same_side(case: Case) -> Evidence:
    if case.numbers["y"] == 0:
        return common.harmless(case, "both at delta*")

    def ahead(curve: Any) -> Any:
        star, y, share = numbers.balls(case, "star y share")
        return curve(case, star + share * y) - curve(case, star + y)

    breaks = (lambda: ahead(_loss_at)), (lambda: -ahead(_value_at))
    return numbers.broken(case, "the nearer one has the lower L and the higher J", [], *breaks)


def _draw_uneven(source: Source) -> Case:
    """Draw δ*, Δr and β of ordinary size: the two curves differ little elsewhere."""
    star, gap = Fraction(source.integer(-30, 30), 10), source.integer(1, 30)
    beta = source.choice([Fraction(x) for x in ("1", "1/2", "2", "1/4", "4", "1/3", "3")])
    return Case({"star": star, "gap": Fraction(gap, 10), "beta": beta})


def _swapped(case: Case) -> tuple[float, int, int]:
    """Return the most by which L rises with J on the grid around δ*, and the two points."""
    (star,) = numbers.floats(case, "star")
    loss, value, _ = _curves(case, star + GRID)
    order = np.argsort(value)
    lowest = np.minimum.accumulate(loss[order])
    at = int(np.argmax(loss[order] - lowest))
    low = int(np.argmin(loss[order][: at + 1]))
    return float(loss[order][at] - lowest[at]), int(order[low]), int(order[at])


def _uneven(case: Case) -> float:
    """Measure how far the grid is from two policies, one with the lower L and the lower J."""
    star, gap, beta = numbers.floats(case, "star gap beta")
    sides = 2 * np.tanh(star / 2), beta * np.tanh(gap / 2)
    ordinary = abs(star) <= 4 and 0.05 <= gap <= 4 and 0.2 <= beta <= 5
    if not ordinary or abs(sides[0] - sides[1]) < LEAST_MISMATCH:
        return common.OUTSIDE
    return common.CLOSE - _swapped(case)[0]


def _certify_uneven(case: Case) -> Evidence:
    """Decide in balls whether the two points of the grid are ordered oppositely."""
    _, first, second = _swapped(case)

    def rises(curve: Any) -> Any:
        (star,) = numbers.balls(case, "star")
        low, high = (star + ball(float(GRID[i])) for i in (first, second))
        return curve(case, high) - curve(case, low)

    apart = numbers.positive(lambda: rises(_loss_at)) and numbers.positive(lambda: rises(_value_at))
    words = "two policies of which one has the lower L and the lower J"
    return common.harmless(case, words, False if apart else None)


_MIRRORED = numbers.draw_of(_MIRROR)
_DRAWS = {
    "ordered": partial(_draw_opposite, "ordered", 3),
    "soft": partial(_draw_opposite, "bradley-terry", 2),
}

FALSIFIERS: dict[str, Falsifier] = {
    "order-ordered (if)": Falsifier(
        _draw_acyclic, partial(_tilted, True), partial(_certify_tilted, True)
    ),
    "order-ordered (only-if)": Falsifier(_DRAWS["ordered"], _opposite, _certify_opposite),
    "order-ordered-corrected": Falsifier(
        _draw_acyclic, partial(_tilted, False), partial(_certify_tilted, False)
    ),
    "order-population (if)": Falsifier(
        _MIRRORED, partial(_mirrored, "violated"), partial(_certify_mirrored, "violated"), _MIRROR
    ),
    "order-population (only-if)": Falsifier(_DRAWS["soft"], _opposite, _certify_opposite),
    "order-population-corrected": Falsifier(_draw_uneven, _uneven, _certify_uneven, _UNEVEN),
    "same-side": Falsifier(numbers.draw_of(_SIDE), _same_side, _certify_same_side, _SIDE),
    **{
        f"mirrored ({part})": Falsifier(
            _MIRRORED, partial(_mirrored, part), partial(_certify_mirrored, part), _MIRROR
        )
        for part in ("if", "only-if")
    },
}
