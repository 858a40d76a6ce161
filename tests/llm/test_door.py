"""The names of prefeq.llm: there where their extra is, and otherwise what names the extra."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import prefeq as pq

BLOCK = """
import json, sys
class Blocked:  # as if it were not installed
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
import importlib.util, pydoc
importlib.util.find_spec = lambda name, find=importlib.util.find_spec: (
    None if name in {blocked!r} else find(name))
import prefeq as pq
found = {{}}
for name in {names!r}:
    try:
        exec(f"from prefeq.llm import {{name}}")
    except BaseException as error:
        found[name] = [type(error).__name__, str(error)]
    else:
        found[name] = "is there"
found["dir"] = dir(pq.llm)
found["help"] = len(pydoc.render_doc(pq.llm))
print(json.dumps(found))
"""
OF_TORCH = ("score_pairs", "sequence_logps")
NAMES = ("audit_batches", *OF_TORCH, "AuditedDPOTrainer")


def ask(*blocked: str) -> dict[str, Any]:
    """Ask for names of prefeq.llm in a process in which some modules cannot be imported."""
    code = BLOCK.format(blocked=blocked, names=NAMES)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_without_torch_the_names_say_which_extra_brings_it() -> None:
    found = ask("torch")
    assert found["audit_batches"] == "is there"
    for name in OF_TORCH:
        told = f"prefeq.llm.{name} needs torch: pip install 'prefeq[torch]'"
        assert found[name] == ["ProblemError", told]
    told = "prefeq.llm.AuditedDPOTrainer needs torch: pip install 'prefeq[trl]'"
    assert found["AuditedDPOTrainer"] == ["ProblemError", told]
    assert "audit_batches" in found["dir"]
    assert not {*OF_TORCH, "AuditedDPOTrainer"} & set(found["dir"])
    assert found["help"] > 500


def test_a_module_that_is_none_is_missing_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "prefeq.llm.logps"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "prefeq.llm.logps")
    with pytest.raises(pq.ProblemError, match=r"needs torch: pip install 'prefeq\[torch\]'"):
        pq.llm.sequence_logps  # noqa: B018
    assert "sequence_logps" not in dir(pq.llm)


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("1.16.0", r"llm\.AuditedDPOTrainer needs trl: pip install 'prefeq\[trl\]'"),
        ("0.9.1", "^TRL 0.9.1 is not one of those that the audited trainer was tested with"),
    ],
    ids=["cannot be imported", "not tested with"],
)
def test_what_is_wrong_with_trl_is_said(
    version: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from prefeq.llm import trainer

    monkeypatch.setattr(trainer, "version", lambda name: version)
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(pq.ProblemError, match=told):
        from prefeq.llm import AuditedDPOTrainer  # noqa: F401
    assert {*OF_TORCH} <= set(dir(pq.llm))
    assert "AuditedDPOTrainer" not in dir(pq.llm)
    for name in OF_TORCH:
        assert callable(getattr(pq.llm, name))


@pytest.mark.parametrize("missing", ["flint", "torch", None])
def test_a_fault_in_what_is_installed_is_not_hidden(
    missing: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(pq.llm.importlib, "import_module", broken)
    for name in ("AuditState", *(OF_TORCH if missing != "torch" else ())):
        with pytest.raises(ModuleNotFoundError):
            getattr(pq.llm, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'CPO'"):
        pq.llm.CPO  # noqa: B018
    assert set(pq.llm.__all__) >= {*NAMES}
