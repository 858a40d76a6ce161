"""The members of the family, each with its source, and the registry `LOSSES`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from prefeq.errors import ProblemError
from prefeq.losses import links, targets
from prefeq.losses.loss import Loss

DPO = Loss(
    "dpo",
    "direct preference optimization: beat the reference margin",
    "arXiv:2305.18290",
    targets.REFERENCE,
    links.LOGISTIC,
)
"""DPO: t = δ_ref."""

CLIP = Loss(
    "hypo",
    "HyPO, the released `clip` branch: beat the reference margin or zero, whichever is larger",
    "arXiv:2602.11902; released training code of arXiv:2605.20834",
    targets.CLIPPED,
    links.LOGISTIC,
)
"""HyPO, the released `clip` branch: t = max(δ_ref, 0)."""

IPO = Loss(
    "ipo",
    "identity preference optimization: exceed the reference margin by 1/(2β), all per token",
    "arXiv:2310.12036",
    targets.REFERENCE,
    links.SQUARED,
)
"""IPO: t = δ_ref, squared; z = β(δ − t) is to be ½."""

HINGE = Loss(
    "hinge",
    "hinge on the implicit reward margin: exceed the reference margin by 1/β",
    "arXiv:2305.10425, arXiv:2309.06657",
    targets.REFERENCE,
    links.HINGE,
)
"""Hinge: t = δ_ref; z = β(δ − t) is to be 1 or more."""


def smooth(alpha: float = 1.0, gamma: float = 0.0, tau: float = 1.0) -> Loss:
    """Return the released smooth branch, t = δ_ref + softplus(τ(γ − δ_ref))/(ατ).

    For α < 1 the target is at least γ + H(α)/(ατ), H the binary entropy in nats, and never below
    γ for α = 1; for α > 1 it is unbounded below.

    Raises
    ------
    ProblemError
        Unless α and τ are positive and γ is finite.
    """
    _require_positive(alpha=alpha, tau=tau)
    _require_finite(gamma=gamma)
    return Loss(
        "smooth",
        f"the released smooth branch, alpha={alpha:g}, gamma={gamma:g}, tau={tau:g}",
        "released training code of arXiv:2605.20834",
        targets.smooth_maximum(float(alpha), float(gamma), float(tau)),
        links.LOGISTIC,
    )


def eq17(gamma: float = 0.1) -> Loss:
    """Return the surrogate of Eq. 17, t = δ_ref + (γ/β)(1/π_ref(w) + 1/π_ref(l)).

    For tabular policies only: on real sequences t is astronomic, and beyond 1e308 it is +inf, so
    that the loss is +inf and its gradient −β at every finite margin. Needs a `Reference`.

    Raises
    ------
    ProblemError
        Unless γ is positive (γ = 0 is DPO).
    """
    _require_positive(gamma=gamma)
    return Loss(
        "eq17",
        f"the surrogate of Eq. 17, gamma={gamma:g}",
        "arXiv:2605.20834, Eq. 17",
        targets.inverse_probability(float(gamma)),
        links.LOGISTIC,
    )


def easy(gamma: float = 0.1) -> Loss:
    """Return the released `easy` branch, t = δ_ref + (γ/β)(1/log π_ref(w) + 1/log π_ref(l)).

    The code takes reciprocals of *log*-probabilities, which are negative: the target is below
    DPO's. It is −inf at a response of probability 1. Needs a `Reference`.

    Raises
    ------
    ProblemError
        Unless γ is positive (γ = 0 is DPO).
    """
    _require_positive(gamma=gamma)
    return Loss(
        "easy",
        f"the released `easy` branch, gamma={gamma:g}",
        "released training code of arXiv:2605.20834",
        targets.inverse_logp(float(gamma)),
        links.LOGISTIC,
    )


def simpo(gamma: float = 1.0) -> Loss:
    """Return SimPO, t = γ/β, on length-normalised log-probabilities and without a reference.

    `ref` does not enter value or gradient; it is where `traps` starts.

    Raises
    ------
    ProblemError
        Unless γ is finite.
    """
    _require_finite(gamma=gamma)
    return Loss(
        "simpo",
        f"SimPO, gamma={gamma:g}: beat a constant margin",
        "arXiv:2405.14734",
        targets.constant(float(gamma)),
        links.LOGISTIC,
    )


def cdpo(eps: float = 0.1) -> Loss:
    """Return label-smoothed (conservative) DPO: (1 − ε)·softplus(−βx) + ε·softplus(βx).

    Raises
    ------
    ProblemError
        Unless 0 < ε < ½ (ε = 0 is DPO).
    """
    if not 0 < eps < 0.5:
        raise ProblemError(f"eps = {eps}: must be in (0, 0.5); 0 is plain DPO")
    return Loss(
        "cdpo",
        f"label-smoothed DPO, eps={eps:g}",
        "E. Mitchell, A note on DPO with noisy preferences (2023)",
        targets.REFERENCE,
        links.smoothed_logistic(float(eps)),
    )


def _require_positive(**parameters: float) -> None:
    for name, value in parameters.items():
        if not 0 < value < math.inf:
            raise ProblemError(f"{name} = {value}: must be positive and finite")


def _require_finite(**parameters: float) -> None:
    for name, value in parameters.items():
        if not math.isfinite(value):
            raise ProblemError(f"{name} = {value}: must be finite")


LOSSES: Mapping[str, Loss] = MappingProxyType(
    {
        "dpo": DPO,
        "hypo": CLIP,
        "clip": CLIP,
        "smooth": smooth(),
        "eq17": eq17(),
        "easy": easy(),
        "simpo": simpo(),
        "ipo": IPO,
        "hinge": HINGE,
        "cdpo": cdpo(),
    }
)
"""The losses by name, with default parameters; `clip` is another name of `hypo`."""
