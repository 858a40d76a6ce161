"""The bundle of evidence recomputed, number by number and verdict by verdict."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefeq import __version__
from prefeq.bundle import findings
from prefeq.bundle.canonical import FORMAT, digest, load_texts
from prefeq.bundle.compare import MISSING, count, differences, shown
from prefeq.bundle.reading import read_strict
from prefeq.bundle.verdict import Finding, verdict
from prefeq.errors import ProblemError

Json = dict[str, Any]
Progress = Callable[[Sequence[Any], str], Iterable[Any]]

TOP = ("format", "version", "selection", "claims", "digest")
CLAIM = ("id", "title", "source", "provenance", "readings")
READING = ("reading", "part", "verdict", "vacuous", "scope", "evidence")
ITEM = ("kind", "summary", "data")


class Disagreement(ProblemError):
    """Something in the bundle is not what it must be.

    Attributes
    ----------
    path
        JSON pointer to the field.
    where
        The claim and the reading that it belongs to.
    found, recomputed
        What stands there and what belongs there.
    """

    def __init__(self, path: str, where: str, found: Any, recomputed: Any) -> None:
        self.path, self.where, self.found, self.recomputed = path, where, found, recomputed
        place = f" ({where})" if where else ""
        super().__init__(f"{path}{place}: found {_brief(found)}, recomputed {_brief(recomputed)}")


@dataclass(frozen=True)
class RecheckReport:
    """What was recomputed and agreed: per claim the verdicts, the findings and the numbers.

    Attributes
    ----------
    claims
        Claim id → (verdicts, findings, numbers).
    """

    claims: Mapping[str, tuple[int, int, int]]

    @property
    def verdicts(self) -> int:
        """How many verdicts were recomputed."""
        return sum(row[0] for row in self.claims.values())

    @property
    def numbers(self) -> int:
        """How many numbers were recomputed."""
        return sum(row[2] for row in self.claims.values())

    def __str__(self) -> str:
        width = max(map(len, self.claims), default=5)
        lines = [f"{'claim':{width}}  verdicts  findings  numbers"]
        lines += [f"{name:{width}}  {v:8}  {f:8}  {n:7}" for name, (v, f, n) in self.claims.items()]
        total = f"{self.verdicts} verdicts and {self.numbers} numbers recomputed; all agree."
        return "\n".join([*lines, "", total])


def recheck(
    path: str | os.PathLike[str], only: str | None = None, progress: Progress | None = None
) -> RecheckReport:
    """Recompute every number and every verdict of a bundle by other arithmetic.

    Parameters
    ----------
    path
        The ``evidence.json`` that ``prefeq verify --bundle`` writes.
    only
        A claim's id: recompute that claim and look at nothing else but the list of claims.
    progress
        Wraps the sequence of claims, as in `verify`.

    Returns
    -------
    RecheckReport
        Prints as a table of what was recomputed.

    Raises
    ------
    Disagreement
        At the first field that is not what it must be.
    ProblemError
        If the file is not a bundle at all.

    Notes
    -----
    Numbers come from mpmath at 60 digits and integers, enclosures from a second copy of the
    function. Ties, re-checks and samples replay the package's own code, so here they only have to
    hold, with the counts and seeds that this version of prefeq runs. What is chosen and not
    computed (statements, instances, inputs) is compared with the copy that ships with prefeq.
    """
    document = read_strict(path)
    try:
        _opened(document)
    except ProblemError as error:
        raise ProblemError(f"{os.fspath(path)}: {error}") from None
    return check_document(document, load_texts(), only, progress)


def check_document(
    document: Any, texts: Json, only: str | None = None, progress: Progress | None = None
) -> RecheckReport:
    """Recompute a bundle that has been read, against given fixed texts."""
    claims = _opened(document)
    _same("/version", "", document["version"], __version__)
    _same("/digest", "", document["digest"], digest(document))
    wanted = _selected(texts["claims"], document["selection"])
    known = [claim["id"] for claim in wanted]
    if only is not None and only not in known:
        raise ProblemError(f"the bundle has no claim {only!r}; choose from: {', '.join(known)}")
    _sequence("/claims", "", claims, wanted, ("id",))
    work = [(i, c) for i, c in enumerate(wanted) if only in (None, c["id"])]
    rows = {}
    for i, expected in work if progress is None else progress(work, "rechecking"):
        rows[expected["id"]] = _Claim(f"/claims/{i}", claims[i], expected).check()
    return RecheckReport(rows)


def _selected(claims: list[Json], selection: Any) -> list[Json]:
    """Return the fixed texts of the claims that the bundle says it holds: all, or those listed."""
    if selection is None:
        return claims
    listed = selection if isinstance(selection, list) else []
    chosen = [claim for claim in claims if claim["id"] in listed]
    _same("/selection", "", selection, [claim["id"] for claim in chosen] or None)
    return chosen


def _opened(document: Any) -> list[Any]:
    """Return the claims of something that at least has the outer shape of a bundle."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ProblemError(f"not a bundle of evidence: its format is not {FORMAT!r}")
    if set(document) != set(TOP):
        raise ProblemError(f"not a bundle of evidence: its keys are not {', '.join(TOP)}")
    if not isinstance(document["claims"], list):
        raise ProblemError("not a bundle of evidence: its claims are not a list")
    return document["claims"]


class _Claim:
    """The check of one claim."""

    def __init__(self, path: str, found: Json, expected: Json) -> None:
        self.path, self.found, self.expected = path, found, expected
        self.id = expected["id"]
        self.tally: Counter[str] = Counter()

    def check(self) -> tuple[int, int, int]:
        """Return how many verdicts, findings and numbers agree."""
        _keys(self.path, self.id, self.found, CLAIM)
        for key in ("title", "source", "provenance"):
            _same(f"{self.path}/{key}", self.id, self.found[key], self.expected[key])
        readings, path = self.found["readings"], f"{self.path}/readings"
        _sequence(path, self.id, readings, self.expected["readings"], ("reading", "part"))
        verdicts: dict[str, str] = {}
        for k, expected in enumerate(self.expected["readings"]):
            label = _label(expected)
            verdicts[label] = self._reading(f"{path}/{k}", readings[k], expected, label)
        for k, expected in enumerate(self.expected["readings"]):
            self._corrections(f"{path}/{k}", readings[k], expected, verdicts)
        return self.tally["verdicts"], self.tally["findings"], self.tally["numbers"]

    def _reading(self, path: str, found: Json, expected: Json, label: str) -> str:
        """Check one reading and return its recomputed verdict."""
        where = f"{self.id}, {label}"
        _keys(path, where, found, READING)
        items = expected["evidence"]
        _sequence(f"{path}/evidence", where, found["evidence"], items, ("kind",))
        done = [
            self._item(f"{path}/evidence/{n}", found["evidence"][n], item, label)
            for n, item in enumerate(items)
        ]
        argument = (expected["proof"], expected["lemmas"], expected["never"])
        word, vacuous = verdict([f for f in done if f.kind != findings.LATER], *argument)
        _same(f"{path}/verdict", where, found["verdict"], word)
        _same(f"{path}/vacuous", where, found["vacuous"], vacuous)
        _same(f"{path}/scope", where, found["scope"], expected["scope"])
        self.tally["verdicts"] += 1
        return word

    def _item(self, path: str, found: Json, expected: Json, label: str) -> Finding:
        """Check one piece of evidence: what it starts from, its numbers, its outcome, its words."""
        where = f"{self.id}, {label}"
        _keys(path, where, found, ITEM)
        data, kind = found["data"], expected["kind"]
        fixed, fields = expected["data"], expected["numbers"]
        tree = ("tree",) if kind == "enclosure" else ()
        _keys(f"{path}/data", where, data, ("outcome", *tree, *fixed, *fields))
        for key, value in fixed.items():
            _same(f"{path}/data/{key}", where, data[key], value)
        try:
            # The fixed entries of the file are the expected ones by now, up to the order of keys.
            known = {**data, **fixed}
            done = findings.redo(self.id, label, kind, known, fields)
        except findings.UnknownError as error:
            raise _unknown(f"{path}/data/{error.where}", where, data, error) from None
        except Exception as error:  # whatever goes wrong, nothing was recomputed
            place = "tree" if tree else "outcome"
            raise _unknown(f"{path}/data/{place}", where, data, error) from error
        for name in [*fields, *(n for n in done.numbers if n not in fields)]:
            stands = data.get(name, MISSING)
            _same(f"{path}/data/{name}", where, stands, shown(done.numbers[name], stands))
            self.tally["numbers"] += count(stands)
        if done.outcome is not None:
            _same(f"{path}/data/outcome", where, data["outcome"], done.outcome)
        _same(f"{path}/summary", where, found["summary"], expected["summary"])
        self.tally["findings"] += 1
        return Finding(kind, fixed.get("step"), data["outcome"])

    def _corrections(self, path: str, found: Json, expected: Json, verdicts: Json) -> None:
        """Check that whatever is said to be true instead is proved."""
        for n, item in enumerate(expected["evidence"]):
            if item["kind"] == findings.LATER:
                named = item["data"]["inputs"]["reading"]
                outcome = "holds" if verdicts.get(named) == "proved" else "fails"
                here = f"{path}/evidence/{n}/data/outcome"
                stands = found["evidence"][n]["data"]["outcome"]
                _same(here, f"{self.id}, {_label(expected)}", stands, outcome)


def _same(path: str, where: str, found: Any, recomputed: Any) -> None:
    for here, stands, belongs in differences(found, recomputed, path):
        raise Disagreement(here, where, stands, belongs)


def _keys(path: str, where: str, found: Any, expected: Iterable[str]) -> None:
    """Require an object with exactly these keys."""
    if not isinstance(found, dict):
        raise Disagreement(path, where, found, _Words("an object"))
    wanted = list(expected)
    for key in [*wanted, *found]:
        if key not in found:
            raise Disagreement(f"{path}/{key}", where, MISSING, _Words("a field"))
        if key not in wanted:
            raise Disagreement(f"{path}/{key}", where, found[key], MISSING)


def _sequence(
    path: str, where: str, found: Any, expected: Sequence[Json], names: Sequence[str]
) -> None:
    """Require a list of objects that carry the expected names, in the expected order."""
    if not isinstance(found, list):
        raise Disagreement(path, where, found, _Words("a list"))
    for k in range(max(len(found), len(expected))):
        here = f"{path}/{k}"
        if k >= len(found):
            wanted = _Words(" ".join(str(expected[k][name]) for name in names))
            raise Disagreement(here, where, MISSING, wanted)
        if k >= len(expected):
            raise Disagreement(here, where, found[k], MISSING)
        if not isinstance(found[k], dict):
            raise Disagreement(here, where, found[k], _Words("an object"))
        for name in names:
            _same(f"{here}/{name}", where, found[k].get(name, MISSING), expected[k][name])


def _label(reading: Json) -> str:
    name, part = reading["reading"], reading["part"]
    return name if part is None else f"{name} ({part})"


def _unknown(path: str, where: str, data: Json, error: Exception) -> Disagreement:
    stands = data.get(path.rsplit("/", 1)[-1], MISSING)
    return Disagreement(path, where, stands, _Words(f"nothing ({error or type(error).__name__})"))


class _Words(str):
    """Words for a person, not a value: printed without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
