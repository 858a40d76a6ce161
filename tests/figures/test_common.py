"""What holds for every figure: a good page, the same bytes, and the picture in `figures/`."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

import prefeq as pq
from figures import layout
from prefeq.figures.style import COLUMN, METHODS, METHODS_LABELS, TEXT, styled

ROOT = Path(__file__).resolve().parents[2]
FORMATS = ("png", "svg", "pdf")
NAMES = pq.figures.names()

TOLERANCE = 0.5
"""Root mean square of a pixel's difference, of 255; a line that is missing makes three times as
much (`test_a_wrong_picture_is_noticed`)."""

PINNED = re.search(r"^matplotlib==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)


def difference(one: Path, other: Path) -> float:
    """Return the root mean square difference of two pictures of the same size, of 255."""
    a, b = (255 * imread(str(path))[..., :3].astype(np.float64) for path in (one, other))
    assert a.shape == b.shape, f"{a.shape} is not {b.shape}: another size"
    return float(np.sqrt(np.mean((a - b) ** 2)))


def skeleton(svg: str) -> tuple[str, list[float]]:
    """Return an SVG with its numbers taken out, and the numbers; no ids, no embedded pixels."""
    svg = re.sub(r'(id|xlink:href|clip-path|style)="[^"]*"', "", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    number = r"-?\d+\.?\d*(?:e-?\d+)?"
    return re.sub(number, "N", svg), [float(part) for part in re.findall(number, svg)]


@pytest.mark.parametrize("name", NAMES)
def test_the_page_is_good(name: str) -> None:
    figure = pq.figures.make(name)
    assert layout.faults(figure) == []
    width, height = figure.get_size_inches()
    assert width in (COLUMN, TEXT)
    assert height <= 9


@pytest.mark.parametrize("name", NAMES)
def test_the_files(name: str, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    code = f"import prefeq as pq; pq.figures.save({name!r}, {str(there)!r}, {FORMATS!r})"
    env = {**os.environ, "PYTHONHASHSEED": seed, "TZ": "Asia/Kathmandu", "SOURCE_DATE_EPOCH": "7"}
    with subprocess.Popen([sys.executable, "-c", code], env=env) as other:
        pq.figures.save(name, here, FORMATS)
    assert other.returncode == 0
    assert list(unstable(name, here, there)) == []
    assert list(unfit(name, here)) == []
    if PINNED is None or mpl.__version__ != PINNED.group(1):
        pytest.skip(f"pictures are drawn by the pinned matplotlib; this is {mpl.__version__}")
    assert list(outdated(name, here, ROOT / "figures")) == []


def unstable(name: str, here: Path, there: Path) -> Iterator[str]:
    """Files of which another process makes other bytes."""
    for kind in FORMATS:
        one, other = (folder / f"{name}.{kind}" for folder in (here, there))
        if one.read_bytes() != other.read_bytes():
            yield f"{one.name}: other bytes in another process"


def unfit(name: str, here: Path) -> Iterator[str]:
    """Files with fonts that are not embedded, with a date, or without their title."""
    pdf = (here / f"{name}.pdf").read_bytes()
    if b"/FontFile2" not in pdf or b"/Type3" in pdf:
        yield f"{name}.pdf: fonts"
    if b"/CreationDate" in pdf:
        yield f"{name}.pdf: date"
    svg = html.unescape((here / f"{name}.svg").read_text(encoding="utf-8"))
    if "<text" in svg:
        yield f"{name}.svg: fonts"
    if "dc:date" in svg:
        yield f"{name}.svg: date"
    if pq.figures.figure(name).title not in svg:
        yield f"{name}.svg: title"


def outdated(name: str, here: Path, kept: Path) -> Iterator[str]:
    """Files of the repository that are not what is drawn now: run `prefeq figures`."""
    if difference(here / f"{name}.png", kept / f"{name}.png") >= TOLERANCE:
        yield f"{name}.png: another picture"
    new, old = (
        skeleton((folder / f"{name}.svg").read_text(encoding="utf-8")) for folder in (here, kept)
    )
    if new[0] != old[0] or not np.allclose(new[1], old[1], rtol=0, atol=0.5):
        yield f"{name}.svg: another picture"


def test_other_bytes_fonts_dates_and_pictures_are_noticed(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    with mpl.rc_context({"pdf.fonttype": 3, "svg.fonttype": "none"}):
        for folder, words in ((here, "one"), (there, "other")):
            folder.mkdir()
            figure = Figure(figsize=(2, 2))
            figure.text(0.2, 0.5, words)
            for kind in FORMATS:
                figure.savefig(folder / f"sydney.{kind}")
    assert [fault.split(":")[0] for fault in unstable("sydney", here, there)] == [
        "sydney.png", "sydney.svg", "sydney.pdf",
    ]  # fmt: skip
    assert list(unfit("sydney", here)) == [
        "sydney.pdf: fonts", "sydney.pdf: date",
        "sydney.svg: fonts", "sydney.svg: date", "sydney.svg: title",
    ]  # fmt: skip
    assert len(list(outdated("sydney", here, there))) == 2
    assert list(outdated("sydney", here, here)) == []


def test_a_wrong_picture_is_noticed(tmp_path: Path) -> None:
    figure = pq.figures.make("sydney")
    right = tmp_path / "right.png"
    with styled():
        figure.savefig(right)
        figure.savefig(tmp_path / "again.png")
        line = figure.axes[1].lines[1]
        line.set_ydata(line.get_ydata() + 0.3)
        figure.savefig(tmp_path / "moved.png")
        line.set_visible(False)
        figure.savefig(tmp_path / "missing.png")
    assert difference(right, tmp_path / "again.png") == 0
    for name in ("moved", "missing"):
        assert difference(right, tmp_path / f"{name}.png") > 3 * TOLERANCE


def test_the_repository_has_every_figure_and_no_other() -> None:
    found = {path.name for path in (ROOT / "figures").iterdir()}
    expected = {f"{name}.{kind}" for name in NAMES for kind in ("png", "svg")}
    assert found == expected | {"captions.md", "atlas.png"}
    assert (ROOT / "figures" / "captions.md").read_text(encoding="utf-8") == pq.figures.captions()


@pytest.mark.parametrize("name", NAMES)
def test_a_caption_says_what_it_must(name: str) -> None:
    caption = pq.figures.figure(name).caption
    assert "β" in caption
    assert "seed" in caption.lower() or "no randomness" in caption.lower()
    assert caption == " ".join(caption.split())
    assert caption.endswith(".")


def test_methods_are_told_apart_without_colour() -> None:
    dashes = {str(look["linestyle"]) for look in METHODS.values()}
    markers = {look["marker"] for look in METHODS.values()}
    assert len(dashes) == len(markers) == len(METHODS)
    assert list(METHODS_LABELS) == list(METHODS)


def test_the_readers_own_settings_change_nothing(tmp_path: Path) -> None:
    pq.figures.save("targets", tmp_path / "mine", "png")
    with mpl.rc_context({"font.size": 20, "lines.linewidth": 9, "savefig.dpi": 40}):
        before = dict(mpl.rcParams)
        pq.figures.save("targets", tmp_path / "theirs", "png")
        assert dict(mpl.rcParams) == before
    new, old = (tmp_path / folder / "targets.png" for folder in ("theirs", "mine"))
    assert new.read_bytes() == old.read_bytes()


def test_draw_fills_the_axes_it_is_given() -> None:
    axes = Figure().subplots(1, 2)
    artists = pq.figures.draw("targets", axes)
    assert {artists[name].axes for name in ("beta 1", "dpo")} == set(axes)
    with pytest.raises(pq.ProblemError, match="1 axes for 2 panels"):
        pq.figures.draw("targets", axes[0])
