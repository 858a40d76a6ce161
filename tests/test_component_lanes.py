"""Components in lanes: what the integer code of `graphs` finds, lane by lane."""

from __future__ import annotations

import numpy as np
import pytest
from solvers.batched.pair_lanes import XP

from prefeq import component_lanes as components
from prefeq import graphs


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.4, 1.0])
def test_labels_are_those_of_the_single_graphs(share: float) -> None:
    rng = np.random.default_rng(0)
    for k in range(1, 9):
        on = rng.random((k, 40)) < 0.8
        beats = (rng.random((k, k, 40)) < share) & on[:, None] & on[None, :]
        beats &= ~np.eye(k, dtype=bool)[:, :, None]
        joined, mutual = components.joined(XP, beats), components.mutual(XP, beats)
        names = [components.labels(XP, same, on) for same in (joined, mutual)]
        for lane in range(40):
            here = np.flatnonzero(on[:, lane])
            tail, head = np.nonzero(beats[np.ix_(here, here)][:, :, lane])
            for name, label in zip(
                names, (graphs.components, graphs.strong_components), strict=True
            ):
                assert name[here, lane].tolist() == label(here.size, tail, head).tolist()
                assert np.all(name[~on[:, lane], lane] == -1)


def test_means_are_taken_off_class_by_class() -> None:
    same = np.zeros((3, 3, 2), dtype=bool)
    same[:, :, 0] = [[True, False, True], [False, True, False], [True, False, True]]
    same[:, :, 1] = True
    values = np.array([[1.0, 1.0], [5.0, 2.0], [3.0, 6.0]])
    centred = components.centred(XP, values, same)
    assert centred.T.tolist() == [[-1.0, 0.0, 1.0], [-2.0, -1.0, 3.0]]
