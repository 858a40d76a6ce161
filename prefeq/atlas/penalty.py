"""Eq. 10's penalty on a ladder: the branch of local maxima from π*, for many cells at once.

Only the top and the bottom rung have a net degree, ±1/(K − 1), so that the curve of
`prefeq.solvers.penalty_curve` has three parts. In units of a = 1/((K − 1)β) and with
v = t + e^{−t} − 1 they are

    bottom e^t,    top e^s with s − e^{−s} = 1 + (K−1)δ* + v,    between e^{1 + c + v},

c = log Σ e^{jδ*} over j = 1 … K−2; their sum T has γ = 1/(aT). The branch begins at t = ∞ with
γ = 0 and ends at the fold, where T is least. The margin is δ* + e^{−s} at the top, δ* + e^{−t} at
the bottom, and still δ* between, where no rung has a degree; for K = 2, δ* + e^{−s} + e^{−t}.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from prefeq._namespace import quiet
from prefeq.arrays import FloatArray, IntArray, logsumexp

EPS = 2.0**-52
TOLERANCE = 1e-9
MOST_STEPS = 300


@quiet
def least_margin(star: FloatArray, beta: FloatArray, gamma: FloatArray, k: int) -> FloatArray:
    """Return the least margin of the local maximum that starts at π*; −inf beyond the fold.

    NaN where the search for it did not meet its tolerance, 1e-9 in log γ.

    >>> least_margin(np.array([-2.0, -2.0]), np.ones(2), np.array([0.2, 9.0]), 3).round(4).tolist()
    [-1.876, -inf]
    """
    goal = np.log(beta) + np.log(k - 1.0) - np.log(gamma)  # log T
    ladder = _Ladder.of(star, k)
    zero = np.zeros_like(star)
    joint = ladder.at(zero).log_total
    past = np.flatnonzero(goal < joint)  # the bottom rung has passed its critical point
    low, high = zero.copy(), np.maximum(goal, 0.0)
    low[past], high[past] = ladder.part(past).fold(), 0.0
    end = ladder.at(low).log_total
    gone = goal < end - 4 * EPS * np.maximum(1.0, np.abs(end))
    live = np.flatnonzero(~gone & (gamma > 0))
    t = ladder.part(live).climb(goal[live], low[live], high[live])
    found = np.where(gamma > 0, -np.inf, star)
    found[live] = ladder.part(live).least(t, goal[live])
    return found


@dataclass(frozen=True)
class _Point:
    """Where the curve is at t: s, log T, d log T/dt."""

    s: FloatArray
    log_total: FloatArray
    slope: FloatArray


@dataclass(frozen=True)
class _Ladder:
    """The curves of n cells."""

    k: int
    star: FloatArray
    between: FloatArray

    @classmethod
    def of(cls, star: FloatArray, k: int) -> _Ladder:
        if k == 2:
            return cls(k, star, np.full_like(star, -np.inf))
        return cls(k, star, logsumexp(star[:, None] * np.arange(1, k - 1)))

    def part(self, where: IntArray) -> _Ladder:
        return _Ladder(self.k, self.star[where], self.between[where])

    def at(self, t: FloatArray) -> _Point:
        v = t + np.expm1(-t)
        s = single(1.0 + (self.k - 1) * self.star + v)
        middle = 1.0 + self.between + v
        top = np.maximum(np.maximum(t, s), middle)
        bottom, own, rest = np.exp(t - top), np.exp(s - top), np.exp(middle - top)
        total = bottom + own + rest
        weight = own / (1.0 + np.exp(-s)) + rest  # d/dv of top and middle
        return _Point(s, top + np.log(total), (bottom - np.expm1(-t) * weight) / total)

    def fold(self) -> FloatArray:
        """Return the t ≤ 0 at which T is least: there e^{−τ}/(e^τ − 1) = dT/dv without the bottom.

        The ratio of the two falls in τ = −t (`penalty_curve`); the unknown is log τ.
        """

        def ratio(y: FloatArray, live: IntArray) -> tuple[FloatArray, FloatArray]:
            value, slope = self.part(live)._drop(np.exp(y))
            return -value, -slope * np.exp(y)

        low, high = np.full_like(self.star, -46.0), np.full_like(self.star, 6.5)
        y = rising_root(ratio, np.zeros_like(low), low, high)
        return np.where(y < -45.9, 0.0, -np.exp(y))

    def _drop(self, tau: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return log of e^{−τ}/(e^τ − 1) over dT/dv without the bottom, and its slope in τ."""
        v = np.expm1(tau) - tau
        s = single(1.0 + (self.k - 1) * self.star + v)
        g = 1.0 / (1.0 + np.exp(-s))
        own, rest = s + np.log(g), 1.0 + self.between + v
        top = np.maximum(own, rest)
        a, b = np.exp(own - top), np.exp(rest - top)
        share = (a * g * (2.0 - g) + b) / (a + b)  # d/dv of the logarithm of their sum
        value = -tau - np.log(np.expm1(tau)) - top - np.log(a + b)
        return value, -1.0 + 1.0 / np.expm1(-tau) - share * np.expm1(tau)

    def climb(self, goal: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
        """Return t between `low` and `high`, where T rises, with log T = goal."""

        def excess(t: FloatArray, live: IntArray) -> tuple[FloatArray, FloatArray]:
            here = self.part(live).at(t)
            return here.log_total - goal[live], here.slope

        # where the bottom would be, had it not been pushed
        heaviest = np.logaddexp(np.logaddexp(0.0, self.between), (self.k - 1) * self.star)
        return rising_root(excess, np.clip(goal - heaviest, low, high), low, high)

    def least(self, t: FloatArray, goal: FloatArray) -> FloatArray:
        """Return the least margin at t; NaN where log T is not the goal."""
        here = self.at(t)
        top, bottom = np.exp(-here.s), np.exp(-t)
        extra = {2: top + bottom, 3: np.minimum(top, bottom)}.get(self.k, np.zeros_like(t))
        good = np.abs(here.log_total - goal) <= TOLERANCE * np.maximum(1.0, np.abs(goal))
        return np.where(good, self.star + extra, np.nan)


def rising_root(
    f: Callable[[FloatArray, IntArray], tuple[FloatArray, FloatArray]],
    start: FloatArray,
    low: FloatArray,
    high: FloatArray,
) -> FloatArray:
    """Return the roots of rising functions in brackets; NaN where one is not settled in time.

    f gives values and slopes at points of the functions numbered by its second argument. Newton's
    method; halving where that leaves the bracket, and at every third step while it is wide.
    """
    x, low, high = start.copy(), low.copy(), high.copy()
    live = np.arange(x.size)
    for step in range(MOST_STEPS):
        here = x[live]
        value, slope = f(here, live)
        low[live] = np.where(value <= 0, here, low[live])
        high[live] = np.where(value >= 0, here, high[live])
        new, middle = here - value / slope, 0.5 * (low[live] + high[live])
        wide = high[live] - low[live] > 0.1 * np.maximum(np.abs(middle), 1.0)
        halve = ~((new > low[live]) & (new < high[live])) | (wide & (step % 3 == 2))
        new = np.where(value == 0, here, np.where(halve, middle, new))
        x[live] = new
        live = live[np.abs(new - here) > 4 * EPS * np.maximum(np.abs(here), EPS)]
        if live.size == 0:
            break
    x[live] = np.nan
    return x


def single(z: FloatArray) -> FloatArray:
    """Return the root s of s − e^{−s} = z, by Newton from the left (the left side is concave)."""
    s = np.where(z > -1, z, -np.log(np.maximum(-z, 1.0)))
    for _ in range(60):
        decay = np.exp(-s)
        step = (z - s + decay) / (1 + decay)
        s = s + step
        if np.all(np.abs(step) <= EPS * np.maximum(np.abs(s), 1.0)):
            break
    return s
