"""The pytest plugin: options, the fixture, the battery, and what a failure leaves behind."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = "pytester"

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "testing.md"

INSTALLED = any(entry.name == "prefeq" for entry in metadata.entry_points(group="pytest11"))

MINE = """
import numpy as np

def dpo(chosen, rejected, ref_chosen, ref_rejected, beta=0.1):
    return np.logaddexp(0, -beta * (chosen - rejected - ref_chosen + ref_rejected))

def ipo(chosen, rejected, ref_chosen, ref_rejected, beta=0.1):
    return (chosen - rejected - ref_chosen + ref_rejected - 1 / (2 * beta)) ** 2
"""

SUITE = """
from prefeq.testing import assert_no_trap

def test_it_frees_every_pair(preference_loss):
    assert_no_trap(preference_loss)
"""


@pytest.fixture
def run(pytester: pytest.Pytester) -> Any:
    pytester.makepyfile(mine=MINE)
    plugin = () if INSTALLED else ("-p", "pytest_prefeq")

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_subprocess(
            *plugin, "-p", "no:cacheprovider", "--prefeq-examples", "5", *arguments
        )

    return run


def test_the_fixture_takes_each_loss_that_is_named(run: Any, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_mine=SUITE)
    done = run("-v", "--prefeq-loss", "mine:dpo", "--prefeq-loss", "mine.py:ipo")
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(
        [
            "*test_it_frees_every_pair*mine:dpo* PASSED*",
            "*test_it_frees_every_pair*mine.py:ipo* FAILED*",
            "E*assert_no_trap(ipo*an ordered pair is trapped*",
            "E*prompt,response,ref_logp,reward",
            "E*prefeq solve instance.csv --beta 0.1 --labels ordered",
        ]
    )
    assert "prefeq/testing" not in done.stdout.str()  # the traceback is the user's own


def test_losses_may_stand_in_the_settings(run: Any, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_mine=SUITE)
    pytester.makeini("[pytest]\nprefeq_losses =\n    mine:dpo\n    hypo\n")
    run().assert_outcomes(passed=2)


def test_without_a_loss_the_test_is_skipped(run: Any, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_mine=SUITE)
    run().assert_outcomes(skipped=1)


def test_a_loss_that_is_not_there_fails_in_a_line(run: Any, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_mine=SUITE)
    done = run("--prefeq-loss", "mine:nothing")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*preference_loss: mine has no 'nothing'; it has dpo, ipo*"])


def test_the_battery_needs_no_test_file(run: Any) -> None:
    done = run("-v", "--pyargs", "prefeq.testing.battery", "--prefeq-loss", "mine:dpo")
    done.assert_outcomes(passed=3, failed=2, skipped=2)  # DPO is not aligned, in either reading
    done.stdout.fnmatch_lines(["*test_gradient*SKIPPED*no gradient*", "*test_aligned*FAILED*"])


def test_the_guide_s_command_runs_on_the_guide_s_loss(run: Any, pytester: pytest.Pytester) -> None:
    page = GUIDE.read_text("utf-8")
    loss = re.search(r"^>>> def mine.*\n(?:^\.\.\. .*\n)+", page, re.MULTILINE)
    line = re.search(r"^pytest (.*prefeq\.testing\.battery.*)$", page, re.MULTILINE)
    assert loss is not None
    assert line is not None
    pytester.makepyfile(losses=re.sub(r"^(>>>|\.\.\.) ", "", loss[0], flags=re.MULTILINE))
    run(*shlex.split(line[1])).assert_outcomes(passed=2, failed=1, skipped=2, deselected=2)


def test_the_guide_lists_the_options(run: Any) -> None:
    listed = set(re.findall(r"^\| `(--prefeq-[a-z]+)", GUIDE.read_text("utf-8"), re.MULTILINE))
    assert listed == set(re.findall(r"^ +(--prefeq-[a-z]+)", run("--help").stdout.str(), re.M))


def test_parameters_and_a_second_version(run: Any) -> None:
    battery = ("--pyargs", "prefeq.testing.battery", "-k", "same", "--prefeq-against", "dpo")
    given = ("--prefeq-loss", "mine:dpo", "--prefeq-kw", "beta=0.5")
    run(*battery, *given).assert_outcomes(passed=1, deselected=6)
    given = ("--prefeq-loss", "mine:ipo", "--prefeq-kw", "beta=0.5")
    run(*battery, *given).assert_outcomes(failed=1, deselected=6)


def test_a_failure_leaves_its_tables_and_its_figure(run: Any, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_mine=SUITE)
    done = run("--prefeq-loss", "mine:ipo", "--prefeq-failures", "broken")
    done.stdout.fnmatch_lines(["*wrote broken*test_mine-test_it_frees_every_pair-mine-ipo.txt"])
    names = sorted(path.suffix for path in Path(pytester.path, "broken").iterdir())
    assert names == [".csv", ".png", ".txt"]


def test_the_written_command_solves_the_written_table(
    run: Any, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefeq.cli import main

    pytester.makepyfile(test_mine=SUITE)
    run("--prefeq-loss", "mine:ipo", "--prefeq-failures", "broken")
    folder = Path(pytester.path, "broken")
    (text,) = folder.glob("*.txt")
    said = text.read_text("utf-8")
    assert f"\n{text.stem}.csv:\nprompt,response," in said
    assert "instance.csv" not in said
    command = re.search(r"^\$ prefeq (solve .*)$", said, re.MULTILINE)
    assert command is not None
    monkeypatch.chdir(folder)
    assert main(shlex.split(command[1])) == 0


def test_a_failure_names_the_pairs_that_it_writes(tmp_path: Path) -> None:
    from prefeq.testing.failures import PropertyFailure
    from prefeq.testing.instances import Instance

    rows = [
        {"prompt": "p", "response": name, "ref_logp": -1.0, "reward": 1.0} for name in ("a", "b")
    ]
    pairs = [{"prompt": "p", "winner": "a", "loser": "b"}]
    instance = Instance(rows, 0.1, pairs=pairs)
    failure = PropertyFailure("a", "s", "c", measured={}, theory="t", instance=instance)
    paths = failure.write(tmp_path, "two words")
    said = paths[0].read_text("utf-8")
    assert [path.name for path in paths[1:]] == ["two words.csv", "two words-pairs.csv"]
    assert "\ntwo words-pairs.csv:\nprompt,winner,loser\n" in said
    assert said.endswith(f"$ {instance.command('two words')}\n")
    assert f"$ {instance.command()}" in str(failure)


def test_failures_go_where_pytest_started(run: Any, pytester: pytest.Pytester) -> None:
    moved = SUITE.replace("(preference_loss):", "(preference_loss, monkeypatch, tmp_path):")
    moved = moved.replace("    assert_no", "    monkeypatch.chdir(tmp_path)\n    assert_no")
    pytester.makepyfile(test_mine=moved)
    run("--prefeq-loss", "ipo", "--prefeq-failures", "broken").assert_outcomes(failed=1)
    assert len(list(Path(pytester.path, "broken").iterdir())) == 3


@pytest.mark.parametrize("folder", ["taken", "taken/below"])
def test_a_file_is_no_folder_for_failures(run: Any, pytester: pytest.Pytester, folder: str) -> None:
    pytester.makepyfile(test_mine=SUITE)
    Path(pytester.path, "taken").write_text("mine")
    done = run("--prefeq-loss", "mine:ipo", "--prefeq-failures", folder)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines([f"ERROR: --prefeq-failures {folder}: * is no folder; name another"])


def test_other_failures_leave_nothing(run: Any, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_mine="def test_no():\n    assert 1 == 2\n")
    run("--prefeq-failures", "broken").assert_outcomes(failed=1)
    assert not Path(pytester.path, "broken").exists()


def test_a_senseless_number_of_examples_is_refused(run: Any) -> None:
    done = run("--prefeq-examples", "0")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*--prefeq-examples 0: draw at least one*"])


def test_the_plugin_loads_nothing_at_start() -> None:
    code = (
        "import sys, pytest_prefeq; "
        "print([m for m in ('prefeq', 'numpy', 'hypothesis', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
