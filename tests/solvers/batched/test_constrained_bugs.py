"""Planted bugs in Constrained PO of lanes: each turns one of its checks red."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from solvers import checks
from solvers.batched import constraint_lanes, test_constrained, test_constrained_parts

from prefeq.solvers.batched import (
    active,
    chains,
    constrained,
    graphs,
    projection,
    proof,
    ties,
)
from prefeq.solvers.batched.forest import Forest
from prefeq.solvers.batched.problem import Problem

PROBLEMS = {
    kind: constraint_lanes.draw(kind, np.random.default_rng(30), 6, 9, 30)
    for kind in (*constraint_lanes.ORDINARY, "vast chain", "vast", "vast ties")
}


def done_and_right(*kinds: str) -> Callable[[], None]:
    def check() -> None:
        for kind in kinds:
            answer = constraint_lanes.solve(PROBLEMS[kind])
            assert answer.done.all()
            right_where_done(kind, answer)

    check.__name__ = "_".join(kind.replace(" ", "_") for kind in kinds)
    return check


def right_where_done(kind: str, answer: constrained.Answer) -> None:
    for lane in np.flatnonzero(answer.done)[:12]:
        constraint_lanes.check_lane(PROBLEMS[kind], answer, int(lane))


def weights_count() -> None:
    test_constrained.test_general_weights_are_the_single_solvers()


def least_squares() -> None:
    test_constrained.test_least_squares_of_fixed_weights(False)


def duplicates() -> None:
    check = test_constrained.test_duplicates_have_one_multiplier_on_the_first_of_the_largest_margins
    check()


def contradictions() -> None:
    test_constrained.test_margins_that_contradict_each_other_are_left_alone()


def done_is_proved() -> None:
    """Whatever the solvers do, what is called done is right."""
    for kind in ("chain", "acyclic", "ties"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chains, "isotonic", off_by(1e-3)(chains.isotonic))
            patch.setattr(active, "solve", moved(1e-3)(active.solve))
            right_where_done(kind, constraint_lanes.solve(PROBLEMS[kind]))


def textbook_is_enough() -> None:
    """Ordinary lanes without ties carry multipliers that prove them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constrained, "_by_sides", lambda *args: (np.inf, -np.inf))
        for kind in set(constraint_lanes.ORDINARY) - {"ties", "met", "repeated"}:
            assert constraint_lanes.solve(PROBLEMS[kind]).done.all()


def descent() -> None:
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        test_constrained_parts.test_the_dual_objective_never_rises(patch)


def crowds() -> None:
    test_constrained.test_flows_are_sent_round_cycles()


pairs, lines = done_and_right("pair"), done_and_right("chain", "vast chain")
sets, cyclic = done_and_right("acyclic", "vast"), done_and_right("cycles", "flat", "met")
tied, ragged = done_and_right("ties", "vast ties"), done_and_right("repeated", "ragged")
CHECKS = (
    pairs,
    lines,
    sets,
    cyclic,
    tied,
    ragged,
    weights_count,
    least_squares,
    duplicates,
    contradictions,
    done_is_proved,
    textbook_is_enough,
    crowds,
    descent,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_without_a_bug_every_check_is_green(check: Callable[[], None]) -> None:
    check()


Plant = Callable[[Any], Any]


def off_by(step: float) -> Plant:
    return lambda right: lambda *args: right(*args) + step * np.arange(6)[:, None]


def moved(step: float) -> Plant:
    """Solve with every margin asked for too much."""

    def plant(right: Callable[[Problem], Any]) -> Callable[[Problem], Any]:
        return lambda problem: right(replace(problem, margin=problem.margin + step))

    return plant


def negated(*places: int) -> Plant:
    """Give some of the arguments with the other sign."""

    def plant(right: Callable[..., Any]) -> Callable[..., Any]:
        def wrong(*args: Any, **more: Any) -> Any:
            return right(*(-a if i in places else a for i, a in enumerate(args)), **more)

        return wrong

    return plant


def minus_first(right: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(*args: Any) -> Any:
        first, *rest = right(*args)
        return (-first, *rest)

    return wrong


def swapped(right: Callable[..., Any]) -> Callable[..., Any]:
    """Take winners for losers."""

    def wrong(problem: Problem, *rest: Any) -> Any:
        return right(replace(problem, winner=problem.loser, loser=problem.winner), *rest)

    return wrong


def unweighted(right: Callable[..., Any]) -> Callable[..., Any]:
    """Forget the weights that the problem comes with."""
    return lambda problem, *rest: right(replace(problem, log_weight=None), *rest)


def flat_groups(right: Callable[..., Any]) -> Callable[..., Any]:
    """Weigh a rigid group as one response."""

    def wrong(*args: Any) -> Any:
        found = right(*args)
        weight = np.zeros_like(found.problem.log_weight)
        return replace(found, problem=replace(found.problem, log_weight=weight))

    return wrong


def unmoved_groups(right: Callable[..., Any]) -> Callable[..., Any]:
    """Forget where responses lie in their groups."""
    return lambda *args: replace(found := right(*args), offset=0.0 * found.offset)


def nothing_implied(right: Callable[..., Any]) -> Callable[..., Any]:
    """Drop a pair if any path leads where it does, whatever that demands."""
    return lambda problem, best: problem.kept & right(problem, np.where(best > -np.inf, 1e9, best))


def smallest_margin(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda xp, w, lo, m, present, k: right(xp, w, lo, -m, present, k)


def another(right: Callable[..., Any]) -> Callable[..., Any]:
    """Let go of another pair than the one that reached zero."""

    def wrong(*args: Any) -> Any:
        first, *rest = right(*args)
        return (0 * first, *rest)

    return wrong


def past(right: Callable[..., Any]) -> Callable[..., Any]:
    """Go all the way, and call what is negative zero."""

    def wrong(xp: Any, before: Any, push: Any, size: Any, negative: Any) -> Any:
        first, _ = right(xp, before, push, size, negative)
        return first, np.where(negative, -np.inf, size)

    return wrong


def proves_all(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: 0.0 * args[1][0]


def sides_prove_all(right: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(*args: Any) -> Any:
        _, *rest = right(*args)
        return (0.0 * args[1][0], *rest)

    return wrong


def nothing_rigid(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: ((found := right(*args))[0] & False, found[1])


def never(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: None


def settled_upside_down(right: Callable[..., Any]) -> Callable[..., Any]:
    """Give light responses the weight of heavy ones."""

    def wrong(self: Forest) -> Any:
        reach, self.reach = self.reach, np.where(self.reach > -1e14, -self.reach, self.reach)
        try:
            return right(self)
        finally:
            self.reach = reach

    return wrong


def unchanged(right: Callable[..., Any]) -> Callable[..., Any]:
    """Leave the multipliers of a cycle as they were."""

    def wrong(self: Any, edge: Any, lanes: Any) -> Any:
        before = self.log_multiplier.copy()
        found = right(self, edge, lanes)
        self.log_multiplier = before
        return found

    return wrong


def strongest(right: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(self: Any, edge: Any, lanes: Any) -> Any:
        self.log_multiplier = -self.log_multiplier
        found = right(self, edge, lanes)
        self.log_multiplier = -self.log_multiplier
        return found

    return wrong


def stuck(right: Callable[..., Any]) -> Callable[..., Any]:
    """Give up where a pair closes a cycle."""

    def wrong(self: Any, edge: Any, lanes: Any) -> Any:
        weakest, least, none = right(self, edge, lanes)
        return weakest, least, none | True

    return wrong


BUGS: dict[str, tuple[Any, str, Plant, Callable[[], None]]] = {
    "one pair shared out the wrong way": (projection, "softplus", negated(1), pairs),
    "winners and losers swapped, one pair": (projection, "_one_pair", swapped, pairs),
    "winners and losers swapped, chains": (chains, "order", swapped, lines),
    "winners and losers swapped, active set": (active, "solve", swapped, sets),
    "means that fall pooled": (chains, "isotonic", negated(2), lines),
    "chains without weights": (
        chains,
        "isotonic",
        lambda f: lambda xp, *a: f(xp, 0 * a[0], *a[1:]),
        lines,
    ),
    "pulls with the wrong sign, chains": (chains, "multipliers", negated(2), textbook_is_enough),
    "weights turned round, chains": (chains, "multipliers", negated(1), textbook_is_enough),
    "pushes with the wrong sign": (Forest, "pushes", minus_first, sets),
    "weights of blocks turned round": (Forest, "settle", settled_upside_down, sets),
    "weights dropped, chains": (chains, "solve", unweighted, weights_count),
    "weights dropped, active set": (active, "solve", unweighted, weights_count),
    "weights dropped, one pair": (projection, "_one_pair", unweighted, weights_count),
    "tilt in least squares": (
        active,
        "solve",
        lambda f: lambda p: f(replace(p, tilt=1.0)),
        least_squares,
    ),
    "the wrong pair let go": (
        active,
        "_stop_at_zero",
        another,
        done_and_right("cycles", "acyclic"),
    ),
    "flows sent round unchanged": (
        active._Work,
        "_circulate",
        unchanged,
        descent,
    ),
    "the strongest pair of a cycle freed": (
        active._Work,
        "_circulate",
        strongest,
        descent,
    ),
    "walks past the first zero": (active, "_stop_at_zero", past, descent),
    "no flow sent round": (active._Work, "_circulate", stuck, crowds),
    "duplicates by the smallest margin": (graphs, "distinct", smallest_margin, duplicates),
    "and among others": (graphs, "distinct", smallest_margin, ragged),
    "too much implied": (graphs, "unimplied", nothing_implied, sets),
    "rigid groups of weight one": (graphs, "contract", flat_groups, tied),
    "rigid groups without offsets": (graphs, "contract", unmoved_groups, tied),
    "cycles of sum zero not seen": (graphs, "cycles", nothing_rigid, tied),
    "negative pushes of equalities kept": (ties, "turn", never, tied),
    "the textbook proves all": (proof, "textbook", proves_all, done_is_proved),
    "sides prove all": (proof, "eliminate", sides_prove_all, done_is_proved),
    "the textbook forgets margins": (
        proof,
        "slackness",
        lambda f: lambda p, x, *_: 0 * x[0],
        done_is_proved,
    ),
    "tolerance loosened": (constrained, "TOLERANCE", lambda _: 1e-2, done_is_proved),
}


@pytest.mark.parametrize("bug", BUGS)
def test_every_planted_bug_turns_a_check_red(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, name, plant, check = BUGS[bug]
    monkeypatch.setattr(place, name, plant(getattr(place, name)))
    if bug == "the textbook proves all":  # it is believed only where it is asked
        monkeypatch.setattr(proof, "eliminate", sides_prove_all(proof.eliminate))
    checks.assert_red(check)
