"""How long U holds the pairs that a reference ranks wrongly: DPO against other losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from prefeq import losses, margins
from prefeq.arrays import FloatArray, IntArray
from prefeq.bandit import Bandit
from prefeq.errors import ProblemError
from prefeq.figures.registry import Artists, Data, Figure
from prefeq.figures.style import BLACK, METHODS_LABELS, SMALL, TEXT, line
from prefeq.losses import Loss, Reference
from prefeq.preferences import Preferences

WRONG = (0.2, 0.3, 0.4)
"""The shares of the pairs that the references rank wrongly, a panel each."""

LOSSES: dict[str, Loss] = {
    "dpo": losses.DPO,
    "easy": losses.easy(1.0),
    "smooth": losses.smooth(),
    "hypo": losses.CLIP,
    "hinge": losses.HINGE,
    "ipo": losses.IPO,
}
"""What is compared, slowest first."""

KEYS = ("share", "exit", "low", "high", "law", "traps")

RECORDS = 240
"""Points of a curve, evenly spaced in the logarithm of the step."""


CAPTION = (
    "Share of the pairs in the undesirable space U = {δ_ref < δ < 0} after so many steps of "
    "gradient descent on softmax logits, from random references that rank 20, 30 and 40 % of the "
    "pairs wrongly. K = 200 responses in 100 disjoint ordered pairs of mass m = 1/100, β = 1, "
    "logits of the references normal with deviation 1.5, steps η = 1/(16mβ²); lines are means over "
    "seeds 0–9, bands their 10 to 90 % quantiles. Rings: the law of the gradient flow, by which a "
    "pair leaves U after ⌈T/η⌉ steps, T = (e^u₁ + u₁ − e^u₀ − u₀)/(2β²m) with u₀ = β(δ_ref − t) "
    "and u₁ = −βt for a loss with the target margin t. With the target δ_ref (DPO), or one below "
    "it (the easy branch, γ = 1), the time is exponential in −βδ_ref; with one that is never "
    "negative (HyPO, the smooth branch with α = τ = 1 and γ = 0) at most linear. Hinge and IPO are "
    "content with a finite margin: pairs with δ_ref < −1/β and δ_ref < −1/(2β) never leave."
)


RINGS = 22
"""Points of the law's curves."""

BAND = (0.1, 0.9)
"""The quantiles over seeds between which the bands are."""


def data(
    beta: float = 1.0,
    pairs: int = 100,
    wrong: Sequence[float] = WRONG,
    seeds: int = 10,
    spread: float = 1.5,
    pace: float = 1 / 16,
    steps: int = 5_000,
) -> Data:
    """Descend from random references on disjoint ordered pairs, with each loss.

    The logits of a reference are normal with deviation `spread`; of every two responses one is
    called the winner such that exactly the share `wrong` of the pairs is ranked wrongly. Each of
    P pairs has the mass 1/P, and the steps are η = pace·P/β².

    Returns
    -------
    dict
        ``ref_margin`` (shares, seeds, P); ``step`` (records,); by loss ``share`` (losses, shares,
        seeds, records), the share of the pairs in U, ``exit`` (losses, shares, seeds, P), the
        first step with δ ≥ 0 (0 for pairs ranked rightly, `steps` + 1 for those that are still
        inside), ``low`` and ``high``, between which the law of the flow has it (NaN where the link
        is not logistic), ``law`` (losses, shares, records), the share that is inside if every pair
        leaves after ``high`` steps, and ``traps``: whether the flow never leaves.

    Raises
    ------
    ProblemError
        Counts below 1, shares outside [0, 1], β or a pace that is not positive, or steps so long
        that IPO would not descend: its curvature, 2 per unit of mass, does not shrink with β.
    """
    _check(beta, pairs, wrong, seeds, spread, pace, steps)
    bandits = references(beta, pairs, wrong, seeds, spread)
    disjoint = Preferences.ordered(bandits, matched(pairs))
    ref_margin, mass = disjoint.ref_margin(bandits), 1.0 / pairs
    step_size = pace / (mass * beta**2)
    steps_shown = np.unique(np.geomspace(1, steps, RECORDS).round().astype(np.int64))
    ref = Reference(bandits.ref_logp[..., 0::2], bandits.ref_logp[..., 1::2])
    found: Data = {name: [] for name in KEYS}
    for loss in LOSSES.values():
        exits = exit_steps(loss, ref, beta, step_size * mass, steps)
        inside = (steps_shown < exits[..., None]) & (ref_margin < 0)[..., None]
        low, high = law(loss, ref, beta, step_size, mass)
        until = (steps_shown < high[..., None]).mean(axis=(1, 2))
        until[np.isnan(high).all(axis=(1, 2))] = np.nan
        traps = loss.traps(_of(loss, ref), beta)
        row = (inside.mean(axis=-2), exits, low, high, until, traps)
        for name, values in zip(KEYS, row, strict=True):
            found[name].append(values)
    return {
        "beta": beta,
        "step_size": step_size,
        "steps": steps,
        "wrong": np.array(wrong),
        "losses": tuple(LOSSES),
        "ref_margin": ref_margin,
        "step": steps_shown,
        **{name: np.array(values) for name, values in found.items()},
    }


def _check(
    beta: float,
    pairs: int,
    wrong: Sequence[float],
    seeds: int,
    spread: float,
    pace: float,
    steps: int,
) -> None:
    for name, count in {"pairs": pairs, "seeds": seeds, "steps": steps}.items():
        if count < 1:
            raise ProblemError(f"{name} = {count}: at least 1")
    for i, share in enumerate(wrong):
        if not 0 <= share <= 1:
            raise ProblemError(f"wrong[{i}] = {share}: a share is in [0, 1]")
    for name, value in {"beta": beta, "spread": spread, "pace": pace}.items():
        if not 0 < value < np.inf:
            raise ProblemError(f"{name} = {value}: must be positive and finite")
    if pace >= beta**2 / 2:
        raise ProblemError(
            f"pace = {pace:g} at beta = {beta:g}: steps too long for IPO, which then need not "
            f"descend; pass a pace below beta**2/2 = {beta**2 / 2:g}"
        )


def references(
    beta: float, pairs: int, wrong: Sequence[float], seeds: int, spread: float
) -> Bandit:
    """Return the bandits, (shares, seeds): the responses 2i and 2i + 1 are pair i, winner first."""
    logits = np.empty((len(wrong), seeds, pairs, 2))
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        drawn = np.sort(rng.normal(scale=spread, size=(pairs, 2)))  # the likelier one last
        order = rng.permutation(pairs)
        for row, share in enumerate(wrong):
            right = np.isin(np.arange(pairs), order[round(share * pairs) :])
            logits[row, seed] = np.where(right[:, None], drawn[:, ::-1], drawn)
    reward = np.tile([1.0, 0.0], pairs)
    return Bandit(reward, logits.reshape(len(wrong), seeds, 2 * pairs), beta)


def matched(pairs: int) -> IntArray:
    """Return the pairs (0, 1), (2, 3), …"""
    return np.arange(2 * pairs).reshape(pairs, 2)


def exit_steps(loss: Loss, ref: Reference, beta: float, pace: float, steps: int) -> IntArray:
    """Return the first step with δ ≥ 0 of δ ↦ δ − 2ηm ℓ′(δ), where `pace` is ηm.

    That is gradient descent on softmax logits: no other pair moves those of a disjoint pair.
    """
    ref_margin = np.asarray(ref.winner_logp - ref.loser_logp)
    exits = np.where(ref_margin < 0, steps + 1, 0)
    at = np.nonzero(ref_margin < 0)
    margin = ref_margin[at]
    own = _of(loss, Reference(ref.winner_logp[at], ref.loser_logp[at]))
    found = np.full(margin.shape, steps + 1)
    for step in range(1, steps + 1):
        before, margin = margin, margin - 2 * pace * loss.gradient(margin, own, beta)
        found[(margin >= 0) & (found > step)] = step
        if np.all(found <= step) or np.array_equal(margin, before):
            break
    exits[at] = found
    return exits


def law(
    loss: Loss, ref: Reference, beta: float, step_size: float, mass: float
) -> tuple[FloatArray, FloatArray]:
    """Return the bounds of the exit steps by the law of the flow; NaN if ℓ is not softplus."""
    ref_margin = np.asarray(ref.winner_logp - ref.loser_logp)
    if loss.link is not losses.DPO.link:
        return np.full(ref_margin.shape, np.nan), np.full(ref_margin.shape, np.nan)
    target = loss.target(_of(loss, ref), beta)
    low, high = margins.exit_steps_bounds(ref_margin, beta, step_size, mass, target)
    return np.asarray(low), np.asarray(high)


def _of(loss: Loss, ref: Reference) -> Any:
    """Return what a loss needs to know of the reference."""
    return ref if loss.target_rule.needs_logps else ref.winner_logp - ref.loser_logp


def draw(ax: Any, data: Data) -> Artists:
    """Draw a panel for each share of wrong pairs, and one legend for all."""
    artists: Artists = {}
    step = data["step"]
    if len(ax) != len(data["wrong"]):
        raise ProblemError(f"wrong has {len(data['wrong'])} shares for {len(ax)} panels")
    rings = np.unique(np.searchsorted(step, np.geomspace(1, step[-1], RINGS)))
    for panel, (axes, wrong) in enumerate(zip(ax, data["wrong"], strict=True)):
        for i, name in enumerate(data["losses"]):
            look = line(name)
            share = 100 * data["share"][i, panel]
            artists[f"{name} band {panel}"] = axes.fill_between(
                step,
                *np.quantile(share, BAND, axis=0),
                facecolor=look["color"],
                alpha=0.15,
                linewidth=0,
            )
            artists[f"{name} {panel}"] = axes.plot(step, share.mean(axis=0), **look)[0]
            law = 100 * data["law"][i, panel]
            if np.isfinite(law).all():
                ringed = rings[law[rings] > 0]
                artists[f"{name} law {panel}"] = axes.plot(
                    step[ringed],
                    law[ringed],
                    "o",
                    color=BLACK,
                    markerfacecolor="none",
                    markeredgewidth=0.5,
                    markersize=2.8,
                    label="law of the flow",
                    zorder=4,
                )[0]
        for i, name in enumerate(data["losses"]):
            if data["traps"][i, panel].any():
                at = step[-1], 100 * data["share"][i, panel, :, -1].mean()
                look = {"textcoords": "offset points", "ha": "right", "va": "bottom"}
                text = axes.annotate(METHODS_LABELS[name], at, (-2, 1), fontsize=SMALL, **look)
                artists[f"{name} note {panel}"] = text
        axes.set(
            xscale="log",
            xlim=(1, step[-1]),
            ylim=(0, 105 * data["wrong"].max()),
            xlabel="step of gradient descent",
            ylabel="pairs in $U$ (%)" if panel == 0 else "",
            title=f"{100 * wrong:.0f} % ranked wrongly",
        )
        axes.tick_params(labelleft=panel == 0)
    names = [f"{name} 0" for name in data["losses"]] + [f"{data['losses'][0]} law 0"]
    artists["legend"] = ax[0].figure.legend(
        handles=[artists[name] for name in names],
        loc="outside lower center",
        ncols=len(names),
        columnspacing=1.2,
    )
    return artists


FIGURE = Figure("escape", CAPTION, data, draw, width=TEXT, height=2.5, panels=(1, 3))
