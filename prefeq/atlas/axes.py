"""The parameters of a phase diagram, and the axes along which two of them run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from prefeq.arrays import FloatArray, freeze
from prefeq.errors import ProblemError

MOST = 4096
"""Largest number of values along an axis, and of responses: 64."""

MOST_RESPONSES = 64


@dataclass(frozen=True)
class Parameter:
    """One of the numbers that make a cell: its symbol, unit, default and least value."""

    symbol: str
    unit: str
    default: float
    least: float = -math.inf
    strict: bool = False
    meaning: str = ""

    @property
    def label(self) -> str:
        """What stands beside an axis, in matplotlib's notation."""
        return f"{self.symbol} ({self.unit})"


PARAMETERS: Mapping[str, Parameter] = {
    "delta_ref": Parameter(
        r"$\delta_{\mathrm{ref}}$", "nats", -2.0, meaning="reference margin of each pair"
    ),
    "gap": Parameter(
        r"$\Delta r$", "units of reward", 1.0, 0.0, meaning="reward gap of each pair, >= 0"
    ),
    "beta": Parameter(r"$\beta$", "reward per nat", 1.0, 0.0, True, "KL strength, > 0"),
    "margin": Parameter(
        r"$m$", "nats", 0.0, meaning="what CPO guarantees, and the smooth branch's gamma"
    ),
    "gamma": Parameter(
        r"$\gamma$", "reward per nat", 0.1, 0.0, meaning="weight of the penalty, Eq. 17, `easy`"
    ),
    "K": Parameter(r"$K$", "responses", 2.0, 2.0, meaning="responses, 2 to 64"),
}
"""What may run along an axis."""

FIXED_ONLY: Mapping[str, Parameter] = {
    "alpha": Parameter(r"$\alpha$", "1", 1.0, 0.0, True, "of the smooth branch"),
    "tau": Parameter(r"$\tau$", "per nat", 1.0, 0.0, True, "of the smooth branch"),
}
"""What has one value for the whole atlas."""

_FORM = "write NAME=FROM:TO:COUNT or NAME=FROM:TO:COUNT:log, e.g. beta=0.05:5:400:log"


@dataclass(frozen=True, eq=False)
class Axis:
    """A parameter and the values it takes, rising; evenly spaced in their logarithm if `log`.

    Raises
    ------
    ProblemError
        Naming the parameter and the value that it cannot take.

    Examples
    --------
    >>> Axis.parse("beta=0.01:1:3:log").values.tolist()
    [0.01, 0.1, 1.0]
    >>> Axis.parse("K=2:5").values.tolist()
    [2.0, 3.0, 4.0, 5.0]
    """

    name: str
    values: FloatArray
    log: bool = False

    def __post_init__(self) -> None:
        if self.name not in PARAMETERS:
            raise ProblemError(f"axis {self.name!r}: choose from {', '.join(PARAMETERS)}")
        values = np.array(self.values, dtype=np.float64)
        if values.ndim != 1 or not 2 <= values.size <= MOST:
            raise ProblemError(f"{self.name} has {values.size} values: 2 to {MOST} make an axis")
        if not np.all(np.diff(values) > 0):
            raise ProblemError(f"{self.name} runs from {values[0]:g} to {values[-1]:g}: must rise")
        for value in values:
            checked(self.name, float(value))
        if self.log and values[0] <= 0:
            raise ProblemError(f"{self.name} = {values[0]:g}: a log axis needs positive values")
        object.__setattr__(self, "values", freeze(values))

    @classmethod
    def between(cls, name: str, start: float, stop: float, count: int, log: bool = False) -> Axis:
        """Return `count` values from `start` to `stop`, both included."""
        for value in (start, stop):
            checked(name, value)
        if not 2 <= count <= MOST:
            raise ProblemError(f"{name} has {count} values: 2 to {MOST} make an axis")
        if log and start <= 0:
            raise ProblemError(f"{name} = {start:g}: a log axis needs positive values")
        space = np.geomspace if log else np.linspace
        return cls(name, space(start, stop, count), log)

    @classmethod
    def parse(cls, text: str) -> Axis:
        """Return the axis that a text such as ``delta_ref=-6:2:400`` describes.

        ``:log`` at its end spaces the values evenly in their logarithm; of K, which takes whole
        numbers, the count may be left out.
        """
        name, equals, rest = text.partition("=")
        if equals and name not in PARAMETERS:
            raise ProblemError(f"axis {name!r}: choose from {', '.join(PARAMETERS)}")
        fields = rest.split(":")
        log = len(fields) == 4 and fields[-1] == "log"
        fields = fields[:3] if log else fields
        try:
            start, stop = (float(field) for field in fields[:2])
            if len(fields) == 2 and name == "K":
                fields.append(str(int(stop) - int(start) + 1))
            (count,) = (int(field) for field in fields[2:])
        except (ValueError, OverflowError) as error:
            raise ProblemError(f"axis {text!r}: {_FORM}") from error
        return cls.between(name, start, stop, count, log)

    @property
    def parameter(self) -> Parameter:
        """What runs along the axis."""
        return PARAMETERS[self.name]

    def edges(self) -> tuple[float, float]:
        """Return where the first cell begins and the last one ends: half a cell out."""
        first, last = self.values[[0, -1]]
        if self.log:
            half = (last / first) ** (0.5 / (self.values.size - 1))
            return float(first / half), float(last * half)
        half = 0.5 * (last - first) / (self.values.size - 1)
        return float(first - half), float(last + half)


def checked(name: str, value: float) -> float:
    """Return a parameter's value, or raise a `ProblemError` that names both."""
    every = {**PARAMETERS, **FIXED_ONLY}
    if name not in every:
        raise ProblemError(f"parameter {name!r}: choose from {', '.join(every)}")
    known = every[name]
    if not math.isfinite(value):
        raise ProblemError(f"{name} = {value}: must be finite")
    if value < known.least or (known.strict and value == known.least):
        raise ProblemError(
            f"{name} = {value:g}: must be {'>' if known.strict else '>='} {known.least:g}"
        )
    if name == "K" and (value != int(value) or value > MOST_RESPONSES):
        raise ProblemError(f"K = {value:g}: must be a whole number from 2 to {MOST_RESPONSES}")
    return value


def parse_fixed(text: str) -> tuple[str, float]:
    """Return the name and value that a text such as ``K=2`` fixes.

    >>> parse_fixed("gap=0.5")
    ('gap', 0.5)
    """
    name, equals, number = text.partition("=")
    try:
        if not equals:
            raise ValueError
        return name, checked(name, float(number))
    except ProblemError:
        raise
    except ValueError as error:
        raise ProblemError(f"{text!r} fixes nothing: write NAME=VALUE, e.g. K=2") from error
