"""From figures to files: drawn in the style, written whole or not at all, the same bytes always."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from prefeq.atlas.files import replacing
from prefeq.errors import ProblemError
from prefeq.figures.registry import Artists, Figure, figure, names
from prefeq.figures.style import styled
from prefeq.strict_json import check_writable, write_text

FORMATS = ("png", "svg", "pdf")

CAPTIONS = "captions.md"

Track = Callable[[Sequence[Any]], Iterable[Any]]


def draw(name: str, ax: Any = None, **options: Any) -> Artists:
    """Draw a figure and return its artists by name; nothing is shown.

    Parameters
    ----------
    name
        One of `names()`.
    ax
        The axes to draw into, a sequence of them for a figure of several panels; by default those
        of a new figure of the figure's own size, ``next(iter(artists.values())).figure``.
    options
        For the figure's `data`, such as ``beta``.

    Raises
    ------
    ProblemError
        An unknown name, or another number of axes than the figure has panels.

    >>> artists = draw("abyss")
    >>> float(artists["critical"].get_ydata()[0])
    0.0
    """
    found = figure(name)
    with styled():
        return found.draw(_axes(found, ax), found.data(**options))


def make(name: str, **options: Any) -> Any:
    """Return a figure as a matplotlib ``Figure``, drawn; a notebook shows it."""
    found = figure(name)
    with styled():
        axes = _axes(found, None)
        found.draw(axes, found.data(**options))
    return (axes[0] if isinstance(axes, tuple) else axes).figure


def save(
    chosen: str | Iterable[str] | None = None,
    out: str | os.PathLike[str] = "figures",
    formats: str | Iterable[str] = ("png", "svg"),
    track: Track = iter,
) -> list[Path]:
    """Draw figures and write ``OUT/NAME.FORMAT``; return the paths.

    The same versions write the same bytes: no date, no random id. The files carry title and caption
    as metadata. With all figures the captions go to ``OUT/captions.md`` as well.

    Parameters
    ----------
    chosen
        A name or names; all figures by default.
    out
        A directory, made if there is none.
    formats
        Some of png (300 dpi), svg (text as outlines) and pdf (fonts embedded).
    track
        Wraps the list of names, e.g. with a progress bar.

    Raises
    ------
    ProblemError
        An unknown name or format, or a directory that cannot be written, before any work is done.
    """
    wanted = names() if chosen is None else _several(chosen)
    kinds = _several(formats)
    for kind in kinds:
        if kind not in FORMATS:
            raise ProblemError(f"format {kind!r}: choose from {', '.join(FORMATS)}")
    if not wanted or not kinds:
        raise ProblemError("nothing to draw: name a figure and a format")
    figures = [figure(name) for name in wanted]
    folder = _folder(out)
    paths = [folder / f"{name}.{kind}" for name in wanted for kind in kinds]
    for path in paths:
        check_writable(path)
    for found in track(figures):
        _write(found, folder, kinds)
    if chosen is None:
        write_text(folder / CAPTIONS, captions())
        paths.append(folder / CAPTIONS)
    return paths


def captions(chosen: Iterable[str] | None = None) -> str:
    """Return the captions as Markdown, a section a figure."""
    parts = ["# Figures\n\nWritten by `prefeq figures`."]
    for name in names() if chosen is None else chosen:
        found = figure(name)
        caption = found.caption.replace("*", r"\*")
        parts.append(f"## {found.title}\n\n![{found.title}]({name}.png)\n\n{caption}")
    return "\n\n".join(parts) + "\n"


def _axes(found: Figure, ax: Any) -> Any:
    """Return the axes to draw into: one, or a tuple of as many as there are panels."""
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    if ax is None:
        canvas = Canvas(figsize=(found.width, found.height), layout="constrained")
        FigureCanvasAgg(canvas)
        ax = canvas.subplots(*found.panels, squeeze=False).ravel()
    flat = (ax,) if isinstance(ax, Axes) else tuple(ax)
    count = found.panels[0] * found.panels[1]
    if len(flat) != count:
        raise ProblemError(f"figure {found.name!r}: {len(flat)} axes for {count} panels")
    return flat[0] if count == 1 else flat


def _write(found: Figure, folder: Path, kinds: Iterable[str]) -> None:
    canvas = make(found.name)
    for kind in kinds:
        with styled(), replacing(folder / f"{found.name}.{kind}") as file:
            canvas.savefig(file, format=kind, metadata=_metadata(found, kind))


def _metadata(found: Figure, kind: str) -> dict[str, str | None]:
    """Return title and caption, and no trace of when and by which version."""
    if kind == "png":
        return {"Title": found.title, "Description": found.caption, "Software": None}
    if kind == "svg":
        return {"Title": found.title, "Description": found.caption, "Date": None}
    return {"Title": found.title, "Subject": found.caption, "CreationDate": None}


def _folder(out: str | os.PathLike[str]) -> Path:
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise ProblemError(f"{folder}: cannot be made ({reason}); name another folder") from error
    return folder


def _several(given: str | Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([given] if isinstance(given, str) else given))
