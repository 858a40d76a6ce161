"""One Markdown page a claim: what each reading says, its verdict, and the evidence for people."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from prefeq.bundle.scripts import script
from prefeq.bundle.snapshot import COMPUTED, FIXED
from prefeq.claims import registry
from prefeq.claims.report import ClaimResult, ReadingResult
from prefeq.strict_json import to_plain

PROVENANCE = {
    "quoted": "words of the paper",
    "secondary": "as others report it",
    "code": "from the released code",
    "reconstructed": "our reconstruction: refuting it refutes our reading",
}
_SIGNS = {"positive": "> 0", "negative": "< 0", "nonnegative": ">= 0", "nonpositive": "<= 0"}


def page(claim: ClaimResult) -> str:
    """Return the page of one claim."""
    entry = {reading.label: reading for reading in registry.get_claim(claim.id).readings}
    lines = [
        f"# {claim.id}",
        "",
        f"{escaped(claim.title)}",
        "",
        f"Source: {escaped(claim.source)} ({claim.provenance}: {PROVENANCE[claim.provenance]}).",
        "",
        "The numbers of this page, and more of them, are in `evidence.json`.",
    ]
    for result in claim.readings:
        lines += ["", *_reading(result, entry[result.label], claim)]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Return text in which Markdown finds nothing to format; code spans stay.

    >>> escaped("delta* < pi* in `a*b`")
    'delta\\\\* \\\\< pi\\\\* in `a*b`'
    """
    parts = text.split("`")
    plain = [re.sub(r"([\\*<|])", r"\\\1", part) for part in parts[::2]]
    parts[::2] = plain
    return "`".join(parts)


def _reading(result: ReadingResult, reading: registry.Reading, claim: ClaimResult) -> Iterator[str]:
    verdict = result.verdict.value + " (vacuously: its hypothesis never holds)" * result.vacuous
    yield f"## {result.label}: {verdict}"
    yield ""
    yield f"**Statement.** {escaped(reading.statement)}"
    yield ""
    yield f"**Of what.** {escaped(reading.scope)}"
    argument = {
        "Steps of the proof": reading.proof,
        "Steps that a counterexample leans on": reading.lemmas,
        "Steps of the proof that the hypothesis never holds": reading.never,
    }
    for name, steps in argument.items():
        if steps:
            yield ""
            yield f"**{name}.** {', '.join(steps)}"
    for label in reading.corrected:
        if any(other.label == label for other in claim.readings):
            yield ""
            yield f"**Corrects.** {label}"
    yield ""
    yield "**Evidence.**"
    for number, item in enumerate(result.evidence, 1):
        plain = to_plain(item.to_dict())
        data = plain["data"]
        step = f", step {data['step']}" if "step" in data else ""
        outcome = "" if data["outcome"] == "holds" else f" **{data['outcome']}**"
        yield ""
        yield f"{number}. {item.kind}{step}{outcome}: {escaped(item.summary)}{_runs(data)}"
        details = [*_DETAILS.get(item.kind, _numbers)(data)]
        if details:
            yield ""
            yield "   ```"
            yield from (f"   {line}".rstrip() for line in details)
            yield "   ```"
        program = script(data) if item.kind == "counterexample" else ""
        if program:
            yield ""
            yield "   The same in NumPy alone:"
            yield ""
            yield "   ```python"
            yield from (f"   {line}".rstrip() for line in program.splitlines())
            yield "   ```"


def _symbolic(data: Mapping[str, Any]) -> Iterator[str]:
    inputs = data["inputs"]
    for k, left in enumerate(inputs["left"]):
        match inputs["relation"]:
            case "left = right":
                yield f"{left} = {inputs['right'][k]}"
            case "left > 0":
                yield f"{left} > 0"
            case "left -> value":
                way = f"{inputs['symbol']} -> {inputs['to']} from {inputs['side']}"
                yield f"{left} -> {inputs['value']} as {way}"
            case _:
                yield f"{left} is free of {', '.join(inputs['symbols'])}"
    signed = [f"{s} {_SIGNS[a]}" for s, a in inputs["assumptions"].items() if a in _SIGNS]
    if signed:
        yield f"for {', '.join(signed)}"


def _enclosure(data: Mapping[str, Any]) -> Iterator[str]:
    inputs = data["inputs"]
    yield f"{inputs['function']} on {_box(inputs['box'])}"
    if "cells" in data:
        yield f"{data['cells']} cells; the least value at a centre is {data['worst_value']}"
        yield f"on {_box(data['worst_cell'])}"


def _box(box: Mapping[str, list[str]]) -> str:
    return ", ".join(f"{name} in [{low}, {high}]" for name, (low, high) in box.items())


def _runs(data: Mapping[str, Any]) -> str:
    if "runs" not in data:
        return ""
    parts = {**data["runs"], **data.get("inputs", {})}.items()
    return f" ({', '.join(f'{name} {value}' for name, value in parts)})"


def _numbers(data: Mapping[str, Any]) -> Iterator[str]:
    """Write the instance, the inputs and the numbers as assignments, then the comparisons."""
    if "instance" in data:
        instance = data["instance"]
        exact = instance["exact"]
        yield f"reward = {_list(exact['reward'])}"
        yield f"ref = {_list(exact['ref'])}"
        yield f"beta = {exact['beta']}"
        yield f"pairs = {_list([f'({w}, {lo})' for w, lo in instance['pairs']])}"
        yield f'labels = "{instance["labels"]}"'
    for name, value in data.get("inputs", {}).items():
        if name == "instances":
            yield f"instances: {len(value)}, in evidence.json"
        else:
            yield f"{name} = {_value(value)}"
    for name, value in data.items():
        if name not in (*FIXED, *COMPUTED):
            yield f"{name} = {_value(value)}"
    yield from data.get("inequalities", [])


def _value(value: Any) -> str:
    return _list(list(map(_value, value))) if isinstance(value, list) else str(value)


def _list(items: list[str]) -> str:
    return f"[{', '.join(items)}]"


def _nothing(data: Mapping[str, Any]) -> Iterator[str]:
    yield from ()


_DETAILS = {
    "symbolic": _symbolic,
    "enclosure": _enclosure,
    **dict.fromkeys(("tie", "recheck", "sample", "correction", "reason"), _nothing),
}
