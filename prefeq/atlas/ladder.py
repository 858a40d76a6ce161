"""The world of a cell: a ladder of K responses, every rung compared with the next one down."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from prefeq.arrays import FloatArray, IntArray, log_normalise
from prefeq.bandit import Bandit
from prefeq.losses import Flipped
from prefeq.preferences import Preferences


@dataclass(frozen=True)
class Cells:
    """n cells with the same number of responses, as arrays (n,), and what holds for all of them.

    Responses come in the order of their reward. Neighbours differ by `gap` in reward and by
    `delta_ref` in reference log-probability; the K − 1 pairs of neighbours, the higher reward
    winning, have mass 1/(K − 1) each. K = 2 is the two-response bandit of arXiv:2605.20834.
    """

    k: int
    delta_ref: FloatArray
    gap: FloatArray
    beta: FloatArray
    margin: FloatArray
    gamma: FloatArray
    steps: int
    flipped: Flipped
    alpha: float
    tau: float

    def part(self, where: slice | IntArray) -> Cells:
        """Return some of the cells."""
        names = ("delta_ref", "gap", "beta", "margin", "gamma")
        return replace(self, **{name: getattr(self, name)[where] for name in names})

    @property
    def mass(self) -> float:
        """The mass of each pair."""
        return 1.0 / (self.k - 1)

    @property
    def nats(self) -> FloatArray:
        """The size at which margins are rounded: max(1, |δ_ref|, Δr/β, |m|)."""
        sizes = (np.abs(self.delta_ref), self.gap / self.beta, np.abs(self.margin))
        size: FloatArray = np.maximum.reduce([np.ones_like(self.beta), *sizes])
        return size

    def ref_logp(self) -> FloatArray:
        """Return log π_ref, (n, K)."""
        logp: FloatArray = log_normalise(-self.delta_ref[:, None] * np.arange(self.k))
        return logp

    def bandit(self) -> Bandit:
        """Return the cells as a batch of bandits."""
        return Bandit(-self.gap[:, None] * np.arange(self.k), self.ref_logp(), self.beta)

    def pairs(self) -> Preferences:
        """Return the ordered pairs of neighbours, the same for every cell."""
        rungs = np.arange(self.k - 1)
        return Preferences(rungs, rungs + 1)
