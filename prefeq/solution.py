"""What a solver returns: a frozen `Solution` and a `Status` whose text is the help."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import array_api_compat
import numpy as np
import numpy.typing as npt

from prefeq import rich
from prefeq._namespace import namespace
from prefeq.arrays import BoolArray, FloatArray, IntArray, is_tensor, take, to_numpy
from prefeq.errors import ProblemError
from prefeq.preferences import Preferences


class Status(Enum):
    """How a solve ended; `help` says what it means, why it happens and what to call next."""

    OPTIMAL = "optimal"
    NOT_UNIQUE = "not-unique"
    DIVERGES = "diverges"
    INFEASIBLE = "infeasible"
    UNBOUNDED = "unbounded"
    ITERATION_LIMIT = "iteration-limit"

    @property
    def help(self) -> str:
        """What this status means and the next call to try."""
        return _HELP[self]

    def __str__(self) -> str:
        return self.value


_HELP = {
    Status.OPTIMAL: "The unique optimum; `residual` is its certificate, recomputed from `logp`.",
    Status.NOT_UNIQUE: (
        "The comparison graph is disconnected, so the loss has a whole set of minimisers, of "
        "dimension `dimension`. `logp` is the one that gradient descent from the reference "
        "reaches. To pin it down, compare responses of different components "
        "(`Preferences.components` lists them)."
    ),
    Status.DIVERGES: (
        "The loss has no minimiser: `component` is connected but no chain of wins leads back "
        "through it (Ford's condition fails), so margins grow for ever along `direction`. Use soft "
        "labels (`Preferences.bradley_terry`), solve_dpo(method='gradient-descent') for the "
        "policy after finitely many steps, or solve_cpo."
    ),
    Status.INFEASIBLE: (
        "No policy meets the margins: those along `cycle` sum above zero. Lower the margin of "
        "one of its pairs, or give one pair of the cycle zero mass."
    ),
    Status.UNBOUNDED: (
        "The penalty objective has no maximiser: the response in `component` loses more mass than "
        "it wins, so the reward for margins grows for ever as its probability goes to zero, along "
        "`direction`. `logp` is the local maximum that starts at the RLHF policy, None beyond its "
        "fold (penalty_branch says where that is). For margins with a guarantee call solve_cpo."
    ),
    Status.ITERATION_LIMIT: (
        "Stopped short of the tolerance: `residual` says how far from optimal `logp` is. With "
        "method='gradient-descent' raise `max_steps` (or use 'newton'); with 'conic' use 'auto'."
    ),
}


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A recorded gradient-descent run on softmax logits, T records of P pairs.

    ``step`` (T,), ``loss`` (T, ...), ``margin`` δ in nats (T, ..., P), ``undesirable`` (T, ..., P):
    in U = {δ_ref < δ < 0}; ``step_size`` (...) the constant step and ``lipschitz`` (...) the bound
    behind it; ``present`` (..., P) which pairs there are. The dots are the prompts of a batch: a
    problem that has stopped repeats its last record.
    """

    step: IntArray
    loss: Any
    margin: Any
    undesirable: Any
    step_size: Any
    lipschitz: Any
    present: Any

    @property
    def occupancy(self) -> Any:
        """The share of each prompt's pairs that are in U, by step: (T, ...); 0 without pairs."""
        xp = namespace(self.present)
        here = xp.sum(xp.astype(self.undesirable, xp.float64), axis=-1)
        count = xp.sum(xp.astype(self.present, xp.float64), axis=-1)
        return here / xp.where(count > 0, count, xp.ones_like(count))


@dataclass(frozen=True, eq=False, repr=False)
class Solution:
    """A policy with its certificate. In a batch every field has the prompts' leading axes.

    Attributes
    ----------
    logp
        log π in nats, ``(..., K)``. None where there is none (a single DPO problem that diverges,
        infeasible margins, a penalty beyond its fold); in a batch such a row is all -inf.
    value
        J(π) = E_π[r] − β KL(π‖π_ref), in reward units (None, or -inf in a batch, without a policy).
    status
        `Status`; an object array of them in a batch.
    residual
        The largest violation of the optimality conditions, recomputed from `logp`, in nats (after
        division by β) relative to max(1, |log π|, |r/β|); for DPO, where rewards have no say, to
        max(1, |log π|, |log π_ref|). It bounds the relative error.
    multipliers
        Constrained PO: one λ ≥ 0 a pair, ``(..., P)``, in reward units, for the constraint rows
        scaled as σ(−m)·π(w) − σ(m)·π(l) ≥ 0; those beyond the float range are given as its end.
    loss
        DPO: the value of the loss (its infimum when it diverges).
    direction, component
        Diverging DPO: the direction of gradient descent in log-odds space, ``(..., K)``, and the
        responses of the component that proves the divergence. Unbounded penalty: a direction in
        log-odds space along which the objective rises without bound, and the response it sinks.
    dimension
        DPO: the dimension of the set of minimisers.
    cycle
        Infeasible Constrained PO: the responses around the cycle.
    trajectory
        Gradient descent: what was recorded on the way.
    route
        Which algorithm answered; "…, alone" for a problem of a batch that was solved by itself.
    steps
        How many iterations it took.
    """

    logp: Any
    value: Any
    status: Any
    residual: Any
    multipliers: Any = None
    loss: Any = None
    direction: Any = None
    component: Any = None
    dimension: Any = None
    cycle: Any = None
    trajectory: Any = None
    route: Any = None
    steps: Any = None
    limit: Any = None

    def margin(self, preferences: Preferences) -> Any:
        """Return δ = log π(w) − log π(l) of each pair, ``(..., P)``, in nats; 0 for absent pairs.

        For a diverging DPO the limits along gradient descent: ±inf where `direction` moves, the
        finite limit inside a strongly connected component. -inf in the rows of a batch without a
        policy (infeasible margins, a penalty beyond its fold).

        Raises
        ------
        ProblemError
            If a single problem has no policy, or if a pair joins two parts of a diverging problem
            that the direction ties: it does not settle that limit.
        """
        if self.logp is None and self.limit is None:
            raise ProblemError(f"no policy exists: {self.status.help}")
        if self.limit is None:
            xp = namespace(self.logp)
            missing = xp.all(self.logp == -np.inf, axis=-1, keepdims=True)
            margin = preferences.margin_of(self.logp)
            return xp.where(missing, xp.full_like(margin, -np.inf), margin)
        xp = namespace(self.direction)
        finite = preferences.margin_of(self.limit[0])
        speed = take(self.direction, preferences.winner) - take(self.direction, preferences.loser)
        part = take(self.limit[1], preferences.winner) == take(self.limit[1], preferences.loser)
        tied = ~part & (xp.abs(speed) < 1e-9) & preferences.present
        if bool(xp.any(tied)):
            index = tuple(int(i) for i in np.argwhere(to_numpy(tied))[0])
            raise ProblemError(
                f"pair {index} joins two parts that diverge side by side: its limit margin is not "
                "settled by the direction; run solve_dpo(method='gradient-descent') instead"
            )
        moving = ~part & preferences.present
        return xp.where(moving, xp.where(speed < 0, -np.inf, np.inf), finite)

    def to_numpy(self) -> Solution:
        """Return the same solution in NumPy arrays, e.g. of a problem in tensors."""
        return self._map(lambda value: to_numpy(value) if is_tensor(value) else value)

    def to_library(self, like: Any) -> Solution:
        """Return the same solution in arrays of the library and on the device of `like`.

        Numbers only: statuses, routes and the like stay as they are.
        """
        xp, device = namespace(like), array_api_compat.device(like)

        def change(value: Any) -> Any:
            numbers = isinstance(value, np.ndarray) and value.dtype != object
            return xp.asarray(value, device=device) if numbers else value

        return self._map(change)

    def _map(self, change: Callable[[Any], Any]) -> Solution:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        limit = values.pop("limit")
        pair = None if limit is None else tuple(change(part) for part in limit)
        return Solution(**{name: change(v) for name, v in values.items()}, limit=pair)

    def __repr__(self) -> str:
        return "\n".join(f"{name:>11}  {text}" for name, text in self._rows())

    def _repr_html_(self) -> str:
        return rich.html(rich.Table((), self._rows(), left=2))

    def _repr_latex_(self) -> str:
        return rich.latex(rich.Table((), self._rows(), left=2))

    def _rows(self) -> list[tuple[str, str]]:
        if not isinstance(self.status, Status):
            counts = Counter(self.status.flat)
            listed = ", ".join(f"{counts[s]} {s}" for s in sorted(counts, key=str))
            worst = float(np.max(to_numpy(self.residual), initial=0.0))
            return [
                ("problems", str(self.status.size)),
                ("status", listed),
                ("residual", f"{worst:.1e} (worst)"),
            ]
        rows = [("status", str(self.status)), ("route", str(self.route))]
        for name in ("logp", "direction", "multipliers"):
            array = getattr(self, name)
            if array is not None:
                shown = np.array2string(to_numpy(array), precision=5, suppress_small=True)
                rows.append((name, shown))
        for name in ("component", "cycle", "dimension"):
            if getattr(self, name) is not None:
                rows.append((name, str(getattr(self, name))))
        for name in ("value", "loss"):
            if getattr(self, name) is not None:
                rows.append((name, f"{getattr(self, name):.6g}"))
        return [*rows, ("residual", f"{self.residual:.1e}")]


def constant(value: Any, shape: tuple[int, ...]) -> npt.NDArray[np.object_]:
    """Return an array of one and the same object, which takes no memory and cannot be written."""
    one = np.empty((), dtype=object)
    one[()] = value
    return np.broadcast_to(one, shape)


def choose(where: BoolArray, yes: object, no: object) -> npt.NDArray[np.object_]:
    """Return the one object where true and the other where false."""
    table = np.empty(2, dtype=object)
    table[:] = no, yes
    return np.asarray(table[where.astype(np.int64)])


_ROW_FILL = {"logp": -np.inf, "value": -np.inf, "direction": 0.0, "multipliers": 0.0, "loss": 0.0}


def stack(parts: Sequence[Solution], lead: tuple[int, ...], k: int) -> Solution:
    """Join single solutions into a batch of leading shape `lead`."""
    columns: dict[str, Any] = {}
    for name in Solution.__dataclass_fields__:
        values = [getattr(part, name) for part in parts]
        if name == "residual":
            columns[name] = np.array(values, dtype=np.float64).reshape(lead)
        elif name == "status":
            columns[name] = _objects(values, lead)
        elif name == "limit" or all(v is None for v in values):
            columns[name] = None if name not in ("logp", "value") else _fill(name, values, lead, k)
        elif name in _ROW_FILL:
            columns[name] = _fill(name, values, lead, k)
        else:
            columns[name] = _objects(values, lead)
    if any(part.limit is not None for part in parts):
        columns["limit"] = _stack_limits(parts, lead, k)
    return Solution(**columns)


def _fill(name: str, values: list[Any], lead: tuple[int, ...], k: int) -> FloatArray:
    shape = next((np.shape(v) for v in values if v is not None), (k,) if name == "logp" else ())
    blank = np.full(shape, _ROW_FILL[name])
    rows = [blank if v is None else np.asarray(v, dtype=np.float64) for v in values]
    return np.array(rows, dtype=np.float64).reshape(lead + shape)


def _objects(values: list[Any], lead: tuple[int, ...]) -> npt.NDArray[np.object_]:
    array = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        array[i] = value
    return array.reshape(lead)


def _stack_limits(
    parts: Sequence[Solution], lead: tuple[int, ...], k: int
) -> tuple[FloatArray, FloatArray]:
    """Finite parts and component labels: a prompt that converges is one component, its logp."""
    finite = [part.logp if part.limit is None else part.limit[0] for part in parts]
    labels = [np.zeros(k) if part.limit is None else part.limit[1] for part in parts]
    shape = (*lead, k)
    return np.array(finite).reshape(shape), np.array(labels, dtype=np.float64).reshape(shape)
