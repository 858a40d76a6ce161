"""Columns that are not read, although their names say what they may hold."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from difflib import SequenceMatcher, get_close_matches

from prefeq.llm.names import NUMBERS, POLICY, REFERENCE, REWARDS, TOKENS

SIDES = (
    frozenset(("chosen", "preferred", "winner", "win", "w")),
    frozenset(("rejected", "dispreferred", "loser", "lose", "l")),
)
KINDS = (
    (TOKENS, frozenset(("tokens", "token", "length", "lengths", "len"))),
    (REWARDS, frozenset(("reward", "rewards", "score", "scores", "rating", "ratings"))),
    (POLICY, frozenset(("logps", "logp", "lps", "lp"))),
)
OF_REFERENCE = frozenset(("ref", "reference", "sft"))


def meant_by(name: str) -> str | None:
    """Return our name of what a column of this name seems to hold; None if it says nothing.

    >>> [meant_by(n) for n in ("score_chosen", "policy_rejected_logps", "refLogProbs/chosen")]
    ['chosen_reward', 'rejected_logps', 'ref_chosen_logps']
    >>> [meant_by(n) for n in ("label_probs", "rewards/chosen", "chosen", "note")]
    ['label_prob', None, None, None]
    """
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    words = set(re.findall("[a-z]+", re.sub(r"log[^a-z]?probs?", "logps", apart)))
    sides = [i for i, side in enumerate(SIDES) if words & side]
    kind = next((pair for pair, known in KINDS if words & known), None)
    if len(sides) == 1 and kind is not None:
        if apart.startswith("rewards/") or "implicit" in words:  # trainers': β(δ − δ_ref), no Δr
            return None
        if words & OF_REFERENCE:
            return REFERENCE[sides[0]] if kind is POLICY else None
        return kind[sides[0]]
    return next(iter(get_close_matches(apart, NUMBERS, 1, 0.85)), None)


def lookalikes(
    names: Iterable[str], found: Mapping[str, str], is_number: Callable[[str], bool]
) -> dict[str, str]:
    """Return {column that is not read: what of ours it may be}, of what is not there.

    Only what could be read: both columns of a pair, and one kind of reward gap.

    Parameters
    ----------
    names
        The columns that there are.
    found
        {our name: theirs} of those that are read.
    is_number
        Whether a column holds numbers; asked of few.

    Examples
    --------
    >>> found = {name: name for name in REFERENCE}
    >>> names = ["score_chosen", "score_rejected", "chosen_tokens_", "text"]
    >>> lookalikes(names, found, lambda name: True)
    {'score_chosen': 'chosen_reward', 'score_rejected': 'rejected_reward'}
    """
    guesses = {name: meant_by(name) for name in names if name not in found.values()}
    likely = {
        name: ours
        for name, ours in guesses.items()
        if ours is not None and ours not in found and is_number(name)
    }
    there = {*likely.values()}
    wanted = {ours for pair in (POLICY, TOKENS, REWARDS) if {*pair} <= there for ours in pair}
    wanted |= there & {"label_prob"}
    if "label_prob" in found:
        wanted -= {*REWARDS}
    elif wanted & {*REWARDS} or REWARDS[0] in found:
        wanted -= {"label_prob"}
    return {name: ours for name, ours in likely.items() if ours in wanted}


def mapping_of(likely: Mapping[str, str]) -> dict[str, str]:
    """Return {our name: theirs} of `lookalikes`, each of ours once, pairs by names most alike.

    >>> mapping_of({"score_w": "chosen_reward", "rm_l_score": "rejected_reward",
    ...             "score_l": "rejected_reward"})
    {'chosen_reward': 'score_w', 'rejected_reward': 'score_l'}
    """
    mapping: dict[str, str] = {}
    for first, second in (POLICY, REWARDS, TOKENS):
        ones, others = ([n for n, ours in likely.items() if ours == o] for o in (first, second))
        if ones and others:
            mapping[first] = ones[0]
            mapping[second] = max(others, key=lambda n: SequenceMatcher(None, ones[0], n).ratio())
    singles = [name for name, ours in likely.items() if ours == "label_prob"]
    return mapping | ({"label_prob": singles[0]} if singles else {})


def option(mapping: Mapping[str, str]) -> str:
    """Return the option of the command line that names columns.

    >>> option({"prompt": "my question"})
    "--columns 'prompt=my question'"
    """
    return "--columns " + " ".join(shlex.quote(f"{o}={t}") for o, t in mapping.items())


def argument(mapping: Mapping[str, str]) -> str:
    """Return the argument of `audit` that names columns."""
    return f"columns={dict(mapping)!r}"
