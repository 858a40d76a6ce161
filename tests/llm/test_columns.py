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


MESSAGES = [[{"role": "user", "content": f"{i}"}] * (1 + i % 3) for i in (0, 1, 1, 2, 1, 4)]
MESSAGES[4] = [{"content": "1", "role": "user"} for _ in range(2)]  # the same prompt once more


def objects(rows: list[Any]) -> np.ndarray:
    array = np.empty(len(rows), object)
    array[:] = rows
    return array


def prompts(column: Any, library: str) -> Any:
    """Return prompts as a library holds them."""
    if library == "numpy":
        return objects(column)
    if library == "numpy of numpy":  # as pandas reads them from Parquet
        return objects([objects(row) for row in column])
    if library == "numpy, one axis each":
        return np.array([row[:1] for row in column], object)
    if library == "tuples":
        return tuple(map(tuple, column))
    if library == "pandas":
        return pytest.importorskip("pandas").Series(column, index=[3, 9, 7, 0, 1, 2])
    if library == "datasets":
        return pytest.importorskip("datasets").Dataset.from_dict({"prompt": column})["prompt"]
    if library == "arrow":
        return pytest.importorskip("pyarrow").array(column)
    assert library == "lists"
    return column


@pytest.mark.parametrize(
    "library",
    [
        *("lists", "tuples", "numpy", "numpy of numpy", "numpy, one axis each", "pandas", "arrow"),
        "datasets",
    ],
)
def test_equal_messages_are_one_prompt(library: str) -> None:
    numbers = {"ref_chosen_logps": -np.arange(6.0), "ref_rejected_logps": -np.arange(6.0)[::-1]}
    report = pq.audit(numbers | {"prompt": prompts(MESSAGES, library)}, beta=0.1)
    named = pq.audit(numbers | {"prompt": [0, 1, 1, 2, 1, 4]}, beta=0.1)
    assert report["prompts"] == 4
    check_alike(report.to_dict(), named.to_dict())


def check_alike(one: Any, other: Any) -> None:
    """Raise unless two reports are the same up to rounding: prompts are summed by their keys."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
    if isinstance(one, dict | list):
        assert len(one) == len(other)
        for key in one if isinstance(one, dict) else range(len(one)):
            check_alike(one[key], other[key])
    else:
        assert one == (pytest.approx(other, rel=1e-12) if isinstance(other, float) else other)


def test_reports_that_differ_are_not_alike() -> None:
    check_alike({"a": [1.0, "x"]}, {"a": [1.0 + 1e-15, "x"]})
    for wrong in ({"a": [1.0 + 1e-9, "x"]}, {"a": [1.0, "y"]}, {"a": [1.0]}, {"b": []}):
        with pytest.raises(AssertionError):
            check_alike({"a": [1.0, "x"]}, wrong)


def test_token_ids_are_prompts_and_so_are_single_messages() -> None:
    numbers = {"ref_chosen_logps": [-1.0] * 4, "ref_rejected_logps": [-2.0] * 4}
    ragged = [[5, 6], [5], [5, 6], [6, 5]]
    padded = np.array([[5, 6], [5, 0], [5, 6], [6, 5]])
    single = [{"role": "user", "content": text} for text in ("a", "b", "a", "c")]
    with_name = [message | {"name": None} for message in single]
    with_name[2] = single[2]
    for column in (ragged, padded, single, objects(single), with_name):
        assert pq.audit(numbers | {"prompt": column}, beta=0.1)["prompts"] == 3


def test_rows_of_a_frame_are_taken_by_number_not_by_label() -> None:
    pandas = pytest.importorskip("pandas")
    data = {
        "ref_chosen_logps": [-9.0, -1.0, -2.0, 0.5],
        "ref_rejected_logps": [-2.0, -2.0, -1.0, -2.0],
        "row_id": ["left out", "a", "b", "c"],
        "prompt": ["p", "q", "q", "r"],
    }
    frame = pandas.DataFrame(data, index=[7, 0, 3, 1])
    found = pq.audit(frame[frame["ref_chosen_logps"] > -5], beta=0.1)
    assert found["prompts"] == 2
    assert found["faults"][0]["rows"] == ["c"]
    assert found.to_dict() == pq.audit({k: v[1:] for k, v in data.items()}, beta=0.1).to_dict()


@pytest.mark.parametrize("statement", ["prefeq.audit", "prefeq.llm", "prefeq.llm.AuditState"])
def test_the_door_is_light(statement: str) -> None:
    code = f"import sys, prefeq; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "scipy", "cvxpy", "sympy", "matplotlib", "flint", "pyarrow"}
    assert not any(name.startswith("prefeq.claims") for name in done.stdout.split())
