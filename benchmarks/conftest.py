"""Options and fixtures of the benchmarks: `make bench`, or pytest benchmarks/bench_*.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from benchmarks import record

T = TypeVar("T")
SMALLEST = 200


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("prefeq")
    group.addoption("--scale", type=float, default=1.0, help="share of the problems; 1: all")
    group.addoption("--results", type=Path, help="folder for the results; needed unless scale is 1")


@pytest.fixture(scope="session")
def size(pytestconfig: pytest.Config) -> Callable[[int], int]:
    """Return the number of problems to solve instead of a full number."""
    scale = pytestconfig.getoption("--scale")
    return lambda full: full if scale == 1 else max(min(full, SMALLEST), int(full * scale))


@pytest.fixture(scope="session")
def folder(pytestconfig: pytest.Config) -> Path:
    """Return where results go; those of another scale must not pass for the real ones."""
    given: Path | None = pytestconfig.getoption("--results")
    if given is None and pytestconfig.getoption("--scale") != 1:
        raise pytest.UsageError("--scale needs --results: the committed ones are full-size")
    return given or record.RESULTS


@pytest.fixture(scope="session")
def store(folder: Path) -> Callable[[str, str, dict[str, Any]], None]:
    """Store a case of a results file."""
    return partial(record.store, folder)


@pytest.fixture
def clock(benchmark: Any) -> record.Clock:
    """Time by pytest-benchmark, which then lists it."""

    def timed(call: Callable[[], T], rounds: int = 3) -> tuple[T, float]:
        if benchmark.disabled:
            return record.best_of(call, rounds)
        answer = benchmark.pedantic(call, rounds=rounds, iterations=1)
        return answer, float(benchmark.stats.stats.min)

    return timed
