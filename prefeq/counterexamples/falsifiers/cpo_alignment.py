"""How the readings of `cpo-alignment` are attacked: is everything aligned from γ* on?"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial

import numpy as np

from prefeq import solvers
from prefeq.claims import penalty_refutations as refutations
from prefeq.claims import stationary
from prefeq.claims.ball import ball
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Instance
from prefeq.claims.penalty_cases import PenaltyCase, decided
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Falsifier, Source
from prefeq.counterexamples.falsifiers import _common as common
from prefeq.counterexamples.falsifiers import _penalty as penalty
from prefeq.counterexamples.falsifiers import _prompts as prompts

_draw_disjoint = penalty.draw_graph(("disjoint", "single"), 2, 5, turned=False)
_draw_chain = penalty.draw_graph(("chain",), 3, 3)
_draw_long = penalty.draw_graph(("chain", "complete", "random"), 4, 5)
_draw_orders = penalty.draw_graph(("chain", "star", "fan", "random", "complete"), 3, 4)
_draw_degrees = penalty.draw_graph(("chain", "star", "fan", "disjoint"), 2, 5)
_draw_any = penalty.draw_graph(draws.ACYCLIC, 2, 4)


def _draw_crowded(source: Source) -> Case:
    """Draw winners over one response that beats another: a fan with a pair below it."""
    if source.integer(0, 1):
        return _draw_orders(source)
    case = penalty.draw_graph(("single",), 4, 5)(source)
    made = common.instance_of(case)
    last = made.size - 1
    pairs = (*((y, last - 1) for y in range(last - 1)), (last - 1, last))
    crowded = Instance("drawn", made.reward, made.ref, made.beta, pairs, "ordered")
    return Case({"gamma": penalty.strength(source, crowded)}, crowded)


def _least(solved: penalty.Solved) -> float:
    """Return by how much the least margin of any stationary point is below zero, 1 if all lack."""
    if solved.lacks_all:
        return 1.0
    return -solved.least() - penalty.CLOSE * solved.size


def _weak(scope: Callable[[Case], bool], case: Case) -> float:
    """Measure the misalignment at stationary points for γ ≥ γ*."""
    if not scope(case) or not penalty.in_range(case):
        return common.OUTSIDE
    solved = penalty.Solved(case)
    return _least(solved) if solved.gamma >= solved.critical else common.OUTSIDE


def _disjoint(case: Case) -> bool:
    pairs = common.instance_of(case).pairs
    return len({y for pair in pairs for y in pair}) == 2 * len(pairs)


def _tied(case: Case) -> float:
    """Measure how near to zero the margin is of two responses at γ ≥ γ*: exactly zero refutes."""
    if not penalty.is_pair(case) or not penalty.in_range(case):
        return common.OUTSIDE
    solved = penalty.Solved(case)
    if solved.local is None or solved.gamma < solved.critical:
        return common.OUTSIDE
    return 1e-9 - float(solved.local[0])


def _draw_tied(source: Source) -> Case:
    """Draw two responses, most often with a uniform reference, and γ beside γ*."""
    case = penalty.draw_pair(source)
    made = common.instance_of(case)
    if source.integer(0, 3) and made.gap(0) < 0:
        half = (Fraction(1, 2),) * 2
        made = Instance("drawn", made.reward, half, made.beta, made.pairs, "ordered")
        return Case({"gamma": draws.near(source, -made.gap(0) / 4)}, made)
    return case


def _strict(case: Case) -> float:
    """Measure the misalignment at stationary points for γ above γ*, by a part in a million."""
    if not _disjoint(case) or not penalty.in_range(case):
        return common.OUTSIDE
    solved = penalty.Solved(case)
    if solved.gamma < solved.critical + 1e-6 * solved.beta * solved.size:
        return common.OUTSIDE
    return -solved.least()


def _missing(case: Case) -> float:
    """Measure how far above γ* and the fold γ is, where nothing is stationary."""
    if not penalty.is_pair(case) or not penalty.in_range(case):
        return common.OUTSIDE
    solved = penalty.Solved(case)
    if solved.star[0] >= 0:
        return common.OUTSIDE
    amount = min(solved.gamma - solved.critical, solved.gamma - solved.fold) / solved.beta
    return amount if amount <= 0 or not solved.points else -amount


def _window(part: str, case: Case) -> float:
    """Say 1 where the solver's local maximum ends elsewhere than at β/(2m sinh d)."""
    if not penalty.is_pair(case) or not penalty.in_range(case):
        return common.OUTSIDE
    solved = penalty.Solved(case)
    share = solved.gamma / solved.fold - 1
    if solved.star[0] >= 0 or abs(share) < 1e-6:
        return common.OUTSIDE
    exists = solved.local is not None
    if part == "if":
        return common.OUTSIDE if share > 0 else share if exists else 1.0
    return common.OUTSIDE if not exists else share


def _misaligned(scope: Callable[[Instance], bool], case: Case) -> float:
    """Measure how wrong a pair is at the local maximum although γ ≥ γ* on all pairs."""
    if not scope(common.instance_of(case)) or not penalty.in_range(case):
        return common.OUTSIDE
    solved = penalty.Solved(case)
    enough = (solved.gamma - solved.critical) / solved.beta
    if enough <= 0:
        return enough
    return common.OUTSIDE if solved.local is None else -float(np.min(solved.local))


def _certify_misaligned(scope: Callable[[Instance], bool], case: Case) -> Evidence:
    if not scope(common.instance_of(case)):
        return common.harmless(case, "out of scope")
    return penalty.decide(refutations.misaligned_beyond_critical, case)


def _is_chain(made: Instance) -> bool:
    return made.size == 3 and refutations.is_chain(made)


def _is_order(made: Instance) -> bool:
    return penalty.distinct(made) and common.acyclic(made)


def _by_degrees(case: Case) -> float:
    """Measure the misalignment beyond max −βδ*/(√d(w) + √−d(l))², where the degrees allow it."""
    if not penalty.in_range(case):
        return common.OUTSIDE
    solved = penalty.Solved(case)
    degree = solvers.net_degree(solved.bandit, solved.prefs)
    up, down = degree[solved.prefs.winner], -degree[solved.prefs.loser]
    if np.any((up < 0) | (down < 0) | (up + down <= 0)):
        return common.OUTSIDE
    need = (np.sqrt(up) + np.sqrt(down)) ** 2
    critical = float(np.max(-solved.beta * solved.star / need))
    return _least(solved) if solved.gamma >= critical else common.OUTSIDE


def _idle(made: Instance) -> list[int]:
    degrees = stationary.net_degrees(made)
    return [k for k, pair in enumerate(made.pairs) if not any(degrees[y] for y in pair)]


def _stuck(case: Case) -> float:
    """Measure how wrong a pair is at π* whose responses have net degree zero."""
    made = common.instance_of(case)
    if not _is_order(made) or not penalty.in_range(case):
        return common.OUTSIDE
    solved = penalty.Solved(case)
    degree = solvers.net_degree(solved.bandit, solved.prefs)
    idle = (degree[solved.prefs.winner] == 0) & (degree[solved.prefs.loser] == 0)
    return float(np.max(-solved.star[idle])) if np.any(idle) else common.OUTSIDE


def _certify_stuck(case: Case) -> Evidence:
    if not penalty.distinct(common.instance_of(case)):
        return common.harmless(case, "a pair twice")
    return penalty.decide(lambda found: refutations.idle_pair(found.instance), case)


def _unmoved(case: Case) -> float:
    """Measure how far such a pair's margin is from δ* at any stationary point."""
    made = common.instance_of(case)
    idle = _idle(made)
    if not idle or not penalty.in_range(case):
        return common.OUTSIDE
    solved = penalty.Solved(case)
    found = [np.abs(solved.prefs.margin_of(p.logp) - solved.star)[idle] for p in solved.points]
    return max((float(np.max(row)) for row in found), default=-1.0) - penalty.CLOSE * solved.size


def _falls(case: Case) -> float:
    """Measure by how much a margin falls as γ rises from 0, at first and to the local maximum."""
    made = common.instance_of(case)
    if not _is_order(made) or not penalty.in_range(case):
        return common.OUTSIDE
    solved = penalty.Solved(case)
    if solved.local is None:
        return common.OUTSIDE
    degree = solvers.net_degree(solved.bandit, solved.prefs)
    pull = degree * np.exp(-solvers.solve_rlhf(solved.bandit).logp)
    slope = (pull[solved.prefs.winner] - pull[solved.prefs.loser]) / solved.beta
    fall = np.minimum(solved.star - solved.local, -slope)  # from the start, and by the end
    return float(np.max(fall)) - common.CLOSE * solved.size


def _certify_falls(case: Case) -> Evidence:
    if not _is_order(common.instance_of(case)):
        return common.harmless(case, "a cycle, or a pair twice")
    return penalty.decide(refutations.falling_margin, case)


def _mean(case: Case) -> float:
    """Measure by how much the mean margin falls along the branch, from γ/2 to γ."""
    if not penalty.in_range(case):
        return common.OUTSIDE
    solved = penalty.Solved(case)
    if solved.local is None or not any(stationary.net_degrees(solved.made)):
        return common.OUTSIDE
    half = solvers.solve_penalty(solved.bandit, solved.prefs, 0.5 * solved.gamma)
    if half.logp is None:
        return 1.0
    fall = float(np.sum(solved.prefs.mass * (half.margin(solved.prefs) - solved.local)))
    return fall - common.ROUNDING * solved.size


def _certify_mean(case: Case) -> Evidence:
    def wrong(found: PenaltyCase) -> Evidence:
        half = PenaltyCase(found.instance, found.gamma / 2)
        if found.point is None or half.point is None:
            return common.harmless(case, "no certified local maxima", None)
        fall = decided(
            lambda: sum((half.margin(k) - found.margin(k) for k in found.pairs), ball(0)), 1
        )
        return common.harmless(case, "the mean margin rises with gamma", fall)

    return penalty.decide(wrong, case)


_bug = penalty.proved("proved: what the floats saw is their own")
_fold = partial(penalty.decide, refutations.beyond_fold)

FALSIFIERS: dict[str, Falsifier] = {
    "two-responses": Falsifier(
        penalty.draw_pair, partial(_weak, penalty.is_pair), _bug, penalty.KINDS
    ),
    "disjoint-pairs": Falsifier(_draw_disjoint, partial(_weak, _disjoint), _bug, penalty.KINDS),
    "strict": Falsifier(
        _draw_tied, _tied, partial(penalty.decide, refutations.tied_at_critical), penalty.KINDS
    ),
    "strict-corrected": Falsifier(_draw_disjoint, _strict, _bug, penalty.KINDS),
    "existence": Falsifier(penalty.draw_pair, _missing, _fold, penalty.KINDS),
    "existence-corrected (if)": Falsifier(
        penalty.draw_pair, partial(_window, "if"), _bug, penalty.KINDS
    ),
    "existence-corrected (only-if)": Falsifier(
        penalty.draw_pair, partial(_window, "only-if"), _bug, penalty.KINDS
    ),
    "one-gamma-for-all-prompts": Falsifier(
        partial(prompts.draw, prompts.PROMPTS),
        prompts.apart,
        prompts.certify_apart,
        prompts.PROMPTS,
    ),
    "one-gamma-for-all-prompts-corrected": Falsifier(
        partial(prompts.draw, prompts.SERVED), prompts.served, _bug, prompts.SERVED
    ),
    "chain": Falsifier(
        _draw_chain,
        partial(_misaligned, _is_chain),
        partial(_certify_misaligned, _is_chain),
        penalty.KINDS,
    ),
    "overlapping": Falsifier(
        _draw_orders,
        partial(_misaligned, _is_order),
        partial(_certify_misaligned, _is_order),
        penalty.KINDS,
    ),
    "overlapping-corrected": Falsifier(_draw_degrees, _by_degrees, _bug, penalty.KINDS),
    "some-gamma": Falsifier(_draw_long, _stuck, _certify_stuck, penalty.KINDS),
    "some-gamma-corrected": Falsifier(_draw_long, _unmoved, _bug, penalty.KINDS),
    "more-gamma-is-better": Falsifier(_draw_crowded, _falls, _certify_falls, penalty.KINDS),
    "more-gamma-is-better-corrected": Falsifier(_draw_any, _mean, _certify_mean, penalty.KINDS),
}
