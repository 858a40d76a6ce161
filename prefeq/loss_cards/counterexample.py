"""A two-response bandit on which a loss is misaligned, in every form that people need it in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, TypeAlias

from prefeq.bandit import Bandit
from prefeq.preferences import Preferences

Reading: TypeAlias = Literal["fixed", "per-label"]


@dataclass(frozen=True, eq=False)
class Counterexample:
    """A two-response bandit whose risk has a local minimum with δ ≤ 0, although Δr > 0.

    Attributes
    ----------
    reading
        What a flipped label does to the target.
    ref
        π_ref of the winner and of the loser, as fractions.
    gap, beta
        Δr and β.
    minimiser
        The lowest local minimum of the risk, in nats; -inf if it falls for ever.
    solvers
        The margins of `solve_rlhf`, `solve_dpo` and `solve_cpo` on the same problem; ``lower``
        tells whether the values of the risk, no slopes, confirm the minimum.
    """

    reading: Reading
    ref: tuple[Fraction, Fraction]
    gap: Fraction
    beta: float
    minimiser: float
    solvers: Mapping[str, Any]

    @property
    def ref_margin(self) -> float:
        """δ_ref, in nats."""
        return log_ratio(self.ref)

    def bandit(self) -> Bandit:
        """Return the problem as the solvers take it."""
        return Bandit.from_probs(
            reward=[float(self.gap), 0.0], ref=[float(p) for p in self.ref], beta=self.beta
        )

    def preferences(self) -> Preferences:
        """Return the Bradley–Terry labels of its one pair."""
        return Preferences.bradley_terry(self.bandit())

    def table(self) -> str:
        """Return the CSV that ``prefeq solve FILE --beta`` reads."""
        logps = [math.log(p.numerator) - math.log(p.denominator) for p in self.ref]
        rows = (f"bandit,w,{logps[0]!r},{float(self.gap)!r}", f"bandit,l,{logps[1]!r},0.0")
        return "\n".join(("prompt,response,ref_logp,reward", *rows)) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "reading": self.reading,
            "reward": [float(self.gap), 0.0],
            "ref": [str(p) for p in self.ref],
            "beta": self.beta,
            "ref_margin": self.ref_margin,
            "reward_gap": float(self.gap),
            "minimiser": self.minimiser,
            "solvers": dict(self.solvers),
            "table": self.table(),
        }


def log_ratio(ref: tuple[Fraction, Fraction]) -> float:
    """Return log(p/(1 − p)) of two fractions."""
    ratio = ref[0] / ref[1]
    return math.log(ratio.numerator) - math.log(ratio.denominator)
