"""What the README shows but does not run: its names are there, and its calls fit them."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest

import prefeq as pq

README = Path(__file__).resolve().parent.parent / "README.md"


def shown_only(page: str) -> list[str]:
    """Return the blocks of Python that are no doctests."""
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [block for block in blocks if not block.startswith(">>>")]


def check(block: str) -> set[str]:
    """Check that what a block takes from prefeq is there, and that its calls can be made."""
    names = set()
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("prefeq"):
            for alias in node.names:
                assert hasattr(importlib.import_module(str(node.module)), alias.name), alias.name
                names.add(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).startswith("pq."):
            found: Any = pq
            for name in ast.unparse(node.func).split(".")[1:]:
                found = getattr(found, name)
            given = {str(keyword.arg): None for keyword in node.keywords}
            inspect.signature(found).bind(*node.args, **given)
            names.add(ast.unparse(node.func))
    return names


def test_what_is_shown_of_models_is_there() -> None:
    pytest.importorskip("trl")
    names = set().union(*map(check, shown_only(README.read_text("utf-8"))))
    assert names == {"pq.llm.score_pairs", "pq.audit", "prefeq.llm.AuditedDPOTrainer"}


@pytest.mark.parametrize(
    ("block", "error"),
    [
        ("pq.audits(x, beta=0.1)", AttributeError),
        ("pq.audit(x)", TypeError),
        ("pq.solve_cpo(b, pairs, margins=0.1)", TypeError),
        ("from prefeq.llm import AuditedTrainer", AssertionError),
    ],
)
def test_the_check_sees_what_is_not_there(block: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        check(block)


def test_the_picture_s_command_writes_the_picture(tmp_path: Path) -> None:
    from prefeq.cli import _parser
    from prefeq.cli_atlas import paths

    page = " ".join(README.read_text("utf-8").split())
    shown = re.search(r"\]\((figures/atlas\.png)\).*? Drawn by `prefeq ([^`]*)`", page)
    assert shown is not None
    args = _parser().parse_args(shown[2].split())
    assert shown[1] in [path.as_posix() for path in paths(args.out, args.format)]
    default = _parser().parse_args(["atlas"])
    assert {**vars(args), "out": default.out} == vars(default)  # what the caption tells of


def test_what_it_says_of_the_trained_model_is_in_the_table_of_the_run() -> None:
    page = " ".join(README.read_text("utf-8").split())
    run = (README.parent / "examples/smollm2_training/README.md").read_text("utf-8")
    shares = re.search(r"^\| dpo \| 0.1 \| [\d /]+ \| (\d+) / (\d+) / (\d+) \|", run, re.MULTILINE)
    exits = re.search(r"^\| dpo \| 0.1 \| 16 \|.*?\| ([\d.]+) \(p ", run, re.MULTILINE)
    assert shares is not None
    assert exits is not None
    logged, right, hidden = shares.groups()
    assert f"has a reward accuracy of {logged} % and every loss is below ln 2" in page
    assert f"{right} % of the pairs prefer the capital, {hidden} % are in U" in page
    assert f"rank correlation {exits[1]}" in page
    trapped = re.search(r"ipo_sums: predicted to stay in U for ever: (\d+) pairs; (.*)", run)
    assert trapped is not None
    assert trapped[2].startswith(f"in U at the end: {trapped[1]}, {trapped[1]} of them predicted")
    assert f"the {trapped[1]} pairs with δ_ref < −1/(2β), and no others" in page


def test_what_it_says_of_the_zoo_is_in_the_zoo() -> None:
    page = " ".join(README.read_text("utf-8").split())
    losses = json.loads((README.parent / "docs/zoo.json").read_text("utf-8"))["losses"]
    cards = [card for card in losses if card["group"] == "trl"]
    aligned = sum(card["aligned"] is True for card in cards)
    number = {1: "one is", 2: "two are", 3: "three are"}[aligned]
    assert f"of {len(cards)} cards of TRL's types {number} aligned" in page
    trapped = {card["key"] for card in cards if card["trap"]}
    smoothed = "trl-exo-pair-label-smoothing-0-1"
    assert trapped == {"trl-ipo", "trl-hinge", "trl-sppo-hard", "trl-nca-pair", smoothed}
    assert "IPO, hinge, SPPO, NCA and smoothed EXO trap" in page
