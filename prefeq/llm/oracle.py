"""An oracle for other libraries: exact losses and gradients of preference pairs, to fifty digits.

Every loss of `prefeq.losses` and every loss type of TRL's `DPOTrainer`, on a grid of log-probs that
includes margins of ±800 nats and inputs that low precision holds exactly.

>>> oracle = load_oracle()
>>> case = oracle.case("trl/sigmoid", beta=0.1)
>>> row = 4  # chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps
>>> [float(oracle.points[name][row]) for name in INPUTS[:4]]
[-804.0, -4.0, -8.0, -808.0]
>>> float(case.value[row]), case.digits[row]
(160.0, '160.00000000000000888178419700125232338905334472656')
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from prefeq.errors import ProblemError

__all__ = ["Oracle", "OracleCase", "load_oracle", "relative_error"]

DIGITS = 50
PATH = Path(__file__).resolve().parents[1] / "data" / "loss_oracle.json"

LOGPS = ("chosen_logps", "rejected_logps", "ref_chosen_logps", "ref_rejected_logps")
INPUTS = (*LOGPS, "chosen_tokens", "rejected_tokens")
DTYPES = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
"""Floating dtypes with the bits of their significands."""


class Row(NamedTuple):
    """One evaluation: points of the batch, the mean loss, and its derivatives for each point."""

    points: tuple[int, ...]
    value: str
    chosen_gradient: tuple[str, ...]
    rejected_gradient: tuple[str, ...]


@dataclass(frozen=True)
class OracleCase:
    """One loss with its parameters, evaluated at every point of the grid.

    Inputs count as what they are in float64, β = 0.1 too. At the kink of a hinge the gradient is
    the one to its right, which is 0.

    Attributes
    ----------
    loss
        Library and name, such as ``"trl/robust"`` or ``"prefeq/dpo"``.
    beta, parameters
        β, and what else the loss takes.
    normalize
        "mean" if the loss divides log-probs by token counts, else "sum".
    digits
        The loss of each point on its own, as decimal text of fifty digits.
    value, chosen_gradient, rejected_gradient
        The nearest float64 (±inf beyond its range) of the loss of each point on its own, and of
        its derivatives by `chosen_logps` and `rejected_logps`.
    rows
        The same as text, and after them batches of several points, for the losses that are no mean
        over pairs (``trl/aot``, ``trl/aot_unpaired``, ``trl/sft``).
    """

    loss: str
    beta: float
    parameters: Mapping[str, float]
    normalize: Literal["sum", "mean"]
    rows: tuple[Row, ...]

    @property
    def singles(self) -> tuple[Row, ...]:
        """The rows of one point each."""
        return tuple(row for row in self.rows if len(row.points) == 1)

    @property
    def digits(self) -> list[str]:
        """See the class."""
        return [row.value for row in self.singles]

    @property
    def value(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """See the class."""
        return np.array([float(row.value) for row in self.singles])

    @property
    def chosen_gradient(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """See the class."""
        return np.array([float(row.chosen_gradient[0]) for row in self.singles])

    @property
    def rejected_gradient(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """See the class."""
        return np.array([float(row.rejected_gradient[0]) for row in self.singles])


@dataclass(frozen=True)
class Oracle:
    """The table.

    Attributes
    ----------
    points
        Columns of the grid: four log-probs, sums over tokens in nats, and two token counts.
    exact_in
        Per point, the dtypes that hold its log-probs exactly: there, an error is not the input's.
    cases
        Losses, each with every β and all its parameters.
    """

    points: Mapping[str, np.ndarray[Any, Any]]
    exact_in: tuple[tuple[str, ...], ...]
    cases: tuple[OracleCase, ...]

    def case(self, loss: str, beta: float, **parameters: float) -> OracleCase:
        """Return the case of a loss with these parameters, or the first that agrees with them.

        Raises
        ------
        ProblemError
            If the table has no such case.
        """
        for case in self.cases:
            fits = all(case.parameters.get(name) == value for name, value in parameters.items())
            if case.loss == loss and case.beta == beta and fits:
                return case
        known = sorted({case.loss for case in self.cases})
        betas = sorted({case.beta for case in self.cases})
        raise ProblemError(
            f"no case {loss!r} with beta = {beta}, {parameters}: there are {', '.join(known)}, "
            f"each with beta = {', '.join(map(str, betas))} and its `parameters`"
        )

    def points_in(self, dtype: str) -> list[int]:
        """Return the points whose log-probs a dtype holds exactly."""
        if dtype not in DTYPES:
            raise ProblemError(f"dtype = {dtype!r}: the table knows {', '.join(DTYPES)}")
        return [i for i, dtypes in enumerate(self.exact_in) if dtype in dtypes]


def load_oracle(path: Path = PATH) -> Oracle:
    """Return the oracle table that ships with the package (`prefeq/data/loss_oracle.json`).

    `prefeq.llm.oracle_table` writes it, with mpmath; prefeq's tests prove its digits by ball
    arithmetic, and hold TRL's code and prefeq's own losses against it.
    """
    whole = json.loads(path.read_text("utf-8"))
    points = {
        name: np.array(values, dtype=np.int64 if name.endswith("tokens") else np.float64)
        for name, values in whole["points"].items()
    }
    count = len(whole["exact_in"])
    return Oracle(
        points=points,
        exact_in=tuple(map(tuple, whole["exact_in"])),
        cases=tuple(
            OracleCase(
                loss=case["loss"],
                beta=case["beta"],
                parameters=case["parameters"],
                normalize=case["normalize"],
                rows=tuple(_rows(case, count)),
            )
            for case in whole["cases"]
        ),
    )


def _rows(case: Mapping[str, Any], count: int) -> Iterator[Row]:
    at = 0
    batches = [*((i,) for i in range(count)), *map(tuple, case["batches"])]
    for points, value in zip(batches, case["value"], strict=True):
        span = slice(at, at + len(points))
        at = span.stop
        gradients = (tuple(case[f"{side}_gradient"][span]) for side in ("chosen", "rejected"))
        yield Row(points, value, *gradients)


def relative_error(found: float, exact: str) -> float:
    """Return |found − exact|/|exact|, taken exactly; inf for what is not finite, or not 0 at 0.

    Examples
    --------
    >>> relative_error(0.1, "0.1")
    5.551115123125783e-17
    """
    import mpmath

    if not np.isfinite(found):
        return float("inf")
    with mpmath.workdps(DIGITS + 30):
        truth = mpmath.mpf(exact)
        error = abs(mpmath.mpf(found) - truth)
        if truth == 0:
            return 0.0 if error == 0 else float("inf")
        return float(error / abs(truth))
