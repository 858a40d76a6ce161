"""An exact instance with one exact policy on it: the stuff of most counterexamples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from prefeq import bandit as bandits
from prefeq import margins, preferences
from prefeq.claims import formulas, recheck
from prefeq.claims.ball import BALL, ball, digits, sign, sign_of_log
from prefeq.claims.gallery import numbers_of
from prefeq.claims.instance import Instance, build


@dataclass(frozen=True)
class PolicyCase:
    """A policy of rational probabilities on an exact instance.

    Examples
    --------
    >>> made = Instance.of("one", reward=[1, 0], ref=["1/10", "9/10"], pairs=[(0, 1)])
    >>> case = PolicyCase.of(made, ["1/4", "3/4"])
    >>> case.sign_of_margin(0), case.sign_of_rise(0), case.in_undesirable(0)
    (-1, 1, True)
    """

    instance: Instance
    policy: tuple[Fraction, ...]

    @classmethod
    def of(cls, instance: Instance, policy: list[Any]) -> PolicyCase:
        """Build a case; the probabilities must sum to 1."""
        probs = tuple(Fraction(p) for p in policy)
        if sum(probs) != 1 or min(probs) <= 0 or len(probs) != instance.size:
            raise ValueError(f"{instance.name}: not a policy over {instance.size}: {policy}")
        return cls(instance, probs)

    def ratio(self, k: int) -> Fraction:
        """Return π(w)/π(l) of pair k, exactly."""
        winner, loser = self.instance.pairs[k]
        return self.policy[winner] / self.policy[loser]

    def margin(self, k: int) -> Any:
        """Enclose δ of pair k."""
        return ball(self.ratio(k)).log()

    def sign_of_margin(self, k: int) -> int | None:
        """Return the sign of δ, decided exactly."""
        return sign_of_log(self.ratio(k), Fraction(0))

    def sign_of_rise(self, k: int) -> int | None:
        """Return the sign of δ − δ_ref, decided exactly."""
        return sign_of_log(self.ratio(k) / self.instance.ref_ratio(k), Fraction(0))

    def in_undesirable(self, k: int) -> bool | None:
        """Decide δ_ref < δ < 0 exactly."""
        signs = self.sign_of_rise(k), self.sign_of_margin(k)
        return None if None in signs else signs == (1, -1)

    def loss(self, k: int) -> Any:
        """Enclose the DPO loss of pair k under the instance's label."""
        ordered = self.instance.labels == "ordered"
        gap, beta = ball(self.instance.gap(k)), ball(self.instance.beta)
        q = ball(1) if ordered else formulas.sigmoid(BALL, gap)
        return formulas.pair_loss(BALL, self.margin(k), self.instance.delta_ref(k), beta, q)

    def compare_loss(self, k: int, other: Any) -> int | None:
        """Return the sign of loss − other, where `other` is a function that encloses a number."""
        return sign(lambda: self.loss(k) - other())[0]

    def data(self) -> dict[str, Any]:
        """Return the instance, the policy, and per pair the margins and the loss."""
        pairs = range(len(self.instance.pairs))
        return {
            "instance": self.instance.to_data(),
            "inputs": {"policy": [str(p) for p in self.policy]},
            "ref_margin": numbers_of(lambda: [self.instance.delta_ref(k) for k in pairs]),
            "margin": numbers_of(lambda: [self.margin(k) for k in pairs]),
            "loss": [digits(lambda k=k: self.loss(k)) for k in pairs],  # type: ignore[misc]
        }


@dataclass(frozen=True)
class Fed:
    """A case as the package sees it, rebuilt from the JSON of its evidence."""

    bandit: bandits.Bandit
    preferences: preferences.Preferences
    ref_margin: Any
    margin: Any
    loss: Any

    @classmethod
    def back(cls, data: dict[str, Any]) -> Fed:
        """Feed evidence back: bandit, preferences, margins and the package's own losses."""
        from prefeq import losses

        bandit, prefs = build(data["instance"])
        probs = np.array([float(Fraction(p)) for p in data["inputs"]["policy"]])
        delta_ref, delta = prefs.ref_margin(bandit), prefs.margin_of(np.log(probs))
        loss = losses.DPO.population_value(delta, delta_ref, bandit.beta, prefs.log_odds)
        return cls(bandit, prefs, delta_ref, delta, loss)

    def comparisons(self, data: dict[str, Any], inside: list[bool]) -> Iterator[recheck.Comparison]:
        """Compare margins, losses and membership of U with the evidence."""
        yield "reference margins", recheck.close(self.ref_margin, data["ref_margin"])
        yield "margins", recheck.close(self.margin, data["margin"])
        yield "losses", recheck.close(self.loss, data["loss"])
        yield "U", margins.undesirable(self.margin, self.ref_margin).tolist() == inside
