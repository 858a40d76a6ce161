"""Implications between a condition and an equivalence, decided instance by instance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from prefeq.claims import gallery, recheck
from prefeq.claims.evidence import Evidence, outcome_of
from prefeq.claims.instance import Instance, Labels
from prefeq.claims.registry import Part

_NAMES: dict[gallery.Decider, str] = {
    gallery.assumption: "assumption",
    gallery.weak_assumption: "weak-assumption",
    gallery.dpo_is_rlhf: "dpo-is-rlhf",
    gallery.dpo_is_aligned: "dpo-is-aligned",
    gallery.cpo_is_rlhf: "cpo-is-rlhf",
}
_WORDS: dict[gallery.Decider, tuple[str, str]] = {
    gallery.dpo_is_rlhf: ("DPO = RLHF", "DPO is not RLHF"),
    gallery.dpo_is_aligned: ("DPO aligns every pair", "DPO does not align every pair"),
    gallery.cpo_is_rlhf: ("CPO(0) = RLHF", "CPO(0) is not RLHF"),
}


@dataclass(frozen=True)
class Equivalence:
    """A condition and a conclusion over the gallery's instances in a scope, with given labels."""

    condition: gallery.Decider
    conclusion: gallery.Decider
    scope: Callable[[Instance], bool]
    labels: Labels

    def decide(self, part: Part) -> Iterator[Evidence]:
        """Decide *condition ⇒ conclusion* (``if``) or the converse on every instance in scope.

        Yields the first certified counterexample, or the number of instances that withstood, and
        the agreement of the solvers with every one of the decisions.
        """
        hypothesis, conclusion = self.condition, self.conclusion
        if part == "only-if":
            hypothesis, conclusion = conclusion, hypothesis
        instances = list(gallery.in_scope(self.scope, self.labels))
        tested = 0
        against: Evidence | None = None
        for instance in instances:
            given, found = hypothesis(instance), conclusion(instance)
            if given.answer is None or found.answer is None:
                yield Evidence("exact", f"{instance.name}: undecided", "undecided")
                return
            tested += given.answer
            if given.answer and not found.answer and against is None:
                data = {"instance": instance.to_data(), **given.numbers, **found.numbers}
                words = _WORDS[self.conclusion][0 if part == "only-if" else 1]
                summary = f"{_shown(data)}: yet {words} ({instance.name})"
                data["inequalities"] = [*given.inequalities, *found.inequalities]
                against = Evidence("counterexample", summary, "holds", data=data)
        data = {
            "inputs": self._inputs("implication", part, instances),
            "count": len(instances),
            "hypothesis_held": tested,
        }
        yield against or Evidence(
            "exact",
            f"{len(instances)} exact instances decided (hypothesis held on {tested}), none against",
            outcome_of(bool(instances)),
            data=data,
        )
        yield recheck.equivalence(instances, self.condition, self.conclusion)

    def never(self, part: Part) -> Evidence:
        """Check that the hypothesis indeed holds on no instance in scope."""
        decider = self.condition if part == "if" else self.conclusion
        instances = list(gallery.in_scope(self.scope, self.labels))
        answers = [decider(instance).answer for instance in instances]
        answer = None if None in answers else bool(answers) and not any(answers)
        held = f"the hypothesis holds on none of {len(answers)} exact instances in scope"
        data = {"inputs": self._inputs("never", part, instances), "count": len(answers)}
        return Evidence("exact", held, outcome_of(answer), data=data)

    def _inputs(self, check: str, part: Part, instances: list[Instance]) -> dict[str, Any]:
        """Return what it takes to decide it again: the deciders' names and the instances."""
        return {
            "check": check,
            "condition": _NAMES[self.condition],
            "conclusion": _NAMES[self.conclusion],
            "part": part,
            "instances": [_bare(instance) for instance in instances],
        }


def _bare(instance: Instance) -> dict[str, Any]:
    """Return an instance in exact numbers alone."""
    data = instance.to_data()
    return {**data["exact"], "pairs": data["pairs"], "labels": data["labels"]}


def _shown(data: dict[str, Any]) -> str:
    """Return the numbers that matter most in a counterexample."""
    text = "delta* = " + ", ".join(f"{value:.4g}" for value in data["rlhf_margin"])
    slope = max(data.get("dpo_slope_at_rlhf", []), key=abs, default=0.0)
    if slope:
        text += f", loss slope {slope:.6f} at pi*"
    elif "dpo_probs" in data:
        text += f", pi(0) = {data['dpo_probs'][0]:.5f} against {data['rlhf_probs'][0]:.5f}"
    return text
