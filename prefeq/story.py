"""The failure on a real language model's bandit: violation rates, and one country as a story."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from prefeq import margins, text
from prefeq.bandit import Bandit
from prefeq.capitals import capitals_table, load_capitals
from prefeq.errors import ProblemError
from prefeq.intervals import wilson, wilson_clustered
from prefeq.preferences import Preferences
from prefeq.solution import Solution
from prefeq.solvers import solve_cpo, solve_dpo, solve_rlhf

BETAS = (0.05, 0.1, 0.2, 0.5, 1.0)


def violation_rates(
    betas: tuple[float, ...] = BETAS, normalize: str = "sum", level: float = 0.95
) -> list[dict[str, Any]]:
    """Count, for each β, the capitals' pairs that violate Assumption 3.1, and what RLHF answers.

    A pair (capital, other city) violates δ_ref > −Δr/β (arXiv:2605.20834) with Δr = 1.

    Parameters
    ----------
    betas
        KL strengths.
    normalize
        "sum": log-probs of responses are sums over their tokens, as DPO has them; "mean": divided
        by the number of tokens, as the released training code has them.
    level
        Confidence level of the intervals.

    Returns
    -------
    list of dict
        ``beta``, ``pairs``, ``violated``, ``rate``, ``interval`` (Wilson's), ``by_prompt`` (the
        same with prompts for the sampled units), ``prompts``, ``wrong_answers``: the prompts whose
        RLHF optimum does not put the capital strictly first.

    Raises
    ------
    ProblemError
        Another way to normalize, a β that is not positive, a level outside (0, 1).

    Examples
    --------
    >>> by_sum, by_mean = (violation_rates((0.1,), way)[0] for way in ("sum", "mean"))
    >>> by_sum["violated"], by_mean["violated"], by_sum["pairs"]
    (6, 0, 720)
    >>> [round(end, 4) for end in by_sum["interval"]]
    [0.0038, 0.0181]
    """
    rows = []
    for beta in betas:
        bandit = load_capitals(beta, normalize)
        pairs = Preferences.bradley_terry(bandit)
        ref_margin, gap = pairs.ref_margin(bandit), pairs.reward_gap(bandit)
        holds = np.asarray(margins.assumption_holds(ref_margin, gap, beta))
        violated = np.sum(pairs.present & ~holds, axis=-1)
        present = np.sum(pairs.present, axis=-1)
        optimum = solve_rlhf(bandit).logp
        wrong = np.max(optimum[:, 1:], axis=-1) >= optimum[:, 0]
        count, bad = int(np.sum(present)), int(np.sum(violated))
        rows.append(
            {
                "beta": beta,
                "pairs": count,
                "violated": bad,
                "rate": bad / count,
                "interval": wilson(bad, count, level),
                "by_prompt": wilson_clustered(violated.tolist(), present.tolist(), level),
                "prompts": len(bandit),
                "wrong_answers": int(np.sum(wrong)),
            }
        )
    return rows


@dataclass(frozen=True)
class Teller:
    """One policy in the story: what it answers, its margin on the pair, its DPO loss, its J."""

    name: str
    answer: str
    margin: float
    loss: float
    objective: float


@dataclass(frozen=True, repr=False)
class Story:
    """What each method answers for one country; shows itself as text.

    ``learned`` is the step of gradient descent on ordered pairs by which every pair's loss is below
    ln 2, so that the accuracy that trainers log is 1; ``escaped`` the step by which no pair is left
    in U = {δ_ref < δ < 0}, None if that takes more than ``steps``; ``between`` the share of pairs
    that still prefer the wrong city at ``learned``. ``rates`` counts violations by sums over
    tokens, ``mean_rates`` by means.
    """

    prompt: str
    capital: str
    rival: str
    beta: float
    tellers: tuple[Teller, ...]
    learned: int
    escaped: int | None
    between: float
    steps: int
    rates: tuple[dict[str, Any], ...]
    mean_rates: tuple[dict[str, Any], ...]

    def __repr__(self) -> str:
        lines = [
            "The capitals: SmolLM2-135M-Instruct as the reference, the right answer worth 1.",
            "",
        ]
        rows = [
            [
                f"{r['beta']:g}",
                f"{r['violated']} of {r['pairs']}",
                f"{100 * r['interval'].low:.1f} to {100 * r['interval'].high:.1f} %",
                f"{mean['violated']}",
                f"{r['wrong_answers']} of {r['prompts']}",
            ]
            for r, mean in zip(self.rates, self.mean_rates, strict=True)
        ]
        header = ["beta", "violate A 3.1", "95 % interval", "by token mean", "RLHF answers wrongly"]
        lines += [*text.align(header, rows), ""]
        lines += [
            f"{self.prompt}  beta = {self.beta:g}; margin of {self.capital} over {self.rival}"
        ]
        cells = [
            [t.name, t.answer, text.number(t.margin), f"{t.loss:.4f}", f"{t.objective:.4f}"]
            for t in self.tellers
        ]
        lines += text.align(["", "answers", "margin", "DPO loss", "J"], cells, left=2)
        return "\n".join([*lines, "", *self._moral()])

    def _moral(self) -> list[str]:
        end = (
            f"step {self.escaped}" if self.escaped is not None else f"more than {self.steps} steps"
        )
        share = f"{100 * self.between:.0f} %"
        return [
            "Plain gradient descent, the labels taken as certain: from step "
            f"{self.learned} every pair's loss is below",
            f"ln 2, so that trainers log an accuracy of 1, and {share} of the pairs still prefer",
            f"the wrong city; the last one leaves the undesirable space at {end}.",
        ]

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"


def capitals_story(country: str = "Australia", beta: float = 0.5, steps: int = 5_000) -> Story:
    """Tell what the reference, RLHF, DPO and CPO answer for one country of the capitals' bandit.

    Labels are the Bradley-Terry population; the pair told is the capital against the country's
    famous city. CPO guarantees 0.1 nats.

    Parameters
    ----------
    steps
        How long plain gradient descent on ordered pairs may take to leave U.

    Raises
    ------
    ProblemError
        A country that is not in the table.
    """
    table = capitals_table()
    if country not in table["country"]:
        known = ", ".join(dict.fromkeys(table["country"]))
        raise ProblemError(f"country {country!r} is not in the table; choose one of {known}")
    batch = load_capitals(beta)
    row = list(dict.fromkeys(table["country"])).index(country)
    bandit, names = batch[row], (batch.responses or ())[row]
    population = Preferences.bradley_terry(bandit)
    rival = Preferences.ordered(bandit, [[0, names.index(_famous(table, country))]])
    solved = {
        "reference": None,
        "RLHF": solve_rlhf(bandit),
        "DPO": solve_dpo(bandit, population),
        "CPO, margin 0.1": solve_cpo(bandit, population, margin=0.1),
    }
    tellers = tuple(_teller(n, s, bandit, population, rival, names) for n, s in solved.items())
    learned, escaped, between = _descent(bandit, steps)
    return Story(
        table["prompt"][table["country"].index(country)],
        names[0],
        names[int(rival.loser[0])],
        beta,
        tellers,
        learned,
        escaped,
        between,
        steps,
        tuple(violation_rates()),
        tuple(violation_rates(normalize="mean")),
    )


def _famous(table: dict[str, list[Any]], country: str) -> str:
    rows = zip(table["country"], table["role"], table["response"], strict=True)
    return next(str(city) for where, role, city in rows if (where, role) == (country, "famous"))


def _teller(
    name: str,
    solution: Solution | None,
    bandit: Bandit,
    population: Preferences,
    rival: Preferences,
    names: tuple[str, ...],
) -> Teller:
    from prefeq.solvers.rlhf import objective

    logp = bandit.ref_logp if solution is None else solution.logp
    x = bandit.beta * (population.margin_of(logp) - population.ref_margin(bandit))
    q = population.prob
    loss = np.sum(population.mass * (q * np.logaddexp(0, -x) + (1 - q) * np.logaddexp(0, x)))
    return Teller(
        name,
        names[int(np.argmax(logp))],
        float(rival.margin_of(logp)[0]),
        float(loss),
        float(objective(bandit, logp)),
    )


def _descent(bandit: Bandit, steps: int) -> tuple[int, int | None, float]:
    """Return (first step with every x > 0, first step after it with U empty, share in U then)."""
    ordered = Preferences.ordered(bandit)
    run = solve_dpo(bandit, ordered, "gradient-descent", max_steps=steps, record_every=1).trajectory
    relative = run.margin > ordered.ref_margin(bandit)
    learned = int(np.argmax(np.all(relative, axis=1)))
    outside = ~np.any(run.undesirable, axis=1)
    late = np.flatnonzero(outside[learned:])
    escaped = int(run.step[learned + late[0]]) if late.size else None
    return int(run.step[learned]), escaped, float(np.mean(run.margin[learned] < 0))
