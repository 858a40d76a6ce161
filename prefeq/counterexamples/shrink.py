"""Shrinking: from a counterexample that was found to one that fits on a blackboard.

Fewest responses first, then fewest pairs, then the simplest numbers. Floats choose among the
candidates, and the exact certificate has the last word: a candidate that it refuses is undone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any

from prefeq.claims.evidence import Evidence
from prefeq.counterexamples import edits, simplest
from prefeq.counterexamples.case import Case, Falsifier, Kind
from prefeq.counterexamples.simplest import complexity
from prefeq.counterexamples.sources import RandomSource
from prefeq.errors import ProblemError

EVALUATIONS = 1500
"""How many candidates a shrinking may try; a count, not a time, so that it is reproducible."""

REDRAWS = 300
"""How many cases it draws afresh, to escape from where no single step helps."""

ENUMERATED = 5000
"""How many cases with plain values it goes through, to the same end."""

_COMBINED = 40
"""How many pairs of values it tries in two places at once."""

_RELABELLINGS = 12

_FORMS = (
    (2, ((0, 1),)),
    (2, ((0, 1), (1, 0))),
    (3, ((0, 1), (0, 2))),
    (3, ((0, 1), (1, 2))),
    (3, ((0, 2), (1, 2))),
    (3, ((0, 1), (1, 2), (2, 0))),
)


class Shrinker:
    """A shrinking in progress: `best` is always a violation, `certified` one that is proved.

    Parameters
    ----------
    falsifier
        Of the reading.
    case, evidence
        The certified counterexample to start from.
    evaluations
        How many candidates to try.
    """

    def __init__(
        self, falsifier: Falsifier, case: Case, evidence: Evidence, evaluations: int = EVALUATIONS
    ) -> None:
        self._falsifier, self._left = falsifier, evaluations
        self._kinds: dict[str, Kind] = dict(falsifier.kinds)
        self._exact = False
        self._seen: set[str] = set()
        self._key = complexity(case)
        self._chain = [case]
        self._certified = 0
        self.evidence = evidence

    @property
    def best(self) -> Case:
        """The simplest case so far, by its floats."""
        return self._chain[-1]

    @property
    def certified(self) -> Case:
        """The simplest case so far that is certified; `evidence` is its certificate."""
        return self._chain[self._certified]

    @property
    def steps(self) -> int:
        """How many simplifications lead to `certified`."""
        return self._certified

    def run(self) -> None:
        """Shrink to a fixpoint or to the last evaluation, and certify."""
        self._descend()
        self.certify()
        if self._certified < len(self._chain) - 1:
            # The floats went too far: from the last certified case on, every step is certified.
            del self._chain[self._certified + 1 :]
            self._key = complexity(self.best)
            self._exact, self._left = True, min(self._left, EVALUATIONS // 10)
            self._seen.clear()
            self._descend()
            self.certify()

    def certify(self) -> None:
        """Move `certified` as far along the chain as certificates allow, the newest first."""
        last = len(self._chain) - 1
        while last > self._certified:
            evidence = self._falsifier.certify(self._chain[last])
            if evidence.holds:
                self._certified, self.evidence = last, evidence
                return
            last = (last + self._certified) // 2

    def _descend(self) -> None:
        passes = (
            self._drop,
            self._joint,
            self._numbers,
            self._redraw,
            self._enumerate,
            self._combinations,
        )
        improved = True
        while improved and self._left > 0:
            improved = any(step() for step in passes)
        self._left += _RELABELLINGS
        self._first(self._relabelled())

    def _accepts(self, case: Case) -> bool:
        key = complexity(case)
        if key >= self._key or self._left <= 0:
            return False
        text = repr(case)
        if text in self._seen:
            return False
        self._seen.add(text)
        self._left -= 1
        if not violation(self._falsifier, case) > 0:
            return False
        if self._exact and not self._falsifier.certify(case).holds:
            return False
        self._chain.append(case)
        self._key = key
        return True

    def _first(self, candidates: Iterable[Case]) -> bool:
        """Take the first candidate that is simpler and a violation still."""
        return any(self._accepts(case) for case in candidates)

    def _all(self, candidates: Callable[[], Iterable[Case]]) -> bool:
        """Take such candidates until there is none."""
        changed = False
        while self._first(candidates()):
            changed = True
        return changed

    def _drop(self) -> bool:
        return self._all(self._smaller)

    def _joint(self) -> bool:
        return self._all(self._together)

    def _smaller(self) -> Iterator[Case]:
        case, made = self.best, self.best.instance
        if made is None:
            return
        if made.size > 2:
            for i in range(made.size):
                for less in (
                    edits.without_response(case, i),
                    *(edits.merged(case, i, j) for j in range(made.size) if j != i),
                ):
                    if less.instance is not None and less.instance.pairs:
                        yield less
                        yield edits.with_instance(less, ref=simplest.plain_probs(made.size - 1)[0])
        if len(made.pairs) > 1:
            yield from (edits.without_pair(case, k) for k in range(len(made.pairs)))

    def _together(self) -> Iterator[Case]:
        """Change several numbers in one step: shift or scale the rewards, level the margins."""
        case, made = self.best, self.best.instance
        if made is None:
            return
        for shift in dict.fromkeys(made.reward):
            yield edits.with_instance(case, reward=tuple([r - shift for r in made.reward]))
        for scale in dict.fromkeys([made.beta, *(abs(r) for r in made.reward if r)]):
            reward = tuple([r / scale for r in made.reward])
            yield edits.with_instance(case, reward=reward, beta=made.beta / scale)
            yield edits.with_instance(case, reward=reward)
        if case.margins:
            for value in dict.fromkeys([*simplest.plain("real")[:3], *case.margins]):
                yield edits.with_instance(case, margins=(value,) * len(case.margins))
        for place in edits.simplexes(case):
            for other in edits.simplexes(case):
                yield place.put(case, other.get(case))

    def _numbers(self) -> bool:
        changed = False
        for scalar in edits.scalars(self.best, self._kinds):
            options = simplest.simpler(scalar.get(self.best), scalar.kind)
            changed |= self._first(scalar.put(self.best, value) for value in options)
        for simplex in edits.simplexes(self.best):
            probs = simplest.simpler_probs(simplex.get(self.best))
            changed |= self._first(simplex.put(self.best, value) for value in probs)
        return changed

    def _combinations(self) -> bool:
        """Change two numbers at once: a simpler one may need another to give way."""
        places = self._places(self.best)
        for (first, firsts), (second, seconds) in itertools.combinations(places, 2):
            both = itertools.product(firsts, seconds)
            cases = [second.put(first.put(self.best, x), y) for x, y in both]
            simple = sorted((complexity(case), i) for i, case in enumerate(cases))
            if self._first(cases[i] for _, i in simple[:_COMBINED]):
                return True
        return False

    def _places(self, case: Case) -> list[tuple[Any, tuple[Any, ...]]]:
        """List the places of a case, each with a few plain values."""
        places: list[tuple[Any, tuple[Any, ...]]] = [
            (scalar, simplest.plain(scalar.kind)[:8]) for scalar in edits.scalars(case, self._kinds)
        ]
        for simplex in edits.simplexes(case):
            places.append((simplex, simplest.plain_probs(len(simplex.get(case)))[:10]))
        return places

    def _redraw(self) -> bool:
        """Make cases from nothing, as the falsifier draws them: small ones are among them."""
        source = RandomSource("redraw")
        return self._first(self._falsifier.draw(source) for _ in range(min(REDRAWS, self._left)))

    def _enumerate(self) -> bool:
        """Go through cases with plain values everywhere, the smallest and simplest first."""
        for case in self._forms():
            if self._first(self._filled(case, min(ENUMERATED, 5 * self._left) // 10)):
                return True
        return self._first(self._filled(self.best, min(ENUMERATED, 5 * self._left)))

    def _forms(self) -> Iterator[Case]:
        """Yield smaller forms of the best case: its numbers, on two or three responses."""
        made = self.best.instance
        for size, pairs in _FORMS:
            if made is not None and (size, len(pairs)) < (made.size, len(made.pairs)):
                uniform = simplest.plain_probs(size)[0]
                margins = self.best.margins
                if margins is not None:
                    margins = (*margins, *[Fraction(0)] * len(pairs))[: len(pairs)]
                yield edits.with_instance(
                    self.best,
                    reward=(Fraction(1), *[Fraction(0)] * (size - 1)),
                    ref=uniform,
                    pairs=pairs,
                    policies=dict.fromkeys(self.best.policies, uniform),
                    margins=margins,
                )

    def _filled(self, case: Case, count: int) -> Iterator[Case]:
        places = [(place, values) for place, values in self._places(case) if place.get(case)]
        few = int(count ** (1 / max(1, len(places))))
        cases = [case]
        for place, values in places:
            cases = [place.put(case, value) for case in cases for value in values[:few]]
        ranked = sorted((complexity(case), i) for i, case in enumerate(cases))
        return (cases[i] for _, i in ranked)

    def _relabelled(self) -> list[Case]:
        made = self.best.instance
        if made is None or made.size > 5:
            return []
        orders = itertools.permutations(range(made.size))
        cases = [edits.relabelled(self.best, order) for order in orders]
        return sorted(cases, key=complexity)[:_RELABELLINGS]


def violation(falsifier: Falsifier, case: Case) -> float:
    """Return by how much a case breaks the statement, −inf where the package refuses the case.

    Raises
    ------
    ArithmeticError
        If the violation is not a number: nothing could be concluded from it.
    """
    try:
        amount = float(falsifier.violation(case))
    except ProblemError:
        return -float("inf")
    if amount != amount:
        raise ArithmeticError(f"the violation of {case} is not a number")
    return amount
