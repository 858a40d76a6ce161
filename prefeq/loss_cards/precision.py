"""Far out and in low precision: overflow, NaN, dead gradients, and the stable form to use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from prefeq.arrays import FloatArray
from prefeq.errors import ProblemError
from prefeq.loss_cards.pair_loss import EPS, PairLoss
from prefeq.loss_cards.pairs import Pairs

DTYPES = {"numpy": ("float32", "float16"), "torch": ("float32", "bfloat16", "float16")}
"""The dtypes in which a loss of each library is run; trl as torch, ours in float64 alone."""

STABLE = (
    "write log(1 + exp(z)) as max(z, 0) + log1p(exp(-|z|)): -logsigmoid(-z) or softplus(z) in "
    "torch.nn.functional, np.logaddexp(0, z) in NumPy"
)


TOGETHER = (
    "an infinity meets 0 or another infinity: put factors into one exponent (exp(a)*sigmoid(b) is "
    "exp(a + logsigmoid(b))), and leave out terms of weight 0"
)


@dataclass(frozen=True)
class Finding:
    """One thing that goes wrong far out or in low precision.

    Attributes
    ----------
    kind
        ``raises`` (an exception), ``overflow`` (an infinity), ``nan``, ``dead gradient``
        (exactly 0, or none, where the loss is far from its infimum), or ``dtype`` (fewer
        digits than the input's).
    dtype
        In which the loss was run.
    message
        What happens, and what to write instead.
    instance
        The pair that shows it, and what came out.
    beyond
        Whether no code could do better: the value itself is beyond the range of the dtype.
    """

    kind: str
    dtype: str
    message: str
    instance: Mapping[str, Any]
    beyond: bool = False


def far_pairs(unit: float = 1.0) -> Pairs:
    """Return pairs of margins 0, ±96, ±800 under policy and reference, the mildest first.

    All log-probs are held exactly by float16 and bfloat16, so that what goes wrong is the loss's.
    With a unit above 1, that of 1/β, ±800/β instead of ±96.
    """
    sizes = (0.0, 96.0, -96.0, 800.0, -800.0)
    if unit > 1:
        sizes = (0.0, 800.0, -800.0, 800.0 * unit, -800.0 * unit)
    rows = sorted(((d, r) for d in sizes for r in sizes), key=lambda p: (abs(p[0] - p[1]), p))
    table = np.array([(min(d, 0.0), min(-d, 0.0), min(r, 0.0), min(-r, 0.0)) for d, r in rows])
    return Pairs(*(table.T - 8.0))


def extremes(loss: PairLoss) -> tuple[Finding, ...]:
    """Return what goes wrong at ±800 nats in float64, and in the lower precisions.

    Examples
    --------
    >>> import numpy as np
    >>> from prefeq.loss_cards.callables import adapt
    >>> def naive(c, r, ref_c, ref_r, beta=1.0):
    ...     return np.log(1 + np.exp(-beta * (c - r - ref_c + ref_r)))
    >>> sorted({finding.kind for finding in extremes(adapt(naive)) if finding.dtype == "float64"})
    ['dead gradient', 'overflow']
    """
    wide = far_pairs(loss.unit)
    raised = _raises(loss, wide)
    if raised is not None:
        return (raised,)
    found = list(_in_float64(loss, wide, _run(loss, wide, "float64")))
    pairs = far_pairs()
    base = _run(loss, pairs, "float64")
    for dtype in DTYPES.get("torch" if loss.library == "trl" else loss.library, ()):
        try:
            low = _run(loss, pairs, dtype)
        except ProblemError as error:
            found.append(Finding("dtype", dtype, f"cannot be run in {dtype}: {error}", {}))
            continue
        found += _in_low(loss, pairs, base, low, dtype)
    return tuple(found)


def _raises(loss: PairLoss, pairs: Pairs) -> Finding | None:
    """Return a finding for the mildest pair on which the code raises."""
    for at, one in enumerate(pairs.singles()):
        try:
            loss.call(one)
        except ProblemError as error:
            why = error.__cause__ or error
            said = " ".join(f"{type(why).__name__}: {why}".split())
            cure = STABLE if isinstance(why, OverflowError) else "return a number for every pair"
            text = f"it raises {said} at {_where(pairs, at)}; {cure}"
            return Finding("raises", "float64", text, pairs.row(at))
    return None


@dataclass(frozen=True, eq=False)
class _Run:
    value: FloatArray
    chosen: FloatArray
    rejected: FloatArray
    dtype: str


def _run(loss: PairLoss, pairs: Pairs, dtype: str) -> _Run:
    """Evaluate each pair alone in a dtype."""
    answers = [loss.call(one, dtype) for one in pairs.singles()]
    value = np.array([float(a.values.sum()) for a in answers])
    if loss.library == "numpy":
        sides = loss.gradient(pairs) if dtype == "float64" else (np.full(len(pairs), np.nan),) * 2
    else:
        sides = (
            np.array([_total(a.chosen) for a in answers]),
            np.array([_total(a.rejected) for a in answers]),
        )
    return _Run(value, sides[0], sides[1], answers[0].dtype)


def _total(side: FloatArray | None) -> float:
    return float("nan") if side is None else float(side.sum())


def _in_float64(loss: PairLoss, pairs: Pairs, run: _Run) -> Iterator[Finding]:
    tame = np.isfinite(run.value)
    for kind, where in (("nan", np.isnan(run.value)), ("overflow", np.isinf(run.value))):
        if where.any():
            at = int(np.argmax(where))
            text = f"the loss is {'NaN' if kind == 'nan' else 'infinite'} at {_where(pairs, at)}"
            # Ours form nothing that is larger than the loss itself.
            beyond = loss.own is not None
            cure = TOGETHER if kind == "nan" else STABLE
            cure = "so is its target: keep to milder references" if beyond else cure
            yield Finding(kind, "float64", f"{text}; {cure}", _shown(pairs, run, at), beyond)
    has_gradient = loss.library != "numpy"
    sick = tame & ~(np.isfinite(run.chosen) & np.isfinite(run.rejected))
    if has_gradient and sick.any():
        at = int(np.argmax(sick))
        yield Finding(
            "nan", "float64", f"the gradient is NaN or infinite at {_where(pairs, at)}; "
            f"{TOGETHER}", _shown(pairs, run, at),
        )  # fmt: skip
    dead = _dead(run, tame)
    if dead.any() and (run.chosen[tame] != 0).any():
        at = int(np.argmax(dead))
        yield Finding(
            "dead gradient",
            "float64",
            f"the gradient is 0 at {_where(pairs, at)}, where the loss, {run.value[at]:.4g}, is "
            "far from its least: training cannot move such a pair; drop the clamp, or use a form "
            "that does not saturate",
            _shown(pairs, run, at),
        )


def _dead(run: _Run, tame: Any) -> Any:
    """Tell where both derivatives are 0 (differences: or lost) though the loss is not small."""
    if not tame.any():
        return tame
    least, most = float(run.value[tame].min()), float(run.value[tame].max())
    high = run.value > least + 0.2 * (most - least) + 1e-6
    with np.errstate(invalid="ignore"):
        return high & ~(np.abs(run.chosen) > 1e-12) & ~(np.abs(run.rejected) > 1e-12)


def _in_low(loss: PairLoss, pairs: Pairs, base: _Run, low: _Run, dtype: str) -> Iterator[Finding]:
    top = {"float32": 3.4e38, "bfloat16": 3.38e38, "float16": 65504.0}[dtype]
    known = np.isfinite(base.value)
    wrong = known & ~np.isfinite(low.value)
    if wrong.any():
        at = int(np.argmax(wrong))
        kind = "nan" if np.isnan(low.value[at]) else "overflow"
        beyond = bool(abs(base.value[at]) > top)
        cure = TOGETHER if kind == "nan" else STABLE
        cure = "the value is beyond its range: compute in float32" if beyond else cure
        text = f"{'NaN' if kind == 'nan' else 'infinite'} in {dtype} at {_where(pairs, at)}, where "
        text += f"float64 gives {base.value[at]:.4g}; {cure}"
        yield Finding(kind, dtype, text, _shown(pairs, low, at), beyond)
    if loss.library == "numpy":
        return
    size = np.nanmax(np.abs(np.where(np.isfinite(base.chosen), base.chosen, 0)), initial=0.0)
    alive = (np.abs(base.chosen) > 1e-2 * size) & known & ~wrong
    bad = alive & ~np.isfinite(low.chosen)
    dead = alive & (low.chosen == 0) & (low.rejected == 0)
    for where, kind, word in ((bad, "nan", "not a number"), (dead, "dead gradient", "0")):
        if where.any():
            at = int(np.argmax(where))
            text = f"the gradient is {word} in {dtype} at {_where(pairs, at)}, where float64 gives "
            text += f"{base.chosen[at]:.4g}; {STABLE}"
            yield Finding(kind, dtype, text, _shown(pairs, low, at))


def down_cast(loss: PairLoss) -> Finding | None:
    """Return a finding if a loss of float64 log-probs comes back with fewer digits."""
    if loss.library not in ("numpy", "torch") or loss.eps <= EPS["float64"]:
        return None
    pairs = Pairs.one(-1.2345678901234567, -2.1, -1.1, -3.3)
    answer = loss.call(pairs)
    value = float(answer.values.sum())
    lost = next(name for name, eps in EPS.items() if eps == loss.eps)
    text = (
        f"float64 log-probs give a loss of {lost} precision: it casts down; sums of log-probs of "
    )
    text += "hundreds of nats lose what matters; take the dtype of the input"
    return Finding(
        "dtype", "float64", text, {**pairs.row(0), "value": value, "dtype": answer.dtype}
    )


def _where(pairs: Pairs, at: int) -> str:
    return f"delta = {pairs.margin[at]:g}, delta_ref = {pairs.ref_margin[at]:g}"


def _shown(pairs: Pairs, run: _Run, at: int) -> dict[str, Any]:
    out = {"value": run.value[at], "d_chosen": run.chosen[at], "d_rejected": run.rejected[at]}
    words = {k: "nan" if np.isnan(v) else float(v) for k, v in out.items()}
    return {**pairs.row(at), **words}
