"""Implications between a condition and an equivalence, decided instance by instance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from prefeq.claims import gallery, recheck
from prefeq.claims.evidence import Evidence, outcome_of
from prefeq.claims.instance import Instance, Labels
from prefeq.claims.registry import Part

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
                data["inequalities"] = [given.inequality, found.inequality]
                against = Evidence("counterexample", summary, "holds", data=data)
        data = {"count": len(instances), "hypothesis_held": tested}
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
        answers = [decider(i).answer for i in gallery.in_scope(self.scope, self.labels)]
        answer = None if None in answers else bool(answers) and not any(answers)
        held = f"the hypothesis holds on none of {len(answers)} exact instances in scope"
        return Evidence("exact", held, outcome_of(answer), data={"count": len(answers)})


def _shown(data: dict[str, Any]) -> str:
    """Return the numbers that matter most in a counterexample."""
    text = "delta* = " + ", ".join(f"{value:.4g}" for value in data["rlhf_margin"])
    slope = max(data.get("dpo_slope_at_rlhf", []), key=abs, default=0.0)
    if slope:
        text += f", loss slope {slope:.6f} at pi*"
    elif "dpo_probs" in data:
        text += f", pi(0) = {data['dpo_probs'][0]:.5f} against {data['rlhf_probs'][0]:.5f}"
    return text
