"""The standard tests of a loss, for pytest to run: a line of shell instead of a test file.

    pytest --pyargs prefeq.testing.battery --prefeq-loss losses.py:mine --prefeq-kw beta=0.1

``-k "not aligned"`` leaves out what a loss is not meant to be; ``--prefeq-against dpo`` compares it
with a second implementation.
"""

from __future__ import annotations

from typing import Any

import pytest

from prefeq import testing

LABELS = ("fixed", "per-label")


def test_margin_loss(preference_loss: Any) -> None:
    """It depends on δ and δ_ref of its own pair alone."""
    testing.assert_margin_loss(preference_loss)


def test_gradient(preference_loss: Any) -> None:
    """Its gradient is the derivative of its value."""
    if preference_loss.library == "numpy":
        pytest.skip("a NumPy function has no gradient to check")
    testing.assert_gradient(preference_loss)


def test_stable(preference_loss: Any) -> None:
    """It neither overflows nor dies, far out or in low precision."""
    testing.assert_stable(preference_loss)


def test_no_trap(preference_loss: Any) -> None:
    """Gradient flow of an ordered pair never ends in U."""
    testing.assert_no_trap(preference_loss)


@pytest.mark.parametrize("labels", LABELS)
def test_aligned(preference_loss: Any, labels: Any) -> None:
    """Under Bradley–Terry labels every local minimum has δ > 0."""
    testing.assert_aligned(preference_loss, labels=labels)


def test_same_loss(preference_loss: Any, pytestconfig: pytest.Config) -> None:
    """It agrees with the loss that ``--prefeq-against`` names."""
    other = pytestconfig.getoption("prefeq_against")
    if other is None:
        pytest.skip("no second loss: name one with --prefeq-against")
    testing.assert_same_loss(preference_loss, other, **preference_loss.parameters)
