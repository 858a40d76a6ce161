"""The three losses of the code released with arXiv:2605.20834, written from their formulas.

Plain functions of a pair's log-probabilities, so that a card sees nothing but the code: what
`prefeq.losses` proves of them is not known to it. softplus(−β(δ − t)), with three targets t:

>>> import prefeq as pq
>>> card = pq.analyse_loss("prefeq.loss_cards.released:clip")
>>> card.same_as, card.aligned, card.trap
(('hypo',), True, False)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from prefeq._elementary import softplus
from prefeq.arrays import FloatArray

__all__ = ["clip", "easy", "smooth"]


def clip(
    chosen: Any, rejected: Any, ref_chosen: Any, ref_rejected: Any, beta: float = 0.1
) -> FloatArray:
    """Return the loss of the `clip` branch, t = max(δ_ref, 0)."""
    return _loss(chosen - rejected, np.maximum(ref_chosen - ref_rejected, 0.0), beta)


def smooth(
    chosen: Any,
    rejected: Any,
    ref_chosen: Any,
    ref_rejected: Any,
    beta: float = 0.1,
    alpha: float = 1.0,
    gamma: float = 0.0,
    tau: float = 1.0,
) -> FloatArray:
    """Return the loss of the smooth branch, t = δ_ref + softplus(τ(γ − δ_ref))/(ατ)."""
    ref = ref_chosen - ref_rejected
    target = ref + softplus(np, tau * (gamma - ref)) / (alpha * tau)
    return _loss(chosen - rejected, target, beta)


def easy(
    chosen: Any,
    rejected: Any,
    ref_chosen: Any,
    ref_rejected: Any,
    beta: float = 0.1,
    gamma: float = 0.1,
) -> FloatArray:
    """Return that of the `easy` branch, t = δ_ref + (γ/β)(1/log π_ref(w) + 1/log π_ref(l)).

    Eq. 17 has reciprocals of probabilities there; those of log-probabilities are negative.
    """
    target = ref_chosen - ref_rejected + gamma / beta * (1 / ref_chosen + 1 / ref_rejected)
    return _loss(chosen - rejected, target, beta)


def _loss(margin: Any, target: Any, beta: float) -> FloatArray:
    return np.asarray(softplus(np, -beta * (margin - target)))
