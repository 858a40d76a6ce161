"""Gradient descent for whole batches, recorded on the way; the step itself is in `walk`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from prefeq import chunks
from prefeq._namespace import Array, namespace, quiet
from prefeq.lanes import device_of, select
from prefeq.solvers.batched.walk import Problems, Walk, lipschitz_lanes, step_sizes

Finished = Callable[[Array, Array, Array], Array]
"""(positions (m,), θ − θ_ref (K, m), change (m,)) ↦ bool (m,): which problems stop here.

`change` is the largest change of a logit in the step to come, in nats. As that step is ηH(θ* − θ)
with H ≼ Lip and η < 2/Lip, a problem whose logits are all within e of a minimiser's has
change ≤ 2 √K e: one with more needs no certificate to be told unfinished.
"""


def near(goal: Array, radius: Array) -> Finished:
    """Return the rule to stop where θ − θ_ref is within radius (B,) of goal (B, K), in every logit.

    Descent keeps the sum of the logits of each component, so the minimiser that it tends to is the
    one whose θ − θ_ref has a mean of zero on each. A negative radius never stops.
    """
    xp = namespace(goal)

    def finished(lanes: Array, shift: Array, change: Array) -> Array:
        apart = xp.abs(xp.permute_dims(shift, (1, 0)) - xp.take(goal, lanes, axis=0))
        return xp.max(apart, axis=1) <= xp.take(radius, lanes)

    return finished


@dataclass(frozen=True)
class Run:
    """A recorded run of n problems: T records of P pairs, the last axis the lane.

    ``step`` (T,) the recorded steps, plain integers; ``loss`` (T, n); ``margin`` δ (T, P, n), 0 for
    absent pairs; ``ref_margin`` (P, n); ``shift`` (K, n) θ − θ_ref after each problem's own last
    step, ``steps`` (n,): beyond that its last record is repeated.
    """

    step: tuple[int, ...]
    loss: Array
    margin: Array
    ref_margin: Array
    shift: Array
    steps: Array
    step_size: Array
    lipschitz: Array


@quiet
def descend_lanes(
    xp: Any,
    problems: Problems,
    *,
    max_steps: int,
    records: Callable[[int], bool],
    step_size: float | None = None,
    finished: Finished | None = None,
    first: int = 0,
) -> Run:
    """Descend from the reference for `max_steps`, writing down the steps that `records` names.

    Parameters
    ----------
    records
        Whether a step is written down; the last one always is.
    step_size
        η; by default 1/Lip of each problem.
    finished
        Asked at every recorded step but the last; problems that have finished leave the working
        set. Without it every problem takes all the steps.
    first
        The number of the first problem in its batch, for the errors.

    Raises
    ------
    ProblemError
        As `walk.step_sizes`.
    """
    lipschitz = lipschitz_lanes(xp, problems)
    walk = Walk(xp, problems, step_sizes(xp, lipschitz, step_size, first))
    start, n = walk, problems.beta.shape[0]
    live = xp.arange(n, dtype=xp.int64, device=device_of(problems.beta))
    shift, steps = xp.zeros_like(walk.u), xp.full_like(live, max_steps)
    taken, losses, margins = list[int](), list[Array](), list[Array]()
    for step in range(max_steps + 1):
        if step == max_steps or records(step):
            taken.append(step)
            losses.append(_written(xp, losses, walk.loss(), live))
            margins.append(_written(xp, margins, walk.margin(), live))
            if step < max_steps and finished is not None:
                over = finished(live, walk.shift, walk.change())
                if bool(xp.any(over)):
                    gone, stay = xp.nonzero(over)[0], xp.nonzero(xp.logical_not(over))[0]
                    places = xp.take(live, gone)
                    shift[:, places], steps[places] = select(walk.shift, gone), step
                    live, walk = xp.take(live, stay), walk.only(stay)
        if step == max_steps or live.shape[0] == 0 < n:
            break
        walk.step()
    shift[:, live] = walk.shift
    return Run(
        tuple(taken),
        xp.stack(losses),
        xp.stack(margins),
        start.ref_margin,
        shift,
        steps,
        start.step_size,
        lipschitz,
    )


def _written(xp: Any, book: list[Array], values: Array, live: Array) -> Array:
    """Return a record of the chunk: new values of the live problems, the others as before."""
    if not book or values.shape == book[-1].shape:
        return values
    whole = xp.asarray(book[-1], copy=True)
    whole[..., live] = values
    return whole


@quiet
def exit_lanes(
    xp: Any, problems: Problems, *, max_steps: int, step_size: float | None = None
) -> Array:
    """Return the first step at which each pair has δ ≥ 0, (P, n) int64; nothing else is kept.

    −1 where no step up to `max_steps` has it, and for absent pairs. A problem all of whose pairs
    are out leaves the working set.
    """
    walk = Walk(xp, problems, step_sizes(xp, lipschitz_lanes(xp, problems), step_size))
    device = device_of(problems.beta)
    first = xp.full(problems.winner.shape, -1, dtype=xp.int64, device=device)
    live = xp.arange(problems.beta.shape[0], dtype=xp.int64, device=device)
    waiting, count = problems.present, xp.zeros_like(first)
    for step in range(max_steps + 1):
        waiting = xp.logical_and(waiting, walk.misaligned())
        count = count + xp.astype(waiting, xp.int64)
        last = step == max_steps
        if last or step % 8 == 0:
            over = xp.logical_not(xp.any(waiting, axis=0))
            if last or bool(xp.any(over)):
                out = xp.logical_and(walk.problems.present, xp.logical_not(waiting))
                first[:, live] = xp.where(out, count, xp.full_like(count, -1))
                stay = xp.nonzero(xp.logical_not(over))[0]
                live, walk = xp.take(live, stay), walk.only(stay)
                waiting, count = select(waiting, stay), select(count, stay)
        if last or live.shape[0] == 0:
            break
        walk.step()
    return first


@dataclass(frozen=True)
class Records:
    """The runs of a batch, problems first: what a `Trajectory` of a batch holds, and the ends.

    ``step`` (T,), ``loss`` (T, B), ``margin`` and ``undesirable`` (T, B, P); ``step_size``,
    ``lipschitz`` and ``steps`` (B,), the last the steps each problem took; ``shift`` (B, K).
    """

    step: tuple[int, ...]
    loss: Array
    margin: Array
    undesirable: Array
    step_size: Array
    lipschitz: Array
    shift: Array
    steps: Array


def descend_batch(
    xp: Any,
    rows: Problems,
    *,
    max_steps: int,
    records: Callable[[int], bool],
    step_size: float | None = None,
    finished: Finished | None = None,
) -> Records:
    """Run `descend_lanes` over a batch, chunk by chunk; `rows` are (B, K), (B,) and (B, P).

    Positions passed to `finished` are those in the batch.
    """
    b, k = rows.ref_logp.shape
    p = rows.winner.shape[1]
    plan = [t for t in range(max_steps + 1) if t == max_steps or records(t)]
    book = _blank(xp, rows, len(plan))
    lengths = dict[int, int]()  # records of each chunk, by where it starts
    spans = list(chunks.spans(b, 4 * k + 12 * p + 8, device_of(rows.beta)))
    for span in spans:
        run = descend_lanes(
            xp,
            _lanes(rows, span),
            max_steps=max_steps,
            records=records,
            step_size=step_size,
            finished=None if finished is None else _shifted(finished, span.start),
            first=span.start,
        )
        lengths[span.start] = len(run.step)
        _write(xp, book, span, run)
    longest = max(lengths.values(), default=len(plan))
    recorded = {name: getattr(book, name) for name in ("loss", "margin", "undesirable")}
    for span in spans:
        length = lengths[span.start]
        for part in recorded.values():
            part[length:longest, span, ...] = part[length - 1, span, ...]
    cut = {name: part[:longest, ...] for name, part in recorded.items()}
    return replace(book, step=tuple(plan[:longest]), **cut)


def _lanes(rows: Problems, span: slice) -> Problems:
    parts = {name: array for name, array in vars(rows).items() if array is not None}
    return Problems(**{name: chunks.to_lanes(array, span) for name, array in parts.items()})


def _shifted(finished: Finished, first: int) -> Finished:
    return lambda lanes, shift, change: finished(lanes + first, shift, change)


def _blank(xp: Any, rows: Problems, count: int) -> Records:
    """Return records to write to: memory is claimed only as they are written."""
    (b, k), p, device = rows.ref_logp.shape, rows.winner.shape[1], device_of(rows.beta)

    def blank(*shape: int, dtype: Any = xp.float64) -> Array:
        return xp.empty(shape, dtype=dtype, device=device)

    return Records(
        step=(),
        loss=blank(count, b),
        margin=blank(count, b, p),
        undesirable=blank(count, b, p, dtype=xp.bool),
        step_size=blank(b),
        lipschitz=blank(b),
        shift=blank(b, k),
        steps=blank(b, dtype=xp.int64),
    )


def _write(xp: Any, book: Records, span: slice, run: Run) -> None:
    """Write a chunk's run to its rows; what it recorded no more is filled in at the end."""
    inside = xp.logical_and(run.ref_margin < run.margin, run.margin < 0)
    for part, new in ((book.margin, run.margin), (book.undesirable, inside)):
        part[: len(run.step), span, :] = xp.permute_dims(new, (0, 2, 1))
    book.loss[: len(run.step), span] = run.loss
    for name in ("step_size", "lipschitz", "shift", "steps"):
        chunks.from_lanes(getattr(book, name), span, getattr(run, name))
