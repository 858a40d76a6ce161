"""Everything that `verify` finds, found once for all tests of a process."""

from __future__ import annotations

from functools import cache

import prefeq as pq
from prefeq.claims.report import VerificationReport


@cache
def whole_report() -> VerificationReport:
    return pq.verify()
