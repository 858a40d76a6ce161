"""Assertions for test suites of preference losses and solvers, and the strategies they draw from.

Each raises a `PropertyFailure`, an AssertionError that says what does not hold, what was measured,
what the theory says, and prints the smallest instance as a table that ``prefeq solve`` reads.
A loss is a callable of (chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps,
**parameters) on NumPy arrays or torch tensors, or a name that ``prefeq loss`` takes.

Examples
--------
>>> import numpy as np
>>> from prefeq.testing import assert_no_trap
>>> def squared(chosen, rejected, ref_chosen, ref_rejected, beta=0.1):
...     return (chosen - rejected - ref_chosen + ref_rejected - 1 / (2 * beta)) ** 2
>>> try:
...     assert_no_trap(squared)
... except AssertionError as failure:
...     print(failure.claim)
an ordered pair is trapped: gradient flow comes to rest in U = {delta_ref < delta < 0}
"""

from prefeq.testing.aligned import assert_aligned
from prefeq.testing.failures import PropertyFailure
from prefeq.testing.losses import assert_gradient, assert_same_loss, assert_stable
from prefeq.testing.margin_only import assert_margin_loss
from prefeq.testing.no_trap import assert_no_trap
from prefeq.testing.search import connected_problems, pairs
from prefeq.testing.solvers import assert_matches_rlhf

__all__ = [
    "PropertyFailure",
    "assert_aligned",
    "assert_gradient",
    "assert_margin_loss",
    "assert_matches_rlhf",
    "assert_no_trap",
    "assert_same_loss",
    "assert_stable",
    "connected_problems",
    "pairs",
]
