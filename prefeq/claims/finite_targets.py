"""Losses with a finite target: gradient flow of an ordered pair ends at δ_ref + target, maybe in U.

Readings of `pathological-convergence` for IPO, the hinge and label-smoothed DPO.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import sympy as sp

from prefeq import losses, margins
from prefeq.claims import formulas, recheck
from prefeq.claims.ball import BALL, ball, sign
from prefeq.claims.evidence import Evidence
from prefeq.claims.registry import PARTS, Part, Reading
from prefeq.claims.symbolic import SYMPY, as_written, positive, prove_equal, prove_positive, real
from prefeq.claims.tie import Columns, points, tie, tie_decision

EPS = tuple(Fraction(eps, 100) for eps in (10, 1, 49))
DESCENT_STEPS = 300


@dataclass(frozen=True)
class Finite:
    """A loss with a finite target: its name, formulas, and the package's own loss.

    `target` is (arithmetic, β) ↦ where x stops; `slope` is the derivative of `value`; `stops`
    proves that the flow stops there and not before; `loss` fetches the package's loss when it is
    needed; `pace` is a step size for it;
    `others` are the same loss with other parameters, tied to the package likewise; `setting`
    tells them apart.
    """

    name: str
    threshold: str
    target: Callable[[Any, Any], Any]
    value: Callable[[Any, Any, Any], Any]
    slope: Callable[[Any, Any, Any], Any]
    stops: Callable[[], Iterator[Evidence]]
    loss: Callable[[], losses.Loss]
    pace: float
    others: tuple[Finite, ...] = ()
    setting: str = ""

    def check(self, part: Part) -> Iterator[Evidence]:
        """Yield the proof of one part, and the ties."""
        yield from self.stops()
        tau, excess = positive("tau e")
        if part == "if":
            start = -tau - excess
            ends = "delta_ref = -tau - e ends at -e: below 0, above delta_ref"
            yield prove_equal("ends-at-target", ends, (as_written(lambda: start + tau), -excess))
            yield prove_positive(
                "ends-in-U", "0 - (-e) > 0 and -e - delta_ref > 0", excess, -excess - start
            )
        else:
            delta_ref, end = -tau - excess, -excess
            back = "an end at -e < 0 comes from delta_ref = -tau - e"
            stop = as_written(lambda: delta_ref + tau)
            yield prove_equal("comes-from-target", back, (end, stop))
            yield prove_positive("starts-below", "which is below -tau", -tau - delta_ref)
        for finite in (self, *self.others):
            yield from (finite._tie_value(), finite.tie_slope())
            yield from (finite._tie_end(), finite._tie_trap())
        yield recheck.rechecked(f"descending losses.{self.name} ends there", self._descents())

    def _tie_value(self) -> Evidence:
        return tie(
            f"the {self.name} loss agrees with its value{self.setting}",
            lambda x, beta: self.value(BALL, x, beta),
            lambda x, beta: self.loss().value(x, 0.0, beta),
            points("x", "beta"),
            scale=lambda value, p: (
                (abs(value) + _size(self, p["beta"])) * (1 + abs(p["beta"] * p["x"]))
            ),
        )

    def tie_slope(self) -> Evidence:
        """Tie the derivative in δ to the package's gradient."""
        return tie(
            f"the {self.name} slope agrees with its gradient{self.setting}",
            lambda x, beta: self.slope(BALL, x, beta),
            lambda x, beta: self.loss().gradient(x, 0.0, beta),
            points("x", "beta"),
            scale=lambda value, p: abs(value) + _slope_size(self, p["x"], p["beta"]),
        )

    def _tie_end(self) -> Evidence:
        return tie(
            f"delta_ref + target agrees with the {self.name} minimiser{self.setting}",
            lambda delta_ref, beta: delta_ref + self.target(BALL, beta),
            lambda delta_ref, beta: self.loss().minimiser(delta_ref, beta),
            points("delta_ref", "beta"),
            scale=lambda value, p: abs(p["delta_ref"]) + 5 / p["beta"],
        )

    def _tie_trap(self) -> Evidence:
        def exact(delta_ref: float, beta: float) -> bool | None:
            def room() -> Any:
                return ball(delta_ref) + self.target(BALL, ball(beta))

            decided = sign(room)[0]
            # The package compares rounded numbers: too close to call within their rounding.
            if decided is None or abs(float(room())) < 1e-12 * (abs(delta_ref) + 1 / beta):
                return None
            return decided < 0

        return tie_decision(
            f"delta_ref < -target agrees with the {self.name} traps{self.setting}",
            exact,
            lambda delta_ref, beta: self.loss().traps(delta_ref, beta),
            _near_threshold(),
        )

    def _descents(self) -> Iterator[recheck.Comparison]:
        """Descend the package's own gradient from references on either side of the threshold."""
        loss, beta = self.loss(), 0.5
        enclosed = self.target(BALL, ball(beta))
        with_target = float(enclosed.mid())
        if enclosed.is_exact():  # a flow that ends at 0 has left U
            yield "no trap at the threshold", not loss.traps(-with_target, beta)
        for factor in (0.6, 2.5):
            delta_ref = delta = -factor * with_target
            for _ in range(DESCENT_STEPS):
                delta = delta - self.pace * float(loss.gradient(delta, delta_ref, beta))
            expected = delta_ref + with_target
            yield f"ends at {expected:.3f}", bool(abs(delta - expected) < 0.02)
            yield f"U at {delta:.3f}", bool(margins.undesirable(delta, delta_ref)) == (factor > 1)


def _size(finite: Finite, beta: float) -> float:
    """Return the size of a loss's cancelling terms (IPO's square of a difference)."""
    return 1 / beta**2 if finite.name == "ipo" else 1.0


def _slope_size(finite: Finite, x: float, beta: float) -> float:
    """Return the size of a slope's cancelling terms."""
    return abs(x) + 1 / beta if finite.name == "ipo" else beta


def _near_threshold() -> Columns:
    at = points("z", "beta", count=400)
    return {"delta_ref": at["z"] / 100 / at["beta"], "beta": at["beta"]}


def _ipo_slope(x: Any, beta: Any) -> Any:
    return 2 * (x - formulas.ipo_target(beta))


def _hinge_slope(x: Any, beta: Any) -> Any:
    """Return the slope of a ball: −β before the target, 0 beyond it."""
    return -beta if formulas.hinge_slack(x, beta) > 0 else 0 * x


def _ipo_stops() -> Iterator[Evidence]:
    x, beta = real("x"), positive("beta")
    loss, target = formulas.ipo_loss(x, beta), formulas.ipo_target(beta)
    step = "flow-stops"
    falling = sp.diff(loss, x)
    slope = as_written(lambda: falling.xreplace({x: target}))
    written = as_written(lambda: _ipo_slope(x, beta))
    yield prove_equal(step, "dL/dx = 2 (x - 1/(2 beta))", (falling, written))
    yield prove_equal(step, "slope 0 at x = 1/(2 beta)", (slope, 0))
    yield prove_positive(step, "strictly convex: nowhere else", sp.diff(loss, x, 2), target)


def _hinge_stops() -> Iterator[Evidence]:
    beta, h = positive("beta h")
    target = formulas.hinge_target(beta)
    step = "flow-stops"
    yield prove_equal(
        step,
        "1 - beta x = beta h for x = 1/beta - h: slope -beta before the target",
        (formulas.hinge_slack(target - h, beta), beta * h),
    )
    yield prove_equal(
        step,
        "and -beta h for x = 1/beta + h: flat beyond it",
        (formulas.hinge_slack(target + h, beta), -beta * h),
    )
    yield prove_positive(step, "beta h > 0 and the target is positive", beta * h, target)


def _smoothed_stops() -> Iterator[Evidence]:
    x, beta, h = real("x"), positive("beta"), positive("h")
    eps = 1 / (2 + h)  # any ε in (0, ½)
    target = formulas.smoothed_target(SYMPY, beta, eps)
    slope = sp.diff(formulas.pair_loss(SYMPY, x, 0, beta, 1 - eps), x)
    step = "flow-stops"
    yield prove_equal(step, "slope 0 at x = logit(1 - eps)/beta", (slope.subs(x, target), 0))
    curvature = sp.factor(sp.simplify(sp.diff(slope, x)))
    yield prove_positive(step, "strictly convex, positive target", curvature, sp.simplify(target))


def _smoothed(eps: Fraction, *others: Finite) -> Finite:
    return Finite(
        "cdpo",
        "-logit(1 - eps)/beta",
        lambda m, beta: formulas.smoothed_target(m, beta, ball(eps)),
        lambda m, x, beta: formulas.pair_loss(m, x, 0, beta, 1 - ball(eps)),
        lambda m, x, beta: formulas.pair_gradient(m, x, 0, beta, 1 - ball(eps)),
        _smoothed_stops,
        lambda: losses.cdpo(float(eps)),
        8.0,
        others,
        f" (eps = {eps})",
    )


FINITE = (
    Finite(
        "ipo",
        "-1/(2 beta)",
        lambda m, beta: formulas.ipo_target(beta),
        lambda m, x, beta: formulas.ipo_loss(x, beta),
        lambda m, x, beta: _ipo_slope(x, beta),
        _ipo_stops,
        lambda: losses.IPO,
        0.2,
    ),
    Finite(
        "hinge",
        "-1/beta",
        lambda m, beta: formulas.hinge_target(beta),
        lambda m, x, beta: formulas.hinge_slack(x, beta).max(0 * x),
        lambda m, x, beta: _hinge_slope(x, beta),
        _hinge_stops,
        lambda: losses.HINGE,
        0.02,
    ),
    _smoothed(EPS[0], *map(_smoothed, EPS[1:])),
)

_SCOPES = {
    "ipo": "IPO, margins per token",
    "hinge": "the hinge",
    "cdpo": "DPO with label smoothing 0 < eps < 1/2",
}

_STEPS: dict[Part, tuple[str, str]] = {
    "if": ("ends-at-target", "ends-in-U"),
    "only-if": ("comes-from-target", "starts-below"),
}

READINGS = tuple(
    Reading(
        finite.name,
        f"delta_ref < {finite.threshold} => gradient flow converges to a point of U"
        if part == "if"
        else f"gradient flow converges to a point of U => delta_ref < {finite.threshold}",
        f"{_SCOPES[finite.name]}; one ordered pair, delta_ref < 0, beta > 0, softmax logits, any K",
        partial(finite.check, part),
        part,
        proof=("flow-stops", *_STEPS[part]),
    )
    for finite in FINITE
    for part in PARTS
)
