"""The report of an audit: what a terminal shows, and strict JSON."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefeq import text
from prefeq.llm.figures import figures
from prefeq.llm.plan import FEW_LABELS, TRAPS
from prefeq.llm.state import AuditState
from prefeq.llm.verdict import counted, percent, unused_hint, verdict
from prefeq.strict_json import to_plain, write_text

RATES = {
    "violation_rate": ("violate the assumption: gap <= critical gap", "violated"),
    "ref_below_zero": ("reference prefers rejected: delta_ref < 0", "ref_below_zero"),
    "relative_accuracy": ("relative accuracy (logged): delta > delta_ref", "worsened"),
    "absolute_accuracy": ("absolute accuracy: delta > 0", "misaligned"),
    "undesirable_share": ("undesirable space: delta_ref < delta < 0", "undesirable"),
    "displaced_share": ("displaced: both log-probs below reference's", "displaced"),
    "reward_below_zero": ("reward prefers the rejected: gap < 0", None),
}
"""What the rates are, and of which kind their examples are."""

WIDTH = 98
NAME_COLUMNS = 24

FEW_PAIRS = 10_000
"""Below so many pairs the text counts them beside the rates."""

FILES_NAMED = 20
"""Files that the JSON form names; it counts them all."""


@dataclass(frozen=True, repr=False)
class AuditReport:
    """What an audit found; shows itself as text, and has a strict JSON form.

    Attributes
    ----------
    figures
        Every figure, by name, as in the JSON form.
    verdict
        How things stand, and what to do next: a sentence each.
    state
        The state behind it: merge it with others', and report again.
    """

    figures: dict[str, Any]
    verdict: tuple[str, str]
    state: AuditState

    @classmethod
    def of(
        cls,
        state: AuditState,
        files: Sequence[str] | None = None,
        unused: Mapping[str, str] | None = None,
    ) -> AuditReport:
        """Return the report of a state, of what files if of files.

        Parameters
        ----------
        unused
            {theirs: ours} of columns that are not read but look like ours.
        """
        found = figures(state)
        found["files"] = None
        if files is not None:
            first = sorted(files)[:FILES_NAMED]  # in whatever order they were given
            names = [os.fsencode(name).decode("utf-8", "replace") for name in first]
            found["files"] = {"count": len(files), "names": names}
        found["unused_columns"] = dict(unused or {})
        return cls(found, verdict(found), state)

    @property
    def faults(self) -> tuple[str, ...]:
        """The names of the faults that the numbers show."""
        return tuple(fault["name"] for fault in self.figures["faults"])

    def to_dict(self) -> dict[str, Any]:
        """Return the strict JSON form: plain types, ±inf as "inf" and "-inf", no NaN."""
        form: dict[str, Any] = to_plain({"verdict": list(self.verdict), **self.figures})
        return form

    def __getitem__(self, name: str) -> Any:
        return self.figures[name]

    def __repr__(self) -> str:
        parts = [self._head(), self._rates(), self._quantiles(), self._losses(), self._betas()]
        return "\n\n".join("\n".join(part) for part in [*parts, self._faults()] if part)

    def _repr_html_(self) -> str:
        from prefeq.llm.page import fragment

        return fragment(self.figures, self.verdict)

    def to_html(self, title: str | None = None) -> str:
        """Return the report as one page of HTML that holds everything it shows.

        Tables, figures and definitions; no script, nothing from the network. Figures are drawn by
        matplotlib. The same report gives the same page.

        Parameters
        ----------
        title
            What stands above it, such as what was audited.

        Examples
        --------
        >>> import prefeq as pq
        >>> report = pq.audit(beta=1.0, ref_chosen_logps=[-3.0], ref_rejected_logps=[-2.0])
        >>> page = report.to_html("Mine <3")
        >>> page[:15], "<h1>Mine &lt;3</h1>" in page
        ('<!DOCTYPE html>', True)
        """
        from prefeq.llm.page import page

        return page(self.figures, self.verdict, title)

    def save_html(self, path: str | os.PathLike[str], title: str | None = None) -> None:
        """Write `to_html` to a file: all of it or, on any error, nothing.

        Raises
        ------
        ProblemError
            If the file cannot be written.
        """
        write_text(path, self.to_html(title))

    def _head(self) -> list[str]:
        f = self.figures
        gap = {"rewards": "rewards", "label_prob": "label probabilities", None: "unknown"}
        by = "" if f["prompts"] is None else f", by prompt ({f['prompts']:,})"
        facts = (
            f"{counted(f['pairs'], 'pair')}, {counted(f['excluded'], 'row')} left out; "
            f"beta = {f['beta']:g}; normalize = {f['normalize']}; "
            f"reward gap: {gap[f['reward_gap']]}; intervals: {100 * f['level']:g} %, Wilson{by}"
        )
        hint = unused_hint(f)
        lines = [*_wrap(" ".join(self.verdict)), "", *_wrap(facts)]
        return [*lines, *_wrap(hint, "  ", names=True)] if hint else lines

    def _rates(self) -> list[str]:
        f, rows = self.figures, []
        few = f["pairs"] < FEW_PAIRS
        for name, (what, kind) in RATES.items():
            if f[name] is not None:
                names = [str(row["row"]) for row in f["examples"].get(kind, [])[:2]]
                shown = ", ".join(names)
                if text.width(shown) > NAME_COLUMNS:
                    shown = names[0]
                shown = text.fit(shown, NAME_COLUMNS)
                number = [f"{round(f[name] * f['pairs']):,}"] if few else []
                interval = _interval(f[f"{name}_interval"])
                rows.append([what, _percent(f[name]), *number, interval, shown])
        header = ["share of pairs that", "%", *(["pairs"] if few else []), "interval", "worst row"]
        return text.align(header, rows) if rows else []

    def _quantiles(self) -> list[str]:
        shares = ("0.05", "0.25", "0.5", "0.75", "0.95")
        rows = []
        for name, what in (
            ("margin", "policy margin delta, nats"),
            ("ref_margin", "reference margin delta_ref, nats"),
            ("critical_gap", "critical gap -beta delta_ref"),
            ("critical_label_prob", "critical label probability"),
            ("exit_time", "exit time of DPO's flow from delta_ref"),
        ):
            if self.figures[name] is not None:
                found = self.figures[name]["quantiles"]
                rows.append([what, *(text.number(found[share]) for share in shares)])
        header = ["quantiles", *(f"{float(share):.0%}" for share in shares)]
        return text.align(header, rows) if rows else []

    def _losses(self) -> list[str]:
        if not self.figures["pairs"]:
            return []
        rows = []
        for name, loss in self.figures["losses"].items():
            least = (loss["certificate"] or {}).get("misaligned_share_at_most")
            rows.append(
                [
                    name,
                    loss["normalize"],
                    text.number(loss["mean"]),
                    text.number(loss["target"]["quantiles"]["0.5"]),
                    _percent(loss["negative_target_share"]),
                    _percent(loss["trap_share"]),
                    "-" if least is None or least >= 1 else _percent(least),
                ]
            )
        header = ["loss", "logps", "mean", "median target", "% negative", "% traps", "<= % wrong"]
        note = (
            "losses: % of targets below 0, % of pairs trapped for ever, and the most % that can be "
            "wrong"
        )
        return [note, *text.align(header, rows, left=2)]

    def _betas(self) -> list[str]:
        if not self.figures["pairs"]:
            return []
        entries = self.figures["at_other_beta"]
        labels = FEW_LABELS if entries[0]["violation_by_label_prob"] else ()  # those of every beta
        header = ["beta", *([f"q = {q:g}" for q in labels] or ["violated"])]
        header += ["critical gap", "ipo traps", "hinge traps", "cdpo traps"]
        rows = []
        for entry in entries:
            found = entry["violation_by_label_prob"] or [entry]
            shown = [e for e in found if not labels or e["label_prob"] in labels]
            traps = [entry[f"{name}_trap_share"] for name in TRAPS]
            gap = text.number(entry["critical_gap"]["quantiles"]["0.5"])
            rates = [_percent(e["violation_rate"]) for e in shown]
            rows.append([f"{entry['beta']:g}", *rates, gap, *map(_percent, traps)])
        what = "violated were every label of probability q, and " if labels else "violated, and "
        return [f"at other beta, %: {what}trapped for ever", *text.align(header, rows)]

    def _faults(self) -> list[str]:
        lines = []
        for fault in self.figures["faults"]:
            rows = ", ".join(text.fit(str(row), NAME_COLUMNS) for row in fault["rows"][:5])
            note = f"fault {fault['name']}: {fault['message']}" + (
                f" (rows {rows})" if rows else ""
            )
            lines += _wrap(note, "  ")
        return lines


def _wrap(paragraph: str, indent: str = "", names: bool = False) -> list[str]:
    """Return lines: none ends between a number and its unit, nor within names to be copied."""
    whole = textwrap.wrap(
        paragraph.replace(" %", "\xa0%"),
        WIDTH,
        subsequent_indent=indent,
        break_on_hyphens=not names,
    )
    return [line.replace("\xa0", " ") for line in whole]


def _percent(share: float) -> str:
    return percent(share).removesuffix(" %")


def _interval(interval: list[float]) -> str:
    low, high = interval
    return f"{_percent(low)} to {_percent(high)}"
