"""Ties of the penalty's closed forms for two responses: `penalty_formulas` against the package."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from flint import ctx

from prefeq import losses, margins
from prefeq.claims import penalty_formulas, penalty_roots
from prefeq.claims.ball import BALL, ball
from prefeq.claims.evidence import Evidence
from prefeq.claims.tie import SEED, Columns, points, tie

SHARE = (1e-3, 0.98)
"""γ/γ_fold at the tied points; nearer to the fold the margin is ill-conditioned."""


def critical_gamma() -> Evidence:
    """−βδ*/(4m) against `margins.penalty_critical_gamma`."""
    return tie(
        "-beta delta*/(4m) agrees with margins.penalty_critical_gamma",
        lambda margin, beta, mass: penalty_formulas.critical_gamma(margin, beta, mass),
        lambda margin, beta, mass: margins.penalty_critical_gamma(margin, beta, mass),
        points("margin", "beta", "mass"),
    )


def fold() -> Iterator[Evidence]:
    """The root of d − coth(d/2) = δ* and β/(2m sinh d) against `margins.penalty_fold`."""
    at = points("margin", "beta", "mass")
    yield tie(
        "the root d of d - coth(d/2) = delta* agrees with margins.penalty_fold",
        lambda margin, beta, mass: penalty_roots.fold_margin(margin),
        lambda margin, beta, mass: margins.penalty_fold(margin, beta, mass)[0],
        at,
    )
    yield tie(
        "beta/(2m sinh d) agrees with margins.penalty_fold",
        lambda margin, beta, mass: penalty_roots.fold(margin, beta, mass)[1],
        lambda margin, beta, mass: margins.penalty_fold(margin, beta, mass)[1],
        at,
        scale=lambda value, p: value * (1 + abs(p["margin"])),
    )


def local_maximum() -> Evidence:
    """The smaller root of β(δ − δ*) = γm(2 + 2cosh δ) against `margins.penalty_margin`."""
    at = points("margin", "beta", "mass")
    at["margin"] = np.minimum(at["margin"], 300.0)  # γ_fold ~ e^−δ* must be an ordinary float
    return tie(
        "the local maximum's margin agrees with margins.penalty_margin",
        penalty_roots.local_maximum,
        lambda optimal_margin, beta, gamma, mass: margins.penalty_margin(
            optimal_margin, beta, gamma, mass
        ),
        {
            "optimal_margin": at["margin"],
            "beta": at["beta"],
            "gamma": _below_fold(at),
            "mass": at["mass"],
        },
        scale=lambda value, p: 1 + abs(p["optimal_margin"]),
    )


def eq17() -> Evidence:
    """δ* + (γ/β)(2 + 2cosh δ_ref) against the minimiser of `losses.eq17`, Bradley–Terry labels."""
    at = points("delta_ref", "gap", "beta")
    at["delta_ref"] = at["delta_ref"] / 20  # 1/π_ref(l) up to e^40
    at["gamma"] = np.exp(np.random.default_rng(SEED).uniform(-7.0, 5.0, at["beta"].size))
    at["gamma"] *= at["beta"]
    return tie(
        "Eq. 17's margin agrees with the minimiser of losses.eq17",
        lambda delta_ref, gap, beta, gamma: penalty_formulas.eq17_margin(
            BALL, delta_ref, gap, beta, gamma, ball(1)
        ),
        _eq17_minimiser,
        at,
        scale=lambda value, p: (
            abs(p["delta_ref"])
            + abs(p["gap"] / p["beta"])
            + p["gamma"] / p["beta"] * (1 + abs(p["delta_ref"])) * 4 * np.cosh(p["delta_ref"])
        ),
    )


def _eq17_minimiser(delta_ref: Any, gap: Any, beta: Any, gamma: Any) -> list[float]:
    found = []
    for i, strength in enumerate(gamma):
        ref = losses.Reference(-np.logaddexp(0.0, -delta_ref[i]), -np.logaddexp(0.0, delta_ref[i]))
        loss = losses.eq17(float(strength))
        found.append(float(loss.minimiser(ref, float(beta[i]), float(gap[i]))))
    return found


def _below_fold(at: Columns) -> Any:
    shares = np.random.default_rng(SEED).uniform(*SHARE, at["beta"].size)
    with ctx.workprec(128):
        ends = [
            float(penalty_roots.fold(*map(ball, row))[1].mid())
            for row in zip(at["margin"], at["beta"], at["mass"], strict=True)
        ]
    return shares * np.array(ends)
