"""What is wrong with the code of a loss: each fault by name, with the pair that shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from prefeq.loss_cards.agreement import Agreement
from prefeq.loss_cards.dependence import Dependence, dependence
from prefeq.loss_cards.field import Field
from prefeq.loss_cards.mutants import diagnose
from prefeq.loss_cards.pair_loss import PairLoss
from prefeq.loss_cards.pairs import Pairs, mixed_pairs
from prefeq.loss_cards.precision import Finding, down_cast
from prefeq.loss_cards.settle import close


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with a loss, or that its user should know.

    Attributes
    ----------
    name
        What it is, such as ``swapped-reference``.
    severity
        ``fault``, or ``note`` for what a loss may do on purpose.
    message
        What was seen, and what to do about it, in a line.
    instance
        Numbers that show it.
    """

    name: str
    severity: Literal["fault", "note"]
    message: str
    instance: Mapping[str, Any]


def find_faults(
    loss: PairLoss,
    field: Field,
    depends: Dependence,
    findings: Sequence[Finding] = (),
    against: tuple[PairLoss, Agreement] | None = None,
) -> tuple[Fault, ...]:
    """Return the faults of a loss, the gravest kinds first.

    Parameters
    ----------
    field, depends, findings
        What `Field.of`, `dependence` and `precision.extremes` returned for the loss.
    against
        What the loss is meant to be, and how they compare: then every difference is a fault, named
        where it is a known one.
    """
    broken = list(_not_finite(loss))
    found = (
        broken
        or [*_stepwise(loss)]
        or [
            *_gradient(loss),
            *_formula(loss, depends, against),
            *_parameters(loss, depends),
            *_reduction(loss, depends, against),
            *_flat(loss, field),
            *_far(loss, findings),
        ]
    )
    order = {"fault": 0, "note": 1}
    unique = {fault.name: fault for fault in reversed(found)}
    kept = [fault for fault in found if unique[fault.name] is fault]
    return tuple(sorted(kept, key=lambda fault: order[fault.severity]))


def _not_finite(loss: PairLoss) -> Iterator[Fault]:
    """Name a loss that is no number on ordinary pairs: nothing else can be said of it."""
    pairs = mixed_pairs(8, seed=31, scale=min(loss.unit, 20.0))
    value = loss.value(pairs)
    if np.isfinite(value).any():
        return
    settings = ", ".join(f"{name} = {x}" for name, x in loss.settings.items()) or "no parameters"
    yield Fault(
        "not-finite", "fault",
        f"the loss is {_plain(value[0])} on every ordinary pair, with {settings}: a logarithm "
        "of 0, say, of a parameter that may not be 0", {**pairs.row(0), "value": _plain(value[0])},
    )  # fmt: skip


def _stepwise(loss: PairLoss) -> Iterator[Fault]:
    """Name a loss that moves in steps: rounded, a comparison, an integer."""
    if loss.library == "prefeq":
        return
    pairs = mixed_pairs(24, seed=31, scale=min(loss.unit, 20.0))
    pairs = pairs.rows(np.abs(loss.value(pairs)) < 1e8)  # differences of larger ones see nothing
    if not len(pairs):
        return
    value, slopes = loss.value(pairs), loss.difference(pairs)
    still = all(np.mean(side == 0) > 0.9 for side in slopes)
    flat = value[slopes[0] == 0]
    # A hinge is flat at one level, its least; steps are flat at several.
    if still and np.ptp(flat) > 1e-6 * np.abs(flat).max():
        yield Fault(
            "stepwise", "fault",
            "its value changes but its slope is 0 almost everywhere: it is rounded, an integer or "
            "a comparison, and trains nothing", {**pairs.row(0), "value": _plain(value[0])},
        )  # fmt: skip


def _gradient(loss: PairLoss) -> Iterator[Fault]:
    """Compare autograd with differences of the values."""
    if loss.library not in ("torch", "trl"):
        return
    pairs = mixed_pairs(8, seed=31, scale=min(loss.unit, 20.0))
    auto, true = loss.gradient(pairs), loss.difference(pairs)
    size = max(float(np.nanmax(np.abs(side), initial=0.0)) for side in (*auto, *true))
    rounded = 64 * loss.eps * max(float(np.abs(x).max()) for x in pairs.columns()[:4]) / loss.unit
    room = max(1e-4, 100 * loss.eps**0.8, rounded) * size
    wrong = [np.abs(a - t) > room for a, t in zip(auto, true, strict=True)]
    if size == 0 or max(w.mean() for w in wrong) <= 0.3:
        return
    at = int(np.argmax(wrong[0] | wrong[1]))
    shown = {
        **pairs.row(at),
        "autograd": [float(side[at]) for side in auto],
        "differences": [float(side[at]) for side in true],
    }
    zero = [bool((side == 0).all()) for side in auto]
    if all(zero):
        yield Fault(
            "detached-policy", "fault",
            "the policy's log-probs get no gradient although the loss depends on them: something "
            "is detached (.detach(), .item(), .data, torch.no_grad, a new tensor); nothing is "
            "trained", shown,
        )  # fmt: skip
    elif any(zero):
        side = "chosen" if zero[0] else "rejected"
        yield Fault(
            "half-detached", "fault",
            f"{side}_logps get no gradient although the loss depends on them: they are detached",
            shown,
        )  # fmt: skip
    else:
        yield Fault(
            "gradient-mismatch", "fault",
            "autograd's gradient is not that of the value: a part of the formula is detached, or "
            "the policy's own log-probs stand for the reference's", shown,
        )  # fmt: skip


def _formula(
    loss: PairLoss, depends: Dependence, against: tuple[PairLoss, Agreement] | None
) -> Iterator[Fault]:
    """Name what a loss is instead of DPO, or of what it is meant to be."""
    if loss.library == "prefeq" and against is None:
        return
    if against is not None and against[1].same:
        return
    constant = depends.kind == "nothing" and not loss.coupled
    known = None if loss.coupled or constant else diagnose(loss, against[0] if against else None)
    row = mixed_pairs(1, seed=23, scale=min(loss.unit, 20.0))
    shown = {**row.row(0), "value": _plain(loss.value(row)[0])}
    if known is not None:
        name, text = known
        # Without a declared purpose, a loss that has no reference is one of a known family.
        note = against is None and name == "no-reference"
        yield Fault(name, "note" if note else "fault", text, shown)
    if against is not None:
        other, result = against
        yield Fault(
            "differs", "fault",
            f"it is not {other.name}: {result}", dict(result.first or {}),
        )  # fmt: skip
    if constant:
        yield Fault("constant", "fault", "the loss is the same for every pair", shown)


def _parameters(loss: PairLoss, depends: Dependence) -> Iterator[Fault]:
    """Find numeric parameters that change nothing."""
    if loss.library == "prefeq":
        return
    # Of unequal lengths: what multiplies those, or their difference, is used.
    pairs = mixed_pairs(8, seed=5, scale=min(loss.unit, 20.0)).of_lengths()
    before = loss.call(pairs).values
    for name, value in loss.settings.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        changed = value * 1.37 if value else 0.1
        try:
            after = loss.with_parameters(**{name: changed}).call(pairs).values
        except Exception:  # other people's code raises what it likes
            continue
        if not np.array_equal(before, after, equal_nan=True):
            continue
        meant = name != "beta" or depends.uses_reference
        yield Fault(
            "missing-beta" if name == "beta" and meant else f"unused-{name}",
            "fault" if name == "beta" and meant else "note",
            f"{name} = {value:g} changes nothing: it does not enter the formula",
            {**pairs.row(0), name: [value, changed], "value": _plain(loss.value(pairs.rows(0))[0])},
        )


def _reduction(
    loss: PairLoss, depends: Dependence, against: tuple[PairLoss, Agreement] | None
) -> Iterator[Fault]:
    """Name what the batch and the lengths do."""
    pairs = mixed_pairs(2, seed=3, scale=min(loss.unit, 20.0))
    both, alone = loss.call(pairs).values, [loss.call(p).values for p in pairs.singles()]
    shown: dict[str, Any] = {
        "pairs": [pairs.row(0), pairs.row(1)],
        "alone": [_plain(a.sum()) for a in alone],
        "together": [_plain(x) for x in both.ravel()],
    }
    if loss.reduction == "sum":
        yield Fault(
            "batch-sum", "fault",
            "it returns the sum over the batch: the step grows with the batch size; return one "
            "value a pair, or the mean", shown,
        )  # fmt: skip
    if loss.coupled:
        middle = Pairs(*(np.atleast_1d(column.mean()) for column in pairs.columns()[:4]))
        inside = loss.reduction != "pairs" and close(both, loss.call(middle).values)
        text = "it averages margins over the batch before the loss, where the mean of the losses "
        text += "is meant: pairs of either sign cancel"
        if not inside:
            text = "the loss of a pair changes with the other pairs of its batch (sorting, or "
            text += "statistics of the batch, say): it is no loss of pairs"
        name = "mean-in-link" if inside else "batch-coupled"
        meant = against is None or against[0].coupled
        yield Fault(name, "fault" if inside or not meant else "note", text, shown)
    if depends.on_length:
        meant = against is None or dependence(against[0]).on_length
        yield Fault(
            "per-token", "note" if meant else "fault",
            "token counts enter: margins per token, say, means where DPO has sums; a target or a "
            "beta for sums need not carry over", {},
        )  # fmt: skip
    if depends.on_batch == "lengths":
        yield Fault(
            "length-coupled", "note",
            "where lengths differ, the weight of a pair depends on the lengths of the others", {},
        )  # fmt: skip


def _flat(loss: PairLoss, field: Field) -> Iterator[Fault]:
    """Name exact flats that are no infimum: a clamp."""
    ranges = field.ranges
    at = int(np.argmin(np.abs(ranges.ref_margin)))
    margin, slope = ranges.margin[at], field.slope[at]
    if not slope.any() or not np.isfinite(slope).all():
        return
    value = field.curve.value(margin, np.zeros(len(margin)))
    least, most = float(value.min()), float(value.max())
    flat = (slope[:-1] == 0) & (slope[1:] == 0) & (np.diff(margin) > 0)
    # A float32 loss is flat where e^-17 is lost; that is rounding, and no clamp.
    tiny = 1e-6 * (most - least) + 4 * loss.eps * max(abs(most), abs(least))
    high = flat & ((value[:-1] > least + tiny) | ((value[:-1] > tiny) & (least > tiny)))
    if not high.any():
        return
    i = int(np.flatnonzero(high)[np.argmin(np.abs(margin[:-1][high]))])
    yield Fault(
        "clamp", "fault",
        f"the gradient is exactly 0 from delta - delta_ref = {margin[i]:.4g} on, where the loss, "
        f"{value[i]:.4g}, is not at its infimum: a clamp, or a saturated sigmoid, kills it",
        {"ref_margin": 0.0, "margin": float(margin[i]), "value": float(value[i]), "slope": 0.0},
    )  # fmt: skip


def _far(loss: PairLoss, findings: Sequence[Finding]) -> Iterator[Fault]:
    lost = down_cast(loss)
    if lost is not None:
        yield Fault("dtype", "fault", lost.message, lost.instance)
    for kind in dict.fromkeys((finding.kind, finding.beyond) for finding in findings):
        alike = [f for f in findings if (f.kind, f.beyond) == kind]
        first, others = alike[0], list(dict.fromkeys(f.dtype for f in alike[1:]))
        others = [dtype for dtype in others if dtype != first.dtype]
        name = first.kind.replace(" ", "-")
        name = name if first.dtype == "float64" else f"{name}-{first.dtype}"
        text = first.message + (f" (also in {', '.join(others)})" if others else "")
        note = first.beyond or first.kind == "dead gradient"
        yield Fault(name, "note" if note else "fault", text, first.instance)


def _plain(value: Any) -> float | str:
    value = float(value)
    return "nan" if np.isnan(value) else value
