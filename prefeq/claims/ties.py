"""The ties that several claims share: each formula against the package's function for it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from prefeq import losses, margins
from prefeq.claims import formulas
from prefeq.claims.ball import BALL
from prefeq.claims.evidence import Evidence
from prefeq.claims.tie import Point, points, tie, tie_decision


def rlhf_margin() -> Evidence:
    """δ* against `margins.optimal_margin`."""
    return tie(
        "delta* agrees with margins.optimal_margin",
        formulas.rlhf_margin,
        lambda delta_ref, gap, beta: margins.optimal_margin(delta_ref, gap, beta),
        points("delta_ref", "gap", "beta"),
        scale=lambda value, at: abs(at["delta_ref"]) + abs(at["gap"] / at["beta"]),
    )


def assumption(strict: bool = True) -> Evidence:
    """A 3.1 (or its weak form), decided in rationals, against `margins.assumption_holds`."""

    def exact(delta_ref: float, gap: float, beta: float) -> bool | None:
        product, need = Fraction(beta) * Fraction(delta_ref), Fraction(gap)
        # One rounding of the product is allowed to the package: too close to call within it.
        if 0 < abs(product + need) <= abs(product) * Fraction(2) ** -50:
            return None
        return product + need > 0 or (not strict and product + need == 0)

    return tie_decision(
        f"delta* {'>' if strict else '>='} 0 agrees with margins.assumption_holds",
        exact,
        lambda delta_ref, gap, beta: margins.assumption_holds(delta_ref, gap, beta, strict=strict),
        points("delta_ref", "gap", "beta"),
    )


def weak_assumption() -> Evidence:
    """The weak condition δ* ≥ 0 likewise."""
    return assumption(strict=False)


def critical_gap() -> Evidence:
    """−βδ_ref against `margins.critical_gap`."""
    return tie(
        "-beta delta_ref agrees with margins.critical_gap",
        formulas.critical_gap,
        lambda delta_ref, beta: margins.critical_gap(delta_ref, beta),
        points("delta_ref", "beta"),
    )


def critical_label_prob() -> Evidence:
    """σ(−βδ_ref) against `margins.critical_label_prob`."""
    return tie(
        "sigma(-beta delta_ref) agrees with margins.critical_label_prob",
        lambda delta_ref, beta: formulas.sigmoid(BALL, formulas.critical_gap(delta_ref, beta)),
        lambda delta_ref, beta: margins.critical_label_prob(delta_ref, beta),
        points("delta_ref", "beta"),
        scale=lambda value, at: value * (1 + abs(at["beta"] * at["delta_ref"])),
    )


def pair_loss() -> Evidence:
    """The ordered pair's loss against `losses.DPO.value`."""
    return tie(
        "softplus(-beta x) agrees with losses.DPO.value",
        lambda delta, delta_ref, beta: formulas.pair_loss(BALL, delta, delta_ref, beta),
        lambda delta, delta_ref, beta: losses.DPO.value(delta, delta_ref, beta),
        points("delta", "delta_ref", "beta"),
        scale=_tail,
    )


def soft_loss() -> Evidence:
    """The soft label's loss against `losses.DPO.population_value`."""
    return tie(
        "q softplus(-beta x) + (1-q) softplus(beta x) agrees with losses.DPO.population_value",
        lambda delta, delta_ref, beta, gap: formulas.pair_loss(
            BALL, delta, delta_ref, beta, formulas.sigmoid(BALL, gap)
        ),
        lambda delta, delta_ref, beta, gap: losses.DPO.population_value(
            delta, delta_ref, beta, gap
        ),
        points("delta", "delta_ref", "beta", "gap"),
        scale=_tail,
    )


def pair_gradient() -> Evidence:
    """dL/dδ of an ordered pair against `losses.DPO.gradient`."""
    return tie(
        "-beta sigma(-beta x) agrees with losses.DPO.gradient",
        lambda delta, delta_ref, beta: formulas.pair_gradient(BALL, delta, delta_ref, beta),
        lambda delta, delta_ref, beta: losses.DPO.gradient(delta, delta_ref, beta),
        points("delta", "delta_ref", "beta"),
        scale=_tail,
    )


def soft_gradient() -> Evidence:
    """dL/dδ of a soft label against `losses.DPO.population_gradient`."""
    return tie(
        "beta (sigma(beta x) - q) agrees with losses.DPO.population_gradient",
        lambda delta, delta_ref, beta, gap: formulas.pair_gradient(
            BALL, delta, delta_ref, beta, formulas.sigmoid(BALL, gap)
        ),
        lambda delta, delta_ref, beta, gap: losses.DPO.population_gradient(
            delta, delta_ref, beta, gap
        ),
        points("delta", "delta_ref", "beta", "gap"),
        scale=lambda value, at: at["beta"],
    )


def soft_minimiser() -> Evidence:
    """The soft label's minimiser δ_ref + Δr/β against `losses.DPO.minimiser`."""
    return tie(
        "the minimiser delta_ref + gap/beta agrees with losses.DPO.minimiser",
        formulas.rlhf_margin,
        lambda delta_ref, beta, gap: losses.DPO.minimiser(delta_ref, beta, gap),
        points("delta_ref", "beta", "gap"),
        scale=lambda value, at: abs(at["delta_ref"]) + abs(at["gap"] / at["beta"]),
    )


def certificate() -> Evidence:
    """U decided from the loss alone against `margins.undesirable_from_loss`."""

    def exact(delta: float, delta_ref: float, beta: float) -> bool | None:
        # A loss is a float: margins whose losses round together, or to 0, cannot be told apart.
        gaps = (beta * (delta - delta_ref), beta * delta, beta * delta_ref)
        if min(abs(gaps[0]), abs(gaps[1])) < 1e-6 or max(map(abs, gaps)) > 700:
            return None
        return delta_ref < delta < 0

    at = points("delta", "delta_ref", "beta", count=600)
    at["delta"] = at["delta_ref"] * (0.5 + at["delta"] / 800)
    return tie_decision(
        "U agrees with margins.undesirable_from_loss",
        exact,
        lambda delta, delta_ref, beta: margins.undesirable_from_loss(
            losses.DPO.value(delta, delta_ref, beta), delta_ref, beta
        ),
        at,
    )


def undesirable() -> Evidence:
    """δ_ref < δ < 0 against `margins.undesirable`, both ends included."""
    at = points("delta", "delta_ref", count=200)
    delta, delta_ref = at["delta"], at["delta_ref"]
    at = {
        "delta": np.concatenate([delta_ref * (0.5 + delta / 800), delta_ref, 0 * delta]),
        "delta_ref": np.concatenate([delta_ref] * 3),
    }
    return tie_decision(
        "delta_ref < delta < 0 agrees with margins.undesirable",
        lambda delta, delta_ref: delta_ref < delta < 0,
        lambda delta, delta_ref: margins.undesirable(delta, delta_ref),
        at,
    )


def exit_time() -> Evidence:
    """(e^u + u − 1)/(2β²m) against `margins.exit_time`."""
    at = points("delta_below", "beta", "mass")
    at["beta"] = at["beta"] ** 0.5 * 1e-2  # e^u must fit a float
    at["delta_below"] = -(abs(at["delta_below"]) % 600.0) / at["beta"].clip(min=1.0) - 1e-3
    return tie(
        "(e^u + u - 1)/(2 beta^2 m) agrees with margins.exit_time",
        lambda delta_below, beta, mass: formulas.exit_time(BALL, delta_below, beta, mass),
        lambda delta_below, beta, mass: margins.exit_time(delta_below, beta, mass=mass),
        at,
        scale=lambda value, p: abs(value) * (1 + abs(p["beta"] * p["delta_below"])),
    )


def _argument(at: Point) -> float:
    return abs(at["beta"]) * (abs(at["delta"]) + abs(at["delta_ref"]))


def _tail(value: float, at: Point) -> float:
    """In the tails a loss is as ill-conditioned as its exponent is large."""
    return abs(value) * (1 + _argument(at) + abs(at.get("gap", 0.0)))
