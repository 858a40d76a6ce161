"""How the readings of `equivalence` are attacked: δ* > 0 on every pair against DPO = RLHF."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from prefeq import losses, margins, solvers
from prefeq.claims import gallery
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Instance, Labels
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Falsifier, Source
from prefeq.counterexamples.falsifiers import _common as common

MOST_SEEN = 20.0
"""The reward gap up to which the slope σ(−Δr) of an ordered pair stands out of the rounding."""

CYCLIC: tuple[draws.Shape, ...] = ("cycle", "both-orders")
ISLANDS: tuple[draws.Shape, ...] = ("single", "disjoint")


def _draw(labels: Labels, shapes: Sequence[draws.Shape], least: int, source: Source) -> Case:
    """Draw an instance: as often as not, every pair the way that the RLHF optimum has it."""
    made = draws.instance(
        source, labels=labels, min_responses=least, max_responses=4, shapes=shapes
    )
    return Case(instance=common.oriented(made) if source.integer(0, 1) else made)


def _draw_cycles(source: Source) -> Case:
    """Draw a cyclic order, as often as not of responses that are all worth the same."""
    made = draws.instance(source, labels="ordered", max_responses=4, shapes=CYCLIC)
    if source.integer(0, 1):
        made = dataclasses.replace(made, reward=made.reward[:1] * made.size)
    return Case(instance=made)


def _draw_islands(source: Source) -> Case:
    """Draw several components, as often as not of one mean reward: gaps are as before."""
    case = _draw("bradley-terry", ISLANDS, 3, source)
    made = common.instance_of(case)
    if source.integer(0, 1):
        means = gallery.component_means(made)
        level = [r - mean for r, mean in zip(made.reward, means, strict=True)]
        made = dataclasses.replace(made, reward=tuple(level))
    return Case(instance=made)


def _slack(made: Instance, *, strict: bool = True) -> float:
    """Return the least δ*, with the sign that the package's Assumption 3.1 gives it."""
    delta_ref, gap, beta = common.margins_of(made, made.ref), common.gaps(made), float(made.beta)
    star = np.abs(margins.optimal_margin(delta_ref, gap, beta))
    holds = margins.assumption_holds(delta_ref, gap, beta, strict=strict)
    return float(np.min(np.where(holds, star, -star)))


def _rounding(made: Instance) -> float:
    """Return the error allowed in log-policies: they are s/β, so that of s is blown up by 1/β."""
    return max(common.CLOSE, 1e-12 / float(made.beta))


def _slope(made: Instance) -> float:
    """Return the largest |dL/dθ|/β of the ordered pairs' loss at the RLHF optimum."""
    delta_ref, beta = common.margins_of(made, made.ref), float(made.beta)
    star = margins.optimal_margin(delta_ref, common.gaps(made), beta)
    force = losses.DPO.gradient(star, delta_ref, beta) / beta / len(made.pairs)
    winner, loser = np.array(made.pairs).T
    slope = np.zeros(made.size)
    np.add.at(slope, winner, force)
    np.subtract.at(slope, loser, force)
    return float(np.max(np.abs(slope)))


def _ordered_if(case: Case) -> float:
    """Measure the slope at π* where the condition holds."""
    made = common.instance_of(case)
    if not common.in_range(made) or not common.acyclic(made) or _slack(made) <= 0:
        return common.OUTSIDE
    return _slope(made) - common.ROUNDING


def _ordered_only_if(case: Case) -> float:
    """Measure how near π* is to a minimum where the condition fails."""
    made = common.instance_of(case)
    seen = float(np.max(np.abs(common.gaps(made)))) <= MOST_SEEN
    if not seen or not common.acyclic(made) or _slack(made) > 0:
        return common.OUTSIDE
    return common.ROUNDING - _slope(made)


def _distance(made: Instance) -> float:
    """Return how far DPO's answer is from the RLHF optimum in nats, inf if there is none."""
    bandit, prefs = common.problem(made)
    dpo = solvers.solve_dpo(bandit, prefs).logp
    return common.distance(dpo, solvers.solve_rlhf(bandit).logp)


def _cyclic_if(case: Case) -> float:
    """Measure how near the condition is to holding around a cycle: it would have to, first."""
    made = common.instance_of(case)
    if common.acyclic(made) or not common.in_range(made):
        return common.OUTSIDE
    slack = _slack(made) - common.CLOSE
    return slack if slack <= 0 else min(slack, _distance(made) - _rounding(made))


def _coincide(scope: Callable[[Instance], bool], case: Case) -> float:
    """Measure by how much δ* > 0 fails, beyond a tie, where DPO's answer is the RLHF optimum."""
    made = common.instance_of(case)
    if not common.in_range(made) or not scope(made):
        return common.OUTSIDE
    slack = _slack(made)
    if slack > 0:
        return common.OUTSIDE
    apart = _distance(made)
    same = apart <= _rounding(made) / 1e4  # an equality: nothing near it will do
    return -slack if same else -apart


def _differ(scope: Callable[[Instance], bool], case: Case) -> float:
    """Measure how far DPO's answer is from the RLHF optimum where the condition holds."""
    made = common.instance_of(case)
    if not common.in_range(made) or not scope(made) or _slack(made) <= 0:
        return common.OUTSIDE
    return _distance(made) - _rounding(made)


def _aligned(part: str, case: Case) -> float:
    """Measure how far apart the signs of DPO's margins and of δ* are, on the weakest pairs."""
    made = common.instance_of(case)
    if not common.in_range(made):
        return common.OUTSIDE
    bandit, prefs = common.problem(made)
    dpo = solvers.solve_dpo(bandit, prefs)
    least, slack = float(np.min(dpo.margin(prefs))), _slack(made)
    size = 1.0 + float(np.max(np.abs(dpo.logp)))
    given, found = (slack, least) if part == "if" else (least, slack)
    return common.OUTSIDE if given <= 0 else min(given, -found) - _rounding(made) * size


def _constrained(part: str, case: Case) -> float:
    """Measure how far CPO(0) is from RLHF if δ* ≥ 0, or how little it moves if not.

    To lift a margin from δ* < 0 to 0 some log-probability has to move by |δ*|/2 at least.
    """
    made = common.instance_of(case)
    if not common.in_range(made):
        return common.OUTSIDE
    slack = _slack(made, strict=False)
    if (slack < 0) == (part == "if"):
        return common.OUTSIDE
    bandit, prefs = common.problem(made)
    best, cpo = solvers.solve_rlhf(bandit).logp, solvers.solve_cpo(bandit, prefs).logp
    apart, size = float(np.max(np.abs(best - cpo))), 1.0 + float(np.max(np.abs(best)))
    return (apart if part == "if" else -slack / 2 - apart) - common.CLOSE * size


def _means_spread(made: Instance) -> float:
    """Return how far apart the components' mean rewards are, in nats."""
    means = gallery.component_means(made)
    return float((max(means) - min(means)) / made.beta)


def _means_if(case: Case) -> float:
    """Measure how far DPO's answer is from the RLHF optimum where all mean rewards are equal."""
    made = common.instance_of(case)
    if not common.in_range(made) or _means_spread(made) > 0:
        return common.OUTSIDE
    return _distance(made) - _rounding(made)


def _means_only_if(case: Case) -> float:
    """Measure how little the two differ where mean rewards do: by half their spread at least."""
    made = common.instance_of(case)
    spread = _means_spread(made)
    if not common.in_range(made) or spread == 0:
        return common.OUTSIDE
    bandit, prefs = common.problem(made)
    dpo, best = solvers.solve_dpo(bandit, prefs).logp, solvers.solve_rlhf(bandit).logp
    if dpo is None:
        return common.OUTSIDE
    size = 1.0 + float(np.max(np.abs(best)) + np.max(np.abs(dpo)))
    return spread / 2 - float(np.max(np.abs(dpo - best))) - _rounding(made) * size


def _certify(
    hypothesis: gallery.Decider,
    conclusion: gallery.Decider,
    given: str,
    failing: str,
    scope: Callable[[Instance], bool],
    case: Case,
) -> Evidence:
    made = common.instance_of(case)
    if not scope(made):
        return common.harmless(case, "not in the scope of the statement")
    words = f"the {given} holds, the {failing} fails"
    return common.implied(made, hypothesis, conclusion, words)


def _cyclic(made: Instance) -> bool:
    return not gallery.acyclic(made)


def _disconnected(made: Instance) -> bool:
    return not gallery.connected(made)


def _equal_means(made: Instance) -> gallery.Decision:
    """Decide whether all components have one mean reward."""
    means = gallery.component_means(made)
    low, high = (f"component_mean_rewards[{means.index(m)}]" for m in (min(means), max(means)))
    equal = min(means) == max(means)
    shown = {"component_mean_rewards": [str(mean) for mean in means]}
    return gallery.Decision(equal, (f"{low} {'==' if equal else '<'} {high}",), shown)


def _both(
    name: str,
    condition: gallery.Decider,
    conclusion: gallery.Decider,
    scope: Callable[[Instance], bool],
    draw: Callable[[Source], Case],
    violations: tuple[Callable[[Case], float], Callable[[Case], float]],
) -> dict[str, Falsifier]:
    """Make the falsifiers of "condition ⇒ conclusion" and of its converse."""
    forward = partial(_certify, condition, conclusion, "condition", "conclusion", scope)
    converse = partial(_certify, conclusion, condition, "conclusion", "condition", scope)
    return {
        f"{name} (if)": Falsifier(draw, violations[0], forward),
        f"{name} (only-if)": Falsifier(draw, violations[1], converse),
    }


_A31, _SAME = gallery.assumption, gallery.dpo_is_rlhf

FALSIFIERS: dict[str, Falsifier] = {
    **_both(
        "ordered-pair",
        _A31,
        _SAME,
        gallery.acyclic,
        partial(_draw, "ordered", draws.ACYCLIC, 2),
        (_ordered_if, _ordered_only_if),
    ),
    **_both(
        "ordered-pair-with-cycles",
        _A31,
        _SAME,
        _cyclic,
        _draw_cycles,
        (_cyclic_if, partial(_coincide, _cyclic)),
    ),
    **_both(
        "bradley-terry-connected",
        _A31,
        _SAME,
        gallery.connected,
        partial(_draw, "bradley-terry", draws.CONNECTED, 2),
        (partial(_differ, gallery.connected), partial(_coincide, gallery.connected)),
    ),
    **_both(
        "bradley-terry-disconnected",
        _A31,
        _SAME,
        _disconnected,
        _draw_islands,
        (partial(_differ, _disconnected), partial(_coincide, _disconnected)),
    ),
    **_both(
        "component-means",
        _equal_means,
        _SAME,
        lambda made: True,
        _draw_islands,
        (_means_if, _means_only_if),
    ),
    **_both(
        "alignment",
        _A31,
        gallery.dpo_is_aligned,
        lambda made: True,
        partial(_draw, "bradley-terry", draws.SHAPES, 2),
        (partial(_aligned, "if"), partial(_aligned, "only-if")),
    ),
    **_both(
        "constrained",
        gallery.weak_assumption,
        gallery.cpo_is_rlhf,
        lambda made: True,
        partial(_draw, "bradley-terry", draws.SHAPES, 2),
        (partial(_constrained, "if"), partial(_constrained, "only-if")),
    ),
}
