"""Losses by name, and what is said of those that there are not."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from loss_cards import planted

from prefeq import losses
from prefeq.errors import ProblemError
from prefeq.loss_cards import adapt
from prefeq.loss_cards.names import load

MODULE = """
import numpy as np
def mine(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps, beta=0.1):
    x = chosen_logps - rejected_logps - ref_chosen_logps + ref_rejected_logps
    return np.logaddexp(0, -beta * x), beta * x, -beta * x
NOT = 3
class Loss:
    def __init__(self, scale=1.0):
        self.scale = scale
    def __call__(self, chosen, rejected, ref_chosen, ref_rejected, *, tau=0.1):
        return self.scale * np.exp(-tau * (chosen - rejected))
made = Loss(2.0)
def plain(chosen, rejected, ref_chosen, ref_rejected, chosen_tokens):
    return rejected - chosen
def more(*logps, scale=1.0):
    return scale * mine(*logps)[0]
def wrapped(*given, factor=1.0, **named):
    return factor * mine(*given, **named)[0]
wrapped.__wrapped__ = mine
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "losses_of_a_user.py"
    path.write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return path


def test_ours_with_their_parameters() -> None:
    loss = load("cdpo", eps=0.2, beta=0.5)
    assert (loss.name, loss.beta, loss.library) == ("cdpo", 0.5, "prefeq")
    own = load("prefeq:smooth", alpha=2.0).own
    assert own is not None
    assert own.target(-3.0, 1.0) == losses.smooth(2.0).target(-3.0, 1.0)
    assert load("dpo").beta == 0.1


def test_a_function_of_a_file_and_of_a_module(file: Path) -> None:
    for text in (f"{file}:mine", "losses_of_a_user:mine"):
        loss = load(text, beta=2.0)
        assert (loss.name, loss.library, loss.reduction, loss.beta) == ("mine", "numpy", "pairs", 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nowhere.py:mine", "no such file"),
        ("no_such_module_at_all:mine", "cannot be imported"),
        ("losses_of_a_user:other", "it has Loss, made, mine"),
        ("losses_of_a_user:NOT", "is no loss"),
        ("losses_of_a_user.py:Loss", "^Loss is a class: pass an instance of it, or a function$"),
        ("prefeq:dqo", "choose from cdpo"),
    ],
)
def test_what_is_not_there(file: Path, text: str, said: str) -> None:
    with pytest.raises(ProblemError, match=said):
        load(text)


def test_a_file_that_fails(file: Path) -> None:
    file.write_text("1/0")
    with pytest.raises(ProblemError, match="ZeroDivisionError"):
        load(f"{file}:mine")


@pytest.mark.parametrize(
    ("parameters", "said"),
    [({"gamma": 1.0}, "takes beta only"), ({"beta": -1.0}, "positive"), ({"beta": "x"}, "number")],
)
def test_parameters_that_ours_do_not_take(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(ProblemError, match=said):
        load("dpo", **parameters)


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("mine", {"betta": 0.2}, "mine takes no 'betta'; it takes beta"),
        ("mine", {"chosen_logps": 1.0}, "mine takes no 'chosen_logps'; it takes beta"),
        ("made", {"scale": 0.2}, "made takes no 'scale'; it takes tau"),
        ("plain", {"chosen_tokens": 2}, "takes no 'chosen_tokens'; it takes the log-probs alone"),
        ("more", {"gamma": 0.2}, "more takes no 'gamma'; it takes scale"),
        ("mine", {"beta": 0}, "beta = 0: must be positive and finite"),
        ("mine", {"beta": "abc"}, "beta = 'abc': must be a number"),
        ("mine", {"beta": float("inf")}, "beta = inf: must be positive and finite"),
        ("mine", {"beta": float("nan")}, "beta = nan: must be positive and finite"),
        ("wrapped", {"beta": 0}, "beta = 0: must be positive and finite"),
    ],
)
def test_parameters_that_a_function_does_not_take(
    file: Path, name: str, parameters: dict[str, Any], said: str
) -> None:
    with pytest.raises(ProblemError, match=f"{said}$"):
        load(f"{file}:{name}", **parameters)


def test_what_a_function_takes_is_passed(file: Path) -> None:
    known: dict[str, dict[str, Any]] = {
        "made": {"tau": 0.3},
        "more": {"scale": 2.0},
        "wrapped": {"factor": 2.0, "beta": 0.5},  # more than `mine`, which it wraps, says
    }
    for name, parameters in known.items():
        assert load(f"{file}:{name}", **parameters).parameters == parameters


@pytest.mark.parametrize("value", ["abc", True, float("nan"), None])
@pytest.mark.parametrize("kind", ["robust", "sigmoid"])  # sigmoid would only ask if it is > 0
def test_parameters_of_trl_are_numbers(kind: str, value: Any) -> None:
    pytest.importorskip("trl")
    said = f"trl:{kind}: label_smoothing = {value!r}: must be a finite number$"
    with pytest.raises(ProblemError, match=said):
        load(f"trl:{kind}", label_smoothing=value)


def test_a_parameter_that_the_constructor_does_not_take() -> None:
    with pytest.raises(ProblemError, match="takes beta, alpha, gamma, tau, not 'aplha'"):
        load("smooth", aplha=1.0)


def test_what_cannot_be_called() -> None:
    def three(c: Any, r: Any, rc: Any) -> Any:
        return c

    def needy(c: Any, r: Any, rc: Any, rr: Any, beta: float) -> Any:
        return beta * (c - r - rc + rr) ** 2

    def texts(c: Any, r: Any, rc: Any, rr: Any) -> Any:
        return "loss"

    def table(c: Any, r: Any, rc: Any, rr: Any) -> Any:
        return (c[:, None] - r[None, :]) ** 2

    for loss, said in (
        (three, "cannot be called"),
        (needy, "pass it: beta=0.1"),
        (texts, "numbers"),
        (table, "shape \\(7, 7\\)"),
        (3.0, "is no loss"),
    ):
        with pytest.raises(ProblemError, match=said):
            adapt(loss, library="numpy")


@pytest.mark.parametrize("error", ["ValueError", "SystemExit"])
def test_a_loss_that_raises_is_quoted_once_with_its_line(file: Path, error: str) -> None:
    file.write_text(f"def bad(c, r, rc, rr):\n    raise {error}('no')\n")
    with pytest.raises(ProblemError) as caught:
        load(f"{file}:bad")
    assert str(caught.value) == f"bad cannot be called ({error}: no ({file}:2))"


def test_a_loss_may_be_an_instance_without_a_hash() -> None:
    @dataclass
    class Mine:
        beta: float = 0.1

        def __call__(self, c: Any, r: Any, rc: Any, rr: Any) -> Any:
            return planted.dpo(c, r, rc, rr, self.beta)

    assert adapt(Mine()).library == "numpy"


def test_columns_go_by_their_names_where_they_have_them() -> None:
    def shuffled(
        ref_chosen_logps: Any, policy_rejected_logps: Any, chosen_logps: Any,
        reference_rejected_logps: Any, beta: float = 1.0,
    ) -> Any:  # fmt: skip
        return planted.dpo(
            chosen_logps, policy_rejected_logps, ref_chosen_logps, reference_rejected_logps, beta
        )

    from prefeq.loss_cards import same_as

    assert same_as(adapt(shuffled)) == ("dpo",)


def test_a_dictionary_with_a_loss() -> None:
    def dictionary(c: Any, r: Any, rc: Any, rr: Any) -> Any:
        return {"loss": planted.dpo(c, r, rc, rr).mean(), "rewards": c}

    assert adapt(dictionary).reduction == "mean"
    with pytest.raises(ProblemError, match="needs a key 'loss'"):
        adapt(lambda c, r, rc, rr: {"rewards": c}, library="numpy")


def test_the_import_and_a_numpy_card_need_neither_torch_nor_trl() -> None:
    code = (
        "import sys, numpy as np, prefeq as pq\n"
        "f = lambda c, r, rc, rr, beta=1.0: np.logaddexp(0, -beta * (c - r - rc + rr))\n"
        "assert pq.analyse_loss(f).same_as == ('dpo',)\n"
        "assert pq.analyse_loss('ipo').trap\n"
        "assert not {'torch', 'trl', 'transformers', 'matplotlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
