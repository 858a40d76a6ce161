"""The figure in the README: its data are the solvers', and the script writes a picture."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import matplotlib as mpl
import numpy as np
import pytest
from script_loader import load_script

import prefeq as pq

mpl.use("Agg")
SCRIPT = Path(__file__).resolve().parent.parent / "figures" / "sydney.py"


@pytest.fixture(scope="module")
def sydney() -> ModuleType:
    return load_script(SCRIPT)


def test_the_curves_tell_what_the_text_says(sydney: ModuleType) -> None:
    data = sydney.trajectory()
    table = pq.capitals_table()
    logp = dict(zip(table["response"], table["ref_logp"], strict=True))
    assert data["ref_margin"] == pytest.approx(logp["Canberra"] - logp["Sydney"])
    assert data["loss"][0] == pytest.approx(np.log(2))
    assert np.all(np.diff(data["loss"]) < 0)
    assert np.all(data["loss"][1:] < np.log(2))
    inside = (data["margin"] > data["ref_margin"]) & (data["margin"] < 0)
    exit_step = int(data["step"][1:][~inside[1:]][0])
    assert 600 < exit_step < 700  # "some 650 steps" in the README
    assert data["loss"][-1] == pytest.approx(5e-5, rel=0.01)
    shown = [f"{data[name]:.1f}" for name in ("ref_margin", "rlhf", "cpo")]
    assert shown == ["-7.9", "-6.9", "0.1"]
    assert data["rlhf"] == pytest.approx(data["ref_margin"] + 1 / sydney.BETA)
    assert data["cpo"] == pytest.approx(0.1)


def test_the_artists_carry_the_data_and_the_file_is_a_picture(
    sydney: ModuleType, tmp_path: Path
) -> None:
    import matplotlib.pyplot as plt

    data = sydney.trajectory()
    figure, axes = plt.subplots(1, 2)
    artists = sydney.draw(axes, data)
    np.testing.assert_array_equal(artists["loss"].get_ydata(), data["loss"])
    np.testing.assert_array_equal(artists["margin"].get_ydata(), data["margin"])
    plt.close(figure)
    out = tmp_path / "picture.png"
    sydney.main(out)
    assert out.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["picture.png"]
