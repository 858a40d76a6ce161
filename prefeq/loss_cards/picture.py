"""The picture of a card: the loss of one pair with U shaded, and the target margin, as SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from prefeq._elementary import softplus
from prefeq.arrays import FloatArray
from prefeq.llm.page.markup import Html, join, tag
from prefeq.text import number

if TYPE_CHECKING:
    from prefeq.loss_cards.card import LossCard

WIDTH, HEIGHT, GAP = 330, 230, 20
LEFT, RIGHT, TOP, BOTTOM = 60, 10, 26, 36
INK, SOFT, SHADE = "#0072B2", "#767676", "#F7E3B8"

NO_VALUE, NO_TARGET = "no finite value", "no common target"
"""What a panel says instead of a curve; a target is common to the curves of all references."""


def picture(card: LossCard) -> Html:
    """Return the picture: self-contained SVG, with a title and a description for readers of it."""
    panels = [_loss(card), _target(card)]
    placed = [
        tag("g", panel, transform=f"translate({i * (WIDTH + GAP)},0)")
        for i, panel in enumerate(panels)
    ]
    width = len(panels) * WIDTH + (len(panels) - 1) * GAP
    return tag(
        "svg",
        tag("title", f"{card.name}: {_title(card)}"),
        tag("desc", describe(card)),
        tag("rect", width=f"{width}", height=f"{HEIGHT}", fill="#ffffff"),
        *placed,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {HEIGHT}",
        width=f"{width}",
        height=f"{HEIGHT}",
        role="img",
        style="max-width:100%;height:auto",
        font_family="DejaVu Sans, sans-serif",
        font_size="10",
    )


def describe(card: LossCard) -> str:
    """Return what the picture shows, in words: of a curve only if it is drawn."""
    axis = f"against the margin delta, for delta_ref = {number(card.curves['ref_margin'])} nats"
    shade = "U, from delta_ref to 0, is shaded."
    if not _drawn(card):
        return f"The loss of an ordered pair has {NO_VALUE}; DPO's is dashed, {axis}; {shade}"
    aim = f"There is {NO_TARGET}."
    if _has_target(card):
        aim = "Beside it the target margin against delta_ref, with DPO's dashed."
    loss = f"The loss of an ordered pair {axis}, with DPO's dashed; {shade}"
    return " ".join(filter(None, (loss, _bottom(card), aim)))


def _title(card: LossCard) -> str:
    if not _drawn(card):
        return NO_VALUE
    return f"the loss of a pair, {'and its target margin' if _has_target(card) else NO_TARGET}"


def _has_target(card: LossCard) -> bool:
    """Tell whether the curves of all references have one target."""
    return "target" in card.curves


def _drawn(card: LossCard) -> bool:
    """Tell whether the loss has a curve."""
    return bool(np.isfinite(card.curves["value"]).any())


def _bottom(card: LossCard) -> str:
    """Return where the curve that is drawn comes to rest, as far as the panel shows it."""
    value = card.curves["value"]
    dots = len(_minima(value))
    if dots:
        return "A dot marks its local minimum." if dots == 1 else "Dots mark its local minima."
    return "Its bottom is flat." if np.count_nonzero(value == np.nanmin(value)) > 1 else ""


def _minima(value: FloatArray) -> Any:
    """Return the places of the local minima of the curve that is drawn."""
    return 1 + np.flatnonzero((value[1:-1] < value[:-2]) & (value[1:-1] < value[2:]))


class _Axes:
    """Maps numbers to the panel, and draws lines and labels in it."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.x, self.y = x, y
        self.parts: list[Html] = []

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return (
            round(LEFT + across * (WIDTH - LEFT - RIGHT), 2),
            round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 2),
        )

    def line(self, x: FloatArray, y: FloatArray, **style: str) -> None:
        """Draw a line, broken where it leaves the panel or is no number."""
        inside = np.isfinite(y) & (y >= self.y[0]) & (y <= self.y[1])
        path, pen = [], "M"
        for a, b, ok in zip(x, y, inside, strict=True):
            if not ok:
                pen = "M"
                continue
            px, py = self.at(float(a), float(b))
            path.append(f"{pen}{px} {py}")
            pen = "L"
        if path:
            self.parts.append(tag("path", d="".join(path), fill="none", **style))

    def band(self, low: float, high: float) -> None:
        (a, top), (b, bottom) = self.at(low, self.y[1]), self.at(high, self.y[0])
        self.parts.append(
            tag("rect", x=f"{a}", y=f"{top}", width=f"{round(b - a, 2)}",
                height=f"{round(bottom - top, 2)}", fill=SHADE)
        )  # fmt: skip

    def text(self, x: float, y: float, text: str, anchor: str = "middle", **more: str) -> None:
        self.parts.append(tag("text", text, x=f"{x}", y=f"{y}", text_anchor=anchor, **more))

    def note(self, text: str, x: float) -> None:
        """Say at half height why there is no curve."""
        across, up = self.at(x, sum(self.y) / 2)
        self.text(across, up, text, fill=SOFT, font_style="italic")

    def frame(self, title: str, across: str, up: str) -> None:
        """Draw axes with the ends of their ranges, and name them."""
        left, bottom = self.at(self.x[0], self.y[0])
        right, top = self.at(self.x[1], self.y[1])
        path = f"M{left} {top}L{left} {bottom}L{right} {bottom}"
        self.parts.append(tag("path", d=path, fill="none", stroke="#000000", stroke_width="0.8"))
        middle = (left + right) / 2
        self.text(left, 14, title, "start", font_weight="bold")
        self.text(middle, HEIGHT - 6, across)
        ticks = [(self.x[0], "start"), (self.x[1], "end")]
        if self.x[0] < 0 < self.x[1]:
            ticks.append((0.0, "middle"))
        for value, anchor in ticks:
            self.text(self.at(value, self.y[0])[0], bottom + 13, f"{value:g}", anchor)
        for value in self.y:
            self.text(left - 4, self.at(0, value)[1] + 3, f"{value:.3g}", "end")
        turn = f"rotate(-90 11 {(top + bottom) / 2})"
        self.text(11, (top + bottom) / 2, up, transform=turn)


def _loss(card: LossCard) -> Html:
    curves = card.curves
    x, value, ref = curves["margin"], curves["value"], float(curves["ref_margin"])
    beta = card.ranges.beta
    dpo = softplus(np, -beta * (x - ref))
    good = value[np.isfinite(value)] if _drawn(card) else dpo
    low, high = min(float(good.min()), 0.0), float(good.max())
    axes = _Axes((float(x[0]), float(x[-1])), (low, high if high > low else low + 1.0))
    axes.band(ref, 0.0)
    axes.line(x, dpo, stroke=SOFT, stroke_width="1.2", stroke_dasharray="4 3")
    axes.line(x, value, stroke=INK, stroke_width="2")
    axes.frame(f"Loss, reference margin {number(ref)} (dashed: DPO)", "margin (nats)", "loss")
    for i in _minima(value):
        px, py = axes.at(float(x[i]), float(value[i]))
        axes.parts.append(tag("circle", cx=f"{px}", cy=f"{py}", r="3.5", fill=INK))
    if not _drawn(card):
        axes.note(NO_VALUE, float(x[-1]) / 2)  # right of U, where DPO's curve is low
    axes.text(axes.at(ref / 2, 0)[0], TOP + 10, "U", fill="#8a6d1d")
    return join(axes.parts)


def _target(card: LossCard) -> Html:
    reach = 6 / card.ranges.beta
    axes = _Axes((-reach, reach), (-reach, reach))
    if _has_target(card):
        refs: Any = card.curves["target_ref"]
        keep = np.abs(refs) <= reach
        ends = np.array([-reach, reach])
        axes.line(ends, np.zeros(2), stroke="#bbbbbb", stroke_width="0.8")
        axes.line(ends, ends, stroke=SOFT, stroke_width="1.2", stroke_dasharray="4 3")
        axes.line(refs[keep], card.curves["target"][keep], stroke=INK, stroke_width="2")
    else:
        axes.note(NO_TARGET if _drawn(card) else NO_VALUE, 0.0)
    axes.frame("Target margin", "reference margin (nats)", "target (nats)")
    return join(axes.parts)
