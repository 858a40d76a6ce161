"""`cpo-penalty`: Eq. 10, max J(π) + γ Σ m δ, has an optimal policy. It has none for any γ > 0.

"CPO" here is *Constrained* Preference Optimization (arXiv:2605.20834).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from prefeq import solution, solvers
from prefeq.arrays import log_normalise
from prefeq.claims import gallery, lemmas, penalty_lemmas, recheck
from prefeq.claims import penalty_instances as at
from prefeq.claims import penalty_paths as paths
from prefeq.claims.ball import sign
from prefeq.claims.contradiction import counterexample, has_sign
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Instance, build
from prefeq.claims.registry import Claim, Part, Reading, register
from prefeq.claims.stationary import net_degrees

_GAMMAS = (1e-6, 0.1, 1.0, 1e3)


def against_optimum(instance: Instance, gamma: Fraction) -> Evidence:
    """Show F(π*) and F along a path to the boundary, at log-odds that double four times.

    By `rises-without-bound` it goes on for ever. With all net degrees zero there is no such path.
    """
    y = paths.sinking(instance)
    if y is None or gamma <= 0:
        nothing = {"instance": instance.to_data(), "inputs": {"gamma": str(gamma)}}
        return counterexample("every net degree is zero", nothing, {"gamma < 0": False})
    start = paths.beyond_rlhf(instance, y, gamma)
    odds = [start * 2**i for i in range(5)]

    def at(i: int) -> Any:
        return paths.objective(instance, paths.along(instance, y, odds[i]), gamma)

    def best() -> Any:
        return paths.objective(instance, instance.rlhf_logp(), gamma)

    steps = {
        f"penalty_value[{i + 1}] > penalty_value[{i}]": has_sign(
            sign(lambda i=i: at(i + 1) - at(i))[0],  # type: ignore[misc]
            1,
        )
        for i in range(4)
    }
    above = has_sign(sign(lambda: at(4) - best())[0], 1)
    data: dict[str, Any] = {
        "instance": instance.to_data(),
        "inputs": {"gamma": str(gamma), "sinking": y, "log_odds": [str(t) for t in odds]},
        "penalty_at_rlhf": gallery.numbers_of(lambda: [best()])[0],
        "penalty_value": gallery.numbers_of(lambda: [at(i) for i in range(5)]),
    }
    words = (
        f"gamma = {gamma}: F = {data['penalty_at_rlhf']:.4g} at pi*, but "
        f"{data['penalty_value'][-1]:.6g} at log-odds {odds[-1]} against response {y}"
    )
    return counterexample(words, data, {**steps, "penalty_value[4] > penalty_at_rlhf": above})


def _has_optimum() -> Iterator[Evidence]:
    found = against_optimum(at.VIOLATED, at.FAINT)
    yield found
    yield from penalty_lemmas.degrees()
    yield from penalty_lemmas.towards_zero()
    yield recheck.rechecked("solve_penalty says unbounded", _unbounded([at.VIOLATED, at.UNEVEN]))
    yield recheck.rechecked("penalty_value agrees", _values(at.VIOLATED, found.data))


def _bounded(part: Part) -> Iterator[Evidence]:
    yield from penalty_lemmas.degrees()
    if part == "if":
        yield penalty_lemmas.no_degrees()
        yield lemmas.rlhf_closed_form()
        yield from lemmas.gibbs_inequality()
    else:
        yield from penalty_lemmas.towards_zero()
    yield recheck.rechecked(
        "solve_penalty: optimal iff every net degree is zero, then at pi*",
        _unbounded([*gallery.GALLERY, at.UNEVEN]),
    )
    yield recheck.rechecked("net_degree and penalty_value on the exact instances", _balls())


def _rising() -> Iterator[Evidence]:
    yield from penalty_lemmas.degrees()
    yield from penalty_lemmas.towards_zero()
    yield from penalty_lemmas.rises_beyond()
    yield recheck.rechecked("penalty_value rises along solve_penalty's direction", _climbs())


def _unbounded(instances: Sequence[Instance]) -> Iterator[recheck.Comparison]:
    for instance in instances:
        bandit, prefs = build(instance.to_data())
        y = paths.sinking(instance)
        rlhf = solvers.solve_rlhf(bandit)
        for gamma in _GAMMAS:
            found = solvers.solve_penalty(bandit, prefs, gamma)
            name = f"{instance.name}, gamma = {gamma}"
            want = solution.Status.OPTIMAL if y is None else solution.Status.UNBOUNDED
            yield f"{name}: {want}", found.status is want
            if y is None:
                yield f"{name}: pi*", recheck.close(found.logp, rlhf.logp)
                value = solvers.penalty_value(bandit, prefs, gamma, found.logp)
                yield f"{name}: F = J", recheck.close(value, rlhf.value)
            else:
                yield f"{name}: response {y} sinks", found.component == (y,)
                away = [-float(i == y) for i in range(instance.size)]
                yield f"{name}: direction", found.direction.tolist() == away
        at_zero = solvers.solve_penalty(bandit, prefs, 0.0)
        yield f"{instance.name}: RLHF at gamma = 0", recheck.close(at_zero.logp, rlhf.logp)


def _values(instance: Instance, data: Any) -> Iterator[recheck.Comparison]:
    bandit, prefs = build(instance.to_data())
    gamma = float(Fraction(data["inputs"]["gamma"]))
    best = solvers.solve_rlhf(bandit).logp
    value = solvers.penalty_value(bandit, prefs, gamma, best)
    yield "F at pi*", recheck.close(value, data["penalty_at_rlhf"])
    y = data["inputs"]["sinking"]
    for odds, want in zip(data["inputs"]["log_odds"], data["penalty_value"], strict=True):
        value = solvers.penalty_value(bandit, prefs, gamma, _path(best, y, float(Fraction(odds))))
        yield f"F at log-odds {odds}", recheck.close(value, want)


def _balls() -> Iterator[recheck.Comparison]:
    """π* and the path on the gallery: the package's F and d against balls and rationals."""
    for instance in gallery.GALLERY:
        bandit, prefs = build(instance.to_data())
        degrees = [float(d) for d in net_degrees(instance)]
        found = solvers.net_degree(bandit, prefs)
        yield f"{instance.name}: net degrees", recheck.close(found, degrees)
        for odds in (Fraction(3), Fraction(40)):
            y = instance.pairs[0][1]
            logp = gallery.numbers_of(partial(paths.along, instance, y, odds))
            value = gallery.numbers_of(
                lambda i=instance, y=y, t=odds: [paths.objective(i, paths.along(i, y, t), at.FAINT)]  # type: ignore[misc]
            )
            got = solvers.penalty_value(bandit, prefs, float(at.FAINT), logp)
            yield f"{instance.name}: F at log-odds {odds}", recheck.close(got, value[0])


def _climbs() -> Iterator[recheck.Comparison]:
    for instance in gallery.GALLERY:
        y = paths.sinking(instance)
        if y is None:
            continue
        bandit, prefs = build(instance.to_data())
        for gamma in (Fraction(1, 100), Fraction(1, 3), Fraction(10)):
            found = solvers.solve_penalty(bandit, prefs, float(gamma))
            start = float(paths.rising_from(instance, y, gamma))
            best = solvers.solve_rlhf(bandit).logp
            own = best[y] - np.log(-np.expm1(best[y]))  # minus the log-odds against y at π*
            times = start * np.array([1.0, 1.1, 1.5, 3.0, 10.0, 100.0]) + max(own, 0.0)
            rows = np.array([log_normalise(best + t * found.direction) for t in times])
            values = solvers.penalty_value(bandit, prefs, float(gamma), rows)
            name = f"{instance.name}, gamma = {gamma}"
            yield f"{name}: rises", bool(np.all(np.diff(values) > 0))
            slope = float(gamma * -net_degrees(instance)[y])
            pace = np.diff(values[-2:])[0] / np.diff(times[-2:])[0]
            yield f"{name}: by |c| a nat", recheck.close(pace, slope, 1e-6 * max(1.0, slope))


def _path(best: Any, y: int, odds: float) -> Any:
    """Return the log-policy at log-odds T against y, the others as in `best`."""
    others = np.delete(best, y)
    logp = best - np.log(np.sum(np.exp(others))) - np.log1p(np.exp(-odds))
    logp[y] = -odds - np.log1p(np.exp(-odds))
    return logp


_ANY = "any K, rewards, full-support reference, pairs and masses, beta > 0"
_DEGREES = "every net degree (mass won less mass lost) is zero"
_UNBOUNDED = (
    "degrees",
    "degrees-cancel",
    "penalty-along",
    "objective-along",
    "bounded-part",
    "rises-without-bound",
)

register(
    Claim(
        id="cpo-penalty",
        title="the penalty objective J + gamma E[delta] (Eq. 10) has an optimal policy",
        source="arXiv:2605.20834, Eq. 10",
        provenance="secondary",
        readings=(
            Reading(
                "has-optimum",
                "for gamma > 0, J(pi) + gamma sum m delta has a maximiser",
                _ANY,
                _has_optimum,
                lemmas=_UNBOUNDED,
            ),
            Reading(
                "bounded",
                f"{_DEGREES} => the objective is bounded above and pi* is its only maximiser",
                f"{_ANY}, gamma > 0; cycles included",
                partial(_bounded, "if"),
                "if",
                (
                    "degrees",
                    "penalty-vanishes",
                    "gibbs-identity",
                    "gibbs-inequality",
                ),
                corrects="has-optimum",
            ),
            Reading(
                "bounded",
                f"the objective is bounded above => {_DEGREES}",
                f"{_ANY}, gamma > 0",
                partial(_bounded, "only-if"),
                "only-if",
                _UNBOUNDED,
                corrects="has-optimum",
            ),
            Reading(
                "rising-sequence",
                "as the log-odds T against a response y of negative net degree d grow, the others "
                "in fixed proportion, the objective tends to +oo, and it rises strictly from "
                "T = 2(|A - B| + beta)/(gamma |d|) on, where A = r(y) + beta log pi_ref(y) and "
                "B = sum rho (r - beta log(rho/pi_ref)) over the others, rho their proportions "
                "(sum rho = 1)",
                f"{_ANY}, gamma > 0",
                _rising,
                proof=(*_UNBOUNDED, "slope-along", "rises-beyond"),
            ),
        ),
    )
)
