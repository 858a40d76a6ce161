"""The stationary points of the penalty objective as one explicit curve, for all γ at once.

Write F(π) = J(π) + γ Σ_y d_y log π_y with net degrees d_y (mass as winner − mass as loser), and
a_y = d_y/β. In p = γq the stationarity conditions

    log p_y − log π*_y − γ a_y/p_y = κ,   Σ p = 1   (κ in nats)

become log q_y − a_y/q_y = u + log π*_y with u = κ − log γ: for each u the q_y follow one by one,
and then γ = 1/T(u), π = q/T, with T = Σ q. A coordinate with a_y ≥ 0 has one root q_y, increasing
in u. One with a_y < 0 has two for u > u_y = 1 + log|a_y| − log π*_y, none below: the *upper* root
q > |a_y| rises with u, the *lower* one falls. A *sheet* is a choice of the lowered coordinates.

Let j be the *critical* coordinate, the one with the largest u_y. The curve is parametrised by
t = log(q_j/|a_j|): u − u_j = t + e^{−t} − 1, upper for t > 0, lower for t < 0, smooth between.

The local maxima that start at π* (γ = 0, t = ∞) have no other coordinate lowered. For t < 0 let
N = |dq_j/du|, so that dT/du = Σ_{k≠j} q_k' − N. Every q_k'/N rises with u: if a_k ≥ 0, since q_k'
rises and N falls; if a_k < 0, with x = e^{−t} − 1 for j and y = 1 − e^{−t_k} for k,

    d log N/du = 1 − (1 + 1/x)²,   d log q_k'/du = 1 − (1 − 1/y)²,

and 1/y − 1/x < 2, because y ≥ x/(1 + 2x) follows from log(1 + w) ≤ (w + w²/2)/(1 + w) at w = 2x.
Hence dT/du changes sign at most once: γ rises along the branch to one *fold* and falls for good.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

EPS = 2.0**-52
TIE = 64 * EPS
"""Critical values of u that differ by no more than this, relative to their size, are tied."""

FURTHEST = 700.0
"""No |t| of interest is larger on the lowered side: e^{−t} is a difference of log-probabilities."""


def rise(t: float) -> float:
    """Return t + e^{−t} − 1 ≥ 0, the distance of u from its critical value."""
    if abs(t) < 1e-2:
        return t * t * (0.5 + t * (-1 / 6 + t * (1 / 24 + t * (-1 / 120 + t / 720))))
    return t + math.expm1(-t)


def upper(v: float) -> float:
    """Return the root t ≥ 0 of `rise` = v, by Newton from the right (rise is convex)."""
    # rise(t) ≥ t²/(2 + t), so that this is on the right; and rise(t) ≥ t − 1
    return _descend(v, min(1.0 + v, 0.5 * (v + math.sqrt(v) * math.sqrt(v + 8))))


def lower(v: float) -> float:
    """Return the root t ≤ 0 of `rise` = v, by Newton from the left."""
    # τ = −t has e^τ = 1 + v + τ and τ ≤ √(2v)
    far = math.sqrt(2 * v)
    return _descend(v, -min(far, math.log1p(v + far)))


def _descend(v: float, t: float) -> float:
    for _ in range(60):
        slope = -math.expm1(-t)
        if slope == 0:
            return 0.0
        step = (rise(t) - v) / slope
        t -= step
        if abs(step) <= EPS * abs(t):
            break
    return t


def single(z: float) -> float:
    """Return the root t of t − e^{−t} = z, by Newton from the left (the left side is concave)."""
    t = z if z > -1 else -math.log(-z)
    for _ in range(60):
        decay = math.exp(-t)
        step = (z - t + decay) / (1 + decay)
        t += step
        if abs(step) <= EPS * max(abs(t), EPS):
            break
    return t


@dataclass(frozen=True)
class Point:
    """One point of the curve: log π, log T = −log γ, and d log q_y/du of each coordinate."""

    logp: list[float]
    log_total: float
    slope: list[float]


class Curve:
    """The curve of a problem on its support: log π*, the signs of the net degrees, log|a_y|.

    At least one sign must be negative; log|a_y| is not looked at where the sign is zero.
    """

    def __init__(self, target: list[float], sign: list[int], log_a: list[float]) -> None:
        self.target, self.sign, self.log_a = target, sign, log_a
        start = {y: 1.0 + log_a[y] - target[y] for y, s in enumerate(sign) if s < 0}
        top = max(start.values())
        size = max(1.0, *(abs(log_a[y]) + abs(target[y]) for y in start))
        tied = [y for y, u in start.items() if top - u <= TIE * size]
        # of tied coordinates the heaviest goes first: only it can outweigh the others
        j = self.critical = max(tied, key=lambda y: log_a[y])
        self.tied = [y for y in tied if y != j]
        self.base: list[float] = []
        """u_j − u_y where the degree is negative, else what `single` or log q_y adds `rise` to."""
        for y, s in enumerate(sign):
            shift = log_a[j] + (target[y] - target[j])
            if s < 0:
                self.base.append(0.0 if y in tied else max(0.0, shift - log_a[y]))
            else:
                self.base.append(1.0 + shift - (log_a[y] if s > 0 else 0.0))

    def log_q(self, t: float, y: int, low: bool) -> tuple[float, float]:
        """Return log q_y and d log q_y/du at t."""
        if y == self.critical:
            root = t
        elif self.sign[y] >= 0:
            distance = self.base[y] + rise(t)
            if self.sign[y] == 0:
                return distance, 1.0
            root = single(distance)
            return self.log_a[y] + root, 1 / (1 + math.exp(-root))
        elif self.base[y] == 0 and low == (t < 0):
            root = t  # tied, and on the same side
        else:
            distance = self.base[y] + rise(t)
            root = lower(distance) if low else upper(distance)
        slope = -math.expm1(-root)
        return self.log_a[y] + root, 1 / slope if slope else math.inf

    def at(self, t: float, lowered: frozenset[int] = frozenset()) -> Point:
        """Return the point at t of the sheet on which the coordinates `lowered` are low too."""
        pairs = [self.log_q(t, y, y in lowered) for y in range(len(self.sign))]
        top = max(q for q, _ in pairs)
        log_total = top + math.log(math.fsum(math.exp(q - top) for q, _ in pairs))
        return Point([q - log_total for q, _ in pairs], log_total, [s for _, s in pairs])

    def weight(self, point: Point) -> float:
        """Return Σ_{k≠j} d q_k/du over T."""
        return math.fsum(
            math.exp(x) * s
            for y, (x, s) in enumerate(zip(point.logp, point.slope, strict=True))
            if y != self.critical
        )

    def fold(self) -> float:
        """Return the t ≤ 0 at which γ = 1/T is largest on the branch from π*."""
        rivals = math.fsum(math.exp(self.log_a[y] - self.log_a[self.critical]) for y in self.tied)
        if rivals >= 1:
            return 0.0  # the branch ends where the tied coordinates turn critical together

        def drop(tau: float) -> float:
            point = self.at(-tau)
            log_own = point.logp[self.critical]
            return log_own - math.log(math.expm1(tau)) - math.log(self.weight(point))

        near, far = 1e-20, 1.0
        if drop(near) <= 0:
            return 0.0
        while drop(far) > 0 and far < FURTHEST:
            near, far = far, 2 * far
        return -bracketed(drop, near, far)

    def on_branch(self, log_gamma: float, fold: float) -> tuple[float, int]:
        """Return the t ≥ fold with T = 1/γ, and the steps taken; γ must not exceed the fold's."""
        j = self.critical
        low, high = fold, max(fold, -log_gamma - self.log_a[j])  # there q_j = 1/γ ≤ T
        t = min(max(low, self.target[j] - self.log_a[j] - log_gamma), high)
        steps = 0
        while steps < 400:
            steps += 1
            point = self.at(t)
            value = point.log_total + log_gamma
            if value == 0:
                break
            low, high = (low, t) if value > 0 else (t, high)
            slope = 1.0
            if t != 0:
                slope = math.exp(point.logp[j]) - math.expm1(-t) * self.weight(point)
            move = t - value / slope if slope > 0 else math.inf
            new = move if low < move < high else 0.5 * (low + high)
            if abs(new - t) <= EPS * max(abs(t), EPS):
                break
            t = new
        return t, steps


def bracketed(f: Callable[[float], float], a: float, b: float) -> float:
    """Return a root of f between a and b, where its signs differ (Chandrupatla 1997)."""
    fa, fb, share = f(a), f(b), 0.5
    if fa == 0 or fb == 0:
        return a if fa == 0 else b
    for _ in range(400):
        x = a + share * (b - a)
        fx = f(x)
        if (fx > 0) == (fa > 0):
            c, fc = a, fa
        else:
            c, fc, b, fb = b, fb, a, fa
        a, fa = x, fx
        best = a if abs(fa) < abs(fb) else b
        width = 2 * EPS * abs(best) / abs(b - a)
        if width > 0.5 or fa == 0:
            return best
        share = 0.5
        if math.isfinite(fc) and math.isfinite(fb) and fc != fb:
            xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
            if phi * phi < xi and (1 - phi) ** 2 < 1 - xi and fc != fa:
                share = fa / (fb - fa) * fc / (fb - fc)
                share += (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
        share = min(max(share, width), 1 - width)
    return best
