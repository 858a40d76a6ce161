"""What an assertion of `prefeq.testing` raises: the claim, the numbers, the smallest instance."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from prefeq.arrays import FloatArray
from prefeq.errors import ProblemError
from prefeq.testing.instances import Instance

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Picture:
    """Lines over one axis: ``lines`` by label, vertical ``marks`` by label, a shaded ``span``."""

    title: str
    xlabel: str
    ylabel: str
    x: FloatArray
    lines: Mapping[str, FloatArray]
    marks: Mapping[str, float] = field(default_factory=dict)
    span: tuple[float, float] | None = None
    points: bool = False

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Draw it to a file, of the kind that its suffix names (.png, .svg, .pdf)."""
        from prefeq.atlas.files import replacing
        from prefeq.figures.style import styled

        target = Path(path)
        kind = target.suffix.removeprefix(".").lower()
        if kind not in ("png", "svg", "pdf"):
            raise ProblemError(f"figure = {str(path)!r}: name a file that ends in .png, .svg, .pdf")
        with styled():
            canvas = self.draw()
            with replacing(target) as file:
                canvas.savefig(file, format=kind, metadata=_UNDATED[kind])
        return target

    def draw(self) -> Figure:
        """Return it as a figure of matplotlib, the legend below the axes, clear of U and lines."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        from prefeq.figures.style import BLACK, BLUE, GREEN, UNDESIRABLE, VERMILION

        labels = [*self.lines, *self.marks, *(["U"] if self.span else [])]
        columns = 2 if max(map(len, labels)) <= _NARROW else 1
        rows = -(-len(labels) // columns)
        canvas = Figure(figsize=(4.5, 2.8 + 0.14 * rows), layout="constrained")
        FigureCanvasAgg(canvas)
        ax = canvas.subplots()
        dashes = ("-", "--", ":")
        colors, markers = (BLUE, VERMILION, GREEN), "osv"
        for i, (label, y) in enumerate(self.lines.items()):
            marker, dash = (markers[i], "none") if self.points else ("none", dashes[i])
            ax.plot(self.x, y, color=colors[i], label=label, linestyle=dash, marker=marker)
        for (label, at), dash in zip(self.marks.items(), dashes, strict=False):
            ax.axvline(at, color=BLACK, linestyle=dash, linewidth=0.8, label=label)
        if self.span:
            ax.axvspan(*self.span, label="U", **UNDESIRABLE)
        if self.points:
            ax.set_xticks(self.x)
        ax.set(title=self.title, xlabel=self.xlabel, ylabel=self.ylabel)
        canvas.legend(loc="outside lower center", ncols=columns)
        return canvas


_NARROW = 36
"""Characters of a label that fits into half the width of the legend."""

_UNDATED: Mapping[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}


class PropertyFailure(AssertionError):
    """A property that does not hold, with what was measured and the smallest instance found.

    Attributes
    ----------
    assertion
        The name of the assertion: ``assert_no_trap``.
    claim
        What does not hold, in a line.
    measured
        The numbers behind it, by name.
    instance
        The smallest instance, or None where no single one shows it.
    """

    def __init__(
        self,
        assertion: str,
        subject: str,
        claim: str,
        *,
        measured: Mapping[str, Any],
        theory: str,
        notes: Sequence[str] = (),
        instance: Instance | None = None,
        picture: Callable[[], Picture] | None = None,
    ) -> None:
        self.assertion, self.claim = assertion, claim
        self.measured, self.instance = dict(measured), instance
        self._picture = picture
        numbers = [f"  {name} = {_shown(value)}" for name, value in measured.items()]
        lines = [f"{assertion}({subject}): {claim}", *numbers, *(f"  {note}" for note in notes)]
        self._findings = "\n".join([*lines, f"theory: {theory}"])
        super().__init__(self._message("instance"))

    def _message(self, stem: str) -> str:
        """Return the findings and the instance, its tables named as `write` names them."""
        if self.instance is None:
            return self._findings
        text = self.instance.text(stem)
        return f"{self._findings}\nthe smallest instance found, as prefeq solve reads it\n{text}"

    def save_figure(self, path: str | os.PathLike[str]) -> Path | None:
        """Draw the failure to a .png, .svg or .pdf; None if there is nothing to draw."""
        return self._picture().save(path) if self._picture else None

    def write(self, folder: str | os.PathLike[str], stem: str = "instance") -> list[Path]:
        """Write the message, the tables and the figure to a folder, made if there is none."""
        from prefeq.strict_json import write_text

        Path(folder).mkdir(parents=True, exist_ok=True)
        paths = [Path(folder) / f"{stem}.txt"]
        write_text(paths[0], f"{self._message(stem)}\n")
        if self.instance is not None:
            paths += self.instance.write(folder, stem)
        figure = self.save_figure(Path(folder) / f"{stem}.png")
        return [*paths, figure] if figure else paths


def fail(failure: PropertyFailure, figure: str | os.PathLike[str] | None) -> NoReturn:
    """Raise a failure, its figure drawn first if one was asked for."""
    __tracebackhide__ = True
    if figure is not None:
        failure.save_figure(figure)
    raise failure


def stem(test: str) -> str:
    """Return a file name for a test.

    Examples
    --------
    >>> stem("tests/test_mine.py::test_aligned[my losses:dpo]")
    'test_mine-test_aligned-my-losses-dpo'
    """
    path, _, name = test.partition("::")
    return re.sub(r"[^\w.]+", "-", f"{Path(path).stem}-{name}").strip("-.")[:120]


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_shown, value))})"
    return str(value)
