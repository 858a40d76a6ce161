"""The helpers see what they are for: each fault is planted once, and a good page has none."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from figures import layout


@pytest.fixture
def page() -> tuple[Any, Any]:
    figure = Figure(figsize=(3.25, 2.3), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1], label="line")
    ax.set(xlabel="x", ylabel="y")
    return figure, ax


def test_a_good_page_has_no_faults(page: tuple[Any, Any]) -> None:
    figure, ax = page
    ax.annotate("note", (0.8, 0.2))
    ax.legend(loc="upper left")
    assert layout.faults(figure) == []


def plant(ax: Any, kind: str) -> None:
    if kind == "clipped":
        ax.text(0.9, 0.1, "far too long a note").set_in_layout(False)
    elif kind == "clipped by its panel":
        ax.set_ylabel("y")
        ax.text(-0.3, 0.9, "note", clip_on=True, clip_box=ax.bbox)
    elif kind == "overlap":
        ax.text(0.6, 0.1, "note")
        ax.text(0.65, 0.12, "note")
    elif kind == "overlap of rotated text":
        ax.text(0.7, 0.3, "longer note", rotation=30, ha="center", va="center")
        ax.text(0.7, 0.3, "longer note", rotation=-30, ha="center", va="center")
    elif kind == "overlap of tick labels":
        ax.set_xticks([0, 0.01, 1])
    elif kind == "crossed":
        ax.text(0.5, 0.5, "note", ha="center", va="center")
    elif kind == "crossed, in a legend":
        ax.legend(loc="upper right")
    elif kind == "small":
        ax.text(0.6, 0.1, "note", fontsize=5)
    elif kind == "lost":
        ax.annotate("note", (7, 7), annotation_clip=True)
    else:
        ax.set_ylabel("")


@pytest.mark.parametrize(
    "kind",
    [
        "clipped", "clipped by its panel", "overlap", "overlap of rotated text",
        "overlap of tick labels", "crossed", "crossed, in a legend", "small", "lost", "unlabelled",
    ],
)  # fmt: skip
def test_a_planted_fault_is_seen(page: tuple[Any, Any], kind: str) -> None:
    figure, ax = page
    plant(ax, kind)
    found = layout.faults(figure)
    assert found
    assert all(fault.startswith(kind.split(",")[0].split()[0]) for fault in found), found


def test_parallel_rotated_texts_do_not_meet(page: tuple[Any, Any]) -> None:
    figure, ax = page  # their upright bounding boxes do
    for x in (0.55, 0.75):
        ax.text(x, 0.25, "note", rotation=60, ha="center", va="center")
    assert layout.faults(figure) == []


def test_texts_that_are_not_drawn_do_not_count(page: tuple[Any, Any]) -> None:
    figure, ax = page
    ax.text(0.6, 0.1, "note")
    ax.text(0.6, 0.1, "note", visible=False)
    ax.set_xlim(0, 1)
    assert layout.faults(figure) == []
