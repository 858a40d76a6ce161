"""Re-checks: instances fed back to the package as anybody would, against the numbers of the balls.

A re-check holds only if every one of its named comparisons does; the first that does not is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from prefeq import margins, solution, solvers
from prefeq.claims import exact_graphs, gallery
from prefeq.claims.evidence import Evidence, outcome_of
from prefeq.claims.instance import Instance, build

CLOSE = 1e-9

Comparison = tuple[str, bool]


def close(got: Any, want: Any, tolerance: float = CLOSE) -> bool:
    """Whether two arrays agree within `tolerance`, relative beyond 1; a NaN never does."""
    got, want = np.asarray(got, dtype=np.float64), np.asarray(want, dtype=np.float64)
    if got.shape != want.shape:
        return False
    same, finite = got == want, np.isfinite(got) & np.isfinite(want)
    with np.errstate(invalid="ignore"):
        near = np.abs(got - want) <= tolerance * np.maximum(1.0, np.abs(want))
    return bool(np.all(same | (finite & near)))


def rechecked(what: str, comparisons: Iterable[Comparison]) -> Evidence:
    """Turn named comparisons into one piece of evidence."""
    count, failed = 0, ""
    for name, good in comparisons:
        count += 1
        failed = failed or ("" if good else name)
    holds = count > 0 and not failed
    summary = f"{what} ({count} comparisons)" if holds else f"{what}: {failed or 'nothing'} failed"
    data = {"runs": {"count": count}, "inputs": {"within": CLOSE}}
    return Evidence("recheck", summary, outcome_of(holds), data=data)


def equivalence(
    instances: Sequence[Instance], condition: gallery.Decider, conclusion: gallery.Decider
) -> Evidence:
    """Feed instances to the solvers: do they find the same condition, policies and coincidence?"""

    def comparisons() -> Iterable[Comparison]:
        for instance in instances:
            yield from _rlhf(instance, condition)
            for name, good in _CONCLUSIONS[conclusion](instance):
                yield f"{instance.name}: {name}", good

    return rechecked("the solvers agree with the ball arithmetic", comparisons())


def _rlhf(instance: Instance, condition: gallery.Decider) -> Iterable[Comparison]:
    bandit, prefs = build(instance.to_data())
    rlhf = solvers.solve_rlhf(bandit)
    decided = condition(instance)
    holds = margins.assumption_holds(
        prefs.ref_margin(bandit),
        prefs.reward_gap(bandit),
        bandit.beta,
        strict=condition is gallery.assumption,
    )
    yield f"{instance.name}: the condition", bool(np.all(holds)) == decided.answer
    delta = decided.numbers["rlhf_margin"]
    yield f"{instance.name}: RLHF margins", close(rlhf.margin(prefs), delta)
    logp = gallery.numbers_of(instance.rlhf_logp)
    yield f"{instance.name}: RLHF policy", close(rlhf.logp, logp)


def _dpo(instance: Instance) -> Iterable[Comparison]:
    """DPO by Newton: status, policy, and whether it is RLHF's."""
    bandit, prefs = build(instance.to_data())
    rlhf, dpo = solvers.solve_rlhf(bandit), solvers.solve_dpo(bandit, prefs)
    finite = instance.labels != "ordered" or exact_graphs.ford(instance.size, instance.pairs)
    connected = gallery.connected(instance)
    status = solution.Status
    want = (status.OPTIMAL if connected else status.NOT_UNIQUE) if finite else status.DIVERGES
    yield "DPO status", dpo.status is want
    decided = gallery.dpo_is_rlhf(instance)
    same = dpo.logp is not None and close(dpo.logp, rlhf.logp)
    yield "DPO = RLHF", same == decided.answer
    if "dpo_probs" in decided.numbers:
        found = dpo.logp is not None
        yield "DPO policy", found and close(np.exp(dpo.logp), decided.numbers["dpo_probs"])


def _dpo_margins(instance: Instance) -> Iterable[Comparison]:
    bandit, prefs = build(instance.to_data())
    margin = solvers.solve_dpo(bandit, prefs).margin(prefs)
    yield "DPO margins", close(margin, gallery.dpo_is_aligned(instance).numbers["dpo_margin"])


def _cpo(instance: Instance) -> Iterable[Comparison]:
    bandit, prefs = build(instance.to_data())
    rlhf, cpo = solvers.solve_rlhf(bandit), solvers.solve_cpo(bandit, prefs, margin=0.0)
    yield "CPO status", cpo.status is solution.Status.OPTIMAL
    yield "CPO margins >= 0", bool(np.all(cpo.margin(prefs) >= -CLOSE))
    same = close(cpo.logp, rlhf.logp)
    yield "CPO = RLHF", same == gallery.cpo_is_rlhf(instance).answer


_CONCLUSIONS: dict[gallery.Decider, Callable[[Instance], Iterable[Comparison]]] = {
    gallery.dpo_is_rlhf: _dpo,
    gallery.dpo_is_aligned: _dpo_margins,
    gallery.cpo_is_rlhf: _cpo,
}
