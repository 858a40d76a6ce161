"""What a function returns of a batch, found out by calling it: values, their mean or their sum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from prefeq.arrays import BoolArray, FloatArray
from prefeq.errors import ProblemError
from prefeq.loss_cards.pair_loss import EPS, PairLoss, Reduction
from prefeq.loss_cards.pairs import Pairs, mixed_pairs


def settled(loss: PairLoss) -> PairLoss:
    """Return the loss with its reduction and its coupling found out by calling it."""
    _refuse_chance(loss)
    loss = replace(loss, beta_used=_beta_matters(loss), eps=_precision(loss))
    count = 7
    pairs = mixed_pairs(count, scale=min(loss.unit, 20.0))
    answer = loss.call(pairs)
    whole, rough = answer.values, 8 * loss.eps
    if whole.shape not in ((), (1,), (count,), (count, 1)):
        raise ProblemError(
            f"{loss.name} returned shape {whole.shape} for {count} pairs: return one value a pair, "
            f"({count},), or their mean, ()"
        )
    alone = np.array([float(loss.call(one).values.sum()) for one in pairs.singles()])
    if whole.size == count:
        return replace(loss, reduction="pairs", coupled=not close(whole.ravel(), alone, rough))
    twice = Pairs(*(np.repeat(column[:1], 2) for column in pairs.columns()))
    with np.errstate(all="ignore"):
        doubled = loss.call(twice).values.sum() / alone[0] if alone[0] else 1.0
    reduction: Reduction = "sum" if abs(doubled - 2) < max(1e-6, rough) else "mean"
    expected = alone.sum() if reduction == "sum" else alone.mean()
    coupled = not close(whole.ravel(), np.array([expected]), rough)
    return replace(loss, reduction=reduction, coupled=coupled)


def _beta_matters(loss: PairLoss) -> bool:
    if loss.beta is None or loss.beta_inside:
        return loss.beta_inside
    pairs = mixed_pairs(7, scale=min(1 / loss.beta, 20.0))
    here, there = (
        loss.with_parameters(beta=b).call(pairs).values for b in (loss.beta, loss.beta * 1.37)
    )
    return not np.array_equal(here, there, equal_nan=True)


def _precision(loss: PairLoss) -> float:
    """Return the relative precision of the values: of their dtype, or of what was lost inside.

    Values of a low precision stand still under steps that move others. Pairs where the loss is
    flat tell nothing.
    """
    pairs = mixed_pairs(24, seed=17, scale=min(loss.unit, 20.0))
    eps = EPS.get(loss.call(pairs.rows(0)).dtype, EPS["float64"])
    if eps > EPS["float64"]:
        return eps

    def moved(by: float) -> BoolArray:
        step = by * np.abs(pairs.chosen)
        here, there = (
            np.array([float(loss.call(one).values.sum()) for one in at.singles()])
            for at in (pairs, pairs.shifted(chosen=-step))
        )
        return np.asarray(here != there)

    alive = moved(1e-2)
    if not alive.any() or moved(1e-10)[alive].mean() > 0.2:
        return eps  # it does not depend on log π(w), or to the last digits
    return EPS["float32"] if moved(1e-5)[alive].mean() > 0.5 else EPS["float16"]


def _refuse_chance(loss: PairLoss) -> None:
    """Raise if two calls on the same pairs give two answers."""
    pairs = mixed_pairs(7, scale=min(loss.unit, 20.0))
    first, second = (loss.call(pairs).values for _ in range(2))
    if first.shape == second.shape and not np.array_equal(first, second, equal_nan=True):
        at = int(np.argmax((first != second).ravel()))
        raise ProblemError(
            f"{loss.name} is not deterministic: two calls on the same pairs gave "
            f"{first.ravel()[at]:.17g} and {second.ravel()[at]:.17g}; seed it, or take out dropout "
            "(model.eval())"
        )


def close(first: FloatArray, second: FloatArray, tolerance: float = 0.0) -> bool:
    """Tell whether two evaluations agree to 1e-6 or a looser tolerance, NaN with NaN."""
    tolerance = max(tolerance, 1e-6)
    both = np.isnan(first) & np.isnan(second)
    with np.errstate(all="ignore"):
        near = np.abs(first - second) <= tolerance * np.maximum(np.abs(first), np.abs(second))
    return bool(np.all(both | near | (first == second)))
