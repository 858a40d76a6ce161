"""A few lines of NumPy that compute an instance's margins and losses, for a reader to run.

They use nothing of prefeq, and of a counterexample's comparisons assert those that they can.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_HEAD = """import numpy as np
from numpy import exp, log

reward, ref, beta = np.array([{reward}]), np.array([{ref}]), {beta}
w, l = np.array([{pairs}]).T
gap, ref_margin = reward[w] - reward[l], log(ref[w] / ref[l])
rlhf_margin = ref_margin + gap / beta"""
_POLICY = """policy = np.array([{policy}])
margin = log(policy[w] / policy[l])
q = {q}
z = beta * (margin - ref_margin)
loss = q * log(1 + exp(-z)) + (1 - q) * log(1 + exp(z))"""
_LABELS = {"ordered": "1.0", "bradley-terry": "1 / (1 + exp(-gap))"}

_NUMBERS = ("gap", "ref_margin", "rlhf_margin")
_OF_A_POLICY = ("margin", "loss")


def script(data: Mapping[str, Any]) -> str:
    """Return the program of a counterexample, empty if it would assert nothing.

    An equality is asserted within 1e-12: the exact ones are decided elsewhere.
    """
    if "instance" not in data:
        return ""
    exact, pairs = data["instance"]["exact"], data["instance"]["pairs"]
    policy = data.get("inputs", {}).get("policy")
    numbers = set(_NUMBERS) | (set(_OF_A_POLICY) if policy else set())
    # A number of the script is spoken of only where the evidence has one of that name.
    known = (numbers & set(data)) | {"exp", "log"}
    claims = [text for text in data.get("inequalities", ()) if _names(text) <= known]
    if not claims:
        return ""
    head = _HEAD.format(
        reward=", ".join(exact["reward"]),
        ref=", ".join(exact["ref"]),
        beta=exact["beta"],
        pairs=", ".join(f"({w}, {lo})" for w, lo in pairs),
    )
    lines = [head, *map(_assertion, claims)]
    if policy and set(_OF_A_POLICY) & set().union(*map(_names, claims)):
        q = _LABELS[data["instance"]["labels"]]
        lines.insert(1, _POLICY.format(policy=", ".join(policy), q=q))
    return "\n".join(lines)


def _names(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z_]\w*", text))


def _assertion(text: str) -> str:
    left, equal, right = text.partition(" == ")
    return f"assert abs({left} - ({right})) < 1e-12" if equal else f"assert {text}"
