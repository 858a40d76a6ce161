"""The statements of arXiv:2605.20834, reading by reading, with verdicts computed from evidence.

One module a statement; the registry, the evidence and the verdict stand beside them. Nothing heavy
is imported before `verify` is called.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prefeq.claims.registry import claim_ids

if TYPE_CHECKING:
    from prefeq.claims.report import VerificationReport
    from prefeq.claims.run import Progress

__all__ = ["claim_ids", "verify"]


def verify(
    claims: str | Iterable[str] | None = None, progress: Progress | None = None
) -> VerificationReport:
    """Check claims in every reading; see `prefeq.claims.run.verify`."""
    from prefeq.claims import run

    return run.verify(claims, progress)
