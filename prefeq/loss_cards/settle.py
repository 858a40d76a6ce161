"""What a function returns of a batch, found out by calling it: values, their mean or their sum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from prefeq.arrays import FloatArray
from prefeq.errors import ProblemError
from prefeq.loss_cards.pair_loss import EPS, PairLoss, Reduction
from prefeq.loss_cards.pairs import Pairs, mixed_pairs


def settled(loss: PairLoss) -> PairLoss:
    """Return the loss with its reduction and its coupling found out by calling it."""
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
    if loss.beta is None:
        return False
    pairs = mixed_pairs(7, scale=min(1 / loss.beta, 20.0))
    here, there = (
        loss.with_parameters(beta=b).call(pairs).values for b in (loss.beta, loss.beta * 1.37)
    )
    return not np.array_equal(here, there, equal_nan=True)


def _precision(loss: PairLoss) -> float:
    """Return the relative precision of the values: of their dtype, or of what was lost inside."""
    pairs = Pairs.one(-1.2345678901234567, -2.1, -1.1, -3.3)
    answer = loss.call(pairs)
    eps = EPS.get(answer.dtype, EPS["float64"])
    if eps > EPS["float64"]:
        return eps

    def moves(by: float) -> bool:
        """Tell whether a step changes the value at most of five places: one may be a tie."""
        places = [pairs.shifted(chosen=0.0173 * k) for k in range(5)]
        here, there = (
            np.array([float(loss.call(place.shifted(chosen=x)).values.sum()) for place in places])
            for x in (0.0, by)
        )
        return int((here != there).sum()) > 2

    if not moves(0.3) or moves(1e-9):
        return eps  # it does not depend on log π(w), or to the last digits
    return EPS["float32"] if moves(1e-4) else EPS["float16"]


def close(first: FloatArray, second: FloatArray, tolerance: float = 0.0) -> bool:
    """Tell whether two evaluations agree to 1e-6 or a looser tolerance, NaN with NaN."""
    tolerance = max(tolerance, 1e-6)
    both = np.isnan(first) & np.isnan(second)
    with np.errstate(all="ignore"):
        near = np.abs(first - second) <= tolerance * np.maximum(np.abs(first), np.abs(second))
    return bool(np.all(both | near | (first == second)))
