"""The search: fresh draws and refined near misses until a certified violation, then shrinking."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from prefeq.claims.evidence import Evidence
from prefeq.counterexamples import targets
from prefeq.counterexamples.case import Case, Falsifier
from prefeq.counterexamples.refine import mutated
from prefeq.counterexamples.report import NearestMiss, SearchReport, SearchResult
from prefeq.counterexamples.shrink import Shrinker, violation
from prefeq.counterexamples.simplest import complexity
from prefeq.counterexamples.sources import RandomSource
from prefeq.errors import ProblemError

BUDGET = 10_000

KEPT = 12
"""How many near misses are refined side by side."""

_SIMPLIFY = 600
"""How many candidates may be tried to make the nearest miss readable."""

_CHUNK = 100
"""Tries between two looks at the progress bar."""

Progress = Callable[[Sequence[Any], str], Iterable[Any]]


def search(
    target: str | Iterable[str] | None = None,
    *,
    budget: int = BUDGET,
    seed: int = 0,
    progress: Progress | None = None,
) -> SearchReport:
    """Search for counterexamples to readings of the claims; shrink and certify what is found.

    Parameters
    ----------
    target
        ``"claim"``, ``"claim/reading"``, ``"claim/reading (if)"`` or ``"claim/reading:if"``;
        several of these; or None for every reading.
    budget
        How many cases are tried for a reading. The search of a reading stops at its first certified
        counterexample; shrinking it is not counted.
    seed
        The same seed gives the same report on every machine, and the same result for a reading
        whichever others are searched.
    progress
        Wraps a sequence: called with (items, label), yields them. The command line passes its
        progress bar.

    Returns
    -------
    SearchReport
        Per reading the counterexample, or how many cases were tried and the nearest miss. An
        interrupt (Ctrl-C) does not raise: it ends the search, and what was found so far is
        returned, marked `interrupted`.

    Raises
    ------
    ProblemError
        On an unknown claim or reading, a budget below 1 or a negative seed.

    Examples
    --------
    >>> import prefeq as pq
    >>> report = pq.search("margin-ranking/zero-limit-loss-ranks")
    >>> report.results[0].found
    True
    """
    for name, number in (("budget", budget), ("seed", seed)):
        if isinstance(number, bool) or not isinstance(number, int):
            raise ProblemError(f"{name} = {number!r}: pass a whole number, such as 1000")
    if budget < 1:
        raise ProblemError(f"budget = {budget}: at least one case must be tried")
    if seed < 0:
        raise ProblemError(f"seed = {seed}: must not be negative")
    hunts: list[Hunt] = []
    chosen = targets.select(target)
    interrupted = False
    try:
        for reading in chosen:
            hunts.append(Hunt(reading, budget, seed))
            hunts[-1].run(progress)
            if hunts[-1].interrupted:
                break
    except KeyboardInterrupt:  # between two readings
        interrupted = True
    results = tuple(hunt.result() for hunt in hunts)
    return SearchReport(seed, budget, results, interrupted or any(r.interrupted for r in results))


class Hunt:
    """The search of one reading, in a state that can be read at any moment."""

    def __init__(self, target: targets.Target, budget: int, seed: int) -> None:
        self._target, self._budget = target, budget
        self._source = RandomSource(f"{seed}/{target.claim}/{target.reading.label}")
        self._near: list[tuple[float, Case]] = []
        self._apparent: Case | None = None
        self._shrinker: Shrinker | None = None
        self.tries = self.in_scope = self.uncertified = 0
        self.interrupted = False

    def run(self, progress: Progress | None = None) -> None:
        """Search, and shrink what is found; an interrupt ends it and is remembered."""
        try:
            self._search(progress)
            if self._shrinker is not None:
                self._shrinker.run()
            else:
                self._simplify()
        except KeyboardInterrupt:
            self.interrupted = True
            if self._shrinker is not None:
                self._shrinker.certify()
            elif self._apparent is not None:
                self._certified()

    def result(self) -> SearchResult:
        """Return what has been found so far."""
        reading, found = self._target.reading, self._shrinker
        nearest = None
        if found is None and self._near:
            nearest = NearestMiss(*max(self._near, key=lambda near: near[0]))
        return SearchResult(
            claim=self._target.claim,
            reading=reading.name,
            part=reading.part,
            statement=reading.statement,
            tries=self.tries,
            in_scope=self.in_scope,
            uncertified=self.uncertified,
            shrinks=0 if found is None else found.steps,
            case=None if found is None else found.certified,
            evidence=None if found is None else found.evidence,
            nearest_miss=nearest,
            interrupted=self.interrupted,
        )

    def _search(self, progress: Progress | None) -> None:
        starts = range(0, self._budget, _CHUNK)
        label = f"{self._target.claim}/{self._target.reading.label}, hundreds of tries"
        chunks = iter(starts if progress is None else progress(starts, label))
        try:
            for start in chunks:
                for i in range(start, min(start + _CHUNK, self._budget)):
                    if self._try(fresh=i % 2 == 0):
                        return
        finally:  # a generator that draws a bar wipes it when it is closed
            getattr(chunks, "close", int)()

    def _try(self, *, fresh: bool) -> bool:
        """Try one case, a fresh one or a refined one; return whether it is certified."""
        falsifier = self._target.falsifier
        parent = None
        if fresh or not self._near:
            case = falsifier.draw(self._source)
        else:
            parent = self._source.integer(0, len(self._near) - 1)
            case = mutated(self._source, self._near[parent][1], falsifier.kinds)
        amount = violation(falsifier, case)
        self.tries += 1
        self.in_scope += amount > -math.inf
        if amount > 0:
            self._apparent = case
            if self._certified():
                return True
            self.uncertified += 1
        elif amount > -math.inf:
            self._keep(amount, case, parent)
        return False

    def _certified(self) -> bool:
        """Certify the case that violates by its floats; from a certified one shrinking starts."""
        assert self._apparent is not None
        evidence = self._target.falsifier.certify(self._apparent)
        if evidence.holds:
            self._shrinker = Shrinker(self._target.falsifier, self._apparent, evidence)
        self._apparent = None
        return evidence.holds

    def _keep(self, amount: float, case: Case, parent: int | None) -> None:
        """Keep a near miss: in place of its parent if it is nearer, or else of the farthest."""
        if parent is None and len(self._near) < KEPT:
            self._near.append((amount, case))
            return
        if parent is None:
            parent = min(range(len(self._near)), key=lambda i: self._near[i][0])
        if amount > self._near[parent][0]:
            self._near[parent] = amount, case

    def _simplify(self) -> None:
        """Make the nearest miss readable: simpler cases that miss by no more."""
        if not self._near:
            return
        at = max(range(len(self._near)), key=lambda i: self._near[i][0])
        falsifier, (bound, case) = self._target.falsifier, self._near[at]

        def as_near(candidate: Case) -> float:
            return 1.0 if bound <= violation(falsifier, candidate) <= 0 else -1.0

        accepted = Evidence("sample", "as near a miss", "holds")
        near = Falsifier(falsifier.draw, as_near, lambda _: accepted, falsifier.kinds)
        shrinker = Shrinker(near, case, accepted, min(_SIMPLIFY, self._budget))
        shrinker.run()
        best = shrinker.certified
        if complexity(best) < complexity(case):
            self._near[at] = violation(falsifier, best), best
