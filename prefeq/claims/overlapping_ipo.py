"""IPO on all pairs of three responses: neighbours get two thirds of the target of a lone pair.

Readings of `pathological-convergence`: overlapping pairs move the threshold of the trap.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import sympy as sp

from prefeq import losses, margins
from prefeq.claims import finite_targets, formulas, gallery, recheck, ties
from prefeq.claims.ball import ball, sign
from prefeq.claims.contradiction import counterexample
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Instance, build
from prefeq.claims.registry import Reading
from prefeq.claims.symbolic import as_written, positive, prove_equal, prove_positive, real
from prefeq.claims.tie import points, tie

LEANING = Instance.of(
    "three responses, all pairs, the reference backwards",
    reward=[2, 1, 0],
    ref=["4/19", "6/19", "9/19"],
    pairs=[(0, 1), (1, 2), (0, 2)],
)
"""δ_ref = log(2/3) on the neighbours: above −1/(2β) = −1/2, below −1/(3β) = −1/3."""

DESCENT_STEPS, PACE = 400, 0.05


def _minimiser() -> Iterator[Evidence]:
    """With x = x_01, y = x_12 and x_02 = x + y the sum of squares is least at x = y = 1/(3β)."""
    x, y, h, k = real("x y h k")
    beta = positive("beta")
    total = sum(formulas.ipo_loss(z, beta) for z in (y, x + y)) + formulas.ipo_loss(x, beta)
    rest = formulas.ipo_target(beta) * sp.Rational(2, 3)
    step = "overlapping-minimiser"
    yield prove_equal(
        step,
        "at x = 1/(3 beta) + h, y = 1/(3 beta) + k the loss is 1/(12 beta^2) + h^2 + k^2 + "
        "(h + k)^2: gradient flow ends at h = k = 0",
        (total.subs({x: rest + h, y: rest + k}), 1 / (12 * beta**2) + h**2 + k**2 + (h + k) ** 2),
    )
    deficit = positive("d")
    start = -rest - deficit
    yield prove_equal(
        "ends-at-target",
        "delta_ref = -1/(3 beta) - d ends at -d: below 0 and above delta_ref",
        (as_written(lambda: start + 1 / (3 * beta)), -deficit),
    )
    yield prove_positive("ends-in-U", "0 - (-d) > 0 and -d - delta_ref > 0", deficit, rest)


def _threshold() -> Iterator[Evidence]:
    yield from _minimiser()
    yield from (_tie_value(), finite_targets.FINITE[0].tie_slope())
    yield recheck.rechecked("descending losses.IPO on three pairs ends there", _descents())


def _moved() -> Iterator[Evidence]:
    """δ_ref = log(2/3) > −1/2, yet the flow stops at log(2/3) + 1/3 < 0."""
    pairs = range(len(LEANING.pairs))
    data: dict[str, Any] = {
        "instance": LEANING.to_data(),
        "ref_margin": gallery.numbers_of(lambda: [LEANING.delta_ref(k) for k in pairs]),
        "ipo_margin": gallery.numbers_of(_ends),
    }
    signs = {
        "ref_margin[0] > -1/2": sign(lambda: LEANING.delta_ref(0) + ball(1) / 2)[0] == 1,
        "ref_margin[0] < ipo_margin[0]": sign(lambda: _ends()[0] - LEANING.delta_ref(0))[0] == 1,
        "ipo_margin[0] < 0": sign(lambda: _ends()[0])[0] == -1,
    }
    yield counterexample(
        "delta_ref = log(2/3) > -1/2, yet gradient flow stops at log(2/3) + 1/3 < 0, in U",
        data,
        signs,
    )
    yield from _minimiser()
    yield from (_tie_value(), finite_targets.FINITE[0].tie_slope())
    yield ties.undesirable()

    def comparisons() -> Iterator[recheck.Comparison]:
        bandit, prefs = build(data["instance"])
        ref_margin = prefs.ref_margin(bandit)
        yield "reference margins", recheck.close(ref_margin, data["ref_margin"])
        delta = _descend(ref_margin, bandit.beta)
        yield "margins at the end", recheck.close(delta, data["ipo_margin"])
        yield "U", bool(np.all(margins.undesirable(delta, ref_margin)))
        alone = losses.IPO.minimiser(ref_margin[0], bandit.beta)
        yield "a lone pair leaves U", bool(alone > 0)

    yield recheck.rechecked("the package's loss descends into U, too", comparisons())


def _ends() -> list[Any]:
    """Enclose δ_ref + (1, 1, 2)/(3β)."""
    beta = ball(LEANING.beta)
    return [LEANING.delta_ref(k) + ball(n) / (3 * beta) for k, n in enumerate((1, 1, 2))]


def _descend(ref_margin: Any, beta: float) -> Any:
    """Descend the package's gradient on three logits; δ of the pairs 0≻1, 1≻2, 0≻2."""
    differences = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0], [1.0, 0.0, -1.0]])
    theta = np.zeros(3)
    for _ in range(DESCENT_STEPS):
        delta = ref_margin + differences @ theta
        slope = np.asarray(losses.IPO.gradient(delta, ref_margin, beta))
        theta -= PACE * differences.T @ slope
    return ref_margin + differences @ theta


def _descents() -> Iterator[recheck.Comparison]:
    beta = 0.5
    for factor in (0.8, 1.3):
        lean = -factor / (3 * beta)
        ref_margin = np.array([lean, lean, 2 * lean])
        delta = _descend(ref_margin, beta)
        expected = ref_margin + np.array([1.0, 1.0, 2.0]) / (3 * beta)
        yield f"ends at {expected[0]:.3f}", recheck.close(delta, expected)
        inside = margins.undesirable(delta, ref_margin)
        yield f"U at {delta[0]:.3f}", bool(np.all(inside == (factor > 1)))


def _tie_value() -> Evidence:
    return tie(
        "the ipo loss agrees with losses.IPO.value",
        lambda x, beta: formulas.ipo_loss(x, beta),
        lambda x, beta: losses.IPO.value(x, 0.0, beta),
        points("x", "beta"),
        scale=lambda value, p: (abs(value) + 1 / p["beta"] ** 2) * (1 + abs(p["beta"] * p["x"])),
    )


_SCOPE = (
    "IPO, margins per token; all three pairs 0>1, 1>2, 0>2 of three responses, ordered, of equal "
    "mass; beta > 0, softmax logits"
)

READINGS = (
    Reading(
        "ipo-overlapping",
        "gradient flow ends in U on a pair of neighbours => delta_ref < -1/(2 beta) on it",
        _SCOPE,
        _moved,
        lemmas=("overlapping-minimiser",),
    ),
    Reading(
        "ipo-overlapping-corrected",
        "gradient flow ends at delta_ref + 1/(3 beta) on neighbours, two thirds of what a lone "
        "pair gets: in U iff delta_ref < -1/(3 beta) on it",
        _SCOPE,
        _threshold,
        proof=("overlapping-minimiser", "ends-at-target", "ends-in-U"),
        corrects="ipo-overlapping",
    ),
)
