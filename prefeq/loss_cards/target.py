"""The target margin of a loss, read off its curves: f(δ; δ_ref) = ℓ(δ − t(δ_ref))."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from prefeq._elementary import softplus
from prefeq.arrays import FloatArray
from prefeq.loss_cards.curve import Curve, Ranges

TOLERANCE = 1e-5
"""How far, as a share of 1/β and of the target, a target may be off the one that fits."""

_WALL = 1e6

FAR = 60.0
"""How far from where its curve bends, in units of 1/β, a link may have its middle."""


@dataclass(frozen=True, eq=False)
class Logistic:
    """ℓ(x) = a·softplus(−sx) + b·softplus(sx) + c, where a loss has that form."""

    scale: float
    for_winner: float
    for_loser: float
    offset: float

    @property
    def smoothing(self) -> float:
        """ε of (1 − ε)·softplus(−z) + ε·softplus(z): the share of the second term."""
        return self.for_loser / (self.for_winner + self.for_loser)


@dataclass(frozen=True, eq=False)
class Target:
    """t as a function of δ_ref.

    Attributes
    ----------
    ref_margin, values
        δ_ref and t there, ``(R,)``, in nats; NaN-free: only where it could be read off.
    link
        The logistic link that fits, or None. With one, t is where its argument is 0. Otherwise
        only differences of t can be seen, and t is set to 0 at δ_ref = 0, a reference that
        prefers neither: there is nothing for a flipped label to swap.
    name
        ``delta_ref``, ``max(delta_ref, 0)``, ``constant``, or ``other``.
    below_dpo
        The largest amount by which t is below δ_ref, in nats; 0 if it never is.
    tail
        dt/dδ_ref far below 0 (−200/β to −400/β), or None if it could not be read off there: above
        0, the target is unbounded below and can guarantee nothing.
    """

    ref_margin: FloatArray
    values: FloatArray
    link: Logistic | None
    name: str
    below_dpo: float
    tail: float | None
    anchor: tuple[float, float, float] | None = None

    def find(self, curve: Curve, ref_margin: float) -> float:
        """Return t at another reference margin, read off the curve like the others."""
        near = np.flatnonzero(np.abs(self.ref_margin - ref_margin) < 1e-12)
        if len(near):
            return float(self.values[near[0]])
        if self.anchor is None:
            return 0.0 if self.name == "constant" else ref_margin
        level, start, unit = self.anchor
        there = _solve(curve, np.array([float(ref_margin)]), level, start, unit)[0]
        return float(there - start + self.values[self._home] if np.isfinite(there) else np.nan)

    @property
    def _home(self) -> int:
        return int(np.argmin(np.abs(self.ref_margin)))

    @property
    def lowest(self) -> float:
        """The least target of the range, in nats."""
        return float(self.values.min())

    def at(self, index: int) -> float:
        """Return t of one reference margin of the list."""
        return float(self.values[index])


def target(curve: Curve, ranges: Ranges, kind: str = "") -> Target | None:
    """Read the target margin off a loss; None if its curves are no shifts of one another.

    Whatever its shape, a loss of δ − δ_ref alone (``relative margin``, the kind of its
    `Dependence`) has t = δ_ref, and one of δ alone (``policy margin``) t = 0.

    The shift is found where the curve of δ_ref = 0 has a quarter, half and three quarters of its
    steepest slope; it has to explain slopes at 41 other points too, to 1e-6 of the steepest.

    Examples
    --------
    >>> from prefeq.loss_cards.callables import adapt
    >>> loss = adapt("hypo", beta=1.0)
    >>> found = target(Curve(loss), Ranges.of(loss))
    >>> found.name, found.below_dpo
    ('max(delta_ref, 0)', 0.0)
    """
    unit = 1 / ranges.beta
    zero = np.zeros(1)
    home = _anchor(curve, zero, unit)
    if home is None:
        refs = ranges.ref_margin
        if kind == "relative margin":
            return Target(refs, refs, None, "delta_ref", 0.0, 1.0)
        if kind == "policy margin":
            return Target(refs, 0 * refs, None, "constant", float(refs.max()), 0.0)
        return None
    level, start = home
    link = _logistic(curve, float(start[0]), unit)
    base = _center(curve, link, float(start[0]), unit) if link else 0.0
    if not abs(base - float(start[0])) < FAR * unit:
        link, base = None, 0.0  # an exponential is the tail of a logistic, of none that is here
    refs = ranges.ref_margin
    there = _solve(curve, refs, level, start[0], unit)
    kept = np.isfinite(there)
    if kept.sum() < 3:
        return None
    shifts = there[kept] - start[0]
    if not _explains(curve, refs[kept], shifts, float(start[0]), unit):
        return None
    values = base + shifts
    values = np.where(np.abs(values) < 1e-9 * unit, 0.0, values)
    refs = refs[kept]
    below = float(np.maximum(refs - values, 0).max())
    below = below if below > TOLERANCE * unit else 0.0
    far = np.array([-400.0, -200.0]) * unit
    ends = _solve(curve, far, level, start[0], unit)
    tail = float((ends[1] - ends[0]) / (far[1] - far[0])) if np.isfinite(ends).all() else None
    relative = kind == "relative margin" and link is None
    name = "delta_ref" if relative else _name(refs, values, unit)
    return Target(refs, values, link, name, below, tail, (level, float(start[0]), unit))


def _name(refs: FloatArray, values: FloatArray, unit: float) -> str:
    def near(candidate: Any) -> bool:
        return bool(np.all(np.abs(values - candidate) <= TOLERANCE * (unit + np.abs(refs))))

    if near(refs):
        return "delta_ref"
    if near(np.maximum(refs, 0)):
        return "max(delta_ref, 0)"
    return "constant" if near(values[len(values) // 2]) else "other"


def _anchor(curve: Curve, ref: FloatArray, unit: float) -> tuple[float, FloatArray] | None:
    """Return a slope that the curve has at one δ only, and that δ, near the middle of its rise."""
    delta = np.linspace(-25, 25, 401) * unit
    slope = curve.slope(delta, ref)
    if not np.isfinite(slope).all():
        return None
    low, high = float(slope.min()), float(slope.max())
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-300):
        return None
    # Half-way between the slopes of its ends or, where it is steeper yet in between, of those.
    level = (float(slope[0]) + float(slope[-1])) / 2
    above = slope > level
    turns = np.flatnonzero(above[1:] != above[:-1])
    if len(turns) != 1:
        level = (low + high) / 2 if len(turns) == 0 else float(slope[200])
        turns = np.flatnonzero((slope > level)[1:] != (slope > level)[:-1])
        if len(turns) != 1:
            return None
    start = _solve(curve, ref, level, float(delta[turns[0]]), unit)
    return None if not np.isfinite(start).all() else (level, start)


def _solve(curve: Curve, refs: FloatArray, level: float, start: float, unit: float) -> FloatArray:
    """Return, for each δ_ref, the δ at which the slope first exceeds a level; NaN if none."""
    reach = np.array([0, 2, 8, 30, 100, 300, 1e3, 3e3, 1e4, 1e5, _WALL]) * unit
    grid = np.concatenate([-reach[:0:-1], reach]) + start
    table = curve.slope(grid[None, :], refs[:, None]) > level
    if (table[:, 0]).all() and not table[:, -1].any():
        table = ~table  # a loss that bends the other way
    first = np.argmax(table, axis=1)
    ok = (first > 0) & table.any(axis=1)
    low = np.where(ok, grid[np.maximum(first - 1, 0)], np.nan)
    high = np.where(ok, grid[first], np.nan)
    flip = _falls(curve, refs, level, low, high)
    for _ in range(14):
        if not ok.any():
            break
        inner = np.linspace(low[ok], high[ok], 10)[1:-1]
        above = curve.slope(inner, refs[ok][None, :]) > level
        above = above != flip
        any_above = above.any(axis=0)
        at = np.argmax(above, axis=0)
        columns = np.arange(inner.shape[1])
        lows, highs = low[ok], high[ok]
        new_high = np.where(any_above, inner[at, columns], highs)
        last = inner.shape[0] - 1
        before = np.where(any_above, at - 1, last)
        new_low = np.where(before >= 0, inner[np.maximum(before, 0), columns], lows)
        low[ok], high[ok] = new_low, new_high
    return (low + high) / 2


def _falls(curve: Curve, refs: FloatArray, level: float, low: FloatArray, high: FloatArray) -> bool:
    """Tell whether the slope goes down through the level (a concave stretch) or up."""
    good = np.flatnonzero(np.isfinite(high))
    if not len(good):
        return False
    i = int(good[len(good) // 2])
    return bool(curve.slope(high[i : i + 1], refs[i : i + 1])[0] <= level)


def _explains(
    curve: Curve, refs: FloatArray, shifts: FloatArray, start: float, unit: float
) -> bool:
    """Check that slopes at other points agree once the shift is taken off."""
    probe = start + np.linspace(-6, 6, 41) * unit + 0.0137 * unit
    home = curve.slope(probe, np.zeros(1))
    there = curve.slope(probe[None, :] + shifts[:, None], refs[:, None])
    largest = np.abs(home).max()
    error = np.abs(there - home[None, :])
    # The shift itself is a float: beside a million nats it is known to 1e-10 only.
    allowed = 1e-6 * largest * (1 + np.abs(shifts[:, None]) / unit * 1e-6)
    return bool(np.all((error <= allowed).mean(axis=1) > 0.95))


def _logistic(curve: Curve, start: float, unit: float) -> Logistic | None:
    """Fit a·softplus(−s(δ−t)) + b·softplus(s(δ−t)) to the slopes at δ_ref = 0, or return None."""
    far = 60 * unit
    ends = curve.slope(np.array([start - far, start + far]), np.zeros(1))
    if not np.isfinite(ends).all():
        return None
    left, right = float(ends[0]), float(ends[1])
    rise = right - left
    if abs(rise) <= 1e-9 * max(abs(left), abs(right)):
        return None
    # (f' − left)/rise = σ(s(δ − t)): its logit is a line.
    probe = start + np.linspace(-4, 4, 33) * unit
    share = (curve.slope(probe, np.zeros(1)) - left) / rise
    if not ((share > 0) & (share < 1)).all():
        return None
    odds = np.log(share) - np.log1p(-share)
    scale, shift = np.polyfit(probe - start, odds, 1)
    if scale < 0 or np.abs(odds - scale * (probe - start) - shift).max() > 1e-5:
        return None
    a, b = -left / scale, right / scale
    value = float(curve.value(np.array([start]), np.zeros(1))[0])
    z = shift
    offset = value - a * float(softplus(np, -z)) - b * float(softplus(np, z))
    return Logistic(float(scale), a, b, float(offset))


def _center(curve: Curve, link: Logistic, start: float, unit: float) -> float:
    """Return t(0): where the slope is half-way between those of the link's ends."""
    half = link.scale * (link.for_loser - link.for_winner) / 2
    slope = float(curve.slope(np.array([start]), np.zeros(1))[0])
    share = 0.5 + (slope - half) / (link.scale * (link.for_winner + link.for_loser))
    return start - float(np.log(share) - np.log1p(-share)) / link.scale
