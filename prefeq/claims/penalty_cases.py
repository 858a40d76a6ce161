"""Instances with a γ, and what Eq. 10 does on them: the stuff of its counterexamples.

Numbers come from balls at one precision; a sign that it leaves undecided is None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from flint import ctx

from prefeq import solution, solvers
from prefeq.claims import formulas, penalty_formulas, penalty_roots, recheck, stationary
from prefeq.claims.ball import BALL, DISPLAY_BITS, ball
from prefeq.claims.gallery import numbers_of
from prefeq.claims.instance import Instance, build

Answer = bool | None


def decided(value: Callable[[], Any], wanted: int) -> Answer:
    """Tell whether a number has the wanted sign, by its ball; None if the ball does not tell."""
    with ctx.workprec(DISPLAY_BITS):
        found = value()
        sign = (found > 0) - (found < 0)
        return sign == wanted if sign else None


@dataclass(frozen=True)
class PenaltyCase:
    """An instance and a γ.

    Examples
    --------
    >>> made = Instance.of("one", reward=[1, 0], ref=["1/20", "19/20"], pairs=[(0, 1)])
    >>> case = PenaltyCase(made, Fraction(1, 10))
    >>> case.data()["stationary_margin"], case.sign(0, -1)
    ([-1.33730665785658], True)
    """

    instance: Instance
    gamma: Fraction

    @cached_property
    def point(self) -> stationary.Point | None:
        """A certified local maximum on the branch from π*, None if none was found."""
        if self.gamma <= 0 or not any(stationary.net_degrees(self.instance)):
            return None
        with ctx.workprec(DISPLAY_BITS):
            point = stationary.local_maximum(self.instance, self.gamma)
            return point if point is not None and point.is_local_maximum else None

    @property
    def pairs(self) -> range:
        """The indices of the pairs."""
        return range(len(self.instance.pairs))

    @property
    def mass(self) -> Fraction:
        """The mass of each pair."""
        return Fraction(1, len(self.instance.pairs))

    def star(self, k: int) -> Any:
        """Enclose δ* of pair k."""
        gap, beta = ball(self.instance.gap(k)), ball(self.instance.beta)
        return formulas.rlhf_margin(self.instance.delta_ref(k), gap, beta)

    def margin(self, k: int) -> Any:
        """Enclose δ of pair k at the local maximum."""
        if self.point is None:
            raise ArithmeticError(f"{self.instance.name}: no certified local maximum")
        return self.point.margin(k)

    def sign(self, k: int, wanted: int) -> Answer:
        """Decide the sign of δ of pair k at the local maximum."""
        return None if self.point is None else decided(lambda: self.margin(k), wanted)

    def critical_gamma(self, k: int = 0) -> Any:
        """Enclose −βδ*/(4m) of pair k."""
        return penalty_formulas.critical_gamma(
            self.star(k), ball(self.instance.beta), ball(self.mass)
        )

    def exceeds_critical(self, k: int) -> Answer:
        """Decide γ > −βδ*/(4m) for pair k."""
        return decided(lambda: ball(self.gamma) - self.critical_gamma(k), 1)

    def has_window(self) -> Answer:
        """Decide γ* < γ_fold for two responses with one pair."""
        return decided(lambda: self.fold()[1] - self.critical_gamma(), 1)

    def fold(self) -> tuple[Any, Any]:
        """Enclose (d, γ_fold) of two responses with one pair."""
        return penalty_roots.fold(self.star(0), ball(self.instance.beta), ball(self.mass))

    def gaps(self, k: int) -> tuple[Any, Any]:
        """Enclose βx at the local maximum, and what Eqs. 13–16 say it is."""
        assert self.point is not None
        winner, loser = self.instance.pairs[k]
        probs = self.point.probs
        x = self.margin(k) - self.instance.delta_ref(k)
        printed = penalty_formulas.printed_gap(
            ball(self.instance.gap(k)), ball(self.gamma), ball(self.mass),
            probs[winner], probs[loser],
        )  # fmt: skip
        return ball(self.instance.beta) * x, printed

    def eq17_margin(self) -> Any:
        """Enclose Eq. 17's margin of two responses with one pair."""
        return penalty_formulas.eq17_margin(
            BALL, self.instance.delta_ref(0), ball(self.instance.gap(0)),
            ball(self.instance.beta), ball(self.gamma), ball(self.mass),
        )  # fmt: skip

    def two_responses(self) -> bool:
        """Tell whether there are two responses and one pair."""
        return self.instance.size == 2 and len(self.instance.pairs) == 1

    def chosen(self) -> dict[str, Any]:
        """Return the instance and γ, as data."""
        return {"instance": self.instance.to_data(), "inputs": {"gamma": str(self.gamma)}}

    def stars(self) -> list[float]:
        """Return δ* of every pair to 15 digits."""
        return numbers_of(lambda: [self.star(k) for k in self.pairs])

    def critical_gammas(self) -> list[float]:
        """Return γ* of every pair to 15 digits."""
        return numbers_of(lambda: [self.critical_gamma(k) for k in self.pairs])

    def data(self) -> dict[str, Any]:
        """Return the instance, γ, and the local maximum if there is a certified one."""
        data = {**self.chosen(), "rlhf_margin": self.stars()}
        if self.point is not None:
            data |= shown(self.point)
        return data


def shown(point: stationary.Point) -> dict[str, Any]:
    """Return a stationary point as data."""
    return {
        "stationary_probs": numbers_of(lambda: list(point.probs)),
        "stationary_margin": numbers_of(point.margins),
        "upward_directions": point.upward_directions,
    }


def agreement(data: Mapping[str, Any]) -> Iterator[recheck.Comparison]:
    """Compare the solvers with a certified local maximum, from the JSON of its evidence."""
    bandit, prefs = build(data["instance"])
    gamma = float(Fraction(data["inputs"]["gamma"]))
    name = data["instance"]["name"]
    found = solvers.solve_penalty(bandit, prefs, gamma)
    yield f"{name}: unbounded", found.status is solution.Status.UNBOUNDED
    yield (
        f"{name}: delta*",
        recheck.close(solvers.solve_rlhf(bandit).margin(prefs), data["rlhf_margin"]),
    )
    if found.logp is None:
        yield f"{name}: the local maximum", False
        return
    yield f"{name}: its policy", recheck.close(np.exp(found.logp), data["stationary_probs"])
    probs, ref = np.array(data["stationary_probs"]), np.log(data["instance"]["ref"])
    value = probs @ (data["instance"]["reward"] - float(bandit.beta) * (np.log(probs) - ref))
    yield f"{name}: J there", recheck.close(found.value, value)
    start = solvers.penalty.Problem(bandit, prefs)
    off = start.residual(start.best, float(np.log(gamma)))
    yield f"{name}: residual", found.residual <= 1e-12 < 1e-6 < off
    yield f"{name}: its margins", recheck.close(found.margin(prefs), data["stationary_margin"])
    points = solvers.stationary_points(bandit, prefs, gamma)
    same = [p for p in points if recheck.close(np.exp(p.logp), data["stationary_probs"])]
    yield f"{name}: among all", len(same) == 1 and same[0].is_local_maximum
    branch = solvers.penalty_branch(bandit, prefs, gammas=[0.0, gamma])
    yield f"{name}: on the branch", recheck.close(branch.logp[1], found.logp)
    yield f"{name}: below its fold", gamma < branch.fold_gamma
