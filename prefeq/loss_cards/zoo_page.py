"""The page of the loss zoo, from its JSON: one table, what surprised us, and every card."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from html import escape
from typing import Any

from prefeq.loss_cards.zoo_surprises import surprises

Record = Mapping[str, Any]

GROUPS = {
    "family": "The family",
    "released": "The released code",
    "trl": "TRL's loss types",
}

HEAD = """---
hide: [toc]
---

# The loss zoo

Every preference loss that prefeq knows, on one bench: the family of
[`prefeq.losses`](api/losses.md), the three losses of the released training code (written from
their formulas as plain functions, so that the card sees the code and not its name), and every loss
type of TRL's `DPOTrainer` (TRL {trl}, run through its own code for the loss, without the checks
that a trainer makes before). β = {beta:g} and otherwise the
defaults, except where a parameter stands with the name. `prefeq loss NAME` prints a card, of your
own loss too; `python -m prefeq.loss_cards.zoo docs/zoo.md` writes this page; [zoo.json](zoo.json)
has its numbers.

A card measures a pair of two responses, δ = log π(w) − log π(l), at δ_ref on a grid of the range,
±{limit:g} nats where β enters, at 401 more of them where a loss takes many pairs in one call, and
bisects the thresholds. What it says was looked at there; of the family it is proved as well, and
the card says *certified*. A gradient that underflows is no flat: where that leaves a trap open,
the card says *not decided*.

## One table {{ #table }}

"""

LEGEND = """
*Depends on*: what moves the value; +tokens, token counts; +batch, the other pairs. *First step*:
which way δ goes from π_ref. *Minimisers*: of an ordered pair at δ_ref = −5/β. *Target*: where the
loss asks δ to be, above or
below DPO's, which is δ_ref; none, if the curves of different references are no
shifts of one another. *Aligned*: every local minimum under Bradley–Terry labels has δ > 0 for
every Δr > 0, the target fixed, or recomputed for a flipped label (*per label*). *Trap*: for these
δ_ref a finite minimum, or a flat, of an ordered pair lies in [U](concepts.md#undesirable).
*Exit*: the time to leave U at δ_ref = −3/β over DPO's. *Faults*: at ±800 nats, in float32,
bfloat16 and float16, and in general; *in italics* what is only worth knowing. – is not decided:
the loss is no number, or its gradient 0 in floats.
"""

COLUMNS = (
    "loss", "source", "depends on", "first step", "minimisers", "target", "aligned", "per label",
    "trap, βδ_ref", "exit", "faults",
)  # fmt: skip

KINDS = {
    "relative margin": "δ − δ_ref",
    "margins": "δ, δ_ref",
    "policy margin": "δ",
    "margin and reference log-probs": "δ, log π_ref(w), log π_ref(l)",
    "log-ratios": "log π/π_ref of each",
    "policy log-probs": "log π of each",
    "log-probs": "each log-prob",
    "nothing": "nothing",
    "unknown": "–",
}


def page(zoo: Mapping[str, Any]) -> str:
    """Return the page as Markdown.

    Parameters
    ----------
    zoo
        What `zoo.collect` returns, or ``zoo.json``.
    """
    losses = zoo["losses"]
    limit = max(record["ranges"]["ref_margin"][1] for record in losses)
    parts = [HEAD.format(trl=zoo["trl"], beta=zoo["beta"], limit=limit), table(losses), LEGEND]
    parts.append("\n## What surprised us { #surprises }\n\n")
    parts += [f"- **{found.title}** {found.text}\n" for found in surprises(losses)]
    for group, title in GROUPS.items():
        parts.append(f"\n## {title} {{ #{group} }}\n")
        parts += [entry(record) for record in losses if record["group"] == group]
    return "".join(parts)


def table(losses: list[Record]) -> str:
    """Return the table, one loss a row."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    lines += [f"| {' | '.join(cells(record))} |" for record in losses]
    return "\n".join(lines) + "\n"


def cells(record: Record) -> tuple[str, ...]:
    """Return the cells of a row, in the order of `COLUMNS`."""
    depends = record["depends_on"]
    kind = KINDS[depends["kind"]] + " +tokens" * bool(depends["length"])
    deep = record["minimisers"]["ordered"][0]
    faults = [
        fault["name"] if fault["severity"] == "fault" else f"*{fault['name']}*"
        for fault in record["faults"]
    ]
    unknown = not_a_number(record)
    return (
        f"[{record['name']}](#{record['key']})",
        source(record["source"]),
        "–" if unknown else kind + " +batch" * (depends["batch"] != "no"),
        "–" if unknown else record["first_step"]["direction"],
        "–" if unknown else minimisers(deep),
        "–" if unknown else target(record["target_margin"]),
        word(record["aligned"]),
        word(record["aligned_per_label"]),
        trap(record),
        "–" if unknown else exit_time(record["exit_times"][1]),
        ", ".join(faults) or "none",
    )


def source(text: str) -> str:
    """Return a source in few words, arXiv numbers linked.

    >>> source("released training code of arXiv:2605.20834")
    'code of [2605.20834](https://arxiv.org/abs/2605.20834)'
    """
    text = text.replace("released training code of", "code of")
    text = text.replace(
        "E. Mitchell, A note on DPO with noisy preferences (2023)", "Mitchell (2023)"
    )
    return re.sub(r"arXiv:(\d+\.\d+)", r"[\1](https://arxiv.org/abs/\1)", text) or "–"


def not_a_number(record: Record) -> bool:
    """Tell whether the loss is no number even on ordinary pairs, so that little can be said."""
    return "not-finite" in [fault["name"] for fault in record["faults"]]


def word(verdict: bool | None) -> str:
    """Return a verdict as a cell has it."""
    return "–" if verdict is None else "yes" if verdict else "no"


def minimisers(row: Record) -> str:
    """Return where an ordered pair ends, in nats."""
    if row["minima"] == [["-inf", "inf"]]:
        return "flat in floats"
    parts = []
    for low, high in row["minima"]:
        point = low == high
        parts.append(short(low) if point else f"from {short(low)} on" if high == "inf" else
                     f"{short(low)} to {short(high)}")  # fmt: skip
    parts += [text.replace("inf", "∞").replace("-", "−") for text in row["infinite"]]
    return ", ".join(parts) or "none"


def target(found: Record | None) -> str:
    """Return the target, and how it compares with DPO's."""
    if found is None:
        return "none"
    if found["form"] == "delta_ref":
        return "DPO's"
    if found["form"] == "max(delta_ref, 0)":
        return "max(δ_ref, 0)"
    if found["form"] == "constant":
        return f"{short(found['lowest'])} always"
    if found["tail"] is not None and found["tail"] > 1e-6:
        return f"above; falls by {short(found['tail'])} a nat of δ_ref"
    if found["below_dpo"]:
        return f"below, by up to {short(found['below_dpo'])}"
    return f"above, ≥\N{NO-BREAK SPACE}{short(found['lowest'])}"


def trap(record: Record) -> str:
    """Return the reference margins that trap, in units of 1/β."""
    if not record["trap"]:
        return word(record["trap"])
    low, high = record["trap_region"]["ref_margin"][0]
    beta = record["ranges"]["beta"]
    whole = low <= -record["ranges"]["ref_margin"][1] * (1 - 1e-9)
    return (
        f"<\N{NO-BREAK SPACE}{short(high * beta)}"
        if whole
        else f"{short(low * beta)} to {short(high * beta)}"
    )


def exit_time(row: Record) -> str:
    """Return the exit time from U as a share of DPO's."""
    if row["ratio"] == "inf":
        return "never, in floats" if "floats" in row["why"] else str(row["why"])
    return short(row["ratio"])


def short(value: Any) -> str:
    """Return a number in four digits at most.

    >>> short(-49.99999), short("inf"), short(3.3e6), short(-1e-13), short(0.17883)
    ('−50', '∞', '3.3e+06', '0', '0.179')
    """
    value = float(value)
    if abs(value) < 1e-9:
        return "0"
    large = 1e4 <= abs(value) < math.inf
    text = f"{value:.1e}" if large else f"{value:.4g}" if abs(value) >= 100 else f"{value:.3g}"
    return text.replace("inf", "∞").replace("-", "−")


def entry(record: Record) -> str:
    """Return the section of one loss: its verdicts, its picture and, to open, its card."""
    lines = "\n".join(escape(line, quote=False) for line in record["lines"])
    verdicts = record["headline"]
    return (
        f"\n### {record['name']} {{ #{record['key']} }}\n\n"
        f"{verdicts[0].upper()}{verdicts[1:]}.\n\n"
        f"![{record['picture']}](images/zoo/{record['key']}.svg)\n\n"
        f'<details>\n<summary>The card</summary>\n<pre class="card">{lines}</pre>\n</details>\n'
    )
