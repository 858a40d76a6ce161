"""What an atlas reads and writes: axes as text, archives, pictures, and the command line."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from one_line import refused

import prefeq as pq
from prefeq import cli, cli_atlas
from prefeq.atlas import CODES, Atlas, Axis, compute, draw, grid
from prefeq.atlas.draw import COLOURS, panels
from prefeq.atlas.files import replacing
from prefeq.errors import ProblemError

SMALL = ("--x", "delta_ref=-5:1:6", "--y", "beta=0.1:4:5:log", "--steps", "20")


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return compute("delta_ref=-5:1:6", "beta=0.1:4:5:log", steps=20)


# Axes ---------------------------------------------------------------------------------------------


def test_an_axis_is_what_its_text_says() -> None:
    axis = Axis.parse("delta_ref=-6:2:5")
    assert (axis.name, axis.log, axis.values.tolist()) == ("delta_ref", False, [-6, -4, -2, 0, 2])
    assert axis.edges() == (-7.0, 3.0)
    axis = Axis.parse("beta=0.01:10:4:log")
    np.testing.assert_allclose(axis.values, [0.01, 0.1, 1, 10], rtol=1e-15)
    assert axis.edges() == pytest.approx((0.01 / 10**0.5, 10 * 10**0.5))
    assert Axis.parse("K=2:6").values.tolist() == [2, 3, 4, 5, 6]
    assert Axis.parse("K=3:9:3").values.tolist() == [3, 6, 9]
    with pytest.raises(ValueError, match="read-only"):
        axis.values[0] = 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("delta_ref", "delta_ref.*write NAME=FROM:TO:COUNT"),
        ("delta_ref=-6:2", "delta_ref=-6:2.*write NAME=FROM:TO:COUNT"),
        ("delta_ref=-6:2:4:lin", "lin'.*write NAME"),
        ("delta_ref=-6:2:4:log:log", "log:log.*write NAME"),
        ("delta_ref=-6:2:4.5", r"4\.5.*write NAME"),
        ("temperature=1:2:3", "'temperature'.*choose from delta_ref"),
        ("delta_ref=2:-6:3", "delta_ref runs from 2 to -6"),
        ("delta_ref=-inf:2:3", "delta_ref = -inf: must be finite"),
        ("delta_ref=-6:2:3:log", "delta_ref = -6: a log axis"),
        ("delta_ref=-6:2:1", "delta_ref has 1 values"),
        ("delta_ref=-6:2:999999999999", "delta_ref has 999999999999 values"),
        ("beta=0:1:3", "beta = 0: must be > 0"),
        ("gap=-1:1:3", "gap = -1: must be >= 0"),
        ("K=2:4:4", r"K = 2\.66667: must be a whole number"),
        ("K=1:4", "K = 1: must be >= 2"),
        ("K=2:65", "K = 65: must be a whole number from 2 to 64"),
        ("K=2:inf", "K=2:inf.*write NAME"),
    ],
)
def test_axes_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        Axis.parse(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y": "delta_ref=0:1:2"}, "both axes are delta_ref"),
        ({"fixed": {"beta": 1.0}}, "beta = 1: it runs along an axis already"),
        ({"fixed": {"K": 2.5}}, r"K = 2\.5"),
        ({"fixed": {"eta": 2.5}}, "'eta'.*tau"),
        ({"fixed": {"alpha": 0.0}}, "alpha = 0: must be > 0"),
        ({"steps": 0}, "steps = 0"),
        ({"steps": 1.5}, r"steps = 1\.5"),
        ({"flipped": "twice"}, "flipped = 'twice'"),
        ({"methods": ["rlhf", "sft"]}, "'sft': choose from rlhf"),
        ({"methods": []}, "no methods: choose"),
        ({"x": "delta_ref=0:1:4096", "y": "beta=1:2:1025"}, "4096 x 1025 cells: at most"),
        ({"x": "delta_ref=-1e99:1:2"}, "nats: rescale"),
        ({"fixed": {"gap": 1e50}, "y": "beta=1e-50:1:2"}, "nats: rescale"),
    ],
)
def test_diagrams_that_make_no_sense_are_refused(options: Any, message: str) -> None:
    axes = {"x": "delta_ref=-1:1:2", "y": "beta=1:2:2"}
    with pytest.raises(ProblemError, match=message):
        compute(**{**axes, **options})


# Archives -----------------------------------------------------------------------------------------


def test_an_archive_reads_back_as_it_was(tmp_path: Path, atlas: Atlas) -> None:
    path = tmp_path / "atlas.npz"
    atlas.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["atlas.npz"]
    read = Atlas.load(path)
    for name in ("fixed", "steps", "flipped"):
        assert getattr(read, name) == getattr(atlas, name)
    for axis, other in ((read.x, atlas.x), (read.y, atlas.y)):
        assert (axis.name, axis.log) == (other.name, other.log)
        np.testing.assert_array_equal(axis.values, other.values)
    for name in ("verdict", "least", "layers"):
        old, new = getattr(atlas, name), getattr(read, name)
        assert list(new) == list(old)
        for key, array in old.items():
            assert new[key].dtype == array.dtype
            np.testing.assert_array_equal(new[key], array)
    assert str(read) == str(atlas)


def test_an_archive_explains_itself_without_prefeq(tmp_path: Path, atlas: Atlas) -> None:
    atlas.save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as saved:
        about = json.loads(str(saved["about"]))
        assert saved["verdict/cpo"].dtype == np.int8
        assert saved["verdict/cpo"].shape == (saved["y"].size, saved["x"].size) == (5, 6)
        assert {"x", "y", "about", "price", "exit_steps", "exit_time"} <= set(saved.files)
    assert about["x"] == {"name": "delta_ref", "log": False, "unit": "nats"}
    assert about["y"] == {"name": "beta", "log": True, "unit": "reward per nat"}
    assert about["codes"] == {str(code): text for code, text in CODES.items()}
    assert about["fixed"] == {"gap": 1, "margin": 0, "gamma": 0.1, "K": 2, "alpha": 1, "tau": 1}
    assert (about["steps"], about["flipped"], about["prefeq"]) == (20, "fixed", pq.__version__)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, atlas: Atlas) -> None:
    path = tmp_path / "atlas.npz"
    path.write_bytes(b"old")
    path.chmod(0o640)

    def broken() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    atlas.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    with pytest.raises(ProblemError, match=r"absent.*cannot be written \(No such file"):
        atlas.save(tmp_path / "absent" / "atlas.npz")


def test_what_is_no_archive_is_refused(tmp_path: Path, atlas: Atlas) -> None:
    with pytest.raises(ProblemError, match=r"a\.npz: cannot be read \(No such file"):
        Atlas.load(tmp_path / "a.npz")
    for content in (b"", b"PK\x03\x04 no", b"text"):
        (tmp_path / "b.npz").write_bytes(content)
        with pytest.raises(ProblemError, match=r"b\.npz: not an atlas"):
            Atlas.load(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", about=np.array(json.dumps({"format": "prefeq atlas 9"})))
    np.savez(tmp_path / "d.npz", x=np.ones(3))
    for name in "cd":
        with pytest.raises(ProblemError, match=rf"{name}\.npz: not an atlas"):
            Atlas.load(tmp_path / f"{name}.npz")


# Pictures -----------------------------------------------------------------------------------------


def test_the_panels_show_the_verdicts(atlas: Atlas) -> None:
    figure = Figure()
    found = panels(figure, atlas)
    assert list(found) == [*atlas.verdict, "price", "exit_steps"]
    for name, codes in atlas.verdict.items():
        (image,) = found[name].images
        for code, colour in COLOURS.items():
            same = np.all(
                image.get_array()[..., :3] == np.round(255 * np.array(to_rgb(colour))), -1
            )
            np.testing.assert_array_equal(same, codes == code)
        assert f"{100 * np.mean(codes == 1):.1f} % aligned" in found[name].get_title()
        assert image.origin == "lower"
        assert found[name].get_xlim() == atlas.x.edges()
        assert found[name].get_ylim() == atlas.y.edges()
        assert found[name].get_yscale() == "log"
    price = found["price"].images[0].get_array()
    np.testing.assert_array_equal(price.mask, atlas.layers["price"] == 0)
    np.testing.assert_array_equal(price.compressed(), atlas.layers["price"][~price.mask])
    labels = {axes.get_xlabel() for axes in found.values()} - {""}
    assert labels == {r"$\delta_{\mathrm{ref}}$ (nats)"}
    legend = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"aligned", "misaligned", "20 steps"} <= legend


def test_the_line_is_where_rlhf_turns(atlas: Atlas) -> None:
    wide = compute("delta_ref=-5:1:60", "beta=0.1:4:50:log", methods=["rlhf"])
    figure = Figure()
    (line,) = panels(figure, wide)["rlhf"].collections
    points = np.concatenate([path.vertices for path in line.get_paths()])
    assert len(points) > 20
    np.testing.assert_allclose(points[:, 0] + 1 / points[:, 1], 0, atol=0.05)


def test_the_colours_can_be_told_apart_in_grey() -> None:
    def lightness(colour: str) -> float:
        rgb = np.array(to_rgb(colour))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16)

    order = [COLOURS[code] for code in (2, -1, 0, 1)]
    assert np.all(np.diff([lightness(colour) for colour in order]) > 15)


def test_pictures_are_pictures_and_the_same_each_time(tmp_path: Path) -> None:
    some = compute("K=2:4", "gamma=0.01:1:3:log", steps=5, methods=["penalty"])
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    paths = [tmp_path / f"a.{kind}" for kind in starts]
    draw(some, *paths)
    for path, start in zip(paths, starts.values(), strict=True):
        assert path.read_bytes().startswith(start)
    draw(some, tmp_path / "b.png", tmp_path / "b.svg")
    for kind in ("png", "svg"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 5
    with pytest.raises(ProblemError, match=r"atlas\.bmp: draw to one of \.png"):
        draw(some, tmp_path / "atlas.bmp")


# The command line ---------------------------------------------------------------------------------


def test_the_command_writes_an_archive_and_a_picture(
    capsys: Any, tmp_path: Path, monkeypatch: Any, atlas: Atlas
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["atlas", *SMALL, "--methods", "hypo,cpo"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.endswith("\nwritten: atlas.npz, atlas.png\n")
    assert max(map(len, out.splitlines())) <= 100
    rows = {line.split()[0]: line.split() for line in out.splitlines()[3:-2]}
    assert list(rows) == ["hypo", "cpo"]
    share = 100 * np.mean(atlas.verdict["cpo"] == 0)
    assert rows["cpo"][3:5] == [f"{share:.1f}", "%"]
    read = Atlas.load("atlas.npz")
    np.testing.assert_array_equal(read.least["hypo"], atlas.least["hypo"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["atlas.npz", "atlas.png"]


def test_the_command_takes_its_options(capsys: Any, tmp_path: Path) -> None:
    args = [*SMALL, "--fix", "gap=0.5", "--fix", "K=3", "--methods", "rlhf, easy", "--flipped",
            "per-label", "--format", "none", "--out", str(tmp_path / "b.npz")]  # fmt: skip
    assert cli.main(["atlas", *args]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["b.npz"]
    read = Atlas.load(tmp_path / "b.npz")
    assert (read.fixed["gap"], read.fixed["K"], read.flipped) == (0.5, 3.0, "per-label")
    assert list(read.verdict) == ["rlhf", "easy"]
    assert "gap = 0.5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--x", "delta_ref=-6:2"], ["'delta_ref=-6:2'", "NAME=FROM:TO:COUNT"]),
        (["--y", "beta=-1:2:3"], ["beta = -1"]),
        (["--fix", "gap"], ["'gap'", "NAME=VALUE"]),
        (["--fix", "gap=big"], ["'gap=big'", "NAME=VALUE"]),
        (["--fix", "gap=1", "--fix", "gap=2"], ["gap=2", "fixed before"]),
        (["--fix", "beta=1"], ["beta = 1", "axis already"]),
        (["--methods", "rlhf,sft"], ["'sft'"]),
        (["--methods", ","], ["no methods"]),
        (["--format", "png,bmp"], ["bmp", "png, svg, pdf"]),
        (["--steps", "none"], ["--steps", "'none'"]),
        (["--steps", "0"], ["steps = 0"]),
        (["--flipped", "both"], ["--flipped", "'both'"]),
        (["--out", "absent/atlas"], ["absent", "no such directory"]),
        (["--out", ""], ["--out ''"]),
    ],
)
def test_bad_options_are_one_line(
    capsys: Any, tmp_path: Path, monkeypatch: Any, args: list[str], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(grid, "METHODS", dict.fromkeys(grid.METHODS))  # no work is done
    refused(capsys, ["atlas", *args], *words)
    assert list(tmp_path.iterdir()) == []


def test_the_examples_of_the_help_parse() -> None:
    parser = cli._parser()
    lines = [line for line in cli_atlas.HELP.splitlines() if line.startswith("  prefeq ")]
    assert len(lines) == 3
    for line in lines:
        args = parser.parse_args(line.split("   ")[0].split()[1:])
        assert args.command == "atlas"
        for text in (args.x, args.y):
            Axis.parse(text)
        cli_atlas._fixed(args.fix)
    assert max(map(len, cli_atlas.HELP.splitlines())) <= 100
    for name in (*pq.atlas.METHODS, *pq.atlas.PARAMETERS):
        assert name in cli_atlas.HELP
