"""The instance that a failure prints: tables that `prefeq solve` reads, and its command."""

from __future__ import annotations

import csv
import io
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prefeq.bandit import Bandit
from prefeq.loss_cards.pairs import Pairs
from prefeq.preferences import Preferences
from prefeq.strict_json import write_text


@dataclass(frozen=True, eq=False)
class Instance:
    """A small problem as tables.

    Attributes
    ----------
    rows
        One mapping a response: ``prompt, response, ref_logp, reward``, and what else explains the
        failure; `prefeq solve` looks at the first four alone.
    beta
        β of the command.
    labels
        ``bradley-terry`` or ``ordered``.
    pairs
        One mapping a pair: ``prompt, winner, loser`` and ``prob`` or ``mass`` where they matter.
        Empty: every two responses of different rewards, as `prefeq solve` takes them by itself.
    """

    rows: Sequence[Mapping[str, Any]]
    beta: float
    labels: str = "ordered"
    pairs: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def of_margins(cls, ref_margin: float, gap: float, beta: float, labels: str) -> Instance:
        """Return two responses whose reference margin is δ_ref and whose reward gap is Δr."""
        logps = (ref_margin, 0.0) if ref_margin <= 0 else (0.0, -ref_margin)
        names = zip(("chosen", "rejected"), logps, (gap, 0.0), strict=True)
        return cls([_row("p", n, logp, reward) for n, logp, reward in names], beta, labels)

    @classmethod
    def of_pairs(cls, pairs: Pairs, beta: float, *, tokens: bool = False) -> Instance:
        """Return a prompt a pair; the policy's log-probs stand in a column ``logp``."""
        rows = []
        for i in range(len(pairs)):
            for name, reward in (("chosen", 1.0), ("rejected", 0.0)):
                logp, ref, length = (
                    getattr(pairs, key)[i] for key in (name, f"ref_{name}", f"{name}_tokens")
                )
                row = {**_row(f"p{i}" if len(pairs) > 1 else "p", name, ref, reward)}
                lengths = {"tokens": int(length)} if tokens else {}
                rows.append(row | {"logp": float(logp)} | lengths)
        return cls(rows, beta)

    @classmethod
    def of_problem(cls, bandit: Bandit, preferences: Preferences) -> Instance:
        """Return a bandit and its pairs, which are left out if they are the default ones."""
        names = [f"y{i}" for i in range(bandit.K)]
        columns = zip(names, bandit.ref_logp.tolist(), bandit.reward.tolist(), strict=True)
        rows = [_row("p", *column) for column in columns]
        beta, on = float(bandit.beta), preferences.present
        odds, gap = preferences.log_odds, preferences.reward_gap(bandit)
        labels = "bradley-terry" if np.array_equal(odds[on], gap[on]) else "ordered"
        if not on.any() and bandit.K == 1:
            return cls(rows, beta, labels)
        if not on.any():
            # `prefeq solve` takes a file without rows for a mistake; no mass is no pair.
            absent = {"prompt": "p", "winner": names[0], "loser": names[-1], "mass": 0.0}
            return cls(rows, beta, labels, [absent])
        # Either way round is the same population label: the higher reward first, as by default.
        turned = (gap < 0) & (labels == "bradley-terry")
        winner = np.where(turned, preferences.loser, preferences.winner)[on].tolist()
        loser = np.where(turned, preferences.winner, preferences.loser)[on].tolist()
        mass = preferences.mass[on].tolist()
        if labels == "bradley-terry" and _is_default(bandit, winner, loser, mass):
            return cls(rows, beta, labels)
        soft = labels == "ordered" and not np.isposinf(odds[on]).all()
        pairs = [
            {"prompt": "p", "winner": names[w], "loser": names[lo]}
            | ({"prob": float(q)} if soft else {})
            | {"mass": m}
            for w, lo, q, m in zip(winner, loser, preferences.prob[on], mass, strict=True)
        ]
        return cls(rows, beta, labels, pairs)

    def table(self) -> str:
        """Return the CSV of the responses."""
        return _csv(self.rows)

    def pairs_table(self) -> str:
        """Return the CSV of the pairs; empty if `prefeq solve` finds them by itself."""
        return _csv(self.pairs) if self.pairs else ""

    def command(self, stem: str = "instance") -> str:
        """Return the command that solves it."""
        given = f" --pairs {shlex.quote(f'{stem}-pairs.csv')}" if self.pairs else ""
        labels = "" if self.labels == "bradley-terry" else f" --labels {self.labels}"
        return f"prefeq solve {shlex.quote(f'{stem}.csv')} --beta {self.beta!r}{labels}{given}"

    def write(self, folder: str | os.PathLike[str], stem: str = "instance") -> list[Path]:
        """Write STEM.csv and, if there are any, STEM-pairs.csv; return the paths."""
        paths = [Path(folder) / f"{stem}.csv"]
        write_text(paths[0], self.table())
        if self.pairs:
            paths.append(Path(folder) / f"{stem}-pairs.csv")
            write_text(paths[1], self.pairs_table())
        return paths

    def text(self, stem: str = "instance") -> str:
        """Return the tables under the names that `write` gives them, and the command."""
        pairs = f"{stem}-pairs.csv:\n{self.pairs_table()}" if self.pairs else ""
        return f"{stem}.csv:\n{self.table()}{pairs}$ {self.command(stem)}"

    def __str__(self) -> str:
        return self.text()


def _row(prompt: str, response: str, ref_logp: Any, reward: Any) -> dict[str, Any]:
    # 0.0 + x: no -0.0 in a table
    number = {"ref_logp": 0.0 + float(ref_logp), "reward": 0.0 + float(reward)}
    return {"prompt": prompt, "response": response, **number}


def _is_default(
    bandit: Bandit, winner: Sequence[int], loser: Sequence[int], mass: Sequence[float]
) -> bool:
    """Tell whether pairs are those that `prefeq solve` takes by itself: all, of equal mass."""
    default = Preferences.bradley_terry(bandit)
    pairs = zip(default.winner.tolist(), default.loser.tolist(), strict=True)
    same = sorted(pairs) == sorted(zip(winner, loser, strict=True))
    return same and all(math.isclose(m, 1 / len(mass)) for m in mass)


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: repr(value) if isinstance(value, float) else value for key, value in row.items()}
        for row in rows
    )
    return out.getvalue()
