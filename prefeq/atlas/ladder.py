"""The world of a cell: a ladder of K responses, every rung compared with the next one down."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from prefeq.arrays import FloatArray, IntArray
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

    def ref_logp(self) -> FloatArray:
        """Return log π_ref, (n, K); of the likeliest response too to the last digit, as −log1p."""
        logits = -self.delta_ref[:, None] * np.arange(self.k)
        top = np.where(self.delta_ref >= 0, 0, self.k - 1)
        centred = logits - np.take_along_axis(logits, top[:, None], axis=-1)
        share = np.exp(centred)
        np.put_along_axis(share, top[:, None], 0.0, axis=-1)
        logp: FloatArray = centred - np.log1p(np.sum(share, axis=-1, keepdims=True))
        return logp

    def bandit(self) -> Bandit:
        """Return the cells as a batch of bandits."""
        return Bandit(-self.gap[:, None] * np.arange(self.k), self.ref_logp(), self.beta)

    def pairs(self) -> Preferences:
        """Return the ordered pairs of neighbours, the same for every cell."""
        rungs = np.arange(self.k - 1)
        return Preferences(rungs, rungs + 1)
