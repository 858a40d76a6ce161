"""The attacks on `pathological-convergence` succeed where the package is broken."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from counterexamples.falsifiers import planted

from prefeq import losses, margins
from prefeq.claims.ball import midpoint
from prefeq.claims.instance import Instance
from prefeq.counterexamples.falsifiers import _descent
from prefeq.solvers import likelihood

CLAIM = "pathological-convergence"
NEVER = planted.instead(lambda margin, ref: np.zeros_like(margin, dtype=bool))
EARLY = planted.instead(lambda ref, beta, step, mass=1.0, target=None: (np.ones(()), np.ones(())))


def _closer(factor: float):
    """Let a loss believe that it stops at another multiple of its target."""

    def mutate(loss):
        true = loss.link.minimisers
        return planted.relinked(
            minimisers=lambda xp, odds: tuple(factor * z for z in true(xp, odds))
        )(loss)

    return mutate


def _all_losses(factor: float):
    return lambda original: lambda eps: _closer(factor)(original(eps))


BUGS = (
    planted.Bug("bradley-terry", likelihood, "misfit", planted.uphill),
    planted.Bug("bradley-terry", margins, "optimal_margin", planted.scaled(2)),
    planted.Bug("bradley-terry-graph", likelihood, "misfit", planted.uphill),
    planted.Bug("bradley-terry-graph", likelihood, "loss", planted.scaled(0.5)),
    planted.Bug("ordered-acyclic-transient", likelihood, "misfit", planted.uphill),
    planted.Bug("ordered-acyclic-transient", margins, "exit_steps_bounds", EARLY),
    planted.Bug("ipo (if)", margins, "undesirable", NEVER),
    planted.Bug("ipo (if)", losses, "IPO", _closer(2)),
    planted.Bug("ipo (only-if)", losses, "IPO", _closer(0.5)),
    planted.Bug("hinge (if)", losses, "HINGE", _closer(2)),
    planted.Bug("hinge (only-if)", losses, "HINGE", _closer(0.5)),
    planted.Bug("cdpo (if)", losses, "cdpo", _all_losses(2)),
    planted.Bug("cdpo (only-if)", losses, "cdpo", _all_losses(0.5)),
    planted.Bug(
        "ipo-overlapping-corrected", losses, "IPO", planted.relinked(slope=lambda xp, z: 2 * z)
    ),
)


@pytest.mark.parametrize("bug", BUGS, ids=planted.name_of)
def test_a_planted_bug_is_seen(bug, monkeypatch):
    planted.assert_seen(monkeypatch, CLAIM, bug)


def test_every_true_reading_has_a_bug():
    planted.assert_all_attacked(CLAIM, BUGS)


@pytest.mark.parametrize("labels", ["ordered", "bradley-terry"])
def test_descents_in_floats_and_in_balls_are_one(labels):
    made = Instance.of(
        "a triangle",
        reward=[2, "1/2", 0],
        ref=["1/6", "1/3", "1/2"],
        beta="3/2",
        pairs=[(0, 1), (1, 2), (0, 2)],
        labels=labels,
    )
    size = Fraction(3, 4)
    path = _descent.ball_path(made, made.ref, 4, size)
    run = _descent.descend(made, 4, size)
    np.testing.assert_allclose(run.margin[0], [midpoint(x) for x in path[0]], rtol=1e-13)
    np.testing.assert_allclose(run.margin[-1], [midpoint(x) for x in path[-1]], rtol=1e-13)
    assert np.all(run.margin[-1] > run.margin[0])
