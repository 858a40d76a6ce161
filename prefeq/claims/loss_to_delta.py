"""`loss-to-delta`: a small training loss certifies the margin.

Per pair it is an equivalence for softplus(−β(δ − t)), with any target t; of averages less is left
(`loss_averages`), and of soft labels, too (`soft_certificates`).
"""

from __future__ import annotations

from collections.abc import Iterator

from prefeq.claims import (
    loss_averages,
    recheck,
    soft_certificates,
    target_losses,
    ties,
)
from prefeq.claims.ball import ball
from prefeq.claims.contradiction import counterexample
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Instance
from prefeq.claims.policy_case import Fed, PolicyCase
from prefeq.claims.registry import Claim, Part, Reading, register

LOW_BAR = PolicyCase.of(
    Instance.of("a low bar", reward=[1, 0], ref=["1/10", "9/10"], pairs=[(0, 1)]),
    ["1/4", "3/4"],
)


def _per_pair() -> Iterator[Evidence]:
    yield from target_losses.loss_falls()
    yield from (target_losses.tie_bound(), ties.pair_loss(), *target_losses.tie_targets())


def small_loss(case: PolicyCase) -> Evidence:
    """Decide whether the first pair's loss is below ln 2 although δ ≤ 0."""
    below = case.compare_loss(0, lambda: ball(2).log())
    data = case.data()
    compared = "==" if case.ratio(0) == 1 else "<"
    return counterexample(
        f"delta_ref = {data['ref_margin'][0]:.4f}: L = {data['loss'][0]:.6f} < ln 2, yet delta = "
        f"{data['margin'][0]:.4f}",
        data,
        {
            "loss[0] < log(2)": None if below is None else below < 0,
            f"margin[0] {compared} 0": case.ratio(0) <= 1,
        },
    )


def _aligned_by_ln2() -> Iterator[Evidence]:
    found = small_loss(LOW_BAR)
    yield found
    data = dict(found.data)
    yield recheck.rechecked("the package agrees", Fed.back(data).comparisons(data, [True]))
    yield ties.pair_loss()


_ANY = (
    "L = softplus(-beta (delta - t)) of one ordered pair, any target t (DPO: delta_ref), "
    "beta > 0, l > 0"
)
_DPO = "the DPO loss of one ordered pair, delta_ref of any sign, beta > 0"
_BOUND = "delta >= t - log(e^l - 1)/beta"
_LEVEL = ("loss-decreases", "loss-at-bound")


def _iff(
    name: str, left: str, right: str, steps: tuple[str, ...], corrects: str = ""
) -> tuple[Reading, ...]:
    """Make both parts of an equivalence that one set of steps proves."""
    parts: tuple[tuple[Part, str], ...] = (
        ("if", f"{left} => {right}"),
        ("only-if", f"{right} => {left}"),
    )
    return tuple(
        Reading(
            name,
            statement,
            _ANY,
            _per_pair,
            part,
            proof=steps,
            corrects=corrects if corrects and part == "if" else (),
        )
        for part, statement in parts
    )


register(
    Claim(
        id="loss-to-delta",
        title="a small training loss certifies the margin",
        source="arXiv:2605.20834; printed form unknown",
        provenance="reconstructed",
        readings=(
            *_iff("per-pair", "L <= l", _BOUND, _LEVEL),
            *_iff("ln2", "L <= ln 2", "delta >= t", ("loss-decreases", "loss-at-target")),
            Reading("aligned-by-ln2", "L < ln 2 => delta > 0", _DPO, _aligned_by_ln2),
            *_iff(
                "aligned-by-its-own-bound",
                "L < softplus(beta t)",
                "delta > 0",
                ("loss-decreases", "loss-at-zero"),
                corrects="aligned-by-ln2",
            ),
            *loss_averages.READINGS,
            *soft_certificates.READINGS,
        ),
    )
)
