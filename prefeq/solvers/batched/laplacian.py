"""Potentials of networks, one a lane, by star-mesh elimination: entrywise accurate.

A pair of responses has a conductance g (0: no pair) and a force f that drives the later response up
and the earlier one down; the potentials x solve Σ g (x_i − x_j) = Σ f at every response. Taking the
last response k out joins the others directly: with the shares p_i = g_ki / Σ_l g_kl,

    g_ij += p_i g_kj,   f_ij += p_i f_kj − p_j f_ki,   x_k = Σ_l p_l x_l + Σ_l f_kl / Σ_l g_kl.

No conductance is ever subtracted, so each keeps its relative accuracy however many orders they
span (Grassmann, Taksar & Heyman 1985). As forces belong to pairs, not to responses, what a strong
pair exerts on itself cancels before the rest of the network is told, not after.

Noise h ≥ 0 in the forces spreads like them, but without their cancellation: h_ij += p_i h_kj +
p_j h_ki. The elimination itself adds to it: where v responses are left, no more than v/2 + 4 units
(of ε) of what |f| would be without cancellation, K²/4 + 4K units in all. To begin with so many
units of noise more than the forces have covers it. The rounding of g is another matter: it moves
the potentials by so many units of themselves, next to nothing.
"""

from __future__ import annotations

from typing import Any

from prefeq._namespace import Array
from prefeq.solvers.batched.triangle import Triangle


def potentials(xp: Any, triangle: Triangle, bend: Array, force: Array) -> Array:
    """Return potentials (K, n), 0 at the first response of each component. Overwrites both."""
    kept = [
        _eliminate(xp, triangle, vertex, bend, force, None)
        for vertex in range(triangle.size - 1, 0, -1)
    ]
    return substitute(xp, [(share, rise) for share, rise, _ in kept], force)


def noisy_potentials(
    xp: Any, triangle: Triangle, bend: Array, force: Array, noise: Array
) -> tuple[Array, Array]:
    """Return potentials as above and, for noise in every force, a bound on that of each (K, n)."""
    kept = [
        _eliminate(xp, triangle, vertex, bend, force, noise)
        for vertex in range(triangle.size - 1, 0, -1)
    ]
    move = substitute(xp, [(share, rise) for share, rise, _ in kept], force)
    blur = substitute(xp, [(share, haze) for share, _, haze in kept], force)
    return move, blur


def _eliminate(
    xp: Any, triangle: Triangle, vertex: int, bend: Array, force: Array, noise: Array | None
) -> tuple[Array, Array, Array]:
    """Take out the last vertex; return its shares, its own rise above their mean, and the noise."""
    rest = triangle.before(vertex)
    later, earlier = triangle.later[:rest], triangle.earlier[:rest]
    row, pull = bend[rest : rest + vertex, :], force[rest : rest + vertex, :]
    total = xp.sum(row, axis=0)
    total = total + xp.astype(total == 0, xp.float64)  # joined to nothing: rises by 0
    share = row / total
    up, down = xp.take(share, later, axis=0), xp.take(share, earlier, axis=0)
    bend[:rest, :] += up * xp.take(row, earlier, axis=0)
    rise = haze = xp.sum(pull, axis=0) / total
    if noise is not None:
        fog = noise[rest : rest + vertex, :]
        noise[:rest, :] += up * xp.take(fog, earlier, axis=0) + down * xp.take(fog, later, axis=0)
        haze = xp.sum(fog, axis=0) / total
    up *= xp.take(pull, earlier, axis=0)
    down *= xp.take(pull, later, axis=0)
    up -= down
    force[:rest, :] += up
    return share, rise, haze


def substitute(xp: Any, kept: list[tuple[Array, Array]], like: Array) -> Array:
    """Return the values of all vertices, from those of the earlier ones, given last to first."""
    values = xp.zeros_like(like[:1, :])
    for share, rise in reversed(kept):
        last = xp.sum(share * values, axis=0) + rise
        values = xp.concat([values, xp.reshape(last, (1, -1))], axis=0)
    return values
