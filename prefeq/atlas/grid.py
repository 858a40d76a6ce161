"""Phase diagrams: every method on every cell of a grid of two parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from prefeq.arrays import MAX_NATS, FloatArray, IntArray
from prefeq.atlas.atlas import ALIGNED, MISALIGNED, NO_OPTIMUM, NOT_COMPUTED, WEAK, Atlas
from prefeq.atlas.axes import FIXED_ONLY, PARAMETERS, Axis, checked
from prefeq.atlas.ladder import Cells
from prefeq.atlas.methods import METHODS
from prefeq.errors import ProblemError
from prefeq.losses import Flipped

CHUNK = 2**14
"""Cells that are worked on together: what they need beside the atlas stays in a few megabytes."""

MOST_CELLS = 2**22

TOLERANCE = 1e-9
"""A least margin this small, relative to the cell's nats, counts as zero: it is not decided."""

Track = Callable[[Sequence[Any]], Iterable[Any]]


def compute(
    x: Axis | str,
    y: Axis | str,
    *,
    fixed: Mapping[str, float] | None = None,
    steps: int = 1000,
    flipped: Flipped = "fixed",
    methods: Sequence[str] | None = None,
    track: Track = iter,
) -> Atlas:
    """Return the phase diagram of two parameters: who is aligned where, and at what price.

    A cell is a ladder of K responses in the order of their reward: neighbours differ by `gap` in
    reward and by `delta_ref` in reference log-probability, and are compared in pairs of equal mass
    (K = 2: the two-response bandit of arXiv:2605.20834). Aligned means δ > 0 on every pair.

    Parameters
    ----------
    x, y
        Axes, or texts for `Axis.parse`: of delta_ref (nats), gap (reward), beta (reward per nat),
        margin (nats; CPO's m and the γ of the smooth branch), gamma (reward per nat; the weight of
        Eq. 10's penalty and the γ of `eq17` and `easy`) and K.
    fixed
        The others (default: delta_ref −2, gap 1, beta 1, margin 0, gamma 0.1, K 2), and `alpha`
        and `tau` of the smooth branch (default 1).
    steps
        T, the steps of size 1/Lip that `dpo-ordered` and `hypo` take.
    flipped
        What a flipped label does to the target of `eq17`, `smooth` and `easy`.
    methods
        Some of `METHODS`; all by default.
    track
        Wraps the list of pieces of work, e.g. with a progress bar.

    Raises
    ------
    ProblemError
        Naming the parameter and the value that makes no sense.

    Examples
    --------
    >>> import prefeq as pq
    >>> atlas = pq.atlas.compute("delta_ref=-4:4:5", "gap=0.5:2:4", methods=["rlhf", "cpo"])
    >>> atlas.verdict["rlhf"].tolist()[1]  # a gap of 1: aligned iff delta_ref > -1
    [-1, -1, 1, 1, 1]
    >>> atlas.verdict["cpo"].tolist()[1]
    [0, 0, 1, 1, 1]
    >>> atlas.layers["price"].round(3).tolist()[1]
    [0.855, 0.12, 0.0, 0.0, 0.0]
    """
    x, y = (Axis.parse(axis) if isinstance(axis, str) else axis for axis in (x, y))
    names = list(METHODS) if methods is None else list(dict.fromkeys(methods))
    values = _settings(x, y, dict(fixed or {}))
    _check(x, y, values, steps, flipped, names)
    grids = {name: _Grid.of(x, y, values, METHODS[name].needs) for name in names}
    arrays: dict[str, dict[str, FloatArray]] = {name: {} for name in names}
    for name, k, where in track([(n, *piece) for n in names for piece in grids[n].pieces()]):
        cells = grids[name].cells(k, where, steps, flipped)
        for layer, row in METHODS[name].layers(cells).items():
            whole = arrays[name].setdefault(layer, np.empty(grids[name].size))
            whole[where] = row
    verdict, least, layers = {}, {}, {}
    for name, grid in grids.items():
        for layer, flat in arrays.pop(name).items():
            if layer == "least":
                codes, margins = _judge(flat, grid.nats(METHODS[name].needs))
                verdict[name], least[name] = grid.spread(codes), grid.spread(margins)
            else:
                layers[layer] = grid.spread(np.where(np.isnan(flat), np.inf, flat))
    return Atlas(x, y, values, steps, flipped, verdict, least, layers)


@dataclass(frozen=True, eq=False)
class _Grid:
    """The cells that a method tells apart: an axis that it does not depend on has one value."""

    x: Axis
    y: Axis
    fixed: Mapping[str, float]
    shape: tuple[int, int]

    @classmethod
    def of(cls, x: Axis, y: Axis, fixed: Mapping[str, float], needs: Sequence[str]) -> _Grid:
        rows, columns = (a.values.size if a.name in (*needs, "K") else 1 for a in (y, x))
        return cls(x, y, fixed, (rows, columns))

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    def values(self, name: str, where: IntArray) -> FloatArray:
        """Return a parameter at flat positions."""
        row, column = np.divmod(where, self.shape[1])
        for axis, place in ((self.y, row), (self.x, column)):
            if axis.name == name:
                return axis.values[place]
        return np.full(where.size, self.fixed[name])

    def pieces(self) -> list[tuple[int, IntArray]]:
        """Return the cells' positions by K, in pieces of at most `CHUNK`."""
        k = self.values("K", np.arange(self.size))
        return [
            (int(responses), where[first : first + CHUNK])
            for responses in np.unique(k)
            for where in [np.flatnonzero(k == responses)]
            for first in range(0, where.size, CHUNK)
        ]

    def cells(self, k: int, where: IntArray, steps: int, flipped: Flipped) -> Cells:
        names = ("delta_ref", "gap", "beta", "margin", "gamma")
        parts = {name: self.values(name, where) for name in names}
        alpha, tau = self.fixed["alpha"], self.fixed["tau"]
        return Cells(k, **parts, steps=steps, flipped=flipped, alpha=alpha, tau=tau)

    def nats(self, needs: Sequence[str]) -> FloatArray:
        """Return max(1, |δ_ref|, Δr/β, |m|) of what is needed: where margins are rounded."""
        where = np.arange(self.size)
        sizes = [np.ones(self.size)]
        sizes += [np.abs(self.values(n, where)) for n in ("delta_ref", "margin") if n in needs]
        if "gap" in needs:
            sizes.append(self.values("gap", where) / self.values("beta", where))
        found: FloatArray = np.maximum.reduce(sizes)
        return found

    def spread(self, flat: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return values of the cells as an array (ny, nx)."""
        sizes = (self.y.values.size, self.x.values.size)
        whole = np.broadcast_to(flat.reshape(self.shape), sizes).copy()
        whole.setflags(write=False)
        return whole


def _judge(least: FloatArray, nats: FloatArray) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """Return the verdicts, and the least margins with −inf where there is none."""
    code = np.where(least > 0, ALIGNED, MISALIGNED).astype(np.int8)
    code[np.abs(least) <= TOLERANCE * nats] = WEAK
    code[np.isneginf(least)] = NO_OPTIMUM
    missing = np.isnan(least)
    code[missing] = NOT_COMPUTED
    return code, np.where(missing, -np.inf, least)


def _settings(x: Axis, y: Axis, given: dict[str, float]) -> dict[str, float]:
    """Return what is not on an axis: as given, or by default."""
    for name, value in given.items():
        checked(name, value)
    for axis in (x, y):
        if axis.name in given:
            raise ProblemError(f"{axis.name} = {given[axis.name]:g}: it runs along an axis already")
    known = {**PARAMETERS, **FIXED_ONLY}
    return {
        name: float(given.get(name, known[name].default))
        for name in known
        if name not in (x.name, y.name)
    }


def _check(
    x: Axis, y: Axis, values: dict[str, float], steps: int, flipped: str, names: list[str]
) -> None:
    if x.name == y.name:
        raise ProblemError(f"both axes are {x.name}: choose two parameters")
    if x.values.size * y.values.size > MOST_CELLS:
        raise ProblemError(
            f"{x.values.size} x {y.values.size} cells: at most {MOST_CELLS}; choose fewer values"
        )
    if not isinstance(steps, int | np.integer) or not 1 <= steps <= 1_000_000:
        raise ProblemError(f"steps = {steps!r}: must be a whole number from 1 to 1000000")
    if flipped not in get_args(Flipped):
        raise ProblemError(f"flipped = {flipped!r}: pass 'fixed' or 'per-label'")
    for name in names:
        if name not in METHODS:
            raise ProblemError(f"method {name!r}: choose from {', '.join(METHODS)}")
    if not names:
        raise ProblemError(f"no methods: choose from {', '.join(METHODS)}")
    ends = values | {axis.name: float(np.max(np.abs(axis.values))) for axis in (x, y)}
    beta = min([values.get("beta", np.inf), *(a.values[0] for a in (x, y) if a.name == "beta")])
    spread = ends["K"] * max(abs(ends["delta_ref"]), ends["gap"] / beta, abs(ends["margin"]))
    if not spread <= MAX_NATS / 100:
        raise ProblemError(f"log-probabilities of {spread:g} nats: rescale delta_ref, gap or beta")
