# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Failure modes
#
# Where the reference prefers the rejected answer, a loss can fall while the policy stays wrong:
# under DPO for a time that is exponential in −βδ_ref, under IPO, hinge and label smoothing for
# ever.
#
# Most losses of DPO's kind are $\ell(\beta(\delta - t))$. The reference sets the *target margin*
# $t$, and the loss asks the policy to beat it:
#
# $$t_\mathrm{DPO} = \delta_\mathrm{ref}, \qquad t_\mathrm{HyPO} = \max(\delta_\mathrm{ref}, 0).$$
#
# If $t < 0$ a wrong answer can satisfy the loss. The undesirable space
# $U = \{\delta_\mathrm{ref} < \delta < 0\}$ is where it does: better than the reference, still
# wrong.

# %%
# %matplotlib inline
import ipywidgets
import matplotlib.pyplot as plt
import numpy as np

import prefeq as pq
from prefeq import margins
from prefeq.figures.style import TEXT, UNDESIRABLE, line, styled

NAMES = ("dpo", "hypo", "smooth", "ipo", "hinge", "cdpo")
LOSSES = {name: pq.losses.LOSSES[name] for name in NAMES}

# %% [markdown]
# ## One pair, one loss
#
# For two responses gradient flow on softmax logits from the reference is one equation,
#
# $$\dot\delta = -2\,\ell'(\delta), \qquad \delta(0) = \delta_\mathrm{ref},$$
#
# whatever the rewards: a certain label does not know them. With a Bradley–Terry label of gap
# $\Delta r$ the flow ends at the minimiser of the risk instead; for DPO that is
# $\delta^* = \delta_\mathrm{ref} + \Delta r/\beta$, RLHF's margin.


# %%
def flow(loss, delta_ref, beta, log_odds, points=2_001):
    """The path of the flow as (time, margin); log-odds of inf are a certain label."""
    end = float(loss.minimiser(delta_ref, beta, log_odds))
    end = min(end, 6.0)  # +inf for a logistic loss and a certain label
    if abs(end - delta_ref) < 0.01:
        return np.array([0.0, 1.0]), np.array([delta_ref, delta_ref])
    path = np.linspace(delta_ref, end - 1e-3 * np.sign(end - delta_ref), points)
    slowness = -0.5 / loss.population_gradient(path, delta_ref, beta, log_odds)
    time = np.cumsum(np.diff(path) * (slowness[1:] + slowness[:-1]) / 2)
    if end < 6.0:  # where it stays
        time, path = np.append(time, 1e3), np.append(path, path[-1])
    return np.concatenate([[0.0], time]), path


def numbers(delta_ref, gap, beta, name):
    """Target, ends, traps and paths of the pair under a loss."""
    loss = LOSSES[name]
    time, path = flow(loss, delta_ref, beta, np.inf)
    return {
        "target": float(loss.target(delta_ref, beta)),
        "end": float(loss.minimiser(delta_ref, beta)),
        "soft_end": float(loss.minimiser(delta_ref, beta, gap)),
        "rlhf": float(margins.optimal_margin(delta_ref, gap, beta)),
        "traps": bool(loss.traps(delta_ref, beta)),
        "soft_traps": bool(loss.traps(delta_ref, beta, gap)),
        "exit": float(np.interp(0, path, time, left=0.0, right=np.inf)),  # inf: never
        "certain": (time, path),
        "soft": flow(loss, delta_ref, beta, gap),
    }


# %% [markdown]
# `draw` is what the sliders below call, too.


# %%
def draw(axes, found, delta_ref, gap, beta, name):
    """The loss over the margin, and the margin over time."""
    left, right = axes
    loss, delta = LOSSES[name], np.linspace(-8, 6, 281)
    soft = {"color": "0.35", "linewidth": 0.9, "label": "Bradley–Terry label"}
    left.axvspan(min(delta_ref, 0), 0, **UNDESIRABLE)
    left.plot(delta, loss.value(delta, delta_ref, beta), **line(name, label="certain label"))
    left.plot(delta, loss.population_value(delta, delta_ref, beta, gap), **soft)
    left.axvline(found["target"], color="0.5", ls=(0, (2, 2)), lw=0.9, label="target $t$")
    top = 2.5 * float(loss.value(delta_ref, delta_ref, beta)) + 0.5
    left.set(xlabel=r"margin $\delta$ (nats)", ylabel="loss (nats)", xlim=(-8, 6), ylim=(0, top))
    right.axhspan(min(delta_ref, 0), 0, **UNDESIRABLE)
    right.plot(*found["certain"], **line(name, label="_"))
    right.plot(*found["soft"], **{**soft, "label": "_"})
    right.axhline(found["rlhf"], **line("rlhf", linewidth=1, label=r"RLHF, $\delta^*$"))
    last = min(max(2 * found["exit"], 4.0), 400.0) if found["exit"] < np.inf else 10.0
    low, high = sorted((delta_ref, found["rlhf"]))
    right.set(xlabel="time of gradient flow", ylabel=r"margin $\delta$ (nats)")
    right.set(xlim=(0, last), ylim=(low - 0.5, max(high + 0.5, 2.0)))
    left.figure.legend(loc="outside lower center", ncols=4)


def explore(delta_ref=-3.0, gap=1.0, beta=1.0, loss="dpo"):
    """Draw, say what happens, and return the numbers."""
    found = numbers(delta_ref, gap, beta, loss)
    with styled():
        _, axes = plt.subplots(1, 2, figsize=(TEXT, 2.4), layout="constrained")
        draw(axes, found, delta_ref, gap, beta, loss)
        plt.show()
    fate = "stays in U for ever" if found["traps"] else f"is out of U at time {found['exit']:.2f}"
    print(f"{loss}: target {found['target']:+.3f}; with a certain label {fate},")
    print(f"  with a Bradley-Terry label it ends at {found['soft_end']:+.3f}", end="")
    print(f"{', in U' if found['soft_traps'] else ''}; RLHF at {found['rlhf']:+.3f}")
    return found


# %% [markdown]
# DPO, at a reference that is wrong by 3 nats. The loss is below $\ln 2$ at once, and falls; the
# margin of a certain label is negative until $T = (e^u + u - 1)/(2\beta^2)$ with
# $u = -\beta\delta_\mathrm{ref}$; with a Bradley–Terry label it stays negative, as RLHF's does.

# %%
dpo = explore(delta_ref=-3.0, gap=1.0, beta=1.0, loss="dpo")
assert np.isclose(dpo["exit"], margins.exit_time(-3.0, 1.0), rtol=1e-5)
assert dpo["target"] == -3.0
assert not dpo["traps"]
assert dpo["soft_traps"]  # the Bradley-Terry label ends at delta* = -2, in U

# %% [markdown]
# IPO wants $x = 1/(2\beta)$ and no more. Where $\delta_\mathrm{ref} < -1/(2\beta)$ it gets that
# inside $U$, and stays.

# %%
ipo = explore(delta_ref=-3.0, gap=1.0, beta=1.0, loss="ipo")
assert np.isclose(ipo["end"], -3.0 + 1 / 2)
assert ipo["traps"]
assert ipo["exit"] == np.inf

# %% [markdown]
# ## Move the sliders
#
# Without a kernel there are no sliders; the figures above are what they draw. With one: lower
# $\delta_\mathrm{ref}$ and watch the time to leave $U$ explode under DPO; choose `hypo`, and see it
# stay small; choose `ipo`, and see it never come.

# %%
panel = ipywidgets.interactive(
    explore,
    delta_ref=ipywidgets.FloatSlider(-3.0, min=-6.0, max=2.0, step=0.1, description="δ_ref"),
    gap=ipywidgets.FloatSlider(1.0, min=-1.0, max=6.0, step=0.1, description="Δr"),
    beta=ipywidgets.FloatSlider(1.0, min=0.1, max=2.0, step=0.1, description="β"),
    loss=ipywidgets.Dropdown(options=list(LOSSES), value="dpo", description="loss"),
)
panel

# %% [markdown]
# ## The law of escape
#
# Gradient descent of step size $\eta$ needs between $(T/\eta)\,e^{-\eta\beta^2}$ and
# $\lceil T/\eta\rceil$ steps. Predicted beside measured, on a bandit and by the solver:

# %%
print("delta_ref  predicted steps       measured")
for delta_ref in (-1.0, -2.0, -4.0, -6.0):
    bandit = pq.Bandit(reward=[1, 0], ref_logp=[delta_ref, 0], beta=1.0)
    pair = pq.Preferences.ordered(bandit)
    run = pq.solve_dpo(bandit, pair, "gradient-descent", max_steps=600, record_every=1).trajectory
    measured = int((run.margin[:, 0] >= 0).argmax())
    low, high = margins.exit_steps_bounds(delta_ref, 1.0, float(run.step_size))
    print(f"{delta_ref:9}  {float(low):8.1f} to {float(high):5.0f}  {measured:10}")
    assert low <= measured <= high
    assert run.loss[1] < np.log(2)  # from the first step on

# %% [markdown]
# From random references that rank 20, 30 and 40 % of the pairs wrongly, as many pairs sit in $U$
# after so many steps (rings: the law, with no parameter fitted):

# %%
pq.figures.make("escape")

# %% [markdown]
# ## Which losses trap
#
# For a certain label: IPO below $-1/(2\beta)$, hinge below $-1/\beta$, label smoothing below
# $-\mathrm{logit}(1-\varepsilon)/\beta$. A logistic loss with a certain label never does;
# with a target of 0 or more it leaves $U$ fast.

# %%
beta, eps = 0.5, 0.1
edges = {"ipo": -1 / (2 * beta), "hinge": -1 / beta, "cdpo": -np.log((1 - eps) / eps) / beta}
for name, edge in edges.items():
    below, above = (bool(LOSSES[name].traps(edge + nudge, beta)) for nudge in (-1e-6, 1e-6))
    print(f"{name:6} traps below {edge:+.3f}")
    assert (below, above) == (True, False)
grid = np.linspace(-30, 5, 1_000)
for name in ("dpo", "hypo", "smooth"):
    assert not np.any(LOSSES[name].traps(grid, beta))
for name in ("hypo", "smooth"):
    assert np.all(LOSSES[name].target(grid, beta) >= 0)

# %%
pq.figures.make("loss_zoo")
