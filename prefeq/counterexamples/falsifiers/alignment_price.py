"""How the price of alignment is attacked: readings of `cpo-constrained` in `alignment_price`."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from prefeq import margins, solvers
from prefeq.arrays import FloatArray
from prefeq.claims import price_theorems as price
from prefeq.claims.ball import ball, sign, sign_of_log
from prefeq.claims.evidence import Evidence
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Falsifier, Source
from prefeq.counterexamples.falsifiers import _common as common
from prefeq.counterexamples.falsifiers import _constrained as constrained
from prefeq.solution import Status


def _draw_free(source: Source) -> Case:
    """Draw an instance and a margin a pair."""
    drawn = constrained.draw(source)
    return Case(instance=drawn.instance, margins=drawn.margins)


def _draw_zero(source: Source) -> Case:
    return Case(instance=draws.instance(source, max_responses=4))


def _draw_pair(source: Source) -> Case:
    """Draw one pair of two responses, δ* below zero more often than not."""
    made = draws.instance(source, max_responses=2, shapes=("single",))
    return Case(instance=common.oriented(made, up=not source.integer(0, 2)))


Price = Callable[["_Paid"], float]


class _Paid:
    """A case, the package's answers, and what they differ by in J, in units of β."""

    def __init__(self, case: Case) -> None:
        self.solved = constrained.Solved(case)
        self.bandit, self.cpo = self.solved.bandit, self.solved.cpo
        self.rlhf = solvers.solve_rlhf(self.bandit)
        self.target = price.log_optimum(self.bandit)
        self.tolerance = common.CLOSE * self.solved.size

    @property
    def paid(self) -> float:
        """Return (J(π*) − J(π_CPO))/β."""
        return float((self.rlhf.value - self.cpo.value) / self.bandit.beta)

    @property
    def divergence(self) -> float:
        """Return KL(π_CPO‖π*)."""
        return float(np.exp(self.cpo.logp) @ (self.cpo.logp - self.target))

    @property
    def levels(self) -> FloatArray:
        """Return f = c + s of the blocks."""
        prefs = self.solved.prefs
        return price.block_solution(self.cpo, self.bandit, prefs, self.solved.margin)

    @property
    def means(self) -> list[float]:
        """Return log(|B| · geometric mean of π* over B), block by block."""
        found = price.blocks(self.cpo, self.solved.prefs, self.solved.margin)
        return [float(np.log(len(b)) + np.mean(self.target[b])) for b, _ in found]


def _solvable(case: Case) -> bool:
    return constrained.in_range(case) and bool(constrained.feasible(case))


def _off_by(formula: Price) -> Callable[[Case], float]:
    """Measure how far a formula is from what is paid."""

    def measured(case: Case) -> float:
        if not _solvable(case):
            return common.OUTSIDE
        paid = _Paid(case)
        if paid.cpo.status is not Status.OPTIMAL:
            return common.OUTSIDE
        return abs(paid.paid - formula(paid)) - paid.tolerance

    return measured


def _form(case: Case) -> float:
    """Measure how far the answer is from the block form."""
    if not _solvable(case):
        return common.OUTSIDE
    paid = _Paid(case)
    if paid.cpo.status is not Status.OPTIMAL:
        return common.OUTSIDE
    f = paid.levels
    apart = np.max(np.abs(paid.cpo.logp - (f - np.logaddexp.reduce(f))))
    return float(apart) - paid.tolerance


def _pair(case: Case) -> float:
    """Measure how far `margins.price_of_alignment` is from what two responses pay."""
    made = common.instance_of(case)
    if made.size != 2 or len(made.pairs) != 1 or not constrained.in_range(case):
        return common.OUTSIDE
    paid = _Paid(Case(instance=made))
    star = float(paid.solved.star()[0])
    if star >= 0:
        return common.OUTSIDE
    want = float(margins.price_of_alignment(star, paid.bandit.beta) / paid.bandit.beta)
    return abs(paid.paid - want) - paid.tolerance


def _certify_pair(case: Case) -> Evidence:
    """Decide β log cosh(δ*/2) against J(π*) − J((½, ½)), both in balls: equal, so never apart."""
    made = common.instance_of(case)
    below = sign_of_log(made.ref_ratio(0), made.gap(0) / made.beta)
    if made.size != 2 or len(made.pairs) != 1 or below is None or below >= 0:
        return common.harmless(case, "not in the scope of the statement")

    def excess() -> Any:
        star = made.delta_ref(0) + ball(made.gap(0) / made.beta)
        half = ball(Fraction(1, 2)).log()
        paid = made.rlhf_value() - constrained.worth(made, [half, half])
        return paid - ball(made.beta) * (star / 2).cosh().log()

    found = sign(excess)[0]
    answer = None if found is None else found != 0
    return common.harmless(case, "the two sides are one number", answer)


def _certify(case: Case) -> Evidence:
    """Decide J(π*) − J(π) = β KL(π‖π*) at the float policy: an identity that no π breaks.

    The package's answer is a rounded one, so its block form is not decided exactly.
    """
    made = common.instance_of(case)
    if not _solvable(case):
        return common.harmless(case, "not in the scope of the statement")
    answer = constrained.Solved(case).cpo.logp
    if answer is None:
        return common.harmless(case, "no policy to decide about")
    given = [Fraction(float(z)) for z in answer]

    def excess() -> Any:
        logp = [ball(z) for z in given]
        total = sum((z.exp() for z in logp[1:]), logp[0].exp()).log()
        logp = [z - total for z in logp]
        best = made.rlhf_logp()
        kl = [z.exp() * (z - b) for z, b in zip(logp, best, strict=True)]
        paid = made.rlhf_value() - constrained.worth(made, logp)
        return paid - ball(made.beta) * sum(kl[1:], kl[0])

    found = sign(excess)[0]
    known = None if found is None else found != 0
    return common.harmless(case, "J(pi*) - J(pi) = beta KL(pi || pi*) at every policy", known)


FALSIFIERS: dict[str, Falsifier] = {
    "price": Falsifier(_draw_free, _off_by(lambda paid: paid.divergence), _certify),
    "block-form": Falsifier(_draw_free, _form, _certify),
    "price-of-blocks": Falsifier(
        _draw_free, _off_by(lambda paid: -float(np.logaddexp.reduce(paid.levels))), _certify
    ),
    "price-zero-margin": Falsifier(
        _draw_zero, _off_by(lambda paid: -float(np.logaddexp.reduce(paid.means))), _certify
    ),
    "two-responses-price": Falsifier(_draw_pair, _pair, _certify_pair),
}
