"""The exact graph facts against counts that are known, and against each other."""

from __future__ import annotations

import numpy as np
import pytest

from prefeq import Bandit, Preferences
from prefeq.claims import cpo_lemmas, exact_graphs


@pytest.mark.parametrize(("size", "connected"), [(1, 1), (2, 1), (3, 4), (4, 38), (5, 728)])
def test_number_of_connected_labelled_graphs(size, connected):
    """OEIS A001187."""
    graphs = list(exact_graphs.graphs(size))
    assert len(graphs) == 2 ** (size * (size - 1) // 2)
    parts = [len(set(exact_graphs.components(size, edges))) for edges in graphs]
    assert parts.count(1) == connected


@pytest.mark.parametrize(("size", "acyclic"), [(2, 3), (3, 25), (4, 543)])
def test_number_of_acyclic_digraphs(size, acyclic):
    """OEIS A003024."""
    heights = [exact_graphs.heights(size, edges) for edges in exact_graphs.digraphs(size)]
    assert sum(height is not None for height in heights) == acyclic


def test_ford_against_the_package():
    checked = 0
    for size in (2, 3):
        bandit = Bandit(np.zeros(size), np.zeros(size), 1.0)
        for edges in exact_graphs.digraphs(size):
            if not edges:
                continue
            prefs = Preferences([w for w, _ in edges], [lo for _, lo in edges])
            assert bool(prefs.has_ford_condition(bandit)) == exact_graphs.ford(size, edges)
            checked += 1
    assert checked == 3 + 63


def test_upper_sets_of_a_chain_and_of_a_cycle():
    assert sorted(map(len, exact_graphs.upper_sets(3, [(0, 1), (1, 2)]))) == [0, 1, 2, 3]
    assert sorted(map(len, exact_graphs.upper_sets(3, [(0, 1), (1, 2), (2, 0)]))) == [0, 3]


@pytest.mark.parametrize(
    ("edges", "largest", "feasible"),
    [
        ({(0, 1): 5}, None, True),
        ({(0, 1): 1, (1, 0): -1}, 0, True),
        ({(0, 1): 1, (1, 0): 0}, 1, False),
        ({(0, 1): 1, (1, 2): 1, (2, 0): -2}, 0, True),
        ({(0, 1): 1, (1, 2): 1, (2, 0): -1}, 1, False),
    ],
)
def test_cycles_and_feasibility(edges, largest, feasible):
    assert cpo_lemmas.largest_cycle(3, edges) == largest
    assert cpo_lemmas.feasible(3, edges) == feasible
