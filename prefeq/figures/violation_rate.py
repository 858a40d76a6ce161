"""How many of the capitals' pairs violate Assumption 3.1, by β, with sums and with means."""

from __future__ import annotations

from typing import Any

import numpy as np

from prefeq.capitals import capitals_table
from prefeq.errors import ProblemError
from prefeq.figures.registry import Artists, Data, Figure
from prefeq.figures.style import BLUE, COLUMN, SMALL, VERMILION
from prefeq.llm.audit import audit
from prefeq.llm.plan import Normalize

WAYS: tuple[Normalize, Normalize] = ("sum", "mean")
MARKED = (0.05, 0.1, 0.2, 0.5, 1.0)
"""The β whose counts are written down."""


CAPTION = (
    "Share of the 720 pairs (capital, other city) of 144 countries that violate Assumption 3.1 of "
    "arXiv:2605.20834, that is δ_ref ≤ −Δr/β, over β; Δr = 1, every pair of the same mass, the "
    "reference is SmolLM2-135M-Instruct. Solid: log-probabilities summed over tokens, as DPO is "
    "defined; dashed: averaged over them, as the released code has them. Numbers: pairs that "
    "violate at the marked β, for instance 6 by sums and 0 by means at β = 0.1, 71 and 50 at "
    "β = 1. Bands: 95 % Wilson intervals with countries for the sampled units (where no pair "
    "violates, each country counts once). At the right the limits for large β: pairs with "
    "δ_ref < 0, 97 by sums and 135 by means. There is no randomness."
)


def data(low: float = 0.04, high: float = 4.0, points: int = 160, level: float = 0.95) -> Data:
    """Audit the capitals at many β.

    Returns
    -------
    dict
        ``beta`` (points,), `MARKED` among them; ``pairs``, ``prompts``: how many there are; by
        "sum" and "mean" a dict of ``rate`` (points,), ``low`` and ``high`` (points,), the Wilson
        interval with prompts for the sampled units, ``violated`` (points,) and
        ``ref_below_zero``, the share of δ_ref < 0, which is the limit at large β.

    Raises
    ------
    ProblemError
        Unless 0 < low < high and there are two points or more; what `audit` refuses.
    """
    if not 0 < low < high < np.inf or points < 2:
        raise ProblemError(
            f"low = {low}, high = {high}, points = {points}: need 0 < low < high and 2 points or "
            "more"
        )
    betas = np.unique([*np.geomspace(low, high, points), *MARKED])
    columns = capital_pairs()
    found: Data = {"beta": betas, "level": level}
    for way in WAYS:
        report = audit(
            columns, beta=float(betas[0]), normalize=way, betas=betas.tolist(), level=level
        ).to_dict()
        rows = {row["beta"]: row for row in report["at_other_beta"]}
        rate = np.array([rows[beta]["violation_rate"] for beta in betas.tolist()])
        ends = np.array([rows[beta]["violation_rate_interval"] for beta in betas.tolist()])
        found |= {"pairs": report["pairs"], "prompts": report["prompts"]}
        found[way] = {
            "rate": rate,
            "low": ends[:, 0],
            "high": ends[:, 1],
            "violated": np.rint(rate * report["pairs"]).astype(np.int64),
            "ref_below_zero": report["ref_below_zero"],
        }
    return found


def capital_pairs() -> dict[str, Any]:
    """Return the capitals as the columns of an audit: each capital against its country's cities."""
    table = capitals_table()
    rows = {name: np.array(column) for name, column in table.items()}
    right = rows["role"] == "capital"
    _, own = np.unique(rows["country"], return_inverse=True)
    place = np.empty(own.max() + 1, dtype=np.int64)
    place[own[right]] = np.flatnonzero(right)
    rejected = np.flatnonzero(~right)
    chosen = place[own[rejected]]
    return {
        "prompt": rows["country"][chosen].tolist(),
        **{
            f"{prefix}{side}{suffix}": rows[column][index]
            for prefix, suffix, column in (
                ("ref_", "_logps", "ref_logp"),
                ("", "_tokens", "tokens"),
                ("", "_reward", "reward"),
            )
            for side, index in (("chosen", chosen), ("rejected", rejected))
        },
    }


LINES: dict[str, dict[str, Any]] = {
    "sum": {"color": BLUE, "linestyle": "solid", "label": "sum over tokens"},
    "mean": {"color": VERMILION, "linestyle": (0, (4, 1.5)), "label": "mean over tokens"},
}


def draw(ax: Any, data: Data) -> Artists:
    """Draw both rates with their bands, the counts at `MARKED`, and the limits at large β."""
    beta, artists = data["beta"], {}
    at = np.searchsorted(beta, MARKED)
    for way, look in LINES.items():
        own, color = data[way], look["color"]
        artists[f"{way} band"] = ax.fill_between(
            beta, 100 * own["low"], 100 * own["high"], facecolor=color, alpha=0.18, linewidth=0
        )
        artists[way] = ax.plot(beta, 100 * own["rate"], **look)[0]
        artists[f"{way} counts"] = ax.plot(
            beta[at], 100 * own["rate"][at], "o" if way == "sum" else "s", color=color
        )[0]
        artists[f"{way} limit"] = ax.plot(
            [beta[-1] / 2, beta[-1]], 2 * [100 * own["ref_below_zero"]], color=color, linewidth=0.6
        )[0]
        for i in at:
            above = way == "sum"
            ax.annotate(
                f"{own['violated'][i]}",
                (beta[i], 100 * own["rate"][i]),
                (-2 if above else 2, 4 if above else -4),
                textcoords="offset points",
                ha="right" if above else "left",
                va="bottom" if above else "top",
                fontsize=SMALL,
            )
        ax.text(
            beta[-1] / 2.1,
            100 * own["ref_below_zero"],
            rf"$\beta\to\infty$: {own['ref_below_zero'] * data['pairs']:.0f}",
            ha="right",
            va="center",
            fontsize=SMALL,
        )
    ax.set(
        xscale="log",
        xlabel=r"KL strength $\beta$",
        ylabel="pairs that violate (%)",
        xlim=(beta[0], beta[-1]),
        ylim=(-2.4, 22),
        xticks=(*MARKED, 2, 4),
        xticklabels=[f"{value:g}" for value in (*MARKED, 2, 4)],
        yticks=range(0, 21, 5),
    )
    ax.minorticks_off()
    artists["legend"] = ax.legend(loc="upper left")
    return artists


FIGURE = Figure("violation_rate", CAPTION, data, draw, width=COLUMN, height=2.4)
