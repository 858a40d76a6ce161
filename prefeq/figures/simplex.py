"""Three responses: where the gradient flow of DPO goes, and where RLHF, DPO and CPO end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from prefeq import margins
from prefeq.arrays import FloatArray, log_normalise
from prefeq.bandit import Bandit
from prefeq.errors import ProblemError
from prefeq.figures.registry import Artists, Data, Figure
from prefeq.figures.style import BLACK, BLUE, SMALL, TEXT, points
from prefeq.losses import DPO
from prefeq.preferences import Preferences
from prefeq.solvers import solve_cpo, solve_dpo, solve_rlhf

REF = (0.05, 0.70, 0.25)
REWARD = (2.0, 1.0, 0.0)

PANELS = {
    "connected": "soft labels, all three pairs",
    "disconnected": r"soft label, $y_0\succ y_1$ alone",
    "ordered": r"ordered, $y_0\succ y_1\succ y_2$",
}
"""The panels and their titles."""

GRID = 7
"""The starts are the points of this triangular grid that lie inside."""

POINTS = 120
"""Points of a streamline, evenly spaced along it."""


CAPTION = (
    "Policies over K = 3 responses, rewards r = (2, 1, 0), reference (0.05, 0.70, 0.25), β = 1; "
    "pairs of equal mass. Lines: gradient flow of DPO's loss on softmax logits, from the reference "
    "(thick) and from points of a grid (no randomness). Square: RLHF at (0.146, 0.754, 0.099), "
    "which still prefers y₁ to y₀; diamond: Constrained PO with margin 0 at (0.435, 0.435, "
    "0.130); shaded: the policies that are aligned on every pair shown. Left: Bradley–Terry labels "
    "on all three pairs. The comparison graph is connected, and DPO ends at RLHF from everywhere, "
    "though Assumption 3.1 of arXiv:2605.20834 fails for y₀ ≻ y₁. Middle: y₀ ≻ y₁ is the only "
    "pair. Every point of the dotted line minimises the loss; the flow keeps log π(y₀) + log π(y₁) "
    "− 2 log π(y₂) and from the reference ends at (0.109, 0.561, 0.330), not at RLHF. Right: "
    "certain labels y₀ ≻ y₁ ≻ y₂. The loss has no minimiser, and the flow goes to the corner y₀, "
    "past every other answer."
)


def data(
    reward: Sequence[float] = REWARD,
    ref: Sequence[float] = REF,
    beta: float = 1.0,
    grid: int = GRID,
    horizon: float = 3_000.0,
) -> Data:
    """Follow the flow of DPO's loss on softmax logits, and solve RLHF, DPO and CPO(0).

    Returns
    -------
    dict
        ``ref``, ``rlhf`` (3,); by panel ``connected``, ``disconnected`` and ``ordered`` a dict of
        ``pairs`` (P, 2), ``streams`` (starts, points, 3), of which the first starts at the
        reference, ``ends`` (starts, 3): where the flow is after `horizon`, ``dpo`` (3,): the
        solver's limit from the reference, ``cpo`` (3,), ``aligned`` (corners, 3): the polygon of
        the policies with δ ≥ 0 on every pair, and ``minimisers`` (points, 3): the ends of the
        line of DPO's minimisers, without points if it has one or none. All are probabilities.

    Raises
    ------
    ProblemError
        Unless there are three responses, all in the support, a grid of 3 or finer, and a positive
        horizon; what `Bandit` refuses.
    """
    if len(reward) != 3 or len(ref) != 3 or min(ref) <= 0:
        raise ProblemError(
            f"reward = {tuple(reward)}, ref = {tuple(ref)}: a triangle needs three responses, each "
            "of positive probability"
        )
    if grid < 3 or not 0 < horizon < np.inf:
        raise ProblemError(
            f"grid = {grid}, horizon = {horizon}: pass a grid of 3 or more and a positive time"
        )
    bandit = Bandit.from_probs(reward=reward, ref=ref, beta=beta)
    pairs = {
        "connected": Preferences.bradley_terry(bandit, [(0, 1), (0, 2), (1, 2)]),
        "disconnected": Preferences.bradley_terry(bandit, [(0, 1)]),
        "ordered": Preferences.ordered(bandit, [(0, 1), (1, 2)]),
    }
    starts = np.concatenate([np.exp(bandit.ref_logp)[None], interior(grid)])
    found: Data = {
        "beta": beta,
        "reward": np.array(reward, dtype=np.float64),
        "ref": np.exp(bandit.ref_logp),
        "rlhf": np.exp(solve_rlhf(bandit).logp),
    }
    for name, preferences in pairs.items():
        paths = flow(bandit, preferences, np.log(starts), horizon)
        found[name] = {
            "pairs": np.stack([preferences.winner, preferences.loser], axis=-1),
            "streams": np.array([evenly(path, POINTS) for path in paths]),
            "ends": paths[:, -1],
            "dpo": limit(bandit, preferences),
            "cpo": np.exp(solve_cpo(bandit, preferences, margin=0.0).logp),
            "aligned": aligned(preferences),
            "minimisers": minimisers(bandit, preferences),
        }
    return found


def flow(
    bandit: Bandit, preferences: Preferences, logits: FloatArray, horizon: float
) -> FloatArray:
    """Return the policies (starts, times, 3) along θ′ = −∇L, from each row of `logits`.

    Only the start moves: π_ref, which is in the loss, stays.
    """
    from scipy.integrate import solve_ivp

    shape, winner, loser = logits.shape, preferences.winner, preferences.loser
    ref_margin = preferences.ref_margin(bandit)
    incidence = np.eye(bandit.K)[winner] - np.eye(bandit.K)[loser]

    def velocity(_: float, flat_logits: FloatArray) -> FloatArray:
        theta = flat_logits.reshape(shape)
        slope = DPO.population_gradient(
            theta @ incidence.T, ref_margin, bandit.beta, preferences.log_odds
        )
        force = -preferences.mass * slope
        return np.asarray(force @ incidence).ravel()

    times = np.concatenate([[0.0], np.geomspace(1e-2, horizon, 400)])
    run = solve_ivp(velocity, (0.0, horizon), logits.ravel(), "LSODA", times, rtol=1e-9, atol=1e-11)
    theta = run.y.reshape(*shape, times.size).transpose(0, 2, 1)
    return np.asarray(np.exp(log_normalise(theta)))


def limit(bandit: Bandit, preferences: Preferences) -> FloatArray:
    """Return where DPO ends from the reference; if it diverges, the corner it diverges to."""
    dpo = solve_dpo(bandit, preferences)
    if dpo.direction is None:
        return np.asarray(np.exp(dpo.logp))
    top = dpo.direction >= dpo.direction.max() - 1e-9
    return np.asarray(top / top.sum())


def aligned(preferences: Preferences) -> FloatArray:
    """Return the corners, in order, of the policies that put no loser above its winner."""
    from scipy.spatial import ConvexHull

    subsets = np.array([s for s in np.ndindex(2, 2, 2) if any(s)], dtype=np.float64)
    equal = subsets / subsets.sum(axis=1, keepdims=True)  # the cone's corners are among these
    holds = equal[:, preferences.winner] >= equal[:, preferences.loser]
    corners = equal[np.all(holds, axis=1)]
    return np.asarray(corners[ConvexHull(np.stack(flat(corners), axis=-1)).vertices])


def minimisers(bandit: Bandit, preferences: Preferences) -> FloatArray:
    """Return the two ends of the line of minimisers of one soft pair; none for other labels."""
    if preferences.P != 1 or not np.isfinite(preferences.log_odds[0]):
        return np.empty((0, 3))
    winner, loser = preferences.winner[0], preferences.loser[0]
    delta = DPO.minimiser(preferences.ref_margin(bandit)[0], bandit.beta, preferences.log_odds[0])
    ends = np.zeros((2, 3))
    ends[0, [winner, loser]] = margins.sigmoid(delta), margins.sigmoid(-delta)
    ends[1, 3 - winner - loser] = 1.0
    return ends


def interior(grid: int) -> FloatArray:
    """Return the points (i, j, k)/grid with i, j, k ≥ 1 and i + j + k = grid."""
    points = [(i, j, grid - i - j) for i in range(1, grid) for j in range(1, grid - i)]
    return np.array(points, dtype=np.float64) / grid


def evenly(path: FloatArray, points: int) -> FloatArray:
    """Return points of a path (times, 3) evenly spaced along it, both ends included."""
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=-1))])
    at = np.linspace(0.0, length[-1], points)
    return np.stack([np.interp(at, length, column) for column in path.T], axis=-1)


def flat(policy: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return x and y of policies (..., 3) in a triangle: response 0 on top, 1 left, 2 right."""
    policy = np.asarray(policy)
    return policy[..., 2] + policy[..., 0] / 2, policy[..., 0] * np.sqrt(3) / 2


def draw(ax: Any, data: Data) -> Artists:
    """Draw a triangle for each set of labels, and one legend for all."""
    artists: Artists = {}
    for axes, (name, title) in zip(ax, PANELS.items(), strict=True):
        own = data[name]
        drawn = _frame(axes, data) | _streams(axes, own) | _ends(axes, data, own)
        artists |= {f"{name} {key}": artist for key, artist in drawn.items()}
        axes.set_title(title)
    first, second = list(PANELS)[:2]
    shown = [artists[f"{first} {key}"] for key in ("ref", "rlhf", "dpo", "cpo", "own stream")]
    shown += [artists[f"{second} minimisers"], artists[f"{first} aligned"]]
    artists["legend"] = ax[0].figure.legend(
        handles=shown, loc="outside lower center", ncols=len(shown), columnspacing=1.0
    )
    return artists


CORNERS = (
    (0.5, 0.89, "center", "bottom"),
    (-0.06, -0.11, "left", "top"),
    (1.06, -0.11, "right", "top"),
)
"""Where the names of the responses stand."""


def _frame(ax: Any, data: Data) -> Artists:
    """Draw the triangle, lines at every quarter with their values, and the corners' names."""
    corners = np.eye(3)
    for k in range(3):
        one, two = corners[(k + 1) % 3], corners[(k + 2) % 3]
        for share in (0.25, 0.5, 0.75):
            ends = share * corners[k] + (1 - share) * np.array([one, two])
            ax.plot(*flat(ends), color="0.85", linewidth=0.4, zorder=0.5)
            x, y = flat(ends[1] + 0.075 * (two - one))  # outwards, along the line itself
            ax.text(x, y, f"{share:g}"[1:], ha="center", va="center", fontsize=6, color="0.35")
    outline = ax.fill(*flat(corners), facecolor="none", edgecolor=BLACK, linewidth=0.7, zorder=2)
    for k, (right, up, ha, va) in enumerate(CORNERS):
        text = rf"$y_{k}$, $r={data['reward'][k]:g}$"
        ax.text(right, up, text, ha=ha, va=va, fontsize=SMALL)
    ax.set_aspect("equal")
    ax.set(xlim=(-0.1, 1.1), ylim=(-0.19, 0.98))
    ax.set_axis_off()
    return {"outline": outline[0]}


def _streams(ax: Any, own: Data) -> Artists:
    """Draw the streamlines, the longer ones with an arrow; the first is that of the reference."""
    from matplotlib.patches import FancyArrowPatch

    artists: Artists = {"streams": [], "arrows": []}
    for k, stream in enumerate(own["streams"]):
        x, y = flat(stream)
        look: dict[str, Any] = {"color": "0.5", "linewidth": 0.7, "zorder": 1.5}
        if k == 0:
            label = "DPO from the reference"
            look = {"color": BLUE, "linewidth": 1.5, "zorder": 3, "label": label}
        artists["streams"].append(ax.plot(x, y, **look)[0])
        if np.hypot(x[-1] - x[0], y[-1] - y[0]) > 0.12:
            at = x.size // 3
            arrow = FancyArrowPatch(
                (x[at - 1], y[at - 1]),
                (x[at + 1], y[at + 1]),
                arrowstyle="-|>",
                shrinkA=0,
                shrinkB=0,
                mutation_scale=6,
                linewidth=0,
                color=look["color"],
                zorder=look["zorder"],
            )
            artists["arrows"].append(ax.add_patch(arrow))
    artists["own stream"] = artists["streams"][0]
    return artists


def _ends(ax: Any, data: Data, own: Data) -> Artists:
    """Draw the reference and where the methods end, and shade the aligned policies."""
    artists: Artists = {
        "aligned": ax.fill(
            *flat(own["aligned"]), facecolor="#D6E9F5", zorder=0.2, label="aligned policies"
        )[0],
        "minimisers": ax.plot(
            *flat(own["minimisers"]),
            color=BLUE,
            linestyle=(0, (1, 1)),
            label="minimisers of DPO",
            zorder=2.5,
        )[0],
    }
    hollow = {"markerfacecolor": "w", "markersize": 6.5, "zorder": 4}
    looks = {
        "ref": {"marker": "o", "color": BLACK, "linestyle": "none", "label": "reference"} | hollow,
        "rlhf": points("rlhf", **hollow),
        "dpo": points("dpo", markersize=3.5, zorder=5),
        "cpo": points("cpo", markersize=4.5, zorder=5),
    }
    for name, look in looks.items():
        policy = data[name] if name in data else own[name]
        artists[name] = ax.plot(*([value] for value in flat(policy)), **look, clip_on=False)[0]
    return artists


FIGURE = Figure("simplex", CAPTION, data, draw, width=TEXT, height=2.7, panels=(1, 3))
