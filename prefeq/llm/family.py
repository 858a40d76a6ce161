"""The losses of the family on one chunk of pairs, fused: what they share is computed once.

The same formulas as `prefeq.losses`, with its default parameters (the tests tie them); those cost
several checks and a namespace look-up a call. All arrays are float64 and finite; `xp` is NumPy's or
torch's namespace. In-place operators are on arrays that were made here.
"""

from __future__ import annotations

import inspect
from typing import Any

from prefeq import losses
from prefeq._namespace import Array


def _default(constructor: Any, name: str) -> float:
    return float(inspect.signature(constructor).parameters[name].default)


EASY_GAMMA = _default(losses.easy, "gamma")
SIMPO_GAMMA = _default(losses.simpo, "gamma")
CDPO_EPS = _default(losses.cdpo, "eps")


def softplus_minus(xp: Any, margin: Array, beta: float) -> Array:
    """Return softplus(−βd) = max(−βd, 0) + log1p(e^−β|d|), without a branch."""
    decay = abs(margin)
    value = decay - margin
    value *= beta / 2
    decay *= -beta
    xp.exp(decay, out=decay)
    xp.log1p(decay, out=decay)
    value += decay
    return value


def clipped(margin: Array) -> Array:
    """Return max(margin, 0), exactly: HyPO's target."""
    value = abs(margin)
    value += margin
    value *= 0.5
    return value


def smooth_target(xp: Any, margin: Array, positive: Array) -> Array:
    """Return the smooth branch's target, max(δ_ref, 0) + log1p(e^−|δ_ref|)."""
    decay = abs(margin)
    decay *= -1
    xp.exp(decay, out=decay)
    xp.log1p(decay, out=decay)
    decay += positive
    return decay


def easy_target(winner: Array, loser: Array, margin: Array, beta: float) -> Array:
    """Return δ_ref − (γ/β)(1/|log π_ref(w)| + 1/|log π_ref(l)|)."""
    inverse = 1 / abs(winner)
    inverse += 1 / abs(loser)
    inverse *= -EASY_GAMMA / beta
    inverse += margin
    return inverse


def hinge(relative: Array, beta: float) -> Array:
    """Return max(0, 1 − βx)."""
    slack = relative * -beta
    slack += 1
    return clipped(slack)


def ipo(relative: Array, beta: float) -> Array:
    """Return (βx − ½)²/β² as (x − 1/(2β))²."""
    value = relative - 0.5 / beta
    value *= value
    return value


def cdpo(dpo: Array, relative: Array, beta: float) -> Array:
    """Return (1 − ε)·softplus(−βx) + ε·softplus(βx), from softplus(−βx) and x."""
    value = relative * (CDPO_EPS * beta)
    value += dpo
    return value
