"""A table of bugs, planted one by one in the audit's sources: each turns the comparison red."""

from __future__ import annotations

import inspect
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from llm import naive
from llm.test_audit import check

from prefeq.llm import family, figures, metrics, plan, report, state

Bug = tuple[ModuleType, str, str]

BUGS: dict[str, Bug] = {
    "reference margin turned round": (metrics, "cls(c, d, c - d, a,", "cls(c, d, d - c, a,"),
    "policy margin turned round": (metrics, "a, b, a - b)", "a, b, b - a)"),
    "sign of beta": (metrics, "critical = at.ref * -beta", "critical = at.ref * beta"),
    "sign of the gap": (
        metrics,
        "data[REWARDS[0]] - data[REWARDS[1]]",
        "data[REWARDS[1]] - data[REWARDS[0]]",
    ),
    "violation weak for strict": (metrics, "gap <= critical)", "gap < critical)"),
    "label violation weak for strict": (plan, "gap >= odds_)", "gap > odds_)"),
    "traps weak for strict": (plan, "gap > odds_,", "gap >= odds_,"),
    "below zero weak for strict": (plan, "below = -math.ulp(0.0)", "below = 0.0"),
    "relative accuracy counts ties": (metrics, "better = x > 0", "better = x >= 0"),
    "absolute accuracy counts ties": (metrics, "at.policy > 0)", "at.policy >= 0)"),
    "U without its upper end": (metrics, "better & (at.policy < 0)", "better"),
    "displaced if one falls": (metrics, "(rise < 0) & (", "(rise < 0) | ("),
    "mean for sum": (
        metrics,
        '(data, plan.normalize == "mean")',
        '(data, plan.normalize == "sum")',
    ),
    "lengths exchanged": (metrics, "zip(names, TOKENS,", "zip(names, TOKENS[::-1],"),
    "IPO on sums": (metrics, 'other if plan.other == "mean" and other', "main if other"),
    "IPO's traps on sums": (plan, 'if name == "ipo" else "ref"', 'if name == "none" else "ref"'),
    "SimPO's sign of gamma": (metrics, "policy - family.SIMPO", "policy + family.SIMPO"),
    "easy raises the target": (family, "inverse *= -EASY", "inverse *= EASY"),
    "easy without beta": (family, "-EASY_GAMMA / beta", "-EASY_GAMMA"),
    "hinge at 2": (family, "slack += 1", "slack += 2"),
    "softplus turned round": (family, "value = decay - margin", "value = decay + margin"),
    "IPO's target without the half": (family, "relative - 0.5 / beta", "relative - 1 / beta"),
    "label smoothing without beta": (family, "(CDPO_EPS * beta)", "CDPO_EPS"),
    "HyPO without its maximum": (family, "value = abs(margin)\n", "value = margin * 1\n"),
    "smooth target not smooth": (family, "decay += positive", "decay = positive * 1"),
    "quantiles not turned round": (
        figures,
        'ref = _ranked(state, "ref", falling=True)\n    found',
        'ref = _ranked(state, "ref")\n    found',
    ),
    "interval of all rows": (
        figures,
        "wilson(count, state.pairs,",
        "wilson(count, 2 * state.pairs,",
    ),
    "prompts not looked at": (figures, "if state.clusters is not None:", "if False:"),
    "DPO's target for HyPO": (figures, '"hypo": "hypo target"', '"hypo": "ref"'),
    "one beta for all": (
        figures,
        "beta = state.plan.all_betas[i]\n    found",
        "beta = 1\n    found",
    ),
}


def plant(monkeypatch: pytest.MonkeyPatch, bug: Bug) -> None:
    """Compile a module's source with a bug in it, and put it where the others look."""
    module, old, new = bug
    source = inspect.getsource(module)
    assert old in source, f"{module.__name__} has changed: plant this bug anew"
    broken = ModuleType(module.__name__)
    monkeypatch.setitem(sys.modules, module.__name__, broken)  # dataclasses look there
    exec(compile(source.replace(old, new), str(module.__file__), "exec"), vars(broken))
    if module is metrics:
        monkeypatch.setattr(state, "measure", broken.measure)
    elif module is family:
        monkeypatch.setattr(metrics, "family", broken)
    elif module is figures:
        monkeypatch.setattr(report, "figures", broken.figures)
    else:
        for name in ("_levels", "_stored", "_counters", "_places"):
            monkeypatch.setattr(plan, name, getattr(broken, name))
    monkeypatch.setitem(sys.modules, module.__name__, module)


def compare() -> None:
    """Compare audits of a few data sets with the direct computation."""
    rng = np.random.default_rng(3)
    for kind, beta in (("ties", 0.5), ("plain", 0.1)):
        data: dict[str, Any] = naive.draw(rng, 400, kind)
        data["label_prob"] = rng.choice([0.1, 0.5, 0.9], 400)
        for groups in (("policy", "gap", "tokens", "prompt"), ("policy", "gap"), ("policy",)):
            check(naive.only(data, *groups), beta)


def test_the_comparison_is_green_without_a_bug() -> None:
    compare()


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_turns_it_red(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    plant(monkeypatch, BUGS[name])
    with pytest.raises(AssertionError):
        compare()
