"""What a user meets first: a light import, and a wheel that works where the sources are not."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import prefeq

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"scipy", "cvxpy", "sympy", "matplotlib", "torch", "flint", "hypothesis"}


def call(*command: object, cwd: Path | None = None) -> str:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV", "PYTEST"))}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    return set(call(sys.executable, "-c", code).split())


def test_the_import_is_light() -> None:
    loaded = loaded_by("import prefeq")
    assert {"prefeq", "numpy"} <= loaded
    assert not loaded & HEAVY


def test_so_is_the_command_line() -> None:
    assert not loaded_by("import prefeq.cli; prefeq.cli._parser()") & HEAVY


def test_the_light_import_test_sees_a_heavy_one() -> None:
    assert loaded_by("import prefeq, scipy.stats") & HEAVY == {"scipy"}


def test_every_import_of_the_package_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    listed = [
        *project["dependencies"],
        *extras["data"],
        *extras["torch"],
        *extras["llm"],
        *extras["trl"],
        *extras["dask"],
        "pytest",  # which prefeq.testing.battery runs under, and nothing else imports
    ]
    declared = {re.split(r"[<>=\[]", name)[0].replace("-", "_") for name in listed}
    declared = {{"python_flint": "flint"}.get(name, name) for name in declared}
    imported = set()
    for path in (ROOT / "prefeq").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                imported.add(node.module.split(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"prefeq"}
    assert foreign <= declared
    assert {"numpy", "flint", "pyarrow"} <= foreign


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT)
    (path,) = out.glob("*.whl")
    return path


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "prefeq").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == sources | {"pytest_prefeq.py"}
    assert {"prefeq/py.typed", "prefeq/data/capitals.csv"} <= names


def test_the_wheel_solves_the_shipped_bandit_in_a_clean_environment(
    wheel: Path, tmp_path: Path
) -> None:
    home = tmp_path / "clean"
    venv.create(home)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install"]
    call(*pip, "--quiet", "--no-deps", "--no-index", wheel)
    site = Path(
        call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    )
    # The dependencies come from this environment; its own .pth files, an editable prefeq among
    # them, are not read there.
    deps = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "dependencies.pth").write_text("\n".join(sorted(deps)))
    code = "import prefeq; print(prefeq.__file__, prefeq.__version__)"
    found = call(python, "-c", code, cwd=tmp_path)  # not here, where the sources are
    assert found.split() == [str(site / "prefeq" / "__init__.py"), prefeq.__version__]

    table, out = site / "prefeq" / "data" / "capitals.csv", tmp_path / "out.json"
    prefeq_script = home / "bin" / "prefeq"
    shown = call(prefeq_script, "solve", table, "--beta", 1, "--json", out, cwd=tmp_path)
    form = json.loads(out.read_text())
    assert form["summary"]["prompts"] >= 100
    assert 0 < form["summary"]["violated"] < form["summary"]["pairs"]
    assert str(form["summary"]["violated"]) in shown
    residuals = [r for prompt in form["prompts"] for r in prompt["residual"].values()]
    assert max(residuals) <= 1e-9

    code = "import prefeq; b = prefeq.load_capitals(); print(b.batch_shape[0], b.K)"
    prompts, _ = call(python, "-c", code, cwd=tmp_path).split()
    assert int(prompts) == form["summary"]["prompts"]


def test_constraints_pin_every_declared_dependency() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(r for group in extras.values() for r in group)]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    pinned = {canonicalize_name(pin.name): pin for pin in pins}
    for pin in pins:
        assert [spec.operator for spec in pin.specifier] == ["=="], pin
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        if name == "prefeq":
            continue
        (spec,) = pinned[name].specifier
        assert requirement.specifier.contains(spec.version), requirement
