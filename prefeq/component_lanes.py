"""Connected and strong components of a chunk of comparison graphs, as boolean (K, K, n) relations.

Entry [i, j] of a relation says, lane by lane, whether i is joined to j.
"""

from __future__ import annotations

from typing import Any

from prefeq._namespace import Array, namespace
from prefeq.lanes import device_of, flat_index, pick, put

LARGEST_IN_LANES = 24
"""Responses up to which batches are worked on in lanes, where work and memory grow with K²."""


def relation(xp: Any, size: int, winner: Array, loser: Array, holds: Array) -> Array:
    """Return "i beats j", (K, K, n), of the pairs (P, n) for which `holds` is true."""
    n = winner.shape[-1]
    beats = xp.zeros((size * size, n), dtype=xp.bool, device=device_of(winner))
    flat = flat_index(xp, winner * size + loser)
    for row in range(winner.shape[0]):
        put(xp, beats, flat[row, :], pick(xp, beats, flat[row, :]) | holds[row, :])
    return xp.reshape(beats, (size, size, n))


def joined(xp: Any, beats: Array) -> Array:
    """Return which responses each other reach in either direction: the connected components."""
    return _closure(xp, beats | xp.permute_dims(beats, (1, 0, 2)))


def mutual(xp: Any, beats: Array) -> Array:
    """Return which responses reach each other along "i beats j": the strong components."""
    reach = _closure(xp, beats)
    return reach & xp.permute_dims(reach, (1, 0, 2))


def _closure(xp: Any, edges: Array) -> Array:
    """Return the reflexive and transitive closure (Warshall)."""
    size = edges.shape[0]
    one = xp.eye(size, dtype=xp.bool, device=device_of(edges))
    reach = edges | xp.reshape(one, (size, size, 1))
    for via in range(size):
        reach |= reach[:, via : via + 1, :] & reach[via : via + 1, :, :]
    return reach


def labels(xp: Any, same: Array, on: Array) -> Array:
    """Number the classes of an equivalence 0, 1, 2, … by their first response; -1 off-support."""
    size, n = on.shape
    label = xp.zeros((size, n), dtype=xp.int64, device=device_of(on))
    if bool(xp.all(same & on)):
        return label  # one class
    count = xp.zeros((n,), dtype=xp.int64, device=device_of(on))
    for first in range(size):
        leads = on[first, :]
        if first:
            leads = leads & ~xp.any(same[first, :first, :], axis=0)
        members = xp.astype(same[first, :, :] & leads, xp.int64)
        label += members * count
        count += xp.astype(leads, xp.int64)
    return xp.where(on, label, xp.full_like(label, -1))


def centred(xp: Any, values: Array, same: Array) -> Array:
    """Return values (K, n) less their mean over each class."""
    if bool(xp.all(same)):
        return values - xp.mean(values, axis=0)
    total, count = xp.zeros_like(values), xp.zeros_like(values)
    for other in range(values.shape[0]):
        member = xp.astype(same[:, other, :], xp.float64)
        total += member * values[other, :]
        count += member
    return values - total / count


def label_lanes(
    on: Array, winner: Array, loser: Array, log_odds: Array, mass: Array, *, directed: bool
) -> dict[str, Array]:
    """Label the components of lanes; if directed, the strong ones of "i beat j with a mass"."""
    xp, size = namespace(mass), on.shape[0]
    present = mass > 0
    if not directed:
        return {"label": labels(xp, joined(xp, relation(xp, size, winner, loser, present)), on)}
    beats = relation(xp, size, winner, loser, present & (log_odds > -xp.inf))
    beats |= relation(xp, size, loser, winner, present & (log_odds < xp.inf))
    return {"label": labels(xp, mutual(xp, beats), on)}
