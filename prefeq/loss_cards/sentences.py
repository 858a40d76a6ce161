"""What a card says, line by line: the same in a terminal and on a page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefeq.loss_cards.alignment import Alignment
from prefeq.loss_cards.dependence import KINDS
from prefeq.loss_cards.field import CONSTANT_ALONE
from prefeq.text import number

if TYPE_CHECKING:
    from prefeq.loss_cards.card import LossCard
    from prefeq.loss_cards.shape import Shape


_MONOTONE = {"neither": "neither increasing nor decreasing"}
_END = {"flat": "is flat", "not finite": "is not finite"}


def word(verdict: bool | None) -> str:
    """Return yes, no, or not decided."""
    return "not decided" if verdict is None else "yes" if verdict else "no"


def headline(card: LossCard) -> str:
    """Return the verdicts in a line."""
    faults = [fault.name for fault in card.faults if fault.severity == "fault"]
    parts = [
        f"aligned {word(card.aligned)}",
        f"aligned per label {word(card.aligned_per_label)}",
        f"trap {word(card.trap)}",
        f"faults: {', '.join(faults)}" if faults else "no fault found",
    ]
    return " · ".join(parts)


def rows(card: LossCard) -> list[tuple[str, str]]:
    """Return the lines of the card: a name and a sentence each."""
    assumed = " (assumed: it takes no beta; if it has one inside, pass it)"
    text = f"{card.library}, gradients by {card.scheme}; {card.ranges.text}"
    looked_at = ("looked at", text + (assumed if card.beta is None else ""))
    compared = [("comparison", str(found)) for found in card.agreements]
    if card.trap_region.reason == CONSTANT_ALONE:
        text = f"the other pairs of the batch; {CONSTANT_ALONE}, and there are no curves to look at"
        return [looked_at, ("depends on", text), *compared]
    if card.dependence.kind == "unknown":
        return [looked_at, ("depends on", KINDS["unknown"]), *compared]
    beta, step = card.ranges.beta, card.first_step
    at = step.at(-3 / beta)
    depend, shape = card.dependence, card.shape
    out = [
        looked_at,
        (
            "depends on",
            KINDS[depend.kind]
            + (", token counts" if depend.on_length else "")
            + ("" if depend.on_batch == "no" else ", the rest of the batch")
            + _mark(card, "margin_only"),
        ),
        (
            "shift",
            ("invariant" if depend.shift_invariant else "not invariant")
            + " under one shift of all four log-probs",
        ),
        (
            "shape",
            f"{_MONOTONE.get(shape.monotone, shape.monotone)} in delta, "
            + ("convex, " if shape.convex else "not convex, ")
            + _smoothness(shape)
            + f"; far left it {_END.get(shape.left, shape.left)}"
            + f", far right it {_END.get(shape.right, shape.right)}"
            + ("" if shape.bounded_below else ": unbounded below"),
        ),
        (
            "first step",
            f"{step.direction}; at delta = delta_ref = {number(step.ref_margin[at])} the loss is "
            f"{number(step.value[at])}, its slope {number(step.slope[at])}",
        ),
        ("minimisers", "; ".join(_minima(row) for row in card.ordered) + _mark(card, "minimisers")),
        ("target margin", _target(card)),
    ]
    for name, found in (("aligned", card.fixed), ("aligned per label", card.per_label)):
        out.append((name, _alignment(card, found) + _mark(card, name)))
    out.append(("trap", _trap(card) + _mark(card, "trap")))
    out.append(("exit from U", "; ".join(_exit(row) for row in card.exits)))
    shares = "; ".join(
        f"{100 * row['share']:.0f} % of U at delta_ref = {number(row['ref_margin'])}"
        for row in card.weak
    )
    out.append(("weak gradient", f"below {number(card.weak_size)}: {shares}"))
    if card.same_as:
        out.append(("the same as", ", ".join(card.same_as)))
    elif card.same_as_one_token:
        names = ", ".join(card.same_as_one_token)
        out.append(("the same as", f"none of ours; for responses of one token, {names}"))
    out += compared
    if card.stand_in:
        out.append(("one pair alone", card.stand_in))
    return out


def _smoothness(shape: Shape) -> str:
    if shape.smooth:
        return "smooth"
    if shape.kink is None:
        return "in steps: its slope is 0 wherever there is one"
    return f"a kink at delta - delta_ref = {number(shape.kink)}"


def _mark(card: LossCard, key: str) -> str:
    return " [certified]" if card.certified.get(key) else ""


def _minima(row: Mapping[str, Any]) -> str:
    return f"delta_ref = {number(row['ref_margin'])}: {ends_at(row)}"


def ends_at(row: Mapping[str, Any]) -> str:
    """Say where the curve of one reference margin is least."""
    parts = [
        _near(low) if low == high else f"all of {_near(low)} to {_near(high)}"
        for low, high in row["minima"]
    ]
    return ", ".join([*parts, *row["infinite"]]) or "none"


def _near(margin: float) -> str:
    """Return a margin that was bisected: 1e-15 nats are none."""
    return number(margin if abs(margin) > 1e-9 else 0.0)


def _target(card: LossCard) -> str:
    target = card.target
    if target is None:
        return "none: the curves of different references are no shifts of one another"
    known = {
        "delta_ref": "delta_ref, as DPO's",
        "max(delta_ref, 0)": "max(delta_ref, 0), as HyPO's",
        "constant": f"{number(target.lowest)}, whatever the reference",
    }
    pick = [int(abs(target.ref_margin - x / card.ranges.beta).argmin()) for x in (-5, -1, 0, 1, 5)]
    shown = ", ".join(
        f"t({number(target.ref_margin[i])}) = {number(target.values[i])}"
        for i in dict.fromkeys(pick)
    )
    text = known.get(target.name, shown)
    if target.below_dpo and target.name != "constant":
        text += f"; below DPO's by up to {number(target.below_dpo)} nats"
    if target.name == "other":
        text += f"; least in range {number(target.lowest)}"
        if target.tail is not None and target.tail > 1e-6:
            text += f"; unbounded below, falling by {number(target.tail)} a nat of delta_ref"
    return text


def _alignment(card: LossCard, found: Alignment) -> str:
    example = found.counterexample
    if example is None:
        return f"{word(found.verdict)}: {found.reason}"
    return (
        f"no: pi_ref = ({example.ref[0]}, {example.ref[1]}), reward gap {example.gap}, "
        f"beta {example.beta:g} ends at delta = {number(example.minimiser)} "
        f"(RLHF {number(example.solvers['rlhf'])}, DPO {number(example.solvers['dpo'])}, "
        f"CPO {number(example.solvers['cpo'])})"
    )


def _trap(card: LossCard) -> str:
    found = card.trap_region
    if found.verdict is None:
        if found.reason:
            return f"not decided: {found.reason}"
        return (
            "not decided: the slope is no number, or too small for a float inside U, at "
            f"delta_ref = {number(found.undecided[0])}; a smaller ref_limit leaves it out"
        )
    if not found.verdict:
        return "no finite minimum or flat of an ordered pair lies in U"
    parts = []
    for low, high in found.regions:
        scaled = f"beta*delta_ref < {number(high * card.ranges.beta)}"
        whole = low <= -card.ranges.ref_limit * (1 - 1e-9)
        between = f"{number(low)} < delta_ref < {number(high)}"
        parts.append(f"delta_ref < {number(high)} ({scaled})" if whole else between)
    return f"yes: for {', and for '.join(parts)}"


def _exit(row: Mapping[str, Any]) -> str:
    where = f"delta_ref = {number(row['ref_margin'])}"
    if math.isinf(row["time"]):
        return f"{where}: {row['why']}"
    return f"{where}: {number(row['ratio'])} of DPO's time"
