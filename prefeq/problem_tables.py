"""Bandits and preferences as tables for Jupyter: what `_repr_html_` and `_repr_latex_` show."""

from __future__ import annotations

import math
from typing import Any

from prefeq import text
from prefeq.rich import Table

SHOWN = 20
"""At most this many responses or pairs."""


def bandit_table(bandit: Any) -> Table:
    """Return the responses of the first prompt, a line each; the caption says how many there are.

    >>> import prefeq as pq
    >>> bandit_table(pq.Bandit.from_probs(reward=[1, 0], ref=[0.25, 0.75], beta=1.0)).rows
    [['0', '1.000', '0.250', '-1.386'], ['1', '0.000', '0.750', '-0.288']]
    """
    header, one = ["response", "reward", "π_ref", "log π_ref (nats)"], bandit.to_numpy()
    caption = repr(bandit)
    if 0 in bandit.batch_shape:
        return Table(header, [], caption=caption)
    if bandit.batch_shape:
        caption += "; the first prompt:"
    while one.batch_shape:
        one = one[0]
    names = one.responses[0] if one.responses else tuple(range(one.K))
    rows = [
        [str(name), *map(text.number, (reward, math.exp(log_prob), log_prob))]
        for name, reward, log_prob in zip(
            names, one.reward.tolist(), one.ref_logp.tolist(), strict=False
        )  # a ragged prompt has fewer names than columns
    ]
    if len(rows) > SHOWN:
        caption += f" the first {SHOWN} responses:"
    prompt = f" {one.prompts[0]}" if one.prompts else ""
    return Table(header, rows[:SHOWN], caption=caption + prompt)


def pairs_table(preferences: Any) -> Table:
    """Return the pairs of a single prompt, a line each; of a batch only how many there are.

    >>> import prefeq as pq
    >>> bandit = pq.Bandit.from_probs(reward=[1, 0], ref=[0.25, 0.75], beta=1.0)
    >>> pairs_table(pq.Preferences.bradley_terry(bandit)).rows
    [['0 > 1', '0.731', '1.000']]
    """
    header = ["pair", "label probability", "mass"]
    if preferences.batch_shape:
        return Table(header, [], caption=repr(preferences))
    pairs = preferences.to_numpy()
    columns = (pairs.winner, pairs.loser, pairs.prob, pairs.mass)
    rows = [
        [f"{w} > {lo}", text.number(float(q)), text.number(float(m))]
        for w, lo, q, m in zip(*columns, strict=True)
    ]
    first = f", the first {SHOWN}" if len(rows) > SHOWN else ""
    return Table(header, rows[:SHOWN], caption=f"Preferences(P={pairs.P}){first}")
