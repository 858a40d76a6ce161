"""Edits of a case: one of its numbers at a time, or a response or a pair less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from prefeq.claims.instance import Instance
from prefeq.counterexamples.case import Case, Kind

NAME = "found"
Probs = tuple[Fraction, ...]
Pairs = tuple[tuple[int, int], ...]


def with_instance(
    case: Case,
    *,
    reward: Probs | None = None,
    ref: Probs | None = None,
    beta: Fraction | None = None,
    pairs: Pairs | None = None,
    policies: Mapping[str, Probs] | None = None,
    margins: tuple[Fraction, ...] | None = None,
) -> Case:
    """Return the case with another instance: what is not given stays."""
    old = case.instance
    made = old
    if old is not None:
        made = Instance(
            NAME,
            old.reward if reward is None else reward,
            old.ref if ref is None else ref,
            old.beta if beta is None else beta,
            old.pairs if pairs is None else pairs,
            old.labels,
        )
    return Case(
        case.numbers,
        made,
        case.policies if policies is None else policies,
        case.margins if margins is None else margins,
    )


@dataclass(frozen=True)
class Scalar:
    """A place of a case that holds one number."""

    place: Literal["number", "reward", "beta", "margin"]
    key: str | int
    kind: Kind

    def get(self, case: Case) -> Fraction:
        """Return the number."""
        if self.place == "number":
            return case.numbers[str(self.key)]
        if self.place == "margin":
            assert case.margins is not None
            return case.margins[int(self.key)]
        assert case.instance is not None
        return case.instance.beta if self.place == "beta" else case.instance.reward[int(self.key)]

    def put(self, case: Case, value: Fraction) -> Case:
        """Return the case with another number there."""
        if self.place == "number":
            numbers = {**case.numbers, str(self.key): value}
            return Case(numbers, case.instance, case.policies, case.margins)
        if self.place == "margin":
            assert case.margins is not None
            return with_instance(case, margins=replaced(case.margins, int(self.key), value))
        if self.place == "beta":
            return with_instance(case, beta=value)
        assert case.instance is not None
        return with_instance(case, reward=replaced(case.instance.reward, int(self.key), value))


@dataclass(frozen=True)
class Simplex:
    """A place of a case that holds probabilities: its reference, or a policy by name."""

    policy: str | None

    def get(self, case: Case) -> Probs:
        """Return the probabilities."""
        if self.policy is not None:
            return case.policies[self.policy]
        assert case.instance is not None
        return case.instance.ref

    def put(self, case: Case, value: Probs) -> Case:
        """Return the case with other probabilities there."""
        if self.policy is None:
            return with_instance(case, ref=value)
        return with_instance(case, policies={**case.policies, self.policy: value})


def scalars(case: Case, kinds: Mapping[str, Kind]) -> list[Scalar]:
    """List the places that hold one number."""
    found = [Scalar("number", name, kinds.get(name, "real")) for name in case.numbers]
    if case.instance is not None:
        found += [Scalar("reward", i, "real") for i in range(case.instance.size)]
        found.append(Scalar("beta", 0, "positive"))
    return found + [Scalar("margin", k, "real") for k in range(len(case.margins or ()))]


def simplexes(case: Case) -> list[Simplex]:
    """List the places that hold probabilities."""
    policies = [Simplex(name) for name in case.policies]
    return policies if case.instance is None else [Simplex(None), *policies]


def replaced(values: Sequence[Fraction], at: int, value: Fraction) -> tuple[Fraction, ...]:
    """Return the values with one of them replaced."""
    return (*values[:at], value, *values[at + 1 :])


def without_pair(case: Case, k: int) -> Case:
    """Drop pair k, with its margin."""
    assert case.instance is not None
    return _keep_pairs(case, case.instance.pairs, [j for j in range(_count(case)) if j != k])


def without_response(case: Case, i: int) -> Case:
    """Drop response i with its pairs; all probabilities are renormalised."""
    assert case.instance is not None
    pairs = case.instance.pairs
    kept = [k for k, pair in enumerate(pairs) if i not in pair]
    return _contracted(case, i, _renumbered(pairs, i), kept)


def merged(case: Case, i: int, into: int) -> Case:
    """Let response `into` take the pairs and the probability of response i."""
    assert case.instance is not None
    pairs = [(into if w == i else w, into if l == i else l) for w, l in case.instance.pairs]  # noqa: E741
    kept = [k for k, (winner, loser) in enumerate(pairs) if winner != loser]
    return _contracted(case, i, _renumbered(pairs, i), kept, into)


def relabelled(case: Case, order: Sequence[int]) -> Case:
    """Let response order[i] be response i; the pairs are sorted."""
    assert case.instance is not None
    new = {old: i for i, old in enumerate(order)}
    pairs = tuple([(new[winner], new[loser]) for winner, loser in case.instance.pairs])
    changed = with_instance(
        case,
        reward=tuple([case.instance.reward[i] for i in order]),
        ref=tuple([case.instance.ref[i] for i in order]),
        policies={name: tuple([p[i] for i in order]) for name, p in case.policies.items()},
    )
    return _keep_pairs(changed, pairs, sorted(range(len(pairs)), key=pairs.__getitem__))


def _count(case: Case) -> int:
    return 0 if case.instance is None else len(case.instance.pairs)


def _renumbered(pairs: Sequence[tuple[int, int]], gone: int) -> Pairs:
    return tuple([(a - (a > gone), b - (b > gone)) for a, b in pairs])


def _keep_pairs(case: Case, pairs: Pairs, kept: Sequence[int]) -> Case:
    margins = None if case.margins is None else tuple([case.margins[k] for k in kept])
    return with_instance(case, pairs=tuple([pairs[k] for k in kept]), margins=margins)


def _contracted(
    case: Case, i: int, pairs: Pairs, kept: Sequence[int], into: int | None = None
) -> Case:
    assert case.instance is not None

    def without(probs: Probs) -> Probs:
        moved = probs if into is None else replaced(probs, into, probs[into] + probs[i])
        rest = [*moved[:i], *moved[i + 1 :]]
        total = sum(rest)
        return tuple([p / total for p in rest])

    reward = case.instance.reward
    changed = with_instance(
        case,
        reward=(*reward[:i], *reward[i + 1 :]),
        ref=without(case.instance.ref),
        policies={name: without(probs) for name, probs in case.policies.items()},
    )
    return _keep_pairs(changed, pairs, kept)
