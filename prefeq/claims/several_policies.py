"""Several exact policies on one exact instance, compared by loss, by J and by gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from prefeq.claims import formulas
from prefeq.claims.ball import BALL, ball, sign, sign_of_log
from prefeq.claims.gallery import numbers_of
from prefeq.claims.instance import Instance
from prefeq.claims.policy_case import PolicyCase


@dataclass(frozen=True)
class Policies:
    """Policies of rational probabilities on an exact instance.

    Examples
    --------
    >>> made = Instance.of("one", reward=[1, 0], ref=["1/2", "1/2"], pairs=[(0, 1)])
    >>> two = Policies.of(made, [["3/4", "1/4"], ["9/10", "1/10"]])
    >>> two.sign_of(two.loss, 0, 1), two.sign_of(two.value, 0, 1), two.sign_of_rise(0, 1)
    (-1, -1, 1)
    """

    instance: Instance
    cases: tuple[PolicyCase, ...]

    @classmethod
    def of(cls, instance: Instance, policies: Sequence[Sequence[Any]]) -> Policies:
        """Build the policies; each one's probabilities must sum to 1."""
        return cls(instance, tuple(PolicyCase.of(instance, list(policy)) for policy in policies))

    def margin(self, i: int) -> Any:
        """Enclose δ of the first pair."""
        return self.cases[i].margin(0)

    def gradient(self, i: int) -> Any:
        """Enclose dL/dδ of the first pair, per unit of mass."""
        made = self.instance
        q = formulas.sigmoid(BALL, ball(made.gap(0))) if made.labels == "bradley-terry" else ball(1)
        return formulas.pair_gradient(BALL, self.margin(i), made.delta_ref(0), ball(made.beta), q)

    def loss(self, i: int) -> Any:
        """Enclose the whole DPO loss: the mean over the pairs."""
        count = len(self.instance.pairs)
        terms = [self.cases[i].loss(k) for k in range(count)]
        return sum(terms[1:], terms[0]) / count

    def value(self, i: int) -> Any:
        """Enclose J(π) = E_π[r] − β KL(π‖π_ref)."""
        made, policy = self.instance, self.cases[i].policy
        leash = [ball(p) * ball(p / ref).log() for p, ref in zip(policy, made.ref, strict=True)]
        reward = sum((p * r for p, r in zip(policy, made.reward, strict=True)), Fraction(0))
        return ball(reward) - ball(made.beta) * sum(leash[1:], leash[0])

    def sign_of(self, quantity: Callable[[int], Any], i: int, j: int) -> int | None:
        """Return the sign of quantity(j) − quantity(i); policies that are equal have none."""
        if self.cases[i].policy == self.cases[j].policy:
            return 0
        return sign(lambda: quantity(j) - quantity(i))[0]

    def sign_of_rise(self, i: int, j: int) -> int | None:
        """Return the sign of δ(j) − δ(i) on the first pair, decided exactly."""
        return sign_of_log(self.cases[j].ratio(0) / self.cases[i].ratio(0), Fraction(0))

    def data(self, *names: str) -> dict[str, Any]:
        """Return the instance, the policies, and ``policy_<name>``, a number for each of them."""
        shown = {f"policy_{name}": self._numbers(getattr(self, name)) for name in names}
        policies = [[str(p) for p in case.policy] for case in self.cases]
        return {
            "instance": self.instance.to_data(),
            "inputs": {"policies": policies},
            **shown,
        }

    def _numbers(self, quantity: Callable[[int], Any]) -> list[float]:
        return numbers_of(lambda: [quantity(i) for i in range(len(self.cases))])
