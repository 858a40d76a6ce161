"""What a phase diagram holds: verdicts, margins and other layers on a grid, saved and read."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import prefeq
from prefeq.arrays import FloatArray, freeze
from prefeq.atlas.axes import Axis
from prefeq.atlas.files import replacing
from prefeq.errors import ProblemError
from prefeq.losses import Flipped
from prefeq.text import align

FORMAT = "prefeq atlas 1"
ALIGNED, WEAK, MISALIGNED, NO_OPTIMUM, NOT_COMPUTED = 1, 0, -1, 2, 3

CODES: Mapping[int, str] = {
    ALIGNED: "aligned",
    WEAK: "weakly aligned",
    MISALIGNED: "misaligned",
    NO_OPTIMUM: "no optimum",
    NOT_COMPUTED: "not computed",
}
"""Verdicts: every δ > 0; the least δ is 0; some δ < 0; there is no policy to judge; not known."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """Verdicts and margins on a grid; the first index of every array is the y axis.

    Attributes
    ----------
    x, y
        The axes.
    fixed
        The other parameters, by name.
    steps, flipped
        T of the descending methods; what a flipped label does to the target of `eq17`, `smooth`
        and `easy` (see `prefeq.losses.Flipped`).
    verdict
        By method: is every pair aligned? Codes (ny, nx) of `CODES`, int8.
    least
        By method: the least margin over the pairs, in nats; -inf without an optimum or answer.
    layers
        ``price``: J(π*) − J(π_CPO) in reward units; ``exit_steps``: steps of 1/Lip until ordered
        DPO has every δ ≥ 0 (K = 2: those of gradient flow; else counted, inf beyond T);
        ``exit_time``: the same in time, steps times their size. inf where not computed.
    """

    x: Axis
    y: Axis
    fixed: Mapping[str, float]
    steps: int
    flipped: Flipped
    verdict: Mapping[str, npt.NDArray[np.int8]]
    least: Mapping[str, FloatArray]
    layers: Mapping[str, FloatArray]

    @property
    def shape(self) -> tuple[int, int]:
        """Cells along y and along x."""
        return self.y.values.size, self.x.values.size

    def share(self, method: str, code: int = ALIGNED) -> float:
        """Return the share of the cells with a verdict."""
        return float(np.mean(self.verdict[method] == code))

    def value(self, name: str) -> FloatArray:
        """Return a parameter's value on every cell, (ny, nx)."""
        if name == self.x.name:
            return np.broadcast_to(self.x.values, self.shape)
        if name == self.y.name:
            return np.broadcast_to(self.y.values[:, None], self.shape)
        return np.full(self.shape, self.fixed[name])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a compressed NumPy archive, whole or not at all: nothing in it is pickled.

        ``x`` and ``y`` the axes' values, ``about`` everything else as JSON, and an array (ny, nx)
        each of ``verdict/METHOD``, ``least/METHOD``, ``price``, ``exit_steps`` and ``exit_time``.

        Raises
        ------
        ProblemError
            If the file cannot be written.
        """
        arrays: dict[str, Any] = {"x": self.x.values, "y": self.y.values}
        arrays["about"] = np.array(json.dumps(self._about(), allow_nan=False))
        arrays |= {f"verdict/{name}": array for name, array in self.verdict.items()}
        arrays |= {f"least/{name}": array for name, array in self.least.items()}
        arrays |= self.layers
        with replacing(path) as file:
            np.savez_compressed(file, **arrays)

    def _about(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "prefeq": prefeq.__version__,
            "x": {"name": self.x.name, "log": self.x.log, "unit": self.x.parameter.unit},
            "y": {"name": self.y.name, "log": self.y.log, "unit": self.y.parameter.unit},
            "fixed": dict(self.fixed),
            "steps": self.steps,
            "flipped": self.flipped,
            "codes": {str(code): name for code, name in CODES.items()},
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Atlas:
        """Read what `save` wrote.

        Raises
        ------
        ProblemError
            If there is no such file, or it is not an atlas.
        """
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as saved:
                about = json.loads(str(saved["about"]))
                arrays = {name: freeze(saved[name]) for name in saved.files if name != "about"}
            if about["format"] != FORMAT:
                raise ValueError(about["format"])
            x, y = (Axis(about[a]["name"], arrays.pop(a), about[a]["log"]) for a in "xy")
        except OSError as error:
            raise ProblemError(f"{path}: cannot be read ({error.strerror or error})") from error
        except (ValueError, KeyError, TypeError, zipfile.BadZipFile, EOFError) as error:
            raise ProblemError(f"{path}: not an atlas written by prefeq") from error
        parts: dict[str, dict[str, Any]] = {"verdict": {}, "least": {}, "": {}}
        for name, array in arrays.items():
            kind, _, method = name.rpartition("/")
            parts[kind][method] = array
        return cls(
            x, y, about["fixed"], about["steps"], about["flipped"],
            parts["verdict"], parts["least"], parts[""],
        )  # fmt: skip

    def __str__(self) -> str:
        """Return the shares of the verdicts as a table."""
        rows = [
            [name, *(f"{100 * self.share(name, code):.1f} %" for code in CODES)]
            for name in self.verdict
        ]
        fixed = ", ".join(f"{name} = {value:g}" for name, value in self.fixed.items())
        head = (
            f"{self.shape[1]} x {self.shape[0]} cells of {self.x.name} and {self.y.name}; {fixed}"
        )
        return "\n".join([head, "", *align(["method", *CODES.values()], rows)])
