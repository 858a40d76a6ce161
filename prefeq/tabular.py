"""RLHF, DPO and CPO side by side on a table of responses: the engine of `prefeq solve`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from prefeq import tables
from prefeq.bandit import Bandit
from prefeq.comparison import solve_prompt
from prefeq.errors import ProblemError
from prefeq.preferences import Preferences
from prefeq.report import TableReport
from prefeq.table_files import Columns

LABELS = ("bradley-terry", "ordered")


def solve_table(
    table: Any,
    pairs: Any = None,
    *,
    beta: float,
    labels: str = "bradley-terry",
    margin: float = 0.0,
    track: Callable[[Sequence[str]], Iterable[str]] | None = None,
) -> TableReport:
    """Solve RLHF, DPO and CPO on every prompt of a table, and compare them pair by pair.

    Parameters
    ----------
    table
        A path (CSV, JSON Lines, Parquet) or a mapping with columns ``prompt, response, ref_logp,
        reward``. ``ref_logp`` is normalised over the responses listed for a prompt.
    pairs
        A path or a mapping with columns ``prompt, winner, loser`` and optionally ``prob`` (which
        overrides `labels`) and ``mass`` (1/P per prompt by default; a pair of zero mass is absent).
        By default every two responses of a prompt with different rewards, the higher one winning.
    beta
        β > 0, in units of reward per nat.
    labels
        "bradley-terry" (q = σ(Δr)) or "ordered" (q = 1).
    margin
        The margin in nats that CPO guarantees on every pair.
    track
        Wraps the sequence of prompts, for a progress bar.

    Returns
    -------
    TableReport
        In a prompt, ``logp`` and ``objective`` are None where a method has no policy. For a DPO
        that diverges, margins are their limits, ±inf among them, and the residual is that of the
        divergence; for a CPO whose margins are infeasible both are None.

    Raises
    ------
    ProblemError
        If the table, the pairs or a parameter cannot be meant.

    Examples
    --------
    >>> report = solve_table({"prompt": ["p", "p"], "response": ["right", "famous"],
    ...                       "ref_logp": [-3.0, -0.1], "reward": [1, 0]}, beta=1.0)
    >>> report.summary
    {'prompts': 1, 'pairs': 1, 'violated': 1, 'violation_rate': 1.0}
    >>> pair = report.prompts[0]["pairs"][0]
    >>> {name: round(pair[name], 6) for name in ("ref_margin", "dpo_margin", "cpo_margin")}
    {'ref_margin': -2.9, 'dpo_margin': -1.9, 'cpo_margin': 0.0}
    """
    beta, margin = _checked("beta", beta), _checked("margin", margin)
    if beta <= 0:
        raise ProblemError(f"beta = {beta:g}: the KL strength must be positive")
    if labels not in LABELS:
        raise ProblemError(f"labels = {labels!r}: choose one of {', '.join(LABELS)}")
    columns = tables.bandit_columns(table)
    given = None if pairs is None else tables.pair_columns(pairs, columns)
    rows = _group(columns)
    pair_rows = {} if given is None else _group(given)
    names = list(rows)
    prompts = []
    for name in names if track is None else track(names):
        try:
            bandit, responses = _bandit(columns, rows[name], beta)
            if given is None:
                make = Preferences.ordered if labels == "ordered" else Preferences.bradley_terry
                prefs = make(bandit)
            else:
                prefs = _given_pairs(given, pair_rows.get(name, []), responses, bandit, labels)
            prompts.append(solve_prompt(name, responses, bandit, prefs, margin))
        except ProblemError as error:
            raise ProblemError(f"prompt {name!r}: {error}") from error
    source = "prob" if given is not None and "prob" in given else labels
    return TableReport(beta, source, margin, tuple(prompts))


def _checked(name: str, value: float) -> float:
    value = float(value)
    if not math.isfinite(value):
        raise ProblemError(f"{name} = {value}: pass a finite number")
    return value


def _group(columns: Columns) -> dict[str, list[int]]:
    """Return the rows of each prompt, prompts in the order of their first row."""
    rows: dict[str, list[int]] = {}
    for i, prompt in enumerate(columns["prompt"]):
        rows.setdefault(prompt, []).append(i)
    return rows


def _bandit(columns: Columns, rows: list[int], beta: float) -> tuple[Bandit, list[str]]:
    reward, logp, names = (
        [columns[c][i] for i in rows] for c in ("reward", "ref_logp", "response")
    )
    return Bandit(np.array(reward), np.array(logp), beta), names


def _given_pairs(
    given: Columns, rows: list[int], responses: list[str], bandit: Bandit, labels: str
) -> Preferences:
    index = {name: i for i, name in enumerate(responses)}
    winner, loser = (
        np.array([index[given[role][i]] for i in rows], dtype=np.int64)
        for role in ("winner", "loser")
    )
    mass = [given["mass"][i] for i in rows] if "mass" in given else None
    if "prob" in given:
        return Preferences(winner, loser, prob=[given["prob"][i] for i in rows], mass=mass)
    odds = bandit.reward[winner] - bandit.reward[loser] if labels == "bradley-terry" else np.inf
    return Preferences(winner, loser, log_odds=odds, mass=mass)
