"""`prefeq figures` as a user meets it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from one_line import refused

import prefeq as pq
from prefeq import cli


def test_it_writes_what_it_was_asked_for_and_nothing_else(capsys: Any, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "paper"
    assert cli.main(["figures", "targets", "--out", str(out), "--format", "svg, png,svg"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["targets.png", "targets.svg"]
    said = capsys.readouterr().out
    assert said == f"written: {out / 'targets.svg'}, {out / 'targets.png'}\n"
    assert (out / "targets.png").read_bytes().startswith(b"\x89PNG")


def test_bad_input_is_one_line_and_nothing_is_written(capsys: Any, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "new")]
    refused(capsys, ["figures", "targets", "sidney", *out], "'sidney'", "sydney, escape", "abyss")
    refused(capsys, ["figures", "targets", "--format", "png,jpeg", *out], "'jpeg'", "png, svg, pdf")
    refused(capsys, ["figures", "targets", "--format", "", *out], "nothing to draw")
    refused(capsys, ["figures", "--captions", "sidney"], "'sidney'")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("mine")
    refused(capsys, ["figures", "targets", "--out", tmp_path / "file"], "file", "another folder")
    (tmp_path / "taken" / "targets.png").mkdir(parents=True)
    refused(
        capsys,
        ["figures", "targets", "--out", tmp_path / "taken"],
        "targets.png",
        "is a directory",
    )


def test_the_help_lists_the_figures(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        cli.main(["figures", "--help"])
    said = capsys.readouterr().out
    for name in pq.figures.names():
        assert f"  {name} " in said
        assert pq.figures.figure(name).title in said
    assert max(map(len, said.splitlines())) <= 100


def test_captions(capsys: Any) -> None:
    assert cli.main(["figures", "--captions"]) == 0
    said = capsys.readouterr().out
    assert said == pq.figures.captions()
    assert cli.main(["figures", "--captions", "abyss"]) == 0
    said = capsys.readouterr().out
    assert r"γ\* = −βδ\*/4 = 0.5" in said
    assert "![The penalty's abyss](abyss.png)" in said
    assert "sydney" not in said


def test_a_failed_drawing_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    def fail(self: Any, file: Any, **options: Any) -> None:
        file.write(b"half")
        raise RuntimeError("stop")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(RuntimeError, match="stop"):
        pq.figures.save("targets", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_modules_are_found_by_name_and_by_no_other() -> None:
    assert pq.figures.abyss.FIGURE is pq.figures.figure("abyss")
    assert "abyss" in dir(pq.figures)
    with pytest.raises(AttributeError, match="no attribute 'sidney'"):
        pq.figures.sidney  # noqa: B018
    with pytest.raises(pq.ProblemError, match="choose from sydney"):
        pq.figures.figure("sidney")
