"""The pytest plugin of prefeq: options, and a fixture `preference_loss`.

It stands beside the package, not in it, because pytest imports it at every start: prefeq itself,
and with it NumPy and Hypothesis, is loaded when a test needs it. ``prefeq.testing`` says more.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, and the setting ``prefeq_losses``."""
    group = parser.getgroup("prefeq", "preference losses (prefeq)")
    group.addoption(
        "--prefeq-loss",
        action="append",
        default=[],
        metavar="LOSS",
        help="a loss for the fixture preference_loss: MODULE:FUNCTION, FILE.py:FUNCTION or a name "
        "such as trl:ipo; may be repeated",
    )
    group.addoption(
        "--prefeq-kw",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a keyword argument of these losses, such as beta=0.1; may be repeated",
    )
    group.addoption(
        "--prefeq-against", metavar="LOSS", help="a second implementation to compare them with"
    )
    group.addoption(
        "--prefeq-examples",
        type=int,
        metavar="N",
        help="how many examples assertions draw (default: max_examples of the Hypothesis profile)",
    )
    group.addoption(
        "--prefeq-failures",
        metavar="DIR",
        help="write message, tables and figure of each failed assertion to DIR",
    )
    parser.addini("prefeq_losses", "losses for the fixture preference_loss", type="linelist")


def pytest_configure(config: pytest.Config) -> None:
    """Set how many examples assertions draw, and check the folder for failures, if asked for."""
    folder = _failures_folder(config)
    if folder is not None:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not there.is_dir():
            given = config.getoption("prefeq_failures")
            raise pytest.UsageError(
                f"--prefeq-failures {given}: {there.name} is no folder; name another"
            )
    examples = config.getoption("prefeq_examples")
    if examples is not None:
        if examples < 1:
            raise pytest.UsageError(f"--prefeq-examples {examples}: draw at least one")
        from prefeq.testing import search

        search.EXAMPLES = examples


def _failures_folder(config: pytest.Config) -> Path | None:
    """Return the folder as it was meant at the start: a test may change the working directory."""
    folder = config.getoption("prefeq_failures")
    return config.invocation_params.dir / folder if folder else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `preference_loss` once for each loss that was named."""
    if "preference_loss" not in metafunc.fixturenames:
        return
    config = metafunc.config
    names = [*config.getini("prefeq_losses"), *config.getoption("prefeq_loss")]
    metafunc.parametrize("preference_loss", names, ids=names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def preference_loss(request: pytest.FixtureRequest) -> Any:
    """Each loss that ``--prefeq-loss`` or ``prefeq_losses`` names, ready for the assertions."""
    from prefeq.cli_loss import parameters
    from prefeq.errors import ProblemError
    from prefeq.loss_cards import adapt

    try:
        return adapt(request.param, **parameters(request.config.getoption("prefeq_kw")))
    except ProblemError as error:
        pytest.fail(f"preference_loss: {error}", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    """Write a failed assertion to the folder of ``--prefeq-failures``."""
    report = yield
    folder = _failures_folder(item.config)
    failures = sys.modules.get("prefeq.testing.failures")  # not loaded: then it raised nothing
    if folder and failures and call.excinfo is not None:
        failure = call.excinfo.value
        if isinstance(failure, failures.PropertyFailure):
            shown = item.config.getoption("prefeq_failures")
            paths = failure.write(folder, failures.stem(item.nodeid))
            lines = [f"wrote {Path(shown, path.name)}" for path in paths]
            report.sections.append(("prefeq", "\n".join(lines)))
    return report
