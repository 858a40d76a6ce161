"""The released losses and Eq. 17 with exact parameters: targets in balls, counterexamples, ties."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from prefeq import losses
from prefeq.claims import recheck
from prefeq.claims import target_formulas as targets
from prefeq.claims.ball import BALL, ball, exactly, sign
from prefeq.claims.contradiction import counterexample, has_sign
from prefeq.claims.evidence import Evidence
from prefeq.claims.gallery import numbers_of
from prefeq.claims.instance import Instance, build

Log = Any

PAIR = (
    "one pair on its own, label q = sigma(gap), beta > 0; aligned: the minimiser of its population "
    "loss has delta > 0"
)
FLIPPED: Mapping[losses.Flipped, str] = {
    "fixed": "a flipped label keeps its target",
    "per-label": "a flipped label gets the target of the swapped pair",
}


def scope(of: str, flipped: losses.Flipped) -> str:
    """Return the scope of a reading about one loss and one meaning of a flipped label."""
    return f"{of}; {FLIPPED[flipped]}; {PAIR}"


def violated(gap: str) -> Instance:
    """Return two responses, the reference 19 to 1 for the wrong one, and a reward gap."""
    return Instance.of(
        "two responses, violated",
        reward=[gap, 0],
        ref=["1/20", "19/20"],
        pairs=[(0, 1)],
        labels="bradley-terry",
    )


_TARGETS: Mapping[str, Callable[..., Any]] = {
    "dpo": lambda w, lo, beta: w - lo,
    "clip": lambda w, lo, beta: targets.clip(BALL, w - lo),
    "smooth": lambda w, lo, beta, **given: targets.smooth(BALL, w - lo, **given),
    "eq17": lambda w, lo, beta, gamma: targets.shifted(
        w - lo, targets.eq17_shift(BALL, w, lo, gamma, beta)
    ),
    "easy": lambda w, lo, beta, gamma: targets.shifted(
        w - lo, targets.easy_shift(w, lo, gamma, beta)
    ),
}
"""(log π_ref(w), log π_ref(l), β, parameters) ↦ t, all balls."""

_LOSSES: Mapping[str, Callable[..., losses.Loss]] = {
    "dpo": lambda: losses.DPO,
    "clip": lambda: losses.CLIP,
    "smooth": lambda **given: losses.smooth(**given),
    "eq17": lambda gamma: losses.eq17(gamma),
    "easy": lambda gamma: losses.easy(gamma),
}


@dataclass(frozen=True)
class Surrogate:
    """A loss of the family with exact parameters and one reading of its flipped labels.

    Examples
    --------
    >>> clip = Surrogate("clip", "per-label")
    >>> float(clip.target(ball(-3), ball(-1), ball(1))), clip.loss().name
    (0.0, 'hypo')
    """

    name: str
    flipped: losses.Flipped
    parameters: tuple[tuple[str, Fraction], ...] = ()

    def target(self, winner: Log, loser: Log, beta: Any) -> Any:
        """Enclose t(w, l)."""
        given = {name: ball(value) for name, value in self.parameters}
        return _TARGETS[self.name](winner, loser, beta, **given)

    def critical_gap(self, winner: Log, loser: Log, beta: Any) -> Any:
        """Enclose the gap above which the minimiser has δ > 0."""
        t = self.target(winner, loser, beta)
        if self.flipped == "fixed":
            return targets.fixed_critical_gap(t, beta)
        return targets.per_label_critical_gap(BALL, t, self.target(loser, winner, beta), beta)

    def minimiser(self, winner: Log, loser: Log, beta: Any, gap: Any) -> Any:
        """Enclose the δ at which the population loss is least."""
        t = self.target(winner, loser, beta)
        if self.flipped == "fixed":
            return targets.fixed_minimiser(t, beta, gap)
        swapped = self.target(loser, winner, beta)
        if gap < 0:  # asinh of a negative number would cancel: look from the other side
            return -targets.per_label_minimiser(BALL, swapped, t, beta, -gap)
        return targets.per_label_minimiser(BALL, t, swapped, beta, gap)

    def loss(self) -> losses.Loss:
        """Return the package's own."""
        return _LOSSES[self.name](**{name: float(value) for name, value in self.parameters})

    def inputs(self) -> dict[str, str]:
        """Return what was chosen, for the evidence."""
        given = {name: exactly(value) for name, value in self.parameters}
        return {"loss": self.name, "flipped_label": self.flipped, **given}


@dataclass(frozen=True)
class SurrogateCase:
    """A surrogate on a bandit with one Bradley–Terry pair, decided in balls."""

    surrogate: Surrogate
    instance: Instance

    def misaligned(self) -> dict[str, bool | None]:
        """Decide Δr > 0 and δ < 0 at the minimum, by the critical gap and by its place."""
        return {
            "gap[0] > 0": self.instance.gap(0) > 0,
            "gap[0] < critical_gap[0]": has_sign(sign(self.slack)[0], -1),
            "minimiser[0] < 0": has_sign(sign(self.minimiser)[0], -1),
        }

    def parameter(self, name: str) -> Fraction:
        """Return a parameter of the loss."""
        return dict(self.surrogate.parameters)[name]

    def target(self) -> Any:
        """Enclose t(w, l)."""
        return self.of(self.surrogate.target)

    def ref_margin(self) -> Any:
        """Enclose δ_ref."""
        return self.instance.delta_ref(0)

    def evidence(self, summary: str, inequalities: Mapping[str, bool | None]) -> Evidence:
        """Return the counterexample; `summary` may name its numbers."""
        data = self.data()
        words = summary.format(**{k: v[0] if isinstance(v, list) else v for k, v in data.items()})
        return counterexample(words, data, inequalities)

    def refutation(self, summary: str, more: Mapping[str, bool | None] | None = None) -> Evidence:
        """Return the counterexample to "aligned at every gap > 0", under more hypotheses."""
        return self.evidence(summary, {**(more or {}), **self.misaligned()})

    def slack(self) -> Any:
        """Enclose Δr less the critical gap."""
        return ball(self.instance.gap(0)) - self.of(self.surrogate.critical_gap)

    def minimiser(self) -> Any:
        """Enclose where the loss is least."""
        gap = ball(self.instance.gap(0))
        return self.of(partial(self.surrogate.minimiser, gap=gap))

    def of(self, function: Callable[..., Any], swap: bool = False) -> Any:
        """Evaluate a function of the reference's log-probabilities and β."""
        instance = self.instance
        ends = [ball(instance.ref[i]).log() for i in instance.pairs[0]]
        return function(*(ends[::-1] if swap else ends), ball(instance.beta))

    def data(self) -> dict[str, Any]:
        """Return the instance and its numbers."""
        gap = self.instance.gap(0)
        chosen = self.surrogate
        found = {
            "instance": self.instance.to_data(),
            "inputs": chosen.inputs(),
            "gap": [exactly(gap)],
            "ref_margin": numbers_of(lambda: [self.ref_margin()]),
            "target": numbers_of(lambda: [self.target()]),
            "critical_gap": numbers_of(lambda: [self.of(chosen.critical_gap)]),
            "minimiser": numbers_of(lambda: [self.minimiser()]),
        }
        if chosen.flipped == "per-label":
            found["swapped_target"] = numbers_of(lambda: [self.of(chosen.target, swap=True)])
        return found

    def rechecked(self) -> Evidence:
        """Ask the package's own loss for the target, the critical gap and the minimum."""
        return recheck.rechecked("the package's loss agrees", self._comparisons(self.data()))

    def _comparisons(self, data: dict[str, Any]) -> Iterator[recheck.Comparison]:
        bandit, prefs = build(data["instance"])
        loss, flipped = self.surrogate.loss(), self.surrogate.flipped
        winner, loser = int(prefs.winner[0]), int(prefs.loser[0])
        ref = losses.Reference(bandit.ref_logp[winner], bandit.ref_logp[loser])
        given: dict[str, Any] = {"log_odds": prefs.log_odds[0], "flipped": flipped}
        beta, gap = bandit.beta, float(prefs.log_odds[0])
        yield "label", recheck.close(gap, float(Fraction(data["gap"][0])))
        yield "target", recheck.close(loss.target(ref, beta), data["target"][0])
        found = float(loss.minimiser(ref, beta, **given))
        yield "minimiser", recheck.close(found, data["minimiser"][0])
        critical = loss.critical_gap(ref, beta, flipped)
        yield "critical gap", recheck.close(critical, data["critical_gap"][0])
        around = found + np.array([-1e-3, 1e-3]) / beta
        slopes = loss.population_gradient(around, ref, beta, **given)
        yield "the loss falls before it and rises after it", bool(slopes[0] < 0 < slopes[1])
        values = loss.population_value(np.append(around, found), ref, beta, **given)
        yield "and is least there", bool(values[2] < values[:2].min())
