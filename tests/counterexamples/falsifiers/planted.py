"""Attacks on a package with one planted bug: the falsifier of a true statement has to see it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from prefeq import losses, solvers
from prefeq.arrays import log_normalise
from prefeq.claims import registry
from prefeq.counterexamples.case import Case
from prefeq.counterexamples.shrink import violation
from prefeq.counterexamples.sources import RandomSource
from prefeq.counterexamples.targets import falsifier

TRIES = 600


class Bug(NamedTuple):
    """One mutant: `mutate` maps what `owner.attribute` is to its broken form."""

    label: str
    owner: Any
    attribute: str
    mutate: Callable[[Any], Any]


def first_violation(claim: str, label: str, tries: int = TRIES) -> Case | None:
    """Return the first drawn case that violates the reading by its floats."""
    attack, source = falsifier(claim, label), RandomSource("attack")
    cases = (attack.draw(source) for _ in range(tries))
    return next((case for case in cases if violation(attack, case) > 0), None)


def assert_seen(monkeypatch: pytest.MonkeyPatch, claim: str, bug: Bug) -> None:
    """Plant the bug; a case must now violate the true statement, and no certificate fall for it."""
    monkeypatch.setattr(bug.owner, bug.attribute, bug.mutate(getattr(bug.owner, bug.attribute)))
    case = first_violation(claim, bug.label)
    assert case is not None, f"{bug} survives"
    assert not falsifier(claim, bug.label).certify(case).holds


def assert_all_attacked(claim: str, bugs: tuple[Bug, ...]) -> None:
    """Every reading with a proof is attacked with a bug."""
    proved = {r.label for r in registry.get_claim(claim).readings if r.proof or r.never}
    assert {bug.label for bug in bugs} == proved


def name_of(value: Any) -> str:
    """Name a parametrised bug."""
    return f"{value.label}: {value.attribute}" if isinstance(value, Bug) else ""


def instead(function: Any) -> Callable[[Any], Any]:
    """Replace the original whatever it was."""
    return lambda original: function


def scaled(factor: float) -> Callable[[Any], Any]:
    """Multiply the answer."""
    return lambda original: lambda *args, **kw: factor * original(*args, **kw)


def negated(original: Any) -> Callable[..., Any]:
    """Turn yes into no."""
    return lambda *args, **kw: np.logical_not(original(*args, **kw))


def relinked(**changes: Any) -> Callable[[losses.Loss], losses.Loss]:
    """Replace parts of a loss's link."""
    return lambda loss: dataclasses.replace(loss, link=dataclasses.replace(loss.link, **changes))


def doubled_tilt(original: Any) -> Callable[..., Any]:
    """Let RLHF count its rewards twice."""
    return lambda bandit: log_normalise(bandit.ref_logp + 2 * bandit.tilt)


def lifted(by: float) -> Callable[[Any], Any]:
    """Ask Constrained PO for other margins than the given ones."""

    def mutate(original: Any) -> Callable[..., Any]:
        def solve(bandit: Any, prefs: Any, margin: Any = 0.0, **kw: Any) -> Any:
            return original(bandit, prefs, margin=np.asarray(margin) + by, **kw)

        return solve

    return mutate


def rlhf_instead(original: Any) -> Callable[..., Any]:
    """Answer with the RLHF policy whatever is asked."""
    return lambda bandit, prefs, **kw: solvers.solve_rlhf(bandit)


def uphill(original: Any) -> Callable[..., Any]:
    """Turn the descent around."""

    def misfit(pairs: Any, t: Any) -> Any:
        sign, size = original(pairs, t)
        return -sign, size

    return misfit
