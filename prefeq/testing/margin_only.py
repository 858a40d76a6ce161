"""An assertion on what a loss depends on: the margins of its own pair, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from hypothesis import strategies as st

from prefeq.arrays import FloatArray
from prefeq.loss_cards import Dependence, PairLoss, Pairs, adapt, dependence
from prefeq.loss_cards.dependence import KINDS
from prefeq.strategies import nats
from prefeq.testing.failures import PropertyFailure, fail
from prefeq.testing.search import pairs, smallest
from prefeq.testing.subjects import curves, instance, joined, named

_ALONE = "certificates, thresholds and cards hold for losses of delta and delta_ref alone"


def assert_margin_loss(
    loss: Any,
    *,
    relative: bool = False,
    examples: int | None = None,
    figure: str | os.PathLike[str] | None = None,
    **parameters: Any,
) -> None:
    """Assert that a loss depends on the margins δ and δ_ref of its own pair, and on nothing else.

    Not on absolute log-probs, token counts or the other pairs of the batch.

    Parameters
    ----------
    loss
        A callable, a name, or one of `prefeq.losses`.
    relative
        Ask for more: that δ − δ_ref alone matters, as for DPO.
    examples
        How many pairs Hypothesis draws; ``max_examples`` of its profile by default.
    figure
        A .png, .svg or .pdf to draw a failure to.
    parameters
        Keyword arguments of the loss.

    Raises
    ------
    PropertyFailure
        If it depends on more.

    Examples
    --------
    >>> assert_margin_loss("hypo")
    >>> assert_margin_loss("dpo", relative=True)
    """
    __tracebackhide__ = True
    adapted = adapt(loss, **parameters)
    found = dependence(adapted)
    tests = _dependences(adapted, found.tolerance, relative)

    def drawn(kinds: list[str], count: int | None) -> _Move | None:
        limit, tokens = min(8 * adapted.unit, 40.0), st.integers(1, 8)

        def moves(whole: bool) -> st.SearchStrategy[_Move]:
            pair = pairs(limit=limit, whole=whole)
            by = st.integers(1, 40).map(float) if whole else nats(40.0)
            return st.builds(_Move, st.sampled_from(kinds), pair, pair, by, tokens, tokens)

        return smallest(moves(False), lambda move: tests[move.what](move), count, moves(True))

    seen, suspect = drawn(list(tests), examples), _suspect(found, relative)
    if seen is None and suspect is None:
        return
    if seen is None:  # too few were drawn: the card saw it
        seen = drawn([str(suspect)], SEARCH) if suspect in tests else None
    fail(_dependence_failure(adapted, seen, str(suspect), found), figure)


SEARCH = 400
"""How many examples are drawn for an instance of what the card has seen."""


def _suspect(found: Dependence, relative: bool) -> str | None:
    """Return what matters and should not, by the card; None if nothing does."""
    if found.kind == "unknown":
        return _UNKNOWN
    if found.on_length or found.on_batch != "no":
        return _TOKENS if found.on_length else _BATCH
    moves = ("both policy", "both reference", "margins together")
    kept = list(zip(moves, _SHIFTS, strict=True))[: 3 if relative else 2]
    return next((what for move, what in kept if found.invariant[move] > found.tolerance), None)


@dataclass(frozen=True, eq=False)
class _Move:
    """A pair, and what is done to it: shifted, given lengths, or put beside another pair."""

    what: str
    pair: Pairs
    other: Pairs
    by: float
    chosen_tokens: int
    rejected_tokens: int

    @property
    def longer(self) -> Pairs:
        """The pair with lengths."""
        tokens = np.array([[self.chosen_tokens], [self.rejected_tokens]])
        return replace(self.pair, chosen_tokens=tokens[0], rejected_tokens=tokens[1])

    def shifted(self) -> Pairs:
        """Return the pair with the log-probs moved that should not matter."""
        return self.pair.shifted(**dict.fromkeys(_SHIFTS[self.what], -abs(self.by)))


_BATCH, _TOKENS = "the other pairs of the batch", "the token counts"
_UNKNOWN = "what cannot be told: it is no finite number on ordinary pairs"

_SHIFTS = {
    "the absolute log-probs of the policy": ("chosen", "rejected"),
    "the absolute log-probs of the reference": ("ref_chosen", "ref_rejected"),
    "more than delta - delta_ref": ("chosen", "ref_chosen"),
}


def _dependences(
    loss: PairLoss, tolerance: float, relative: bool
) -> dict[str, Callable[[_Move], bool]]:
    """Return what must not matter, and whether a move shows that it does."""

    def differs(move: _Move) -> bool:
        return _differ(loss.value(move.pair), loss.value(move.shifted()), tolerance)

    def counts(move: _Move) -> bool:
        return _differ(loss.value(move.pair), loss.value(move.longer), tolerance)

    def couples(move: _Move) -> bool:
        alone, together = _beside(loss, move)
        expected = alone if together.size == 2 else alone.sum(keepdims=True)
        expected = expected / 2 if loss.reduction == "mean" else expected
        return _differ(together, expected, max(tolerance, 1e-9))

    kept = list(_SHIFTS) if relative else list(_SHIFTS)[:2]
    return {**dict.fromkeys(kept, differs), _TOKENS: counts, _BATCH: couples}


def _beside(loss: PairLoss, move: _Move) -> tuple[FloatArray, FloatArray]:
    """Return the losses of two pairs alone, and of both in one call."""
    both = joined(move.longer, move.other)
    alone = [float(loss.call(one).values.sum()) for one in both.singles()]
    return np.array(alone), loss.call(both).values.reshape(-1)


def _dependence_failure(
    loss: PairLoss, seen: _Move | None, what: str, found: Dependence
) -> PropertyFailure:
    measured: dict[str, Any] = {}
    if seen is None:
        measured["what matters, the batch apart"] = KINDS[found.kind]
        tables, picture = None, None
    else:
        what, shown = seen.what, seen.pair
        if what == _BATCH:
            shown = joined(seen.longer, seen.other)
            alone, together = _beside(loss, seen)
            measured |= {"losses alone": tuple(alone), "in one batch": tuple(together)}
        elif what == _TOKENS:
            shown = seen.longer
            values = (loss.value(seen.pair)[0], loss.value(shown)[0])
            measured["losses with a token each, and with the counts below"] = values
        else:
            values = (loss.value(shown)[0], loss.value(seen.shifted())[0])
            names = " and ".join(f"{name}_logps" for name in _SHIFTS[what])
            measured[f"losses, and with {abs(seen.by):g} nats taken from {names}"] = values
            measured["what matters, the batch apart"] = KINDS[found.kind]
        tables = instance(loss, shown, tokens=what in (_TOKENS, _BATCH) and loss.takes_tokens)
        picture = partial(curves, {loss.name: loss}, seen.pair)
    return PropertyFailure(
        "assert_margin_loss",
        named(loss),
        f"it depends on {what}",
        measured=measured,
        theory=_ALONE,
        instance=tables,
        picture=picture,
    )


def _differ(first: FloatArray, second: FloatArray, tolerance: float) -> bool:
    """Tell whether finite values differ; what is no number is a matter of `assert_stable`."""
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return False
    size = np.maximum(np.maximum(np.abs(first), np.abs(second)), 1e-3)
    return bool((np.abs(first - second) > tolerance * size).any())
