"""One step of gradient descent on softmax logits, for a chunk of problems at a time (in lanes).

Every pair has a loss m [q softplus(−z) + (1−q) softplus(z)] with z = β(δ − t) and a target margin
t: δ_ref for DPO, max(δ_ref, 0) for HyPO. A margin of the softmax policy is a difference of logits,
so the softmax never appears; what is followed is u = β(θ − θ_ref), which starts at zero, and

    z = u_w − u_l + β(δ_ref − t),    u_w += η β² m (q − σ(z)),    u_l −= the same.

Each pair is turned so that q ≥ ½, as q − σ(z) = σ(−z) − σ(−|L|) is then accurate where it is small.
With the default η = 1/Lip the factor η β² m = 4m/λ_max is free of β.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from prefeq._elementary import softplus
from prefeq._namespace import Array
from prefeq.errors import ProblemError
from prefeq.lanes import add_at, device_of, flat_index, pick, select


@dataclass(frozen=True)
class Problems:
    """A chunk in lanes: ``ref_logp`` (K, n), ``beta`` (n,), the others (P, n).

    ``target`` is t of each pair in nats, infinities included; None is DPO, t = δ_ref.
    """

    ref_logp: Array
    beta: Array
    winner: Array
    loser: Array
    log_odds: Array
    mass: Array
    present: Array
    target: Array | None = None

    def only(self, keep: Array) -> Problems:
        """Return the lanes at the positions `keep`."""
        names = (name for name, array in vars(self).items() if array is not None)
        return replace(self, **{name: select(getattr(self, name), keep) for name in names})


class Walk:
    """The lanes on their way: u = β(θ − θ_ref), its margins and losses, and the next step."""

    def __init__(self, xp: Any, problems: Problems, step_size: Array) -> None:
        self.xp, self.problems, self.step_size = xp, problems, step_size
        present, beta, zero = problems.present, problems.beta, xp.zeros_like(problems.log_odds)
        self.mass = xp.where(present, problems.mass, zero)
        won, lost = (
            xp.where(present, pick(xp, problems.ref_logp, flat_index(xp, index)), zero)
            for index in (problems.winner, problems.loser)
        )
        self.ref_margin = won - lost
        odds = xp.where(present, problems.log_odds, zero)
        self.sign = xp.where(odds < 0, -xp.ones_like(odds), xp.ones_like(odds))
        self.floor = 1 / (1 + xp.exp(xp.abs(odds)))  # σ(−|L|)
        self.offset = zero
        if problems.target is not None:
            start = beta * (self.ref_margin - problems.target)
            self.offset = self.sign * xp.where(present, start, zero)
        self.gain = self.sign * (step_size * beta * self.mass * beta)
        self.lean = self.gain * self.floor
        arrays = (odds < 0, self.offset != 0, self.floor > 0)
        self.turned, self.shifted, self.soft = (bool(xp.any(array)) for array in arrays)
        self.rows = shared_rows(xp, problems)
        self.flat = tuple(flat_index(xp, index) for index in (problems.winner, problems.loser))
        self.u = xp.zeros_like(problems.ref_logp)

    def only(self, keep: Array) -> Walk:
        """Return the lanes at the positions `keep`, where they are."""
        part = Walk(self.xp, self.problems.only(keep), select(self.step_size, keep))
        part.u = select(self.u, keep)
        return part

    @property
    def shift(self) -> Array:
        """θ − θ_ref, (K, n)."""
        return self.u / self.problems.beta

    def differences(self) -> Array:
        """Return u_w − u_l of each pair, (P, n)."""
        if self.rows is None:
            won, lost = (pick(self.xp, self.u, flat) for flat in self.flat)
            return won - lost
        out = self.xp.empty(self.gain.shape, dtype=self.xp.float64, device=device_of(self.u))
        for p, (w, lo) in enumerate(self.rows):
            out[p, ...] = self.u[w, ...] - self.u[lo, ...]
        return out

    def margin(self) -> Array:
        """Return δ of each pair, (P, n); 0 for absent ones."""
        margin = self.ref_margin + self.differences() / self.problems.beta
        return self.xp.where(self.problems.present, margin, self.xp.zeros_like(margin))

    def misaligned(self) -> Array:
        """Return where δ < 0, (P, n), as the sign of `margin` has it; anything for absent pairs."""
        return self.differences() / self.problems.beta < -self.ref_margin

    def z(self) -> Array:
        """Return z of each pair, turned so that q ≥ ½, (P, n)."""
        z = self.differences()
        if self.turned:
            z *= self.sign
        if self.shifted:
            z += self.offset
        return z

    def force(self) -> Array:
        """Return ηβ²m(q − σ(z)) of each pair: how far the step moves u_w, and u_l back."""
        below = self.xp.exp(self.z())
        below += 1
        force = self.gain / below
        return force - self.lean if self.soft else force

    def push(self, u: Array, force: Array) -> None:
        """Add the forces of all pairs to u, in place."""
        if self.rows is None:
            add_at(self.xp, u, self.flat[0], force)
            add_at(self.xp, u, self.flat[1], -force)
            return
        for p, (w, lo) in enumerate(self.rows):
            u[w, ...] += force[p, ...]
            u[lo, ...] -= force[p, ...]

    def step(self) -> None:
        """Take a step."""
        self.push(self.u, self.force())

    def change(self) -> Array:
        """Return the largest change of a logit in the step to come, (n,), in nats."""
        move = self.xp.zeros_like(self.u)
        self.push(move, self.force())
        return self.xp.max(self.xp.abs(move), axis=0) / self.problems.beta

    def loss(self) -> Array:
        """Return Σ m [softplus(−z) + σ(−|L|) z] with the pairs turned so that q ≥ ½, (n,)."""
        z = self.z()
        soft = self.xp.where(self.floor > 0, self.floor * z, self.xp.zeros_like(z))
        return self.xp.sum(self.mass * (softplus(self.xp, -z) + soft), axis=0)


def shared_rows(xp: Any, problems: Problems) -> list[tuple[int, int]] | None:
    """Return the pairs if all lanes have the same ones (an absent one fits any), else None."""
    present, ends = problems.present, list[list[int]]()
    if present.shape[1] == 0:
        return None
    for index in (problems.winner, problems.loser):
        top = xp.max(xp.where(present, index, xp.zeros_like(index)), axis=1)
        if bool(xp.any(xp.logical_and(present, index != top[:, None]))):
            return None
        ends.append([int(row) for row in top])
    return list(zip(*ends, strict=True))


def lipschitz_lanes(xp: Any, problems: Problems) -> Array:
    """Return β² λ_max(Σ m (e_w − e_l)(e_w − e_l)ᵀ)/4 of each lane, (n,); 0 without pairs."""
    beta, winner, loser = problems.beta, problems.winner, problems.loser
    if 0 in winner.shape:
        return xp.zeros_like(beta)
    mass = xp.where(problems.present, problems.mass, xp.zeros_like(problems.mass))
    top = xp.max(mass, axis=0)
    share = mass / xp.where(top > 0, top, xp.ones_like(top))
    k = problems.ref_logp.shape[0]
    if bool(xp.all(share == share[:, :1])) and shared_rows(xp, problems) is not None:
        winner, loser, share = winner[:, :1], loser[:, :1], share[:, :1]  # one stands for all
    norm = _largest(xp, k, winner, loser, share) + xp.zeros_like(beta)
    root = beta * xp.sqrt(norm) * xp.sqrt(top) / 2  # squared last: β and m may be far apart
    return root * root


def _largest(xp: Any, k: int, winner: Array, loser: Array, share: Array) -> Array:
    """Return the largest eigenvalue of each lane's weighted Laplacian."""
    n = share.shape[1]
    flat = xp.zeros((k * k, n), dtype=xp.float64, device=device_of(share))
    for row, column in ((winner, winner), (loser, loser), (winner, loser), (loser, winner)):
        add_at(xp, flat, flat_index(xp, row * k + column), share if row is column else -share)
    matrix = xp.permute_dims(xp.reshape(flat, (k, k, n)), (2, 0, 1))
    top = xp.linalg.eigvalsh(matrix)[:, -1]
    return xp.maximum(top, xp.zeros_like(top))


def step_sizes(xp: Any, lipschitz: Array, step_size: float | None, first: int = 0) -> Array:
    """Return η of each lane, 1/Lip by default: 1 without pairs, 0 where 1/Lip is no float.

    `first` is the number of the first lane in its batch, for the errors.

    Raises
    ------
    ProblemError
        Naming the lane whose η, if one is given, is 2/Lip or more.
    """
    some = lipschitz > 0
    curvature = xp.where(some, lipschitz, xp.ones_like(lipschitz))
    if step_size is None:
        fits = (curvature > 1e-305) & (curvature < 1e305)
        return xp.where(fits, 1.0 / curvature, xp.zeros_like(curvature))
    size = xp.full_like(curvature, step_size)
    good = xp.logical_or(size < 2.0 / curvature, xp.logical_not(some))
    _refuse(
        xp, "step_size * Lip", size * lipschitz, good,
        "at 2 or above gradient descent need not descend; lower the step size, or leave it out for "
        "1/Lip", first,
    )  # fmt: skip
    return size


def _refuse(xp: Any, name: str, values: Array, good: Array, why: str, first: int) -> None:
    if not bool(xp.all(good)):
        lane = int(xp.argmax(xp.astype(xp.logical_not(good), xp.int8)))
        raise ProblemError(f"{name} = {float(values[lane]):g} (problem {lane + first}): {why}")
