"""Columns come in many containers; the door stays light."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from llm import naive

import prefeq as pq
from prefeq.llm.columns import Batch, find, layout_of, names_of


class Frame:
    """What a data frame has."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data, self.columns = data, np.array(list(data), object)

    def __getitem__(self, name: str) -> Any:
        return self.data[name]


def test_containers(rng: np.random.Generator) -> None:
    data = naive.only(naive.draw(rng, 60), "policy", "gap", "tokens", "prompt")
    data["row_id"] = [f"r{i}" for i in range(60)]
    expected = pq.audit(data, beta=0.1).to_dict()
    lists = {name: list(values) for name, values in data.items()}
    for container in (lists, Frame(data), Frame(lists)):
        assert pq.audit(container, beta=0.1).to_dict() == expected
    pyarrow = pytest.importorskip("pyarrow")
    assert pq.audit(pyarrow.table(lists), beta=0.1).to_dict() == expected


def test_missing_values_are_no_numbers() -> None:
    data = {"ref_chosen_logps": [-1.0, None, -3.0], "ref_rejected_logps": [-2, -2, -2]}
    for container in (data, pytest.importorskip("pyarrow").table(data)):
        report = pq.audit(container, beta=0.1)
        assert (report["pairs"], report["excluded"]) == (2, 1)
        assert report["faults"][0]["rows"] == [1]


def test_integers_and_columns_that_are_not_contiguous() -> None:
    logps = -np.arange(24).reshape(6, 4)
    data = dict(zip(naive.LOGPS, logps.T, strict=True))
    floats = {name: values.astype(float).copy() for name, values in data.items()}
    assert pq.audit(data, beta=1.0).to_dict() == pq.audit(floats, beta=1.0).to_dict()


def test_names_that_mean_nothing_to_us_are_left_alone() -> None:
    names = ["ref_chosen_logps", "text", "ref_rejected_logps", "prompt"]
    assert find(names) == {name: name for name in names if name != "text"}
    assert layout_of(find(names)).prompt
    assert names_of({1: [0]}) == ["1"]


def test_parts_and_places() -> None:
    columns = {"ref_chosen_logps": np.arange(5.0), "ref_rejected_logps": np.arange(5.0)}
    part = Batch(columns, start=100, source="s").part(2, 5)
    assert (len(part), part.place(1), part.row_id(1)) == (3, ("s", 103), "s:103")
    assert np.shares_memory(part.columns["ref_chosen_logps"], columns["ref_chosen_logps"])


@pytest.mark.parametrize("statement", ["prefeq.audit", "prefeq.llm", "prefeq.llm.AuditState"])
def test_the_door_is_light(statement: str) -> None:
    code = f"import sys, prefeq; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "scipy", "cvxpy", "sympy", "matplotlib", "flint", "pyarrow"}
    assert not any(name.startswith("prefeq.claims") for name in done.stdout.split())
