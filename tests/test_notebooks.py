"""The notebooks: they run without a warning, say what was committed, and their sliders work."""

from __future__ import annotations

import copy
import importlib.util
import json
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from script_loader import load_script

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("[0-9][0-9]_*.py"))

NEEDED = ("ipywidgets", "jupytext", "nbclient")
pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in NEEDED),
    reason="needs the notebooks extra",
)

SLIDERS = """\
import json
seen = []
for moved in ({}, {"delta_ref": -1.0}, {"gap": 5.0}, {"beta": 0.5}, {"loss": "hypo"},
              {"loss": "ipo"}, {"delta_ref": 1.0}, {"delta_ref": -6.0}, {"gap": 0.0}):
    controls = dict(zip(("delta_ref", "gap", "beta", "loss"), panel.children, strict=False))
    for name, value in moved.items():
        controls[name].value = value
    at = {name: control.value for name, control in controls.items()}
    result = panel.result
    keys = ("target", "end", "soft_end", "rlhf", "exit", "traps", "soft_traps")
    seen.append({**at, **{key: float(result[key]) for key in keys}})
print(json.dumps(seen))
"""

NOISE = re.compile(r"\d(\.\d+)?e-(1[3-9]|[2-9]\d)\b")
"""Residuals: rounding, which another processor does otherwise."""


@pytest.fixture(scope="module")
def build() -> Any:
    return load_script(FOLDER / "build.py")


@pytest.fixture(scope="module")
def executed(build: Any) -> Any:
    """Run a notebook once; (the notebook, what more code put out)."""
    done: dict[str, Any] = {}

    def run(name: str) -> Any:
        if name not in done:
            more = (SLIDERS,) if name == "03_failure_modes" else ()
            done[name] = build.run(build.read(FOLDER / f"{name}.py"), *more)
        return done[name]

    return run


def committed(build: Any, name: str) -> Any:
    import nbformat

    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    return notebook


def texts(notebook: Any) -> Iterator[tuple[str, str, str]]:
    """Yield (cell, kind, text) of all outputs that are text; of pictures, that there is one."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "stream":
                yield cell.id, output.name, output.text
            for kind, value in sorted(output.get("data", {}).items()):
                yield cell.id, kind, "a picture" if kind == "image/png" else NOISE.sub("~0", value)


def check_paired(source: Any, notebook: Any) -> None:
    """Raise unless the cells are those of the source, one by one."""
    cells = [(cell.id, cell.cell_type, cell.source) for cell in notebook.cells]
    assert cells == [(cell.id, cell.cell_type, cell.source) for cell in source.cells]
    assert notebook.metadata == source.metadata


def check_same_outputs(fresh: Any, notebook: Any) -> None:
    """Raise unless a notebook shows the texts of a fresh run."""
    assert list(texts(notebook)) == list(texts(fresh))
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


def check_private(raw: str) -> None:
    """Raise if a file tells of the machine that it was made on; pictures are not looked at."""
    raw = re.sub(r'"image/png": "[^"]*"', "", raw)
    found = re.findall(r"(?<![\w.:/<])/(?:home|root|tmp|usr|opt|work|Users|var)/\S*", raw)
    assert found == []
    assert not re.search(rf"(?<!\w){re.escape(platform.node())}(?!\w)", raw)
    assert not re.search(r"iopub\.|T\d\d:\d\d:\d\d|widget-(view|state)|site-packages", raw)
    assert not re.search(r"0x[0-9a-f]{6,}", raw)


def test_they_are_numbered_and_small() -> None:
    assert len(NAMES) >= 6
    assert [int(name[:2]) for name in NAMES] == list(range(1, len(NAMES) + 1))
    files = [FOLDER / f"{name}.ipynb" for name in NAMES]
    assert sorted(FOLDER.glob("*.ipynb")) == files
    assert sum(path.stat().st_size for path in files) < 2 * 2**20


@pytest.mark.parametrize("name", NAMES)
def test_source_and_notebook_are_a_pair(build: Any, name: str) -> None:
    notebook = committed(build, name)
    check_paired(build.read(FOLDER / f"{name}.py"), notebook)
    assert 8 <= len(notebook.cells) <= 20
    assert notebook.cells[0].source.startswith("# ")
    assert any(cell.cell_type == "code" and "assert " in cell.source for cell in notebook.cells)
    assert any("$" in cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    check_private((FOLDER / f"{name}.ipynb").read_text("utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_run_raises_nothing_and_says_what_was_committed(
    build: Any, executed: Any, name: str
) -> None:
    fresh, _ = executed(name)
    notebook = committed(build, name)
    check_same_outputs(fresh, notebook)
    shown = list(texts(notebook))
    assert any(kind == "image/png" for _, kind, _ in shown)
    assert not any(kind == "stderr" for _, kind, _ in shown)


@pytest.mark.slow
def test_the_sliders_move_the_numbers(executed: Any) -> None:
    from prefeq import losses, margins

    (output,) = executed("03_failure_modes")[1][0]
    seen = json.loads(output["text"])
    given = [tuple(at[name] for name in ("delta_ref", "gap", "beta", "loss")) for at in seen]
    assert given == [
        (-3.0, 1.0, 1.0, "dpo"),
        (-1.0, 1.0, 1.0, "dpo"),
        (-1.0, 5.0, 1.0, "dpo"),
        (-1.0, 5.0, 0.5, "dpo"),
        (-1.0, 5.0, 0.5, "hypo"),
        (-1.0, 5.0, 0.5, "ipo"),
        (1.0, 5.0, 0.5, "ipo"),
        (-6.0, 5.0, 0.5, "ipo"),
        (-6.0, 0.0, 0.5, "ipo"),
    ]
    for (delta_ref, gap, beta, name), at in zip(given, seen, strict=True):
        loss = losses.LOSSES[name]
        assert at["rlhf"] == pytest.approx(delta_ref + gap / beta)
        assert at["target"] == (max(delta_ref, 0) if name == "hypo" else delta_ref)
        assert at["soft_end"] == pytest.approx(float(loss.minimiser(delta_ref, beta, gap)))
        if name != "ipo":
            exits = margins.exit_time(delta_ref, beta, at["target"])
            assert at["exit"] == pytest.approx(float(exits), rel=1e-4)
    assert [at["traps"] for at in seen] == [0, 0, 0, 0, 0, 0, 0, 1, 1]
    assert [at["soft_traps"] for at in seen[:3]] == [1, 0, 0]
    assert seen[6]["exit"] == 0
    assert seen[7]["exit"] == float("inf")


def test_the_page_says_what_the_notebooks_say(build: Any) -> None:
    page = " ".join((ROOT / "docs" / "notebooks.md").read_text("utf-8").split())
    for name in NAMES:
        first = build.read(FOLDER / f"{name}.py").cells[0].source.split("\n\n")
        assert f"[{first[0].removeprefix('# ')}](notebooks/{name}.ipynb)" in page
        assert " ".join(first[1].split()) in page, name


# --- the checks can fail -----------------------------------------------------------------------


def edited(notebook: Any, change: Any) -> Any:
    found = copy.deepcopy(notebook)
    change(found)
    return found


@pytest.mark.slow
def test_an_edited_number_is_noticed(build: Any, executed: Any) -> None:
    fresh, _ = executed("01_quickstart")

    def number(notebook: Any) -> None:
        cell = next(c for c in notebook.cells if "predicted" in c.source and c.get("outputs"))
        assert "-2.806662" in cell.outputs[0].text
        cell.outputs[0].text = cell.outputs[0].text.replace("-2.806662", "-2.806663", 1)

    def html(notebook: Any) -> None:
        data = next(c for c in notebook.cells if "compare(" in c.source).outputs[0].data
        data["text/html"] = data["text/html"].replace("-2.807", "+2.807", 1)

    def gone(notebook: Any) -> None:
        next(c for c in notebook.cells if "compare(" in c.source).outputs.clear()

    check_same_outputs(fresh, edited(fresh, lambda _: None))
    for change in (number, html, gone):
        with pytest.raises(AssertionError):
            check_same_outputs(fresh, edited(fresh, change))


def test_a_cell_that_differs_from_its_source_is_noticed(build: Any) -> None:
    source = build.read(FOLDER / "01_quickstart.py")
    check_paired(source, copy.deepcopy(source))

    def code(notebook: Any) -> None:
        notebook.cells[1].source += "\n1"

    def identifier(notebook: Any) -> None:
        notebook.cells[1].id = "3f2a91bc"

    def dropped(notebook: Any) -> None:
        del notebook.cells[-1]

    for change in (code, identifier, dropped):
        with pytest.raises(AssertionError):
            check_paired(source, edited(source, change))


@pytest.mark.parametrize(
    "told",
    [
        '"/home/someone/prefeq/x.py"',
        '"2026-01-02T03:04:05Z"',
        "<Figure at 0x7f01a2b3c4>",
        '"iopub.execute_input"',
        f"computed on {platform.node()}",
    ],
)
def test_what_tells_of_a_machine_is_noticed(told: str) -> None:
    check_private("δ = 0.5 of 3/4")
    with pytest.raises(AssertionError):
        check_private(told)


@pytest.mark.parametrize("code", ["assert 1 + 1 == 3", 'import warnings\nwarnings.warn("old")'])
def test_a_cell_that_raises_or_warns_stops_the_run(build: Any, code: str) -> None:
    import nbformat
    from nbclient.exceptions import CellExecutionError

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    with pytest.raises(CellExecutionError):
        build.run(notebook)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "bug"),
    [
        ("03_failure_modes", "margins.exit_time = lambda ref_margin, beta: 0.5"),
        ("06_a_real_model", "pq.load_capitals = lambda beta, was=pq.load_capitals: was(2 * beta)"),
    ],
)
def test_a_wrong_formula_stops_a_notebook(build: Any, name: str, bug: str) -> None:
    import nbformat
    from nbclient.exceptions import CellExecutionError

    notebook = build.read(FOLDER / f"{name}.py")
    notebook.cells.insert(2, nbformat.v4.new_code_cell(bug))
    with pytest.raises(CellExecutionError, match="AssertionError"):
        build.run(notebook)
