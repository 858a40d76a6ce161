"""What may go wrong on a page: text clipped, on other text or on a line, too small, or missing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

LEAST_SIZE = 6.0
SLACK = 1.5
"""Pixels at 100 dpi by which two boxes of text may touch: a box has room for every descender."""

Corners = npt.NDArray[np.float64]


def faults(figure: Any) -> list[str]:
    """Return what is wrong with the page, a line each; nothing, it is to be hoped."""
    texts = drawn_texts(figure)
    return [
        *clipped(figure, texts),
        *overlapping(texts),
        *crossed(figure, texts),
        *small(texts),
        *lost(figure, texts),
        *unlabelled(figure),
    ]


def drawn_texts(figure: Any) -> list[Text]:
    """Return the texts that are really drawn: tick labels beyond the axes, say, are not."""
    figure.canvas.draw()  # lays it out
    found: list[Text] = []
    draw = Text.draw

    def record(self: Text, renderer: Any, *args: Any, **kwargs: Any) -> Any:
        if self.get_visible() and self.get_text().strip():
            found.append(self)
        return draw(self, renderer, *args, **kwargs)

    with patch.object(Text, "draw", record):
        figure.canvas.draw()
    return found


def clipped(figure: Any, texts: list[Text]) -> Iterator[str]:
    """Text that leaves the figure, or the panel that clips it."""
    for text in texts:
        frame = figure.bbox
        if text.get_clip_on() and text.clipbox is not None:
            frame = Bbox.intersection(frame, text.clipbox) or frame
        (x0, y0), (x1, y1) = corners(text).min(axis=0), corners(text).max(axis=0)
        edge = 0.5
        inside = frame.x0 - edge <= x0 and x1 <= frame.x1 + edge
        if not (inside and frame.y0 - edge <= y0 and y1 <= frame.y1 + edge):
            yield f"clipped: {text.get_text()!r}"


def overlapping(texts: list[Text]) -> Iterator[str]:
    """Two texts on top of each other."""
    boxes = [corners(text, SLACK) for text in texts]
    for (i, one), (j, other) in combinations(enumerate(boxes), 2):
        if meet(one, other):
            yield f"overlap: {texts[i].get_text()!r} and {texts[j].get_text()!r}"


def crossed(figure: Any, texts: list[Text]) -> Iterator[str]:
    """Text with a line running through it, unless it has a background of its own."""
    bare = [text for text in texts if text.get_bbox_patch() is None]
    for axes in figure.axes:
        for line in axes.lines:
            if not line.get_visible() or line.get_linestyle() == "None":
                continue
            path = line.get_transform().transform_path(line.get_path())
            for text in bare:
                box = corners(text, SLACK)
                seen = Bbox.intersection(Bbox([box.min(axis=0), box.max(axis=0)]), axes.bbox)
                if seen and seen.width > 0 and path.intersects_bbox(seen, filled=False):
                    yield f"crossed by a line: {text.get_text()!r}"


def small(texts: list[Text]) -> Iterator[str]:
    """Text that nobody can read in print."""
    for text in texts:
        if text.get_fontsize() < LEAST_SIZE:
            yield f"small: {text.get_text()!r} at {text.get_fontsize():g} points"


def lost(figure: Any, texts: list[Text]) -> Iterator[str]:
    """Notes that were asked for and are not drawn, as what they note is out of sight."""
    for note in figure.findobj(Annotation):
        if note.get_visible() and note.get_text().strip() and note not in texts:
            yield f"lost: {note.get_text()!r}"


def unlabelled(figure: Any) -> Iterator[str]:
    """Axes whose ticks have numbers and no name."""
    for i, axes in enumerate(figure.axes):
        if not axes.axison:
            continue
        for axis in (axes.xaxis, axes.yaxis):
            ticks = any(tick.label1.get_visible() or tick.label2.get_visible()
                        for tick in axis.get_major_ticks())  # fmt: skip
            shown = axis.get_visible() and ticks and len(axis.get_majorticklocs())
            if shown and not axis.get_label_text().strip():
                yield f"unlabelled: {axis.axis_name} axis of panel {i}"


def corners(text: Text, shrink: float = 0.0) -> Corners:
    """Return the corners of a text's box as it stands on the page, rotated if it is."""
    whole = Text.get_window_extent(text)  # of the text alone, without the arrow of a note
    angle = text.get_rotation()
    text.set_rotation(0)
    flat = Text.get_window_extent(text)
    text.set_rotation(angle)
    centre = np.array([(whole.x0 + whole.x1) / 2, (whole.y0 + whole.y1) / 2])
    half = np.array([flat.width, flat.height]) / 2
    half = np.maximum(half - shrink * text.get_figure(root=True).dpi / 100, 0.1)
    box = half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    turned: Corners = centre + box @ np.array([[cos, sin], [-sin, cos]])
    return turned


def meet(one: Corners, other: Corners) -> bool:
    """Tell whether two rectangles overlap: no side of either separates them."""
    for box in (one, other):
        for side in (box[1] - box[0], box[2] - box[1]):
            a, b = one @ side, other @ side
            if a.max() <= b.min() or b.max() <= a.min():
                return False
    return True
