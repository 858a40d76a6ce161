"""The loss cards' part of docs/performance.md: targets, and the times behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Results = dict[str, Any]
Verdict = tuple[str, bool]
NAMES = ("zoo_time",)


def _card(results: Results) -> Verdict:
    found = results["zoo_time"]
    name = max(found["cold_s"], key=lambda key: found["cold_s"][key])
    worst, importing = found["cold_s"][name], found["loading_trl_s"]
    text = f"at most {worst:.1f} s (`{name}`), of which TRL's import is some {importing:.0f} s"
    return text, max(worst, *found["card_s"].values()) < found["limits"]["card_s"]


def _zoo(results: Results) -> Verdict:
    found = results["zoo_time"]
    text = f"{found['cards']} cards in {found['zoo_s']:.0f} s"
    return text, found["zoo_s"] < found["limits"]["zoo_s"]


TARGETS: list[tuple[str, str, str, Callable[[Results], Verdict]]] = [
    ("zoo_time", "card of a loss, `prefeq loss NAME` in a process of its own", "< 10 s", _card),
    ("zoo_time", "the loss zoo, every card", "< 3 min", _zoo),
]


def table(results: Results) -> list[tuple[str, ...]]:
    """Return the cards by time, the slowest first; the first line is the heading."""
    found = results["zoo_time"]
    lines = [("loss", "card", "from the shell")]
    for name, seconds in sorted(found["card_s"].items(), key=lambda item: -item[1]):
        cold = found["cold_s"].get(name)
        lines.append((name, f"{seconds:.1f} s", "" if cold is None else f"{cold:.1f} s"))
    return lines
