"""The transcendental functions of the margin calculus, stable in both tails, on checked arrays.

`xp` is the array namespace of the arguments. Infinities are ordinary; NaNs are not expected.
"""

from __future__ import annotations

from typing import Any

from prefeq._namespace import LN2, Array


def softplus(xp: Any, z: Array) -> Array:
    """Return log(1 + e^z)."""
    return xp.maximum(z, xp.zeros_like(z)) + xp.log1p(xp.exp(-xp.abs(z)))


def sigmoid(xp: Any, z: Array) -> Array:
    """Return 1/(1 + e^−z)."""
    small = xp.exp(-xp.abs(z))
    return xp.where(z >= 0, xp.ones_like(small), small) / (1 + small)


def log1mexp(xp: Any, z: Array) -> Array:
    """Return log(1 − e^−z) for z ≥ 0, without cancellation at either end."""
    return xp.where(z < LN2, xp.log(-xp.expm1(-z)), xp.log1p(-xp.exp(-z)))
