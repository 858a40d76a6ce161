"""A loss that equals DPO with one thing wrong: usual mistakes, each as a change of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from prefeq.arrays import FloatArray
from prefeq.errors import ProblemError
from prefeq.loss_cards.callables import adapt
from prefeq.loss_cards.pair_loss import PairLoss
from prefeq.loss_cards.pairs import Pairs, mixed_pairs
from prefeq.losses import cdpo

Wrong: TypeAlias = Callable[[PairLoss, Pairs, float], FloatArray]

SMOOTHING = ("label_smoothing", "eps", "epsilon")
"""Parameters that are taken for label smoothing."""


def _columns(pairs: Pairs, c: FloatArray, r: FloatArray, rc: FloatArray, rr: FloatArray) -> Pairs:
    return replace(pairs, chosen=c, rejected=r, ref_chosen=rc, ref_rejected=rr)


def _moved(change: Callable[..., tuple[FloatArray, ...]]) -> Wrong:
    def value(loss: PairLoss, pairs: Pairs, beta: float) -> FloatArray:
        return loss.value(_columns(pairs, *change(*pairs.columns()[:4], beta)))

    return value


MUTANTS: Mapping[str, tuple[str, Wrong]] = {
    "sign": (
        "the sign is wrong, or chosen and rejected are exchanged throughout: it is DPO of the "
        "flipped label",
        _moved(lambda c, r, rc, rr, b: (r, c, rr, rc)),
    ),
    "sign ": (
        "the sign is wrong: it is minus the loss of DPO, which has no minimum",
        lambda loss, pairs, beta: -loss.value(pairs),
    ),
    "swapped-reference": (
        "ref_chosen_logps and ref_rejected_logps are exchanged: it adds delta_ref where DPO takes "
        "it off",
        _moved(lambda c, r, rc, rr, b: (c, r, rr, rc)),
    ),
    "swapped-sides": (
        "chosen_logps and rejected_logps are exchanged, those of the reference are not",
        _moved(lambda c, r, rc, rr, b: (r, c, rc, rr)),
    ),
    "missing-beta": (
        "beta is missing: it is DPO of beta = 1",
        lambda loss, pairs, beta: loss.with_parameters(beta=1.0).value(pairs),
    ),
    "beta-on-policy-only": (
        "beta multiplies the policy's margin alone: multiply delta - delta_ref",
        _moved(lambda c, r, rc, rr, b: (c, r, rc / b, rr / b)),
    ),
    "beta-on-reference-only": (
        "beta multiplies the reference's margin alone: multiply delta - delta_ref",
        _moved(lambda c, r, rc, rr, b: (c / b, r / b, rc, rr)),
    ),
    "beta-outside": (
        "beta multiplies the loss instead of the margin",
        lambda loss, pairs, beta: beta * loss.with_parameters(beta=1.0).value(pairs),
    ),
    "beta-twice": (
        "beta is applied twice",
        lambda loss, pairs, beta: loss.with_parameters(beta=beta**2).value(pairs),
    ),
    "beta-divides": (
        "it divides by beta instead of multiplying",
        lambda loss, pairs, beta: loss.with_parameters(beta=1 / beta).value(pairs),
    ),
    "one-sided-reference": (
        "ref_rejected_logps is left out",
        _moved(lambda c, r, rc, rr, b: (c, r, rc, 0 * rr)),
    ),
    "one-sided-reference ": (
        "ref_chosen_logps is left out",
        _moved(lambda c, r, rc, rr, b: (c, r, 0 * rc, rr)),
    ),
    "added-sides": (
        "the log-ratios of chosen and rejected are added: take their difference",
        _moved(lambda c, r, rc, rr, b: (c, -r, rc, -rr)),
    ),
    "probabilities": (
        "probabilities stand where log-probabilities should",
        _moved(lambda c, r, rc, rr, b: tuple(np.exp(x) for x in (c, r, rc, rr))),
    ),
    "no-reference": (
        "the reference is left out",
        _moved(lambda c, r, rc, rr, b: (c, r, 0 * rc, 0 * rr)),
    ),
}
"""What is wrong, and the value of a base loss that is wrong so."""


def diagnose(loss: PairLoss, base: PairLoss | None = None) -> tuple[str, str] | None:
    """Return the mutant of a base loss (DPO, or label-smoothed DPO) that a loss equals, if any.

    Examples
    --------
    >>> import numpy as np
    >>> def mine(chosen, rejected, ref_chosen, ref_rejected, beta=0.1):
    ...     return np.logaddexp(0, -beta * (chosen - rejected - ref_rejected + ref_chosen))
    >>> diagnose(adapt(mine))[0]
    'swapped-reference'
    """
    beta = loss.beta or 1.0
    pairs = mixed_pairs(32, seed=23, scale=min(1 / beta, 20.0))
    value = loss.value(pairs)
    bases = _bases(loss, beta) if base is None else (base, *_bases(loss, beta))
    if any(_equal(candidate.value(pairs), value, loss.eps) for candidate in bases):
        return None
    for candidate in bases:
        for name, (text, wrong) in MUTANTS.items():
            try:
                with np.errstate(all="ignore"):
                    other = wrong(candidate, pairs, beta)
            except ProblemError:  # its beta cannot be changed
                continue
            if _equal(other, value, loss.eps):
                if name == "sign" and _smoothing(loss) > 0:
                    return "smoothing-wrong-side", (
                        "label smoothing is on the wrong side: the label as given weighs epsilon, "
                        "the flipped one 1 - epsilon"
                    )
                return name.strip(), text
    return None


def _bases(loss: PairLoss, beta: float) -> tuple[PairLoss, ...]:
    bases = [adapt("dpo", beta=beta)]
    eps = _smoothing(loss)
    return (adapt(cdpo(eps), beta=beta), *bases) if eps else tuple(bases)


def _smoothing(loss: PairLoss) -> float:
    for key in SMOOTHING:
        eps = loss.settings.get(key)
        if isinstance(eps, int | float) and 0 < eps < 0.5:
            return float(eps)
    return 0.0


def _equal(first: FloatArray, second: FloatArray, eps: float) -> bool:
    tolerance = max(1e-9, 64 * eps if eps > 1e-12 else 0.0)
    with np.errstate(all="ignore"):
        near = np.abs(first - second) <= tolerance * np.maximum(1e-3, np.abs(second))
    return bool((near | (first == second)).all())
