"""Tables on disk or in memory, read strictly: CSV, JSON Lines and Parquet.

Two schemas, extra columns ignored:

- a *table* of responses: ``prompt, response, ref_logp, reward``, one row per response;
- *pairs*: ``prompt, winner, loser`` and optionally ``prob`` and ``mass``, one row per comparison.

Whatever cannot be meant is refused with a one-line `TableError` that names the file, the data row
(counted from 1), the column, the value and what to do next.
"""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from prefeq.errors import TableError
from prefeq.table_files import Columns, read_columns

TABLE_COLUMNS = ("prompt", "response", "ref_logp", "reward")
PAIR_COLUMNS = ("prompt", "winner", "loser")
OPTIONAL_PAIR_COLUMNS = ("prob", "mass")


def bandit_columns(table: Any) -> Columns:
    """Return the checked columns ``prompt, response, ref_logp, reward`` of `table`.

    Parameters
    ----------
    table
        A path to a ``.csv``, ``.jsonl``/``.ndjson`` or ``.parquet`` file, or a mapping from column
        name to values. ``ref_logp`` is in nats and need not be normalised; ``-inf`` marks a
        response that the reference cannot give. Numbers as text ("-1.5", "-inf") are accepted.

    Raises
    ------
    TableError
        A file that cannot be read, no rows, a missing column, a missing or malformed value, a
        response listed twice for a prompt, or a prompt without a possible response.

    Examples
    --------
    >>> columns = bandit_columns({"prompt": ["p", "p"], "response": ["a", "b"],
    ...                           "ref_logp": ["-0.5", "-inf"], "reward": [1, 0]})
    >>> columns["ref_logp"], columns["reward"]
    ([-0.5, -inf], [1.0, 0.0])
    """
    source, raw = _load(table, "table", TABLE_COLUMNS, ())
    columns: Columns = {
        "prompt": _parse(source, raw, "prompt", _text),
        "response": _parse(source, raw, "response", _text),
        "ref_logp": _parse(source, raw, "ref_logp", _log_prob),
        "reward": _parse(source, raw, "reward", _finite),
    }
    _refuse_repeats(source, columns)
    _refuse_empty_prompts(source, columns)
    return columns


def pair_columns(pairs: Any, table: Columns) -> Columns:
    """Return the checked columns of `pairs`: ``prompt, winner, loser`` [, ``prob``] [, ``mass``].

    Parameters
    ----------
    pairs
        A path or a mapping, as in `bandit_columns`.
    table
        What `bandit_columns` returned: each pair must compare two of its responses.

    Raises
    ------
    TableError
        As in `bandit_columns`, and for a prompt or response that the table does not list, a winner
        that is also the loser, a ``prob`` outside [0, 1], a negative ``mass``, or a pair of
        positive mass with a response whose ``ref_logp`` is -inf.

    Examples
    --------
    >>> table = bandit_columns({"prompt": ["p", "p"], "response": ["a", "b"],
    ...                         "ref_logp": [-1, -2], "reward": [1, 0]})
    >>> pair_columns({"prompt": ["p"], "winner": ["a"], "loser": ["b"], "prob": [0.9]}, table)
    {'prompt': ['p'], 'winner': ['a'], 'loser': ['b'], 'prob': [0.9]}
    """
    source, raw = _load(pairs, "pairs", PAIR_COLUMNS, OPTIONAL_PAIR_COLUMNS)
    parsers = {"prob": _probability, "mass": _mass}
    columns = {name: _parse(source, raw, name, parsers.get(name, _text)) for name in raw}
    names = zip(table["prompt"], table["response"], strict=True)
    listed = dict(zip(names, table["ref_logp"], strict=True))
    prompts = set(table["prompt"])
    for i, prompt in enumerate(columns["prompt"]):
        if prompt not in prompts:
            raise _error(source, i, "prompt", prompt, "is not a prompt of the table; list it there")
        for role in ("winner", "loser"):
            name = columns[role][i]
            why = f"is not a response of prompt {_show(prompt)}; list it in the table"
            if (prompt, name) not in listed:
                raise _error(source, i, role, name, why)
            absent = listed[prompt, name] == -math.inf
            if absent and not ("mass" in columns and columns["mass"][i] == 0):
                why = "has ref_logp -inf in the table, so no policy may give it; drop the pair"
                raise _error(source, i, role, name, why)
        if columns["winner"][i] == columns["loser"][i]:
            why = "is winner and loser of the same pair; compare two different responses"
            raise _error(source, i, "loser", columns["loser"][i], why)
    return columns


# Loading ------------------------------------------------------------------------------------------


def _load(
    table: Any, what: str, required: tuple[str, ...], optional: tuple[str, ...]
) -> tuple[str, Columns]:
    """Return a name for messages and the raw columns, all present and of one positive length."""
    wanted = (*required, *optional)
    if isinstance(table, str | os.PathLike):
        source = str(table)
        names, found = read_columns(Path(table), wanted)
    else:
        source, names, found = what, list(table), table
    for name in required:
        if name not in found:
            have = ", ".join(map(repr, names)) or "none"
            raise TableError(f"{source}: no column {name!r}; add it (columns found: {have})")
    columns = {name: list(found[name]) for name in wanted if name in found}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise TableError(f"{source}: columns differ in length ({lengths}); give one value per row")
    if not columns[required[0]]:
        raise TableError(f"{source}: no data rows; list at least one row under the column names")
    return source, columns


# Values -------------------------------------------------------------------------------------------


def _parse(source: str, raw: Columns, name: str, parser: Callable[[Any], Any]) -> list[Any]:
    values = []
    for i, value in enumerate(raw[name]):
        try:
            values.append(parser(value))
        except ValueError as error:
            raise _error(source, i, name, value, str(error)) from None
    return values


def _text(value: Any) -> str:
    if isinstance(value, str):
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError("holds half a character (a lone surrogate); repair the text")
        return str(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ValueError("is no text; give a name here")
    # A column of ids may be numbers in Parquet and JSON, and text in CSV: both name one thing.
    return str(int(value))


def _number(value: Any) -> float:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError("is no value; give a number here")
    number = math.nan
    numeric = isinstance(value, numbers.Real | Decimal) and not isinstance(value, bool)
    if numeric or (isinstance(value, str) and "_" not in value):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            raise ValueError("is not a number; give one here") from None
        if math.isnan(number):
            raise ValueError("is not a number; drop the row or give one here")
        return number
    raise ValueError("is not a number; give one here")


def _finite(value: Any) -> float:
    number = _number(value)
    if math.isinf(number):
        raise ValueError("is not finite; give a finite number")
    return number


def _log_prob(value: Any) -> float:
    number = _number(value)
    if number == math.inf:
        raise ValueError("is +inf; give a log-probability in nats, or -inf")
    return number


def _probability(value: Any) -> float:
    number = _number(value)
    if not 0 <= number <= 1:
        raise ValueError("is outside [0, 1]; give the probability that the winner is preferred")
    return number


def _mass(value: Any) -> float:
    number = _finite(value)
    if number < 0:
        raise ValueError("is negative; give a mass >= 0")
    return number


def _refuse_repeats(source: str, columns: Columns) -> None:
    first: dict[tuple[str, str], int] = {}
    for i, key in enumerate(zip(columns["prompt"], columns["response"], strict=True)):
        if first.setdefault(key, i) != i:
            why = (
                f"is listed twice for prompt {_show(key[0])} (first in row {first[key] + 1}); "
                "list each response once"
            )
            raise _error(source, i, "response", key[1], why)


def _refuse_empty_prompts(source: str, columns: Columns) -> None:
    top: dict[str, float] = {}
    for prompt, logp in zip(columns["prompt"], columns["ref_logp"], strict=True):
        top[prompt] = max(logp, top.get(prompt, -math.inf))
    for prompt, logp in top.items():
        if logp == -math.inf:
            i = columns["prompt"].index(prompt)
            why = "has ref_logp -inf for every response; give one a finite ref_logp or drop it"
            raise _error(source, i, "prompt", prompt, why)


def _error(source: str, i: int, column: str, value: Any, why: str) -> TableError:
    return TableError(f"{source}: row {i + 1}, column {column!r}: {_show(value)} {why}")


def _show(value: Any, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
