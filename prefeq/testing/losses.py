"""Assertions on the code of a loss: its gradient, extremes, a second version of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from prefeq.arrays import FloatArray
from prefeq.errors import ProblemError
from prefeq.loss_cards import Agreement, PairLoss, Pairs, adapt, agreement, dependence, extremes
from prefeq.loss_cards.agreement import standard_pairs
from prefeq.loss_cards.mutants import diagnose
from prefeq.loss_cards.names import beside
from prefeq.loss_cards.pairs import LOGPS
from prefeq.loss_cards.precision import STABLE, down_cast
from prefeq.testing.failures import PropertyFailure, fail
from prefeq.testing.search import pairs, smallest
from prefeq.testing.subjects import curves, instance, joined, named, plain

PLAIN = 6
"""How many of the standard pairs are plain: they set the scale of a slope."""


def assert_gradient(
    loss: Any,
    *,
    limit: float | None = None,
    examples: int | None = None,
    figure: str | os.PathLike[str] | None = None,
    **parameters: Any,
) -> None:
    """Assert that the gradients by the policy's log-probs are the derivatives of the values.

    What is detached, or has a backward pass of its own that is wrong, fails. Pairs at a kink are
    left out. For losses with gradients of their own (torch): NumPy functions have none.

    Parameters
    ----------
    loss
        A callable, a name, or one of `prefeq.losses`.
    limit
        The largest log-ratio drawn, in nats; 10/β by default, at most 40.
    examples, figure, parameters
        As in `assert_margin_loss`.

    Raises
    ------
    PropertyFailure
        If they differ by more than 1e-5 of the steepest slope (more in low precision).
    ProblemError
        If the loss has no gradients of its own.

    Examples
    --------
    >>> assert_gradient("dpo", beta=0.1)
    """
    __tracebackhide__ = True
    adapted = adapt(loss, **parameters)
    if adapted.library == "numpy":
        raise ProblemError(f"{adapted.name} is a NumPy function: it has no gradient to check")
    limit = min(10 * adapted.unit, 40.0) if limit is None else limit
    tolerance = max(1e-5, 1e3 * adapted.eps if adapted.eps > 1e-12 else 0.0)

    def both(pair: Pairs) -> tuple[FloatArray, FloatArray, float]:
        scaled = joined(pair, standard_pairs().rows(slice(0, PLAIN)))
        given, expected = (
            np.array(made(scaled)) for made in (adapted.gradient, adapted.difference)
        )
        return given[:, 0], expected[:, 0], float(max(np.abs(given).max(), np.abs(expected).max()))

    def wrong(pair: Pairs) -> bool:
        given, expected, size = both(pair)
        rounding = 64 * adapted.eps * float(np.abs(adapted.value(pair)[0])) / adapted.step
        near = np.abs(given - expected).max() <= tolerance * size + rounding  # never of a NaN
        return not near and not _kink(adapted, pair)

    seen = smallest(pairs(limit=limit), wrong, examples, pairs(limit=limit, whole=True))
    if seen is None:
        return
    given, expected, _ = both(seen)
    measured = {
        "gradient by (chosen_logps, rejected_logps)": tuple(given.tolist()),
        "differences of the values": tuple(expected.tolist()),
    }
    notes = [
        f"{name} get no gradient: are they detached?"
        for name, got, due in zip(("chosen_logps", "rejected_logps"), given, expected, strict=True)
        if got == 0 and due != 0
    ]
    fail(
        PropertyFailure(
            "assert_gradient",
            named(adapted),
            "the gradient is not the derivative of the value",
            measured=measured,
            notes=notes,
            theory="training follows the gradient, whatever the value says",
            instance=instance(adapted, seen),
            picture=lambda: curves({adapted.name: adapted}, seen),
        ),
        figure,
    )


def assert_stable(
    loss: Any,
    *,
    limit: float | None = None,
    dtypes: tuple[str, ...] = ("float64", "float32", "bfloat16", "float16"),
    examples: int | None = None,
    figure: str | os.PathLike[str] | None = None,
    **parameters: Any,
) -> None:
    """Assert that nothing overflows, turns NaN, dies or loses digits, far out and in low precision.

    Values that are themselves beyond the range of a dtype, as those of a squared loss in float16,
    do not count. NumPy functions are not run in bfloat16, and have no gradient to look at.

    Parameters
    ----------
    loss
        A callable, a name, or one of `prefeq.losses`.
    limit
        The largest log-ratio that Hypothesis draws, in nats; 800, or 800/β where that is more.
    dtypes
        The dtypes that count.
    examples, figure, parameters
        As in `assert_margin_loss`.

    Raises
    ------
    PropertyFailure
        With everything found, and the stable form to write.

    Examples
    --------
    >>> assert_stable("dpo", beta=0.1)
    """
    __tracebackhide__ = True
    adapted = adapt(loss, **parameters)
    limit = 800.0 * max(1.0, adapted.unit) if limit is None else limit
    cast = down_cast(adapted)
    found = [f for f in (*extremes(adapted), *([cast] if cast else ())) if not f.beyond]
    found = [f for f in found if f.dtype in dtypes]

    def sick(pair: Pairs) -> bool:
        return bool(_sickness(adapted, pair))

    # Ours form nothing that is larger than the loss itself.
    drawing = "float64" in dtypes and adapted.own is None
    seen = (
        smallest(pairs(limit=limit), sick, examples, pairs(limit=limit, whole=True))
        if drawing
        else None
    )
    if not found and seen is None:
        return
    if seen is None:
        seen = _pair_of(found[0].instance)
    raised = "raises" in [f.kind for f in found]
    value = "none: it raises" if raised else plain(adapted.value(seen)[0])
    notes = [f"{f.kind}: {f.message}" for f in found] or [_sickness(adapted, seen)]
    kinds = list(dict.fromkeys(f.kind for f in found)) or ["overflow"]
    fail(
        PropertyFailure(
            "assert_stable",
            named(adapted),
            f"it is not stable: {', '.join(kinds)}",
            measured={"loss of the smallest instance": value},
            notes=notes,
            theory="log(1 + exp(z)) is about max(z, 0): it need not overflow where z is a float",
            instance=instance(adapted, seen),
            picture=lambda: curves({adapted.name: adapted}, seen),
        ),
        figure,
    )


def assert_same_loss(
    first: Any,
    second: Any,
    *,
    tolerance: float | None = None,
    limit: float = 800.0,
    examples: int | None = None,
    figure: str | os.PathLike[str] | None = None,
    **parameters: Any,
) -> None:
    """Assert that two losses agree, values and gradients, on plain pairs and on extreme ones.

    Parameters
    ----------
    first, second
        Your code and a reference, say: the first takes `parameters`; the second is compared at its
        β, with those of `parameters` that it knows.
    tolerance
        Relative; 1e-9 by default, or what the coarser of their dtypes allows.
    limit
        The largest log-prob that Hypothesis draws, in nats.
    examples, figure, parameters
        As in `assert_margin_loss`.

    Raises
    ------
    PropertyFailure
        With the smallest pair on which they differ and, if the first is the second with a usual
        mistake in it, the name of that mistake.

    Examples
    --------
    >>> assert_same_loss("hypo", "clip", beta=0.1)
    >>> assert_same_loss("dpo", "hypo", beta=0.1)
    Traceback (most recent call last):
        ...
    prefeq.testing.failures.PropertyFailure: assert_same_loss(dpo, hypo, beta=0.1): they differ...
    """
    __tracebackhide__ = True
    one = adapt(first, **parameters)
    two = beside(second, one, parameters)
    lengths = one.takes_tokens or two.takes_tokens
    found = agreement(one, two, tolerance=tolerance)

    def compared(pair: Pairs) -> Agreement:
        # Plain pairs beside it set the scale of a slope.
        with_plain = joined(pair, standard_pairs().rows(slice(0, PLAIN)))
        with_plain = with_plain.of_lengths() if lengths else with_plain
        return agreement(one, two, with_plain, tolerance=tolerance)

    def differ(pair: Pairs) -> bool:
        first = compared(pair).first
        return first is not None and all(first[name] == x for name, x in pair.row(0).items())

    claim = _batches_differ(one, two)
    if claim:
        theory = "a mean over pairs weighs every pair alike, whatever its length"
        text = f"{one.name}, {named(two)}"
        made = PropertyFailure("assert_same_loss", text, claim, measured={}, theory=theory)
        fail(made, figure)
    seen = smallest(pairs(limit=limit), differ, examples, pairs(limit=limit, whole=True))
    if seen is None and found.same:
        return
    shown: Mapping[str, Any] = found.first or {}
    if seen is not None:
        shown = compared(seen).first or {}
        seen = seen.of_lengths() if lengths else seen
    else:
        seen = _pair_of(shown)
    mistake = diagnose(one, two)
    notes = []
    if mistake:
        notes = [f"{one.name} is {two.name} with a mistake, {mistake[0]}: {mistake[1]}"]
    fail(
        PropertyFailure(
            "assert_same_loss",
            f"{one.name}, {named(two)}",
            "they differ",
            measured={
                "losses": tuple(shown["values"]),
                "derivatives by chosen_logps": tuple(shown["slopes"]),
                "largest relative difference of values": found.worst,
            },
            notes=notes,
            theory=f"two versions of one loss agree to {found.tolerance:g} on every pair",
            instance=instance(one, seen, tokens=lengths),
            picture=lambda: curves({one.name: one, f"{two.name} ": two}, seen),
        ),
        figure,
    )


def _batches_differ(one: PairLoss, two: PairLoss) -> str | None:
    """Say how two losses differ on a batch that agree on each pair alone; None if they do not."""
    if {one.reduction, two.reduction} == {"mean", "sum"}:
        return f"they differ on a batch: {one.name} returns its {one.reduction}"
    weighted = [x.takes_tokens and dependence(x).on_batch == "lengths" for x in (one, two)]
    if weighted[0] == weighted[1]:
        return None
    name = (one if weighted[0] else two).name
    return f"they differ on a batch: {name} weighs each pair by the lengths of the others"


def _sickness(loss: PairLoss, pair: Pairs) -> str:
    """Say what is no number at a pair; empty if all is well."""
    value = loss.value(pair)[0]
    if not np.isfinite(value):
        return f"the loss is {plain(value)} in float64; {STABLE}"
    if loss.library != "numpy" and not np.isfinite(loss.gradient(pair)).all():
        return f"the gradient is not finite in float64; {STABLE}"
    return ""


def _kink(loss: PairLoss, pair: Pairs) -> bool:
    """Tell whether the gradient jumps near a pair, so that differences mean nothing there."""
    step = 2 * loss.step
    sides = [
        np.array(loss.gradient(pair.shifted(**{name: sign * step})))
        for name in ("chosen", "rejected")
        for sign in (1.0, -1.0)
    ]
    largest = max(float(np.abs(side).max()) for side in sides)
    return bool(max(np.abs(a - sides[0]).max() for a in sides[1:]) > 0.05 * largest)


def _pair_of(shown: Mapping[str, Any]) -> Pairs:
    """Return the pair that a finding or a disagreement of a card shows."""
    logps = [np.array([shown.get(f"{name}_logps", -1.0)]) for name in LOGPS]
    return Pairs(*logps, *(shown.get(name, 1) for name in ("chosen_tokens", "rejected_tokens")))
