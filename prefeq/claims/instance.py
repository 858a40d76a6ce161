"""Exact instances: bandits of integers and fractions that people can check and solvers can eat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from prefeq import bandit as bandits
from prefeq import preferences
from prefeq.claims.ball import ball, exactly, midpoint, sign_of_log

Labels = Literal["bradley-terry", "ordered"]
Rational = int | Fraction


@dataclass(frozen=True)
class Instance:
    """A bandit with rational rewards, reference probabilities and β, and preference pairs.

    Pairs have equal mass 1/P. Labels are ``ordered`` (q = 1) or ``bradley-terry`` (q = σ(Δr)).

    Examples
    --------
    >>> made = Instance.of("boundary", reward=[1, 0], ref=["1/4", "3/4"], pairs=[(0, 1)])
    >>> made.gap(0), made.ref_ratio(0), made.sign_of_optimal_margin(0)
    (Fraction(1, 1), Fraction(1, 3), -1)
    """

    name: str
    reward: tuple[Fraction, ...]
    ref: tuple[Fraction, ...]
    beta: Fraction
    pairs: tuple[tuple[int, int], ...]
    labels: Labels

    @classmethod
    def of(
        cls,
        name: str,
        *,
        reward: list[Any],
        ref: list[Any],
        pairs: list[tuple[int, int]],
        beta: Any = 1,
        labels: Labels = "ordered",
    ) -> Instance:
        """Build an instance from integers, fractions or strings such as ``"1/3"``."""
        probs = tuple(Fraction(p) for p in ref)
        if sum(probs) != 1 or min(probs) <= 0:
            raise ValueError(f"{name}: reference probabilities must be positive with sum 1")
        rewards = tuple(Fraction(r) for r in reward)
        return cls(name, rewards, probs, Fraction(beta), tuple(pairs), labels)

    def labelled(self, labels: Labels) -> Instance:
        """Return the same instance with other labels."""
        return Instance(self.name, self.reward, self.ref, self.beta, self.pairs, labels)

    @property
    def size(self) -> int:
        """Return K, the number of responses."""
        return len(self.reward)

    def gap(self, k: int) -> Fraction:
        """Return Δr of pair k, exactly."""
        winner, loser = self.pairs[k]
        return self.reward[winner] - self.reward[loser]

    def ref_ratio(self, k: int) -> Fraction:
        """Return π_ref(w)/π_ref(l) of pair k, exactly."""
        winner, loser = self.pairs[k]
        return self.ref[winner] / self.ref[loser]

    def sign_of_optimal_margin(self, k: int) -> int | None:
        """Return the sign of δ* on pair k, decided exactly."""
        return sign_of_log(self.ref_ratio(k), self.gap(k) / self.beta)

    def delta_ref(self, k: int) -> Any:
        """Enclose δ_ref of pair k."""
        return ball(self.ref_ratio(k)).log()

    def rlhf_logp(self) -> list[Any]:
        """Enclose the RLHF log-policy, log π_ref + r/β − log Z."""
        return self.tilted(list(self.reward))

    def rlhf_value(self) -> Any:
        """Enclose J(π*) = β log Σ π_ref e^{r/β}."""
        weights = [
            ball(p) * ball(r / self.beta).exp() for p, r in zip(self.ref, self.reward, strict=True)
        ]
        return ball(self.beta) * sum(weights[1:], weights[0]).log()

    def tilted(self, reward: list[Fraction]) -> list[Any]:
        """Enclose the log-policy proportional to π_ref e^{reward/β}."""
        logits = [
            ball(p).log() + ball(r / self.beta) for p, r in zip(self.ref, reward, strict=True)
        ]
        total = sum((z.exp() for z in logits[1:]), logits[0].exp()).log()
        return [z - total for z in logits]

    def bandit(self) -> bandits.Bandit:
        """Return the instance as the package's bandit."""
        data = self.to_data()
        return bandits.Bandit.from_probs(reward=data["reward"], ref=data["ref"], beta=data["beta"])

    def preferences(self) -> preferences.Preferences:
        """Return its pairs as the package's preferences."""
        return build(self.to_data())[1]

    def to_data(self) -> dict[str, Any]:
        """Return the instance as strict JSON: floats for the solvers, exact numbers beside them."""
        return {
            "name": self.name,
            "reward": [float(r) for r in self.reward],
            "ref": [float(p) for p in self.ref],
            "beta": float(self.beta),
            "pairs": [list(pair) for pair in self.pairs],
            "labels": self.labels,
            "exact": {
                "reward": [exactly(r) for r in self.reward],
                "ref": [exactly(p) for p in self.ref],
                "beta": exactly(self.beta),
            },
        }


def build(data: Mapping[str, Any]) -> tuple[bandits.Bandit, preferences.Preferences]:
    """Turn the JSON of an instance back into a bandit and preferences for the solvers.

    >>> made = Instance.of("one", reward=[1, 0], ref=["1/4", "3/4"], pairs=[(0, 1)])
    >>> build(made.to_data())
    (Bandit(K=2, beta=1.0), Preferences(P=1: 0>1))
    """
    problem = bandits.Bandit.from_probs(reward=data["reward"], ref=data["ref"], beta=data["beta"])
    makers = {
        "bradley-terry": preferences.Preferences.bradley_terry,
        "ordered": preferences.Preferences.ordered,
    }
    return problem, makers[data["labels"]](problem, pairs=data["pairs"])


def numbers(enclosures: list[Any]) -> list[float]:
    """Return balls as floats of 15 digits, for display and comparison."""
    return [midpoint(value) for value in enclosures]
