"""A preference loss that can be evaluated pair by pair, whatever its code returns of a batch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from prefeq.arrays import FloatArray
from prefeq.errors import ProblemError
from prefeq.loss_cards.engines import (
    Answer,
    Engine,
    NumpyEngine,
    OwnEngine,
    asks_for_tokens,
    raised,
)
from prefeq.loss_cards.pairs import Pairs
from prefeq.losses import Loss

Reduction: TypeAlias = Literal["pairs", "mean", "sum"]

STEP = 1e-3
"""Step of the difference scheme, in units of 1/β."""

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""Relative precision of dtypes."""


@dataclass(frozen=True, eq=False)
class PairLoss:
    """A preference loss, evaluated pair by pair.

    Attributes
    ----------
    name
        What it is called in a card.
    engine
        How it is called.
    parameters
        Keyword arguments that it is called with.
    beta
        β: the parameter of that name, or None if it has none.
    reduction
        What the function returns of a batch: one value a pair, their mean, or their sum.
    coupled
        Whether the value of a pair changes with the other pairs of its batch.
    beta_used
        Whether β changes the loss; if not, the natural unit of a margin is 1 nat.
    beta_inside
        Whether β was told of a function that takes none: it is in there, and cannot be changed.
    eps
        The relative precision of what the function returns.
    """

    name: str
    engine: Engine
    parameters: Mapping[str, Any]
    beta: float | None
    reduction: Reduction = "pairs"
    coupled: bool = False
    beta_used: bool = True
    beta_inside: bool = False
    eps: float = 2.0**-52

    @property
    def library(self) -> str:
        """``numpy``, ``torch``, ``prefeq`` (one of ours) or ``trl``."""
        return self.engine.library

    @property
    def scheme(self) -> str:
        """How gradients are made."""
        return self.engine.scheme

    @property
    def settings(self) -> dict[str, Any]:
        """The parameters and, of those not given, the numeric defaults of the function."""
        function = getattr(self.engine, "function", None)
        try:
            known = inspect.signature(function).parameters.values() if function else ()
        except (TypeError, ValueError):  # some built-in functions have no signature
            known = ()
        numbers = {p.name: p.default for p in known if isinstance(p.default, int | float)}
        return {**numbers, **self.parameters}

    @property
    def takes_tokens(self) -> bool:
        """Whether it is given the lengths of the responses."""
        function = getattr(self.engine, "function", None)
        return self.library == "trl" or (function is not None and asks_for_tokens(function))

    @property
    def own(self) -> Loss | None:
        """The loss of `prefeq.losses` that this is, if it is one."""
        return self.engine.loss if isinstance(self.engine, OwnEngine) else None

    @property
    def unit(self) -> float:
        """1/β, the natural unit of a margin; 1 nat for a loss that β does not change."""
        return 1.0 if self.beta is None or not self.beta_used else 1.0 / self.beta

    @property
    def step(self) -> float:
        """Step of the difference scheme, in nats: 1e-3/β in float64, longer where digits lack."""
        return self.unit * max(STEP, (self.eps / 10) ** 0.2 if self.eps > 1e-12 else 0.0)

    def with_parameters(self, **changes: Any) -> PairLoss:
        """Return the loss with other keyword arguments."""
        merged = {**self.parameters, **changes}
        if "beta" in changes and self.beta_inside:
            raise ProblemError(f"{self.name} takes no beta: it has its own, {self.beta:g}, inside")
        if "beta" in changes:
            return replace(self, parameters=merged, beta=checked_beta(changes["beta"]))
        return replace(self, parameters=merged)

    def call(self, pairs: Pairs, dtype: str = "float64") -> Answer:
        """Call the function once on all pairs, as a training step would."""
        try:
            return self.engine.call(pairs, self.parameters, dtype)
        except ProblemError:
            raise
        except (Exception, SystemExit) as error:  # other people's code raises what it likes
            raise ProblemError(
                f"{self.name} fails on {len(pairs)} pairs, of which the first is {pairs.row(0)}: "
                f"{raised(error)}"
            ) from error

    def value(self, pairs: Pairs) -> FloatArray:
        """Return the loss of each pair on its own, ``(n,)``; what the code gives, NaN included.

        Where it raises on some pairs and not on others, those are NaN.
        """
        if self.reduction == "pairs" and not self.coupled:
            try:
                return self.call(pairs).values.reshape(len(pairs))
            except ProblemError as error:
                return np.array([x.values.sum() for x in self._each(pairs, error)])
        if isinstance(self.engine, NumpyEngine):
            try:
                return self.engine.singles(pairs, self.parameters)
            except (Exception, SystemExit):  # said below, with the pair that it fails on
                pass
        return np.array([float(answer.values.sum()) for answer in self._each(pairs)])

    def _each(self, pairs: Pairs, error: ProblemError | None = None) -> list[Answer]:
        """Call the function on each pair alone; NaN where it raises, unless it always does."""
        out, lost = [], np.full(1, np.nan)
        failed = 0
        for one in pairs.singles():
            try:
                out.append(self.call(one))
            except ProblemError as raised:
                failed, error = failed + 1, error or raised
                out.append(Answer(lost, lost, lost, "float64"))
        if error is not None and failed == len(pairs):
            raise error
        return out

    def gradient(self, pairs: Pairs) -> tuple[FloatArray, FloatArray]:
        """Return the derivatives by log π(w) and log π(l) of each pair alone, each ``(n,)``."""
        if self.library == "numpy":
            return self._difference(pairs, chosen=1.0), self._difference(pairs, rejected=1.0)
        if self.coupled:
            return self._gradients(pairs)
        try:
            answer = self.call(pairs)
        except ProblemError as error:
            return self._gradients(pairs, error)
        if answer.chosen is None or answer.rejected is None:
            raise ProblemError(f"{self.name}: the {self.library} engine gave no gradient")
        scale = len(pairs) if self.reduction == "mean" else 1
        return answer.chosen * scale, answer.rejected * scale

    def _gradients(
        self, pairs: Pairs, error: ProblemError | None = None
    ) -> tuple[FloatArray, FloatArray]:
        answers = self._each(pairs, error)
        chosen, rejected = zip(*((a.chosen, a.rejected) for a in answers), strict=True)
        return np.concatenate(chosen), np.concatenate(rejected)

    def difference(self, pairs: Pairs) -> tuple[FloatArray, FloatArray]:
        """Return the same derivatives as differences of values, whatever the library."""
        return self._difference(pairs, chosen=1.0), self._difference(pairs, rejected=1.0)

    def _difference(self, pairs: Pairs, **direction: float) -> FloatArray:
        def value(h: float) -> FloatArray:
            return self.value(pairs.shifted(**{n: h * x for n, x in direction.items()}))

        h = self.step
        return central_difference(value(h), value(h / 2), value(-h / 2), value(-h), h)[0]


def central_difference(
    far_up: FloatArray, up: FloatArray, down: FloatArray, far_down: FloatArray, h: float
) -> tuple[FloatArray, FloatArray]:
    """Return the slope from values at x + h, x + h/2, x − h/2, x − h, and how far it changes.

    Richardson's extrapolation of central differences, of order h⁴, kept between the slopes of the
    three chords: at a kink it would overshoot, to a sign that the function has nowhere.

    Examples
    --------
    >>> import numpy as np
    >>> leaky = [np.maximum(-x, 0) - 0.04 * x for x in np.array([[0.9], [0.4], [-0.6], [-1.1]])]
    >>> slope, change = central_difference(*leaky, 1.0)
    >>> bool(slope[0] <= -0.04), float(change[0].round(9))
    (True, 1.0)
    """
    with np.errstate(all="ignore"):
        left, middle, right = 2 * (down - far_down) / h, (up - down) / h, 2 * (far_up - up) / h
        smooth = middle + (middle - (left + right) / 2) / 6
        low = np.minimum(np.minimum(left, middle), right)
        high = np.maximum(np.maximum(left, middle), right)
        return np.clip(smooth, low, high), high - low


def checked_beta(beta: Any) -> float:
    """Return β as a float, or say why it is none."""
    try:
        value = float(beta)
    except (TypeError, ValueError):
        raise ProblemError(f"beta = {beta!r}: must be a number") from None
    if not 0 < value < math.inf:
        raise ProblemError(f"beta = {value:g}: must be positive and finite")
    return value
