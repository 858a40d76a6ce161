"""Losses softplus(−β(δ − t)) with any target t: what the readings of `loss-to-delta` share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import sympy as sp

from prefeq import losses, margins
from prefeq.claims import formulas
from prefeq.claims.ball import BALL, ball
from prefeq.claims.evidence import Evidence
from prefeq.claims.symbolic import SYMPY, as_written, positive, prove_equal, prove_positive, real
from prefeq.claims.tie import Columns, Point, points, tie


class Member(NamedTuple):
    """A loss of the family and its target t as a formula of log π_ref(w), log π_ref(l) and β."""

    name: str
    fetch: Callable[[], losses.Loss]
    target: Callable[[Any, Any, Any], Any]


MEMBERS = (
    Member("DPO", lambda: losses.DPO, lambda w, lo, beta: w - lo),
    Member("clip", lambda: losses.CLIP, lambda w, lo, beta: (w - lo).max(ball(0))),
    Member(
        "smooth",
        lambda: losses.smooth(gamma=0.5),
        lambda w, lo, beta: w - lo + formulas.softplus(BALL, ball(0.5) - (w - lo)),
    ),
    Member("SimPO", lambda: losses.simpo(0.5), lambda w, lo, beta: ball(0.5) / beta),
    Member(
        "Eq. 17",
        lambda: losses.eq17(0.25),
        lambda w, lo, beta: w - lo + ball(0.25) / beta * (BALL.exp(-w) + BALL.exp(-lo)),
    ),
    Member(
        "easy",
        lambda: losses.easy(0.25),
        lambda w, lo, beta: w - lo + ball(0.25) / beta * (1 / w + 1 / lo),
    ),
)
"""The losses are fetched when they are needed, so that a broken one is noticed."""


def loss_falls() -> Iterator[Evidence]:
    """L = softplus(−β(δ − t)) falls strictly, from ln 2 at t; it is softplus(βt) at δ = 0."""
    delta, target = real("delta t")
    beta, level = positive("beta l")
    loss = formulas.pair_loss(SYMPY, delta, target, beta)
    bound = formulas.certified_margin(SYMPY, level, target, beta)
    yield prove_positive("loss-decreases", "dL/ddelta < 0 everywhere", -sp.diff(loss, delta))
    yield prove_equal(
        "loss-at-bound",
        "L = l at t - log(e^l - 1)/beta",
        (as_written(lambda: loss.subs(delta, bound)), level),
    )
    yield prove_equal(
        "loss-at-target", "L = ln 2 at t", (as_written(lambda: loss.subs(delta, target)), sp.log(2))
    )
    zero = formulas.softplus(SYMPY, beta * target)
    yield prove_equal(
        "loss-at-zero",
        "L = softplus(beta t) at delta = 0",
        (as_written(lambda: loss.subs(delta, 0)), zero),
    )


def tie_bound() -> Evidence:
    """The certified margin t − log(e^ℓ − 1)/β against `margins.margin_lower_bound`."""
    at = points("delta_ref", "beta", count=160)
    at["loss"] = 10.0 ** np.linspace(-12, 2.5, len(at["beta"]))
    return tie(
        "t - log(e^l - 1)/beta agrees with margins.margin_lower_bound",
        lambda delta_ref, beta, loss: formulas.certified_margin(BALL, loss, delta_ref, beta),
        lambda delta_ref, beta, loss: margins.margin_lower_bound(loss, delta_ref, beta),
        at,
        scale=lambda value, p: (
            abs(p["delta_ref"]) + (1 + p["loss"] + abs(np.log(p["loss"]))) / p["beta"]
        ),
    )


def tie_targets() -> Iterator[Evidence]:
    """softplus(−β(δ − t)) against the value of each loss."""
    for member in MEMBERS:
        own = member.fetch()
        yield tie(
            f"softplus(-beta (delta - t)) agrees with the value of {member.name}",
            lambda delta, beta, winner, loser, member=member, **_: formulas.pair_loss(
                BALL, delta, member.target(winner, loser, beta), beta
            ),
            lambda delta, beta, winner, loser, loss=own, **_: loss.value(
                delta, losses.Reference(winner, loser), beta
            ),
            _columns(own),
            scale=_size,
        )


def tie_risks() -> Iterator[Evidence]:
    """The risk with recomputed targets against `population_value`, likewise."""
    for member in MEMBERS:
        own = member.fetch()
        at = _columns(own)
        at["gap"] = np.linspace(-30.0, 30.0, len(at["beta"]))
        yield tie(
            f"the risk with recomputed targets agrees with population_value of {member.name}",
            lambda delta, beta, winner, loser, gap, member=member, **_: formulas.two_target_risk(
                BALL,
                delta,
                member.target(winner, loser, beta),
                member.target(loser, winner, beta),
                beta,
                formulas.sigmoid(BALL, gap),
            ),
            lambda delta, beta, winner, loser, gap, loss=own, **_: loss.population_value(
                delta, losses.Reference(winner, loser), beta, gap, "per-label"
            ),
            at,
            scale=_size,
        )


def _columns(loss: losses.Loss) -> Columns:
    """Return margins, β, log-probabilities of the reference, and the size of the numbers."""
    at = points("delta", "beta", "t", count=160)
    at["winner"] = -0.05 - at.pop("t") / 8
    at["loser"] = np.roll(at["winner"], 7)
    at["beta"] = at["beta"] ** 0.5
    at["size"] = np.abs(at["delta"]) + np.abs(at["winner"]) + np.abs(at["loser"])
    for ends in ((at["winner"], at["loser"]), (at["loser"], at["winner"])):
        at["size"] += np.abs(np.asarray(loss.target(losses.Reference(*ends), at["beta"])))
    return at


def _size(value: float, at: Point) -> float:
    """A loss is as ill-conditioned as its exponent is large, in the tails relative to itself."""
    return (abs(value) + 1e-290) * (1 + at["beta"] * at["size"])


def tie_share() -> Evidence:
    """mean L/min softplus(βt), at most 1, of two pairs against `margins.misaligned_share_bound`."""
    at = points("delta_ref", "margin", "beta", count=160)
    at["loss"] = 10.0 ** np.linspace(-6, 2, len(at["beta"]))
    at["other_beta"] = np.roll(at["beta"], 1)
    names = ("delta_ref", "margin", "beta", "other_beta", "loss")

    def bound(delta_ref: Any, margin: Any, beta: Any, other_beta: Any, loss: Any) -> Any:
        least = [formulas.softplus(BALL, z) for z in (beta * delta_ref, other_beta * margin)]
        return (loss / least[0].min(least[1])).min(ball(1))

    def package(**columns: Any) -> Any:
        rows = zip(*(columns[name] for name in names), strict=True)
        return [margins.misaligned_share_bound(loss, [t, s], [b, c]) for t, s, b, c, loss in rows]

    return tie(
        "mean L/min softplus(beta t) agrees with margins.misaligned_share_bound",
        bound,
        package,
        at,
        scale=lambda value, p: (
            value * (1 + p["beta"] * abs(p["delta_ref"]) + p["other_beta"] * abs(p["margin"]))
        ),
    )
