"""Errors that prefeq raises on bad input.

Every one is a `ValueError`, is one line long, and names the offending value, where it stands and
what to do about it.
"""


class ProblemError(ValueError):
    """A bandit, a preference set or an argument that no solver can accept."""


class TableError(ProblemError):
    """A table on disk or in memory that cannot be read as a bandit or as pairs."""


class UnsolvedError(ProblemError):
    """A solver was called with ``throw=True`` and ended without the answer asked for."""


class InfeasibleError(ProblemError):
    """Constrained PO has no feasible policy: the margins around a directed cycle sum above zero.

    Attributes
    ----------
    cycle
        The responses of the cycle in order, each one preferred to the next and the last to the
        first.
    margin_sum
        The sum of the margins around the cycle, in nats.
    """

    def __init__(self, message: str, cycle: tuple[int, ...], margin_sum: float) -> None:
        super().__init__(message)
        self.cycle = cycle
        self.margin_sum = margin_sum
