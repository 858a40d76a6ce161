"""Lists of pairs: every two responses of different rewards, counts drawn of them, their shape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from prefeq.arrays import FloatArray, common
from prefeq.bandit import Bandit
from prefeq.errors import ProblemError


def list_pairs(bandit: Bandit) -> tuple[Any, Any, Any]:
    """Return winner, loser and mass (..., P) of every two responses with different rewards.

    The higher reward wins; the pairs of a prompt have equal masses of sum 1, and prompts with fewer
    pairs are filled up with pairs of mass zero.
    """
    xp, device = common(reward=bandit.reward)
    low, high = (xp.asarray(side, device=device) for side in np.triu_indices(bandit.K, 1))
    gap = xp.take(bandit.reward, low, axis=-1) - xp.take(bandit.reward, high, axis=-1)
    on = bandit.support
    valid = xp.take(on, low, axis=-1) & xp.take(on, high, axis=-1) & (gap != 0)
    order = xp.argsort(xp.astype(~valid, xp.int8), axis=-1, stable=True)
    count = xp.sum(xp.astype(valid, xp.int64), axis=-1, keepdims=True)
    order = order[..., : int(xp.max(count)) if math.prod(count.shape) else 0]
    winner, loser = xp.where(gap > 0, low, high), xp.where(gap > 0, high, low)
    winner, loser = (xp.take_along_axis(a, order, axis=-1) for a in (winner, loser))
    each = 1.0 / xp.astype(xp.maximum(count, xp.ones_like(count)), xp.float64)
    mass = xp.where(valid, each, xp.zeros_like(each))
    return winner, loser, xp.take_along_axis(mass, order, axis=-1)


def draw_counts(
    prob: FloatArray, mass: FloatArray, n: int, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Draw n comparisons a prompt; return the log-odds of the wins and the shares of n."""
    rng = np.random.default_rng(seed)
    total = np.sum(mass, axis=-1, keepdims=True)
    share = np.divide(mass, total, out=np.zeros_like(mass), where=total > 0)
    drawn = rng.multinomial(n, share) if share.shape[-1] else np.zeros(share.shape, np.int64)
    count = np.where(share > 0, drawn, 0)
    wins = rng.binomial(count, prob)
    drew = count > 0
    with np.errstate(divide="ignore"):
        odds = np.log(np.where(drew, wins, 1)) - np.log(np.where(drew, count - wins, 1))
    return odds, count / n


def pair_shape(*arrays: Any) -> tuple[int, ...]:
    """Return the shape that winner, loser, labels and, where given, masses broadcast to."""
    shapes = [tuple(array.shape) for array in arrays]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError as error:
        raise ProblemError(
            f"shape mismatch: winner {shapes[0]}, loser {shapes[1]}, labels {shapes[2]} and mass "
            f"{shapes[3:]} do not broadcast"
        ) from error
    if not shape:
        raise ProblemError("winner and loser need a pair axis: pass [w] and [l], not w and l")
    return shape
