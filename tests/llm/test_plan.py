"""The levels of a plan decide as the package's own functions do, to the last float."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from prefeq import margins
from prefeq.llm.columns import Layout
from prefeq.llm.plan import TRAPS, Plan, highest_float
from prefeq.losses import LOSSES

BETAS = (1e-6, 0.1, 0.3, 1.0, 7.0, 1e6)


def around(level: float) -> np.ndarray:
    """Return a level and its neighbours among the floats."""
    return np.array([math.nextafter(level, -math.inf), level, math.nextafter(level, math.inf)])


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("name", TRAPS)
def test_traps(beta: float, name: str) -> None:
    plan = Plan(beta)
    for i, other in enumerate(plan.all_betas):
        _, level = plan.levels[f"{name} trap {i}"]
        values = around(level)
        assert (LOSSES[name].traps(values, other) == (values <= level)).all()


@pytest.mark.parametrize("beta", BETAS)
def test_label_probabilities(beta: float) -> None:
    plan = Plan(beta)
    for i, other in enumerate(plan.all_betas):
        for prob in plan.labels(i):
            _, level = plan.levels[f"violated {i} at {prob}"]
            values = around(level)
            holds = margins.assumption_holds(values, margins.logit(prob), other)
            assert (~holds == (values <= level)).all()


def test_the_other_losses_never_trap_an_ordered_pair() -> None:
    values = np.array([-800.0, -1.0, 0.0, 3.0])
    for name in ("dpo", "hypo", "smooth", "simpo"):
        assert not LOSSES[name].traps(values, 0.1).any()


def test_floats_are_searched_in_their_order() -> None:
    for bound in (0.0, -0.0, 5e-324, -1.5, 1e308, -1e308):
        found = highest_float(lambda values, bound=bound: values < bound, 2)
        assert found.tolist() == [math.nextafter(bound, -math.inf)] * 2
    assert highest_float(lambda values: np.zeros(1, bool), 1).tolist() == [-math.inf]


def test_what_is_stored_has_a_place() -> None:
    for layout in (Layout(), Layout(policy=False), Layout(gap="rewards", tokens=True)):
        plan = Plan(0.1, layout=layout)
        assert len(set(plan.stored)) == len(plan.stored)
        for share in (*plan.counted, *plan.levels):
            stored = plan.stored[plan.place(share)]
            assert stored in (share, plan.levels.get(share))
    assert Plan(0.1).per_token == "ref"
    assert Plan(0.1, layout=Layout(tokens=True)).per_token == "other"
    assert Plan(0.1, normalize="mean", layout=Layout(tokens=True)).per_token == "ref"


def test_options_of_numpy_are_plain_ones() -> None:
    plan = Plan(np.float32(0.5), "sum", np.bool_(True), level=np.float64(0.9))  # type: ignore[arg-type]
    assert plan == Plan(0.5, "sum", True, level=0.9)
    kinds = [type(value) for value in (plan.beta, plan.step0, plan.level, *plan.betas)]
    assert set(kinds) == {float, bool}
    json.dumps(dataclasses.asdict(plan))
