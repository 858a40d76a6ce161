"""What the attacks on `e-cpo` and `e-cpoc` share: one Bradley–Terry pair and a loss with a target.

A case has an instance with one pair and the loss's parameters among its numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from prefeq import losses
from prefeq.claims import surrogates
from prefeq.claims.ball import ball, sign
from prefeq.claims.contradiction import every
from prefeq.claims.evidence import Evidence
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Falsifier, Kind, Source
from prefeq.counterexamples.falsifiers import _common as common

Hypothesis = Callable[["Seen"], float]
Decided = Mapping[str, bool | None] | bool | None
Exact = Callable[[surrogates.SurrogateCase], Decided]
"""Decides a case: comparisons of its numbers and whether each holds, or the answer alone."""

KINDS: Mapping[str, Kind] = {"gamma": "real", "alpha": "positive", "tau": "positive"}
LARGEST = Fraction(10**7)
"""Parameters, gaps and 1/β beyond which (or below whose inverse) floats say little."""


@dataclass(frozen=True)
class Seen:
    """A case as the package's own loss sees it; all but the loss is computed when asked for."""

    loss: losses.Loss
    flipped: losses.Flipped
    winner: float
    loser: float
    beta: float
    gap: float
    parameters: Mapping[str, float]

    @property
    def delta_ref(self) -> float:
        """Return the reference margin."""
        return self.winner - self.loser

    @cached_property
    def target(self) -> float:
        """Return t(w, l)."""
        return self.target_at(self.winner, self.loser)

    @cached_property
    def swapped(self) -> float:
        """Return t(l, w)."""
        return self.target_at(self.loser, self.winner)

    @cached_property
    def critical_gap(self) -> float:
        """Return the gap that the minimiser needs."""
        return self.critical_at(self.winner, self.loser)

    @cached_property
    def minimiser(self) -> float:
        """Return where the population loss is least."""
        ref = losses.Reference(self.winner, self.loser)
        return float(self.loss.minimiser(ref, self.beta, self.gap, self.flipped))

    def target_at(self, winner: float, loser: float) -> float:
        """Return the target at another reference."""
        return float(self.loss.target(losses.Reference(winner, loser), self.beta))

    def critical_at(self, winner: float, loser: float) -> float:
        """Return the critical gap at another reference."""
        ref = losses.Reference(winner, loser)
        return float(self.loss.critical_gap(ref, self.beta, self.flipped))

    @property
    def rounding(self) -> float:
        """Return the rounding of β times a margin, and of a gap."""
        nats = abs(self.target) + abs(self.winner) + abs(self.loser)
        if self.flipped == "per-label":
            nats += abs(self.swapped)
        return common.ROUNDING * (1.0 + self.gap + self.beta * nats)


@dataclass(frozen=True)
class Attack:
    """The cases of one loss: how they are drawn, seen and decided."""

    name: str
    flipped: losses.Flipped
    parameters: Mapping[str, Kind]

    def draw(self, source: Source, **chosen: Fraction) -> Case:
        """Draw a pair whose reference often prefers the loser, and the parameters."""
        made = common.draw_pair(source, "bradley-terry")
        winner, loser = made.pairs[0]
        if made.ref_ratio(0) > 1 and source.integer(0, 2):
            ref = list(made.ref)
            ref[winner], ref[loser] = ref[loser], ref[winner]
            made = type(made)(
                made.name, made.reward, tuple(ref), made.beta, made.pairs, made.labels
            )
        given = {
            name: chosen[name] if name in chosen else draws.number(source, kind)
            for name, kind in self.parameters.items()
        }
        return Case(numbers=given, instance=made)

    def case(self, case: Case) -> surrogates.SurrogateCase:
        """Return the exact case."""
        given = tuple((name, case.numbers[name]) for name in self.parameters)
        surrogate = surrogates.Surrogate(self.name, self.flipped, given)
        return surrogates.SurrogateCase(surrogate, common.instance_of(case))

    def in_scope(self, case: Case) -> bool:
        """One pair with a positive gap, numbers of ordinary size, γ > 0 where the loss needs it."""
        made = common.instance_of(case)
        if len(made.pairs) != 1 or made.gap(0) <= 0:
            return False
        sizes = (made.gap(0), made.beta, *(abs(x) for x in case.numbers.values() if x))
        ordinary = max(sizes) <= LARGEST and min(sizes) >= 1 / LARGEST
        return ordinary and (self.name not in ("eq17", "easy") or case.numbers["gamma"] > 0)

    def seen(self, case: Case) -> Seen:
        """Return the package's view."""
        made = common.instance_of(case)
        winner, loser = (common.logs([made.ref[y]])[0] for y in made.pairs[0])
        exact = self.case(case)
        return Seen(
            exact.surrogate.loss(),
            self.flipped,
            winner,
            loser,
            float(made.beta),
            float(made.gap(0)),
            {name: float(case.numbers[name]) for name in self.parameters},
        )

    def falsifier(
        self,
        violation: Callable[[Seen], float],
        exact: Exact,
        *,
        draw: Callable[[Source], Case] | None = None,
        words: str = "the loss is least at delta = {minimiser:.4g}",
    ) -> Falsifier:
        """Return an attack: the violation where it is in scope, and the exact decision."""

        def measured(case: Case) -> float:
            return violation(self.seen(case)) if self.in_scope(case) else common.OUTSIDE

        def certify(case: Case) -> Evidence:
            if not self.in_scope(case):
                return common.harmless(case, "not in the scope of the statement")
            made = self.case(case)
            found = exact(made)
            if not isinstance(found, Mapping):
                return common.harmless(case, "decided in balls", found)
            try:
                return made.evidence(words, found)
            except ArithmeticError as error:  # a ball too wide to print
                return common.harmless(case, str(error), None)

        return Falsifier(draw or self.draw, measured, certify, self.parameters)


def misaligned(made: surrogates.SurrogateCase) -> Decided:
    """Decide that the gap is positive and the minimiser negative."""
    return made.misaligned()


def positive_target(made: surrogates.SurrogateCase) -> Decided:
    """Decide the same for a target that is at least zero."""
    return {"target[0] >= 0": at_least_zero(made.target), **made.misaligned()}


def every_of(*found: Decided) -> bool | None:
    """Return whether all of it holds, comparisons one by one."""
    answers: list[bool | None] = []
    for answer in found:
        answers.extend(answer.values() if isinstance(answer, Mapping) else [answer])
    return every(answers)


def wrong_way(seen: Seen) -> float:
    """Return how far below zero the minimiser is, in units of the gap."""
    return -seen.beta * seen.minimiser


def given(slack: float, violation: Callable[[], float], at_least: float = 0.0) -> float:
    """Return the violation where the hypothesis's slack is at least a number, else outside."""
    return violation() if slack >= at_least else common.OUTSIDE


def decided(value: Callable[[], Any]) -> bool | None:
    """Decide value() > 0 in balls."""
    found = sign(value)[0]
    return None if found is None else found > 0


def at_least_zero(value: Callable[[], Any]) -> bool | None:
    """Decide value() ≥ 0 in balls."""
    found = sign(value)[0]
    return None if found is None else found >= 0


def beta(made: surrogates.SurrogateCase) -> Any:
    """Enclose β."""
    return ball(made.instance.beta)


def log1pexp(z: float) -> float:
    """Return softplus, written out here: what the package computes is what is attacked."""
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))
