"""A loss on a two-response bandit: a curve in δ for each δ_ref, and the ranges looked at.

There every loss of four log-probs is a function of δ and δ_ref alone: log π(w) = log σ(δ),
log π(l) = log σ(−δ), likewise the reference. A loss of margins has the same curve for any K.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from prefeq._elementary import sigmoid, softplus
from prefeq.arrays import FloatArray
from prefeq.errors import ProblemError
from prefeq.loss_cards.pair_loss import PairLoss, central_difference
from prefeq.loss_cards.pairs import Pairs

KINK = 1e-2
"""A slope that changes within a step by this share of the steepest jumps."""

KINK_STEP = 1e-3
"""How much shorter the step is there."""

EDGE = 1e-9
"""How far from δ_ref and from 0, in units of 1/β, the points beside them lie."""

SMEAR = 5e-6
"""How far, in units of 1/β, differences may move a kink."""

_SIZES = {"full": (151, 201, 1.0), "numpy": (61, 41, 0.5), "alone": (21, 17, 0.2)}


@dataclass(frozen=True, eq=False)
class Ranges:
    """What a card looks at: reference margins, reward gaps, and margins δ around them.

    Attributes
    ----------
    beta
        β of the loss, or 1 if it has none: 1/β is the unit of length.
    ref_limit
        The largest |δ_ref|, in nats.
    gaps
        Reward gaps Δr > 0 of Bradley–Terry labels.
    ref_margin
        δ_ref, ``(R,)``, ascending and symmetric about 0.
    margin
        δ, ``(R, N)``: ascending, denser about δ_ref and 0. Row i mirrors row R−1−i, so that a
        flipped label needs no evaluation of its own.
    points
        How many δ of a row lie about δ_ref, and how many over the whole range.
    features
        δ that every row has besides, and δ − δ_ref: where narrow minima were seen.
    """

    beta: float
    ref_limit: float
    gaps: FloatArray
    ref_margin: FloatArray
    margin: FloatArray
    points: tuple[int, int]
    features: tuple[FloatArray, FloatArray] = (np.zeros(0), np.zeros(0))

    @classmethod
    def of(
        cls,
        loss: PairLoss,
        *,
        beta: float | None = None,
        ref_limit: float | None = None,
        gaps: tuple[float, float] = (0.01, 10.0),
    ) -> Ranges:
        """Return the ranges for a loss.

        Parameters
        ----------
        beta
            The unit of length is 1/β; by default that of the loss.
        ref_limit
            Reference margins up to ±this, in nats; 10/β by default.
        gaps
            The least and the largest reward gap.
        """
        beta = 1 / loss.unit if beta is None else beta
        limit = 10.0 / beta if ref_limit is None else float(ref_limit)
        low, high = gaps
        for name, x in (("beta", beta), ("ref_limit", limit)):
            if not 0 < x < math.inf:
                raise ProblemError(f"{name} = {x:g}: must be positive and finite")
        if not 0 < low < high < math.inf:
            raise ProblemError(f"gaps = {gaps}: pass 0 < least < largest")
        near, far, share = _SIZES[_size(loss)]
        scaled = np.array([0.05, 0.1, 0.2, 0.5, 1, 1.5, 2, 3, 4, 5, 7, 10]) / 10 * limit
        nats = np.array([0.25, 0.5, 1, 2, 3, 4, 6, 8, 12])
        sizes = np.unique(np.concatenate([scaled, nats[nats < limit]]))
        kept = sizes[:: max(1, round(1 / share))] if share < 1 else sizes
        ref = np.concatenate([-kept[::-1], [0.0], kept])
        margin = _rows(ref, beta, limit + (high + 6) / beta, (near, far))
        return cls(beta, limit, np.geomspace(low, high, 13), ref, margin, (near, far))

    def including(self, ref_margin: FloatArray) -> Ranges:
        """Return the ranges with more reference margins, and their negatives."""
        sizes = np.unique(np.abs(np.concatenate([self.ref_margin, ref_margin])))
        apart = np.diff(sizes, prepend=-1.0) > 1e-9 * self.ref_limit  # rounding makes twins
        refs = np.concatenate([-sizes[apart & (sizes > 0)][::-1], sizes[apart]])
        reach = float(self.margin[0, -1])
        margin = _rows(refs, self.beta, reach, self.points, features=self.features)
        return replace(self, ref_margin=refs, margin=margin)

    def with_features(self, absolute: FloatArray, relative: FloatArray) -> Ranges:
        """Return the ranges with more δ in every row, and more δ − δ_ref, and their negatives."""
        features = (np.union1d(absolute, -absolute), np.union1d(relative, -relative))
        return replace(self, features=features).including(np.zeros(0))

    @property
    def text(self) -> str:
        """The ranges in a line."""
        return (
            f"delta_ref in ±{self.ref_limit:g} nats, delta to ±{self.margin[0, -1]:.4g}, "
            f"reward gaps {self.gaps[0]:g} to {self.gaps[-1]:g}, 1/beta = {1 / self.beta:g} nats"
        )

    def row(self, ref_margin: FloatArray) -> FloatArray:
        """Return δ to look at for other reference margins, ``(n, N)``: those in U are denser."""
        reach = float(self.margin[0, -1])
        return _rows(ref_margin, self.beta, reach, (61, 41), _INSIDE, self.features)


_INSIDE = np.linspace(0.0, 1.0, 33)[1:-1] ** 2


def _rows(
    refs: FloatArray,
    beta: float,
    reach: float,
    points: tuple[int, int],
    inside: Any = (),
    features: tuple[Any, Any] = ((), ()),
) -> FloatArray:
    """Return δ to look at for each δ_ref, `inside` as shares of it."""
    near, far = _spread(12 / beta, points[0]), _spread(reach, points[1])
    more = np.asarray(inside, dtype=np.float64)
    absolute, relative = (np.asarray(x, dtype=np.float64) for x in features)
    beside = np.array([-SMEAR / 2, -EDGE, 0.0, EDGE, SMEAR / 2]) / beta
    rows = [
        np.concatenate([near + r, far, r + beside, beside, r * more, absolute, r + relative])
        for r in refs
    ]
    return np.sort(np.clip(np.array(rows), -reach, reach), axis=1)


def vectorised(loss: PairLoss) -> bool:
    """Tell whether many pairs are evaluated in one call."""
    return _size(loss) == "full"


def _size(loss: PairLoss) -> str:
    if loss.coupled:
        return "alone"
    return "numpy" if loss.library == "numpy" and loss.reduction != "pairs" else "full"


def _spread(reach: float, count: int) -> FloatArray:
    """Return points of ±reach, denser towards 0 by a factor of about a hundred."""
    u = np.linspace(-1, 1, count)
    return np.asarray(reach * np.sinh(5 * u) / math.sinh(5))


@dataclass(frozen=True, eq=False)
class Curve:
    """The loss of a two-response bandit as a function of δ, for an ordered pair of mass 1."""

    loss: PairLoss

    def value(self, margin: Any, ref_margin: Any) -> FloatArray:
        """Return f(δ; δ_ref), broadcast."""
        delta, ref = np.broadcast_arrays(np.asarray(margin, float), np.asarray(ref_margin, float))
        return self.loss.value(Pairs.two_responses(delta, ref)).reshape(delta.shape)

    def slope(self, margin: Any, ref_margin: Any) -> FloatArray:
        """Return df/dδ = L_w·π(l) − L_l·π(w), L_w and L_l the derivatives by the log-probs.

        By autograd where there is one, else by central differences in δ of step 1e-3/β with one
        step of Richardson's extrapolation: an error of order h⁴ at smooth points. Where the slope
        jumps within a step, it is taken again with one of 1e-6/β.
        """
        return self.slope_and_floor(margin, ref_margin)[0]

    def slope_and_floor(self, margin: Any, ref_margin: Any) -> tuple[FloatArray, FloatArray]:
        """Return df/dδ and the size below which its sign may be that of rounding.

        That is 16 times the precision of the loss times what was added up: the two terms of the
        slope and the size of the loss, a unit; of differences, the values over the step.
        """
        delta, ref = np.broadcast_arrays(np.asarray(margin, float), np.asarray(ref_margin, float))
        if self.loss.library == "numpy":
            return self._difference(delta, ref)
        chosen, rejected = self.loss.gradient(Pairs.two_responses(delta, ref))
        flat = delta.ravel()
        with np.errstate(all="ignore"):
            one, two = chosen * sigmoid(np, -flat), rejected * sigmoid(np, flat)
            floor = 16 * self.loss.eps * (np.abs(one) + np.abs(two) + self._typical[0])
        return np.asarray(one - two).reshape(delta.shape), floor.reshape(delta.shape)

    def _difference(self, delta: FloatArray, ref: FloatArray) -> tuple[FloatArray, FloatArray]:
        h = self.loss.step
        slope, change, floor = self._chords(delta, ref, h)
        with np.errstate(invalid="ignore"):
            kink = change > KINK * self._typical[1]
        if kink.any() and self.loss.eps < 1e-12:
            again = self._chords(delta[kink], ref[kink], KINK_STEP * h)
            slope[kink], floor[kink] = again[0], again[2]
        return slope, np.maximum(floor, 16 * self.loss.eps * self._typical[0] * self.loss.unit / h)

    def _chords(
        self, delta: FloatArray, ref: FloatArray, h: float
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        steps = np.array([h, h / 2, -h / 2, -h]).reshape(4, *(1,) * delta.ndim)
        values = self.value(delta + steps, ref[None])
        far_up, up, down, far_down = values
        slope, change = central_difference(far_up, up, down, far_down, h)
        with np.errstate(all="ignore"):
            floor = 4 * self.loss.eps * np.abs(values).max(axis=0) / h
        return np.array(slope), change, np.array(floor)

    def edge(self, ref_margin: FloatArray) -> FloatArray:
        """Return what is not told from δ = 0, in nats, ``(R,)``: differences move a kink there."""
        unit, least = self.loss.unit, np.full(ref_margin.shape, EDGE * self.loss.unit)
        if self.loss.library != "numpy":
            return least
        sides = np.array([[-SMEAR / 2], [SMEAR / 2]]) * unit
        left, right = self.slope(sides, ref_margin[None, :])
        with np.errstate(invalid="ignore"):
            kink = np.abs(right - left) > KINK * self._typical[1]
        return np.where(kink, SMEAR / 2 * unit, least)

    @cached_property
    def _typical(self) -> tuple[float, float]:
        """The size of the loss, a unit of δ, and its steepest chord: at δ_ref = 0 within ±8/β."""
        delta = np.linspace(-8, 8, 33) * self.loss.unit
        value = self.value(delta, np.zeros(33))
        with np.errstate(all="ignore"):
            chord = np.abs(np.diff(value) / np.diff(delta))
        sizes = np.abs(value[np.isfinite(value)])
        size = float(np.median(sizes)) if sizes.size else 0.0
        steepest = float(np.max(chord, where=np.isfinite(chord), initial=0.0))
        return size / self.loss.unit, steepest


def label_weights(gap: Any) -> tuple[FloatArray, FloatArray]:
    """Return q = σ(Δr) and 1 − q of Bradley–Terry labels."""
    gap = np.asarray(gap, dtype=np.float64)
    return np.exp(-softplus(np, -gap)), np.exp(-softplus(np, gap))
