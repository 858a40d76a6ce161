"""States of an audit as text: to be stored, or sent from one process to another; no pickles."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from prefeq import __version__
from prefeq.bundle.reading import parse_strict
from prefeq.errors import ProblemError
from prefeq.llm.state import AuditState

FORMAT = 2
"""Of `AuditState.to_plain` and of what its numbers mean; to be raised whenever these change."""


def seal(state: AuditState, **more: Any) -> str:
    """Return strict JSON of a state, with a digest, and whatever else should stand beside it.

    >>> from prefeq.llm.plan import Plan
    >>> state, more = unseal(seal(AuditState(Plan(0.1)), shard="a.csv"))
    >>> state.plan == Plan(0.1), more
    (True, {'shard': 'a.csv'})
    """
    plain = state.to_plain()
    head = {"format": FORMAT, "prefeq": __version__, "digest": _digest([more, plain])}
    return json.dumps({**head, "more": more, "state": plain}, allow_nan=False)


def unseal(text: str) -> tuple[AuditState, dict[str, Any]]:
    """Return what `seal` was given.

    Raises
    ------
    ProblemError
        If it is no such text or was altered, or if another version of prefeq wrote it.
    """
    form = parse_strict(text)
    try:
        made_by = form["format"], form["prefeq"]
        if made_by == (FORMAT, __version__) and form["digest"] == _digest(
            [form["more"], form["state"]]
        ):
            return AuditState.from_plain(form["state"]), dict(form["more"])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ProblemError(f"is no state of an audit ({error!r})") from error
    if made_by != (FORMAT, __version__):
        raise ProblemError(
            f"was made by prefeq {made_by[1]} (format {made_by[0]}), and this is {__version__} "
            f"(format {FORMAT})"
        )
    raise ProblemError("is not what was written: its digest is another")


def _digest(plain: list[dict[str, Any]]) -> str:
    text = json.dumps(plain, allow_nan=False, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
