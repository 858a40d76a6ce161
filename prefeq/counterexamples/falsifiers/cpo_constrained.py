"""How the readings of `cpo-constrained` are attacked: max J(π) subject to δ ≥ m."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from prefeq import margins
from prefeq.claims import cpo_theorems, gallery
from prefeq.claims.ball import ball, sign, sign_of_log
from prefeq.claims.contradiction import counterexample, every
from prefeq.claims.evidence import Evidence
from prefeq.counterexamples.case import Case, Falsifier
from prefeq.counterexamples.falsifiers import _common as common
from prefeq.counterexamples.falsifiers import _constrained as constrained
from prefeq.counterexamples.falsifiers import alignment_price
from prefeq.errors import ProblemError
from prefeq.solution import Status


def _unique(case: Case) -> float:
    """Measure by how much J of a feasible rival exceeds J(π_CPO) − β KL(rival‖π_CPO)."""
    if not constrained.in_range(case) or not constrained.feasible(case):
        return common.OUTSIDE
    solved = constrained.Solved(case)
    if solved.cpo.status is not Status.OPTIMAL:
        return 1.0
    rival = np.array(common.logs(case.policies["rival"]))
    rival = cpo_theorems.feasible_policy(rival, solved.prefs, solved.margin)
    beta, logp = solved.bandit.beta, solved.cpo.logp
    kl = float(np.sum(np.exp(rival) * (rival - logp)))
    excess = cpo_theorems.objective(solved.bandit, rival) + beta * kl - solved.cpo.value
    return float(excess / beta) / solved.size**2 - common.CLOSE


def _certify_unique(case: Case) -> Evidence:
    """Decide whether the rival is feasible and beats a bound on every feasible J."""
    made, margin = common.instance_of(case), constrained.given(case)
    rival = case.policies["rival"]
    for (winner, loser), m in zip(made.pairs, margin, strict=True):
        if sign_of_log(rival[winner] / rival[loser], -m) not in (0, 1):
            return common.harmless(case, "the rival does not meet the margins")
    try:
        multipliers = constrained.Solved(case).cpo.multipliers
    except ProblemError:
        multipliers = None
    if multipliers is None:
        return common.harmless(case, "no bound to compare with", None)
    prices = [max(0.0, float(force)) for force in multipliers]

    def excess() -> Any:
        logp = [ball(p).log() for p in rival]
        return constrained.worth(made, logp) - constrained.dual_bound(made, margin, prices)

    found = sign(excess)[0]
    answer = None if found is None else found > 0
    return common.harmless(case, "no feasible policy beats the dual bound", answer)


def _meets(case: Case) -> float:
    """Measure by how much a margin is missed, or a program misjudged that is not borderline."""
    feasible = constrained.feasible(case)
    if feasible is None or not constrained.in_range(case):
        return common.OUTSIDE
    solved = constrained.Solved(case)
    if (solved.cpo.status is not Status.INFEASIBLE) != feasible:
        return 1.0
    if not feasible:
        return -float(constrained.largest_cycle(case) or 0)
    short = float(np.max(solved.margin - solved.cpo.margin(solved.prefs)))
    return short - solved.tolerance


def _certify_meets(case: Case) -> Evidence:
    most = constrained.largest_cycle(case)
    answer = constrained.settles(case) != (most is None or most <= 0)
    return common.harmless(
        case, "levels that meet the margins exist iff no cycle is positive", answer
    )


def _rlhf(part: str, case: Case) -> float:
    """Measure how far CPO(m) is from RLHF if δ* ≥ m, or how little it moves if not.

    To lift a margin from δ* to m some log-probability has to move by half of m − δ* at least.
    """
    if not constrained.in_range(case) or not constrained.feasible(case):
        return common.OUTSIDE
    solved = constrained.Solved(case)
    slack = float(np.min(solved.star() - solved.margin))
    if (slack < 0) == (part == "if") or solved.cpo.logp is None:
        return common.OUTSIDE
    amount = solved.moved() if part == "if" else -slack / 2 - solved.moved()
    return amount - solved.tolerance


def _certify_rlhf(part: str, case: Case) -> Evidence:
    """Decide δ* ≥ m by log-ratios, and whether π* is feasible by the log-policy."""
    made, margin = common.instance_of(case), constrained.given(case)
    above: list[bool | None] = []
    inside: list[bool | None] = []
    for k, ((winner, loser), m) in enumerate(zip(made.pairs, margin, strict=True)):
        tilt = made.gap(k) / made.beta - m
        above.append(_at_least_zero(sign_of_log(made.ref_ratio(k), tilt)))

        def room(w: int = winner, lo: int = loser, m: Any = m) -> Any:
            logp = made.rlhf_logp()
            return logp[w] - logp[lo] - ball(m)

        tied = made.ref_ratio(k) == 1 and tilt == 0
        inside.append(True if tied else _at_least_zero(sign(room)[0]))
    given, found = (above, inside) if part == "if" else (inside, above)
    holds, follows = every(given), every(found)
    answer = None if holds is None or follows is None else holds and not follows
    return common.harmless(case, "pi* meets the margins iff delta* >= m", answer)


def _at_least_zero(found: int | None) -> bool | None:
    return None if found is None else found >= 0


def _strict_if(case: Case) -> float:
    """Measure how far CPO(0) is from RLHF where Assumption 3.1 holds."""
    if not constrained.in_range(case) or not _assumed(case):
        return common.OUTSIDE
    solved = constrained.Solved(case)
    return solved.moved() - solved.tolerance


def _assumed(case: Case) -> bool:
    made = common.instance_of(case)
    delta_ref, gap = common.margins_of(made, made.ref), common.gaps(made)
    return bool(np.all(margins.assumption_holds(delta_ref, gap, float(made.beta))))


def _strict_only_if(case: Case) -> float:
    """Measure the least δ* where CPO(0) is RLHF: a tie, exactly, is what refutes."""
    if not constrained.in_range(case):
        return common.OUTSIDE
    solved = constrained.Solved(case)
    if _assumed(case):
        return -float(np.min(solved.star()))
    moved = solved.moved()
    return common.CLOSE if moved <= 1e-13 * solved.size else -moved


def _certify_strict(part: str, case: Case) -> Evidence:
    made = common.instance_of(case)
    if part == "if":
        words = "Assumption 3.1 holds, yet CPO(0) is not RLHF"
        return common.implied(made, gallery.assumption, gallery.cpo_is_rlhf, words)
    words = "CPO(0) = RLHF, yet delta* > 0 fails"
    return common.implied(made, gallery.cpo_is_rlhf, gallery.assumption, words)


def _isotonic(case: Case) -> float:
    """Measure how far CPO(0) is from the min-max isotonic regression of log π*."""
    if not constrained.in_range(case):
        return common.OUTSIDE
    solved = constrained.Solved(case)
    want = cpo_theorems.isotonic_policy(solved.bandit, solved.prefs)
    return float(np.max(np.abs(solved.cpo.logp - want))) - solved.tolerance


def _certify_isotonic(case: Case) -> Evidence:
    """Decide whether a rival that is feasible for m = 0 beats the isotonic regression."""
    made, rival = common.instance_of(case), case.policies["rival"]
    if any(rival[winner] < rival[loser] for winner, loser in made.pairs):
        return common.harmless(case, "the rival does not meet the margins")

    def excess() -> Any:
        logp = [ball(p).log() for p in rival]
        return constrained.worth(made, logp) - constrained.worth(made, constrained.isotonic(made))

    found = sign(excess)[0]
    answer = None if found is None else found > 0
    return common.harmless(case, "no feasible policy beats the isotonic regression", answer)


def _aligned(case: Case) -> float:
    """Measure how wrong a pair is that has a positive margin to meet."""
    if min(constrained.given(case)) <= 0 or not constrained.in_range(case):
        return common.OUTSIDE
    if not constrained.feasible(case):
        return common.OUTSIDE
    solved = constrained.Solved(case)
    return -solved.least() - solved.tolerance


def _certify_aligned(case: Case) -> Evidence:
    return common.harmless(case, "delta >= m > 0 on every pair: nothing is left to decide")


def _misaligned(case: Case) -> float:
    """Measure how aligned every pair of a bandit is that a margin m ≤ 0 leaves wrong."""
    margin = constrained.given(case)
    if max(margin) > 0 or min(margin) < max(margin) or not constrained.in_range(case):
        return common.OUTSIDE
    solved = constrained.Solved(case)
    if float(np.min(solved.star() - solved.margin)) >= 0:
        return common.OUTSIDE
    return solved.least() - solved.tolerance


def _certify_misaligned(case: Case) -> Evidence:
    """Decide for one pair: δ = max(δ*, m) > 0 although m ≤ 0 and δ* < m."""
    made, margin = common.instance_of(case), constrained.given(case)
    if len(made.pairs) > 1 or margin[0] > 0:
        return common.harmless(case, "several pairs, or a positive margin", None)
    below = sign_of_log(made.ref_ratio(0), made.gap(0) / made.beta - margin[0])
    answer = None if below is None else below < 0 and margin[0] > 0
    return common.harmless(case, "the optimum has delta = max(delta*, m) = m <= 0", answer)


def _zero(case: Case) -> float:
    """Measure how far below zero δ* is of a pair that CPO(0) leaves at δ = 0."""
    if not constrained.in_range(case):
        return common.OUTSIDE
    solved = constrained.Solved(case)
    least = solved.least()
    if least > solved.tolerance:
        return -least
    return -float(np.min(solved.star()))


def _certify_zero(case: Case) -> Evidence:
    """Decide δ* ≤ 0 exactly: then CPO(0) has a pair with δ = 0.

    If no constraint were tight the optimum would be π*, which does not meet them unless δ* = 0.
    """
    made = common.instance_of(case)
    star = gallery.assumption(made)
    fails = None if star.answer is None else not star.answer
    alone = len(made.pairs) == 1
    name, value = ("cpo_margin[0]", [0]) if alone else ("least_cpo_margin", 0)
    weakest = star.inequalities[0] if star.inequalities else "rlhf_margin[0] <= 0"
    data = {
        "instance": made.to_data(),
        **star.numbers,
        name.removesuffix("[0]"): value,
    }
    words = "delta* <= 0 on a pair, so CPO(0) leaves one at delta = 0"
    return counterexample(words, data, {weakest: fails, f"{name} == 0": fails})


FALSIFIERS: dict[str, Falsifier] = {
    "unique-optimum": Falsifier(constrained.draw, _unique, _certify_unique),
    "meets-margins": Falsifier(constrained.draw, _meets, _certify_meets),
    "rlhf (if)": Falsifier(constrained.draw, partial(_rlhf, "if"), partial(_certify_rlhf, "if")),
    "rlhf (only-if)": Falsifier(
        constrained.draw, partial(_rlhf, "only-if"), partial(_certify_rlhf, "only-if")
    ),
    "rlhf-strict (if)": Falsifier(
        constrained.draw_ties, _strict_if, partial(_certify_strict, "if")
    ),
    "rlhf-strict (only-if)": Falsifier(
        constrained.draw_ties, _strict_only_if, partial(_certify_strict, "only-if")
    ),
    "isotonic": Falsifier(constrained.draw_rival, _isotonic, _certify_isotonic),
    "strict-alignment (if)": Falsifier(
        partial(constrained.draw_level, True), _aligned, _certify_aligned
    ),
    "strict-alignment (only-if)": Falsifier(
        partial(constrained.draw_level, False), _misaligned, _certify_misaligned
    ),
    "strict-alignment-zero-margin": Falsifier(constrained.draw_ties, _zero, _certify_zero),
    **alignment_price.FALSIFIERS,
}
