"""All stationary points of the penalty objective at one γ: the roots of S = Σ p = 1, every sheet.

On one sheet (see `prefeq.solvers.penalty_curve`) the p_y are monotone functions of t, and so, piece
by piece, are the dp_y/du. Their values at the ends of an interval enclose S and dS/du inside it. An
interval is dropped if S cannot be 1 there, searched for its one root if S is monotone there, and
halved otherwise: no root is missed, up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from prefeq.arrays import FloatArray, freeze
from prefeq.bandit import Bandit
from prefeq.errors import ProblemError
from prefeq.preferences import Preferences
from prefeq.solvers.batch import check_types
from prefeq.solvers.penalty import Problem
from prefeq.solvers.penalty_curve import EPS, Curve, bracketed, lower, rise, upper
from prefeq.solvers.penalty_objective import strengths

MOST = 12
"""Largest number of responses: the sheets double with each one."""

LOG2 = math.log(2.0)


@dataclass(frozen=True, eq=False)
class StationaryPoint:
    """A stationary point of J(π) + γ Σ m δ on the simplex.

    ``logp`` (K,) in nats; ``kappa`` the multiplier of Σ π = 1, in reward units:
    β(log π_y − log π*_y) − γ d_y/π_y = κ for every y; ``is_local_maximum``: the second-order
    condition holds strictly (a fold, where maximum and saddle merge, is none); ``residual`` the
    violation of stationarity in nats, recomputed from `logp`.
    """

    logp: FloatArray
    kappa: float
    is_local_maximum: bool
    residual: float


def stationary_points(
    bandit: Bandit, preferences: Preferences, gamma: float
) -> list[StationaryPoint]:
    """Return every stationary point of J(π) + γ Σ m δ over full-support policies, by rising κ.

    There may be none: beyond the last fold the objective rises for ever. At γ = 0, and where every
    net degree is zero, π* is the only one. At a maximum at most one coordinate is lowered and
    Σ 1/h_y < 0 if one is, where h_y = β/π_y + γ d_y/π_y² (the others have h > 0).

    Parameters
    ----------
    bandit, preferences
        A single prompt with at most 12 responses in the support.
    gamma
        γ ≥ 0, a number.

    Raises
    ------
    ProblemError
        A batch, too many responses, a γ that is negative or not finite.

    Examples
    --------
    >>> import prefeq as pq
    >>> bandit = pq.Bandit([0, 2], [0, 0], beta=1.0)  # δ* = −2: the fold is at γ = .5992
    >>> prefs = pq.Preferences([0], [1])
    >>> for point in pq.solvers.stationary_points(bandit, prefs, 0.5):
    ...     print(abs((point.logp[0] - point.logp[1]).round(6)), point.is_local_maximum)
    0.0 True
    1.616138 False
    >>> pq.solvers.stationary_points(bandit, prefs, 0.7)
    []
    """
    check_types(bandit, preferences)
    if bandit.batch_shape:
        raise ProblemError(f"the bandit is a batch {bandit.batch_shape}: pass one prompt of it")
    preferences.check(bandit)
    gamma = float(strengths(gamma, bandit))
    problem = Problem(bandit, preferences)
    if problem.on.size > MOST:
        raise ProblemError(f"{problem.on.size} responses: at most {MOST}, as the sheets double")
    if problem.curve is None or gamma == 0:
        residual = problem.residual(problem.best, -math.inf)
        return [StationaryPoint(problem.best, 0.0, True, residual)]
    log_gamma = math.log(gamma)
    found, doubtful = list[StationaryPoint](), list[StationaryPoint]()
    for sheet in _sheets(problem.curve, log_gamma):
        for t, double in sheet.roots():
            (doubtful if double else found).append(_point(problem, sheet, t, double))
    for point in doubtful:  # a fold within rounding, which several intervals or sheets may see
        here = point.logp[problem.on]
        if all(np.max(np.abs(here - other.logp[problem.on])) > 1e-5 for other in found):
            found.append(point)
    return sorted(found, key=lambda point: point.kappa)


def _sheets(curve: Curve, log_gamma: float) -> Iterator[_Sheet]:
    others = [y for y, s in enumerate(curve.sign) if s < 0 and y != curve.critical]
    for size in range(len(others) + 1):
        for lowered in combinations(others, size):
            yield _Sheet(curve, frozenset(lowered), log_gamma)


def _point(problem: Problem, sheet: _Sheet, t: float, double: bool) -> StationaryPoint:
    curve, j = sheet.curve, sheet.curve.critical
    logp = problem.widen(curve.at(t, sheet.lowered).logp)
    start = 1.0 + curve.log_a[j] - curve.target[j]  # u_j
    kappa = problem.beta * (start + rise(t) + sheet.log_gamma)
    low = len(sheet.lowered) + (t < 0)
    # at the joint, t = 0, one h_y = 0 is harmless, two are not
    maximum = (low == 0 and not (t == 0 and curve.tied)) or (low == 1 and sheet.slope(t) < 0)
    residual = problem.residual(logp, sheet.log_gamma)
    return StationaryPoint(freeze(logp), kappa, maximum and not double, residual)


class _Sheet:
    """One choice of lowered coordinates beside the critical one, at one γ."""

    def __init__(self, curve: Curve, lowered: frozenset[int], log_gamma: float) -> None:
        self.curve, self.lowered, self.log_gamma = curve, lowered, log_gamma
        self.known: dict[float, list[tuple[float, float]]] = {}
        sizes = [abs(x) for x in curve.base] + [abs(x) for x in curve.target]
        self.rounding = min(64 * EPS * max(1.0, abs(log_gamma), *sizes), 1e-6)
        """Of S, and of the distances in nats that make it up."""
        self.turn = {y: _turn(curve.base[y]) for y in lowered}
        """Where, for t > 0, the rate of a lowered coordinate is least."""

    def values(self, t: float) -> list[tuple[float, float]]:
        """Return (log p_y, d log p_y/du) at t, each y on its own: Σ p need not be 1."""
        if t not in self.known:
            pairs = [self.curve.log_q(t, y, y in self.lowered) for y in range(len(self.curve.sign))]
            self.known[t] = [(q + self.log_gamma, slope) for q, slope in pairs]
        return self.known[t]

    def log_sum(self, t: float) -> float:
        """Return log S: 0 at a stationary point."""
        logs = [x for x, _ in self.values(t)]
        top = max(logs)
        return top + math.log(math.fsum(math.exp(x - top) for x in logs))

    def slope(self, t: float) -> float:
        """Return dS/du."""
        return math.fsum(_exp(x) * slope for x, slope in self.values(t))

    def roots(self) -> list[tuple[float, bool]]:
        """Return every t with S = 1, and whether it is a double root to within rounding."""
        top = min((self._reach(y) for y in range(len(self.curve.sign))), default=math.inf)
        top += self.rounding  # a p_y may be 1 to the last digit
        if top < 0:
            return []
        found: list[tuple[float, bool]] = []
        tasks = [(0.0, upper(top)), (lower(top), 0.0)]
        while tasks:  # from left to right
            a, b = tasks.pop()
            low, high, down, up = self._enclose(a, b)
            if low > 1 + self.rounding or high < 1 - self.rounding:
                continue
            fa, fb = self.log_sum(a), self.log_sum(b)
            narrow = b - a <= 1e-11 * max(1.0, abs(a), abs(b))
            if not narrow and not (down > 0 or up < 0):
                tasks += [(0.5 * (a + b), b), (a, 0.5 * (a + b))]
            elif (fa >= 0) != (fb >= 0):
                self._add(found, bracketed(self.log_sum, a, b), False)
            elif narrow and min(abs(fa), abs(fb)) <= self.rounding:
                self._add(found, a, True)
        return found

    def _add(self, found: list[tuple[float, bool]], t: float, double: bool) -> None:
        """Append a root, or merge it with the last one: S = 1 between them, up to rounding."""
        if found:
            last, _ = found[-1]
            near = t - last <= 1e-6 * max(1.0, abs(t))
            if near and abs(self.log_sum(0.5 * (t + last))) <= self.rounding:
                found[-1] = last, True
                return
        found.append((t, double))

    def _reach(self, y: int) -> float:
        """Return the `rise` beyond which p_y > 1, for a y whose root grows with u."""
        curve, sign = self.curve, self.curve.sign[y]
        if y == curve.critical or y in self.lowered:
            return math.inf
        if sign == 0:
            return -self.log_gamma - curve.base[y]
        log_a = curve.log_a[y] + self.log_gamma
        if sign < 0 and log_a >= 0:
            return -math.inf  # an upper root is above |a|
        # log p − a/p = −a at p = 1, of which `base` holds a part
        return -log_a - sign * _exp(log_a) - curve.base[y] - (sign < 0)

    def _enclose(self, a: float, b: float) -> tuple[float, float, float, float]:
        """Return bounds of S and of dS/dt between a and b, which lie on one side of t = 0."""
        low = high = down = up = 0.0
        side = -math.expm1(-a), -math.expm1(-b)  # du/dt
        for y in range(len(self.curve.sign)):
            (x1, s1), (x2, s2) = self.values(a)[y], self.values(b)[y]
            p = sorted((_exp(x1), _exp(x2)))
            rates = self._rates(y, (a, b), side, (s1, s2))
            ends = [x * rate for x in p for rate in rates]
            low, high = low + p[0], high + p[1]
            down, up = down + min(ends), up + max(ends)
        return low, high, down, up

    def _rates(
        self,
        y: int,
        t: tuple[float, float],
        side: tuple[float, float],
        slope: tuple[float, float],
    ) -> tuple[float, float]:
        """Return bounds of d log p_y/dt between two t, from du/dt and the slopes there."""
        curve = self.curve
        if y == curve.critical:
            return 1.0, 1.0
        if curve.sign[y] >= 0:  # the slope is in (0, 1] and monotone
            ends = [s * k for s in side for k in slope]
            return min(ends), max(ends)
        # a ratio (1 − e^−t)/(1 − e^−t_y), whose derivative has the sign of t_y (|t_y| − |t|)
        ends = [s * k for s, k, at in zip(side, slope, t, strict=True) if at != 0]
        if 0.0 in t:  # the limit there: ±1 for tied coordinates
            same = (y in self.lowered) == (t[1] <= 0)
            ends.append((1.0 if same else -1.0) if curve.base[y] == 0 else 0.0)
        if y in self.lowered and t[0] < self.turn[y] < t[1]:
            ends.append(-math.exp(-self.turn[y]))
        return min(ends), max(ends)


def _turn(c: float) -> float:
    """Return the t with sinh t − t = c/2, where |t_y| = t; by Newton from the right."""
    if c == 0:
        return 0.0
    cube = math.cbrt(3 * c)
    t = min(cube, math.asinh(c / 2 + cube))
    for _ in range(100):
        step = (math.sinh(t) - t - c / 2) / (math.cosh(t) - 1) if t > 1e-4 else 0.0
        t -= step
        if step <= EPS * t:
            break
    return t


def _exp(x: float) -> float:
    return math.exp(min(x, 700.0))
