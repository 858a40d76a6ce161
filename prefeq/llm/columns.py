"""The columns of a preference data set: what they are called, and batches of rows.

Names are TRL's, or its older ones (`reference_chosen_logps`); a mapping gives any others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from numbers import Real
from typing import Any, Literal

import numpy as np

from prefeq.errors import ProblemError
from prefeq.llm.lookalikes import argument, lookalikes, meant_by, option
from prefeq.llm.names import NAMES, NUMBERS, POLICY, REFERENCE, REWARDS, TOKENS

__all__ = [
    "ALIASES",
    "NAMES",
    "NUMBERS",
    "POLICY",
    "REFERENCE",
    "REWARDS",
    "TOKENS",
    "Batch",
    "Gap",
    "Layout",
    "find",
    "is_torch",
    "layout_of",
    "names_of",
    "unused",
]

ALIASES: Mapping[str, tuple[str, ...]] = {
    "ref_chosen_logps": ("reference_chosen_logps",),
    "ref_rejected_logps": ("reference_rejected_logps",),
}

Gap = Literal["rewards", "label_prob"]


@dataclass(frozen=True)
class Layout:
    """Which columns there are, beside the reference's two log-probs.

    Attributes
    ----------
    policy, tokens, prompt
        Whether these are there (the first two: both columns).
    gap
        Where Δr comes from: rewards, label probabilities (Δr = logit q) or, if None, nowhere.
    """

    policy: bool = True
    gap: Gap | None = None
    tokens: bool = False
    prompt: bool = False

    @property
    def numbers(self) -> tuple[str, ...]:
        """The numeric columns that are read."""
        gap = {"rewards": REWARDS, "label_prob": ("label_prob",), None: ()}[self.gap]
        return (
            *(POLICY if self.policy else ()),
            *REFERENCE,
            *gap,
            *(TOKENS if self.tokens else ()),
        )


def names_of(data: Any) -> list[str]:
    """Return the names of the columns of a mapping, a data frame, a table or a data set."""
    if isinstance(data, Mapping):
        return [str(name) for name in data]
    for attribute in ("column_names", "columns"):
        names = getattr(data, attribute, None)
        if names is not None and not callable(names):
            return [str(name) for name in names]
    raise ProblemError(
        f"{type(data).__name__} has no columns: pass a mapping of names to arrays, such as "
        "{'chosen_logps': ..., 'ref_chosen_logps': ...}"
    )


def find(names: list[str], mapping: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return which of `names` is which column: {our name: theirs}.

    Parameters
    ----------
    names
        The columns that there are; others than ours are left alone.
    mapping
        {our name: theirs} where theirs is neither TRL's nor its older name.

    Raises
    ------
    ProblemError
        If a column is missing, stands there twice, or comes without the other of its pair.

    Examples
    --------
    >>> find(["reference_chosen_logps", "ref_lo", "text"], {"ref_rejected_logps": "ref_lo"})
    {'ref_chosen_logps': 'reference_chosen_logps', 'ref_rejected_logps': 'ref_lo'}
    """
    mapping = mapping or {}
    for ours, theirs in mapping.items():
        if ours not in NAMES:
            raise ProblemError(
                f"columns: {ours!r} is no column of ours{_near(ours, list(NAMES))}; we know "
                f"{', '.join(NAMES)}"
            )
        if theirs not in names:
            near = _near(theirs, names)
            raise ProblemError(f"no column {theirs!r} for {ours}{near}; there are {_listed(names)}")
    found = {}
    for ours in NAMES:
        known = (mapping[ours],) if ours in mapping else (ours, *ALIASES.get(ours, ()))
        here = [name for name in known if name in names]
        if len(here) > 1:
            raise ProblemError(f"columns {here[0]!r} and {here[1]!r} are the same thing; drop one")
        if here:
            found[ours] = here[0]
    layout_of(found, names)
    return found


def layout_of(found: Mapping[str, Any], names: list[str] | None = None) -> Layout:
    """Return the layout of columns under our names; raise unless they make sense together."""
    for first, second in (REFERENCE, POLICY, REWARDS, TOKENS):
        missing = [name for name in (first, second) if name not in found]
        if len(missing) == 1 or (missing and first in REFERENCE):
            there = list(found) if names is None else names
            guess = {ours: _guess(ours, there) for ours in missing}
            raise ProblemError(
                f"no column {missing[0]}; there are {_listed(there)}: rename it, or say which it "
                f"is by {option(guess)} (in Python, {argument(guess)})"
            )
    if "chosen_reward" in found and "label_prob" in found:
        raise ProblemError("both rewards and label_prob give the reward gap; leave one of them out")
    gap: Gap | None = "label_prob" if "label_prob" in found else None
    return Layout(
        policy=POLICY[0] in found,
        gap="rewards" if REWARDS[0] in found else gap,
        tokens=TOKENS[0] in found,
        prompt="prompt" in found,
    )


def unused(data: Any, mapping: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the columns of numbers that are not read but look like ours: {theirs: ours}.

    >>> columns = {"ref_chosen_logps": [-1.0], "ref_rejected_logps": [-2.0], "note": ["a"]}
    >>> unused(columns | {"score_chosen": [0.5], "score_rejected": [1]})
    {'score_chosen': 'chosen_reward', 'score_rejected': 'rejected_reward'}
    """
    names = names_of(data)
    found = find(names, mapping)
    return lookalikes(names, found, lambda name: _holds_numbers(data[name]))


def _holds_numbers(values: Any) -> bool:
    """Tell whether a column seems to hold a number a row: by its type, or its first values."""
    if getattr(values, "ndim", 1) != 1:
        return False
    if is_torch(values):
        return not values.is_complex() and "bool" not in str(values.dtype)
    dtype = getattr(values, "dtype", getattr(values, "type", None))
    if getattr(dtype, "kind", "O") != "O":
        return bool(dtype.kind in "fiu")  # type: ignore[union-attr]
    if hasattr(values, "to_pylist"):  # Arrow's
        values = values.slice(0, 20).to_pylist()
    known = [value for value in islice(values, 20) if value is not None]
    return bool(known) and all(isinstance(v, Real) and not isinstance(v, bool) for v in known)


def _guess(ours: str, names: list[str]) -> str:
    """Return which of the names could be a column of ours; NAME if none looks like it."""
    likely = [name for name in names if name not in NAMES and meant_by(name) == ours]
    rest = [name for name in names if name not in NAMES]
    return next(iter(likely or get_close_matches(ours, rest, 1, 0.75)), "NAME")


def _near(name: str, names: list[str]) -> str:
    near = get_close_matches(name, names, 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "") or "none"


@dataclass(frozen=True)
class Batch:
    """Some rows of a data set: columns of one length, and where the rows stand.

    Attributes
    ----------
    columns
        Our names to 1-d arrays of NumPy or torch (or lists); `row_id` and `prompt` to anything
        with a length.
    start
        The number of the first row in its source.
    source
        What the rows come from, such as the name of a file; "" in memory.
    """

    columns: Mapping[str, Any]
    start: int = 0
    source: str = ""

    @classmethod
    def of(
        cls,
        data: Any,
        mapping: Mapping[str, str] | None = None,
        start: int = 0,
        source: str = "",
    ) -> Batch:
        """Return a batch of the columns of a mapping, a data frame, a table or a data set."""
        found = find(names_of(data), mapping)
        columns = {ours: _column(ours, data[theirs]) for ours, theirs in found.items()}
        sizes = {ours: len(column) for ours, column in columns.items()}
        if len(set(sizes.values())) > 1:
            raise ProblemError(
                "columns of unequal length: " + ", ".join(f"{k} {n}" for k, n in sizes.items())
            )
        return cls(columns, start, source)

    def __len__(self) -> int:
        return len(self.columns[REFERENCE[0]])

    def part(self, start: int, stop: int) -> Batch:
        """Return some of the rows, without a copy of arrays."""
        columns = {name: values[start:stop] for name, values in self.columns.items()}
        return Batch(columns, self.start + start, self.source)

    def place(self, row: int) -> tuple[str, int]:
        """Return where a row of this batch stands: its source, and its number there."""
        return self.source, self.start + row

    def row_id(self, row: int) -> int | str:
        """Return what a row of this batch is called: its `row_id`, else source and number."""
        if "row_id" in self.columns:
            name = self.columns["row_id"][row]
            name = name.item() if hasattr(name, "item") else name
            return name if isinstance(name, int | str) else str(name)
        number = self.start + row
        return f"{self.source}:{number}" if self.source else number


def is_torch(array: Any) -> bool:
    """Tell whether this is a torch tensor, without importing torch."""
    return type(array).__module__.partition(".")[0] == "torch"


def _column(name: str, values: Any) -> Any:
    """Return a column as a 1-d array, or as it is where it does not hold numbers."""
    if name not in NUMBERS:
        for convert in ("to_pylist", "to_numpy"):  # Arrow's, pandas's: rows are taken by number
            if hasattr(values, convert):
                return getattr(values, convert)()
        return values if hasattr(values, "__getitem__") else list(values)
    if not is_torch(values):
        try:
            values = np.asarray(values)
            if values.dtype.kind == "c":
                raise TypeError(f"dtype {values.dtype}")
            if values.dtype.kind not in "fiu":
                values = values.astype(np.float64)  # lists with None, text of numbers
        except (TypeError, ValueError) as error:
            raise ProblemError(f"{name} does not hold numbers: {error}") from error
    elif values.is_complex():
        raise ProblemError(f"{name} has dtype {values.dtype}: pass real numbers")
    if values.ndim != 1:
        raise ProblemError(f"{name} has shape {tuple(values.shape)}: pass one number a pair")
    return values.detach() if is_torch(values) else values
