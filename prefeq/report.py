"""What the three methods answer on a table of responses, shown as text and as strict JSON."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from html import escape
from textwrap import wrap
from typing import Any

from prefeq import text
from prefeq.solution import Status
from prefeq.strict_json import to_plain

METHODS = ("rlhf", "dpo", "cpo")
SHOWN = 20
"""At most this many prompts are printed, those furthest from the assumption first."""


@dataclass(frozen=True, repr=False)
class TableReport:
    """What the three methods answer on every prompt of a table; shows itself as a table.

    Attributes
    ----------
    beta, labels, margin
        As given; `labels` is "prob" where a ``prob`` column of the pairs gave them.
    prompts
        One mapping a prompt, as in the JSON form.
    """

    beta: float
    labels: str
    margin: float
    prompts: tuple[dict[str, Any], ...]

    @property
    def summary(self) -> dict[str, Any]:
        """Number of prompts, pairs and violated pairs; the violation rate (None without pairs)."""
        pairs = [pair for prompt in self.prompts for pair in prompt["pairs"]]
        violated = sum(pair["violated"] for pair in pairs)
        rate = violated / len(pairs) if pairs else None
        return {
            "prompts": len(self.prompts),
            "pairs": len(pairs),
            "violated": violated,
            "violation_rate": rate,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the strict JSON form: plain types, ±inf as "inf" and "-inf", no NaN."""
        form: dict[str, Any] = to_plain(
            {
                "beta": self.beta,
                "labels": self.labels,
                "margin": self.margin,
                "summary": self.summary,
                "prompts": self.prompts,
            }
        )
        return form

    def __repr__(self) -> str:
        return "\n".join([*self._head(), "", *self._table(), *self._notes()])

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"

    def _head(self) -> list[str]:
        total = self.summary
        lines = [
            f"beta = {self.beta:g}, labels: {self.labels}, margin = {self.margin:g} nats; "
            f"{_count(total['prompts'], 'prompt')}, {_count(total['pairs'], 'pair')}"
        ]
        if total["pairs"]:
            lines.append(
                f"assumption (margin of the RLHF optimum > 0): violated by {total['violated']} of "
                f"{_count(total['pairs'], 'pair')} ({100 * total['violation_rate']:.1f} %)"
            )
        return lines

    def _table(self) -> list[str]:
        ranked = sorted(self.prompts, key=lambda p: _worst_margin(_worst_pair(p)))
        if len(ranked) <= SHOWN:
            ranked = list(self.prompts)
        header = ["prompt", "worst pair", "violated", "ref", *METHODS]
        lines = text.align(header, [_row(prompt) for prompt in ranked[:SHOWN]], left=2)
        if len(ranked) > SHOWN:
            rest = len(ranked) - SHOWN
            lines.append(f"... and {rest} more prompts, less violated; the JSON form has them all")
        return [
            "margins in nats, log pi(winner) - log pi(loser), of each prompt's worst pair:",
            *lines,
        ]

    def _notes(self) -> list[str]:
        lines = [""]
        for method in METHODS:
            found = Counter(prompt["status"][method] for prompt in self.prompts)
            lines.append(f"{method:>4}: " + ", ".join(f"{n} {s}" for s, n in sorted(found.items())))
            residuals = [p["residual"][method] for p in self.prompts]
            worst = max((r for r in residuals if r is not None), default=None)
            if worst is not None:
                lines[-1] += f"; largest residual {worst:.1e}"
        seen = {status for prompt in self.prompts for status in prompt["status"].values()}
        for status in Status:
            if status.value in seen and status is not Status.OPTIMAL:
                note = f"{status.value}: {status.help}"
                lines += ["", *wrap(note, 98, subsequent_indent="  ")]
        return lines


def _worst_pair(prompt: dict[str, Any]) -> dict[str, Any] | None:
    return min(prompt["pairs"], key=_worst_margin, default=None)


def _worst_margin(pair: dict[str, Any] | None) -> float:
    return math.inf if pair is None else float(pair["rlhf_margin"])


def _row(prompt: dict[str, Any]) -> list[str]:
    name, pair = text.fit(prompt["prompt"], 24), _worst_pair(prompt)
    if pair is None:
        return [name, "(no pairs)", "0/0", *["-"] * 4]
    violated = sum(p["violated"] for p in prompt["pairs"])
    columns = [text.number(pair[f"{method}_margin"]) for method in ("ref", *METHODS)]
    versus = f"{text.fit(pair['winner'], 10)} > {text.fit(pair['loser'], 10)}"
    return [name, versus, f"{violated}/{len(prompt['pairs'])}", *columns]


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")
