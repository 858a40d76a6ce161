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
# # A real model
#
# A real instruction-tuned language model, asked for capitals, prefers some wrong cities by so many
# nats that DPO's loss falls below ln 2 at once while the wrong city stays preferred, in the table
# of its log-probs and when its weights are trained.
#
# The reference is SmolLM2-135M-Instruct: 144 countries, six cities each, the capital is worth 1.
# Both its table and the trained runs below are data in this repository; no model is loaded.

# %%
# %matplotlib inline
import csv
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

import prefeq as pq
from prefeq import margins
from prefeq.figures.style import TEXT, line, styled

capitals = pq.load_capitals(beta=1.0)
australia = capitals.prompts.index("What is the capital of Australia?")
capitals[australia]

# %% [markdown]
# ## How many pairs violate the assumption
#
# A pair (capital, other city) violates Assumption 3.1 iff
# $\delta_\mathrm{ref} \le -\Delta r/\beta$ with $\Delta r = 1$.

# %%
pairs = pq.Preferences.ordered(capitals)
delta_ref = pairs.ref_margin(capitals)
for beta in (0.05, 0.1, 0.2, 0.5, 1.0):
    bandit = pq.load_capitals(beta)
    population = pq.Preferences.bradley_terry(bandit)
    violated = int(np.sum(delta_ref <= -1 / beta))
    rlhf = pq.solve_rlhf(bandit).margin(population)
    countries = int(np.sum((rlhf <= 0).any(axis=1)))
    print(f"beta = {beta:4}: {violated:2} of {delta_ref.size} pairs, in {countries} countries")
    assert np.array_equal(rlhf <= 0, delta_ref <= -1 / beta)  # delta* <= 0, pair by pair

# %%
pq.figures.make("violation_rate")

# %% [markdown]
# ## Canberra and Sydney
#
# The reference puts Sydney nearly 8 nats above Canberra. At $\beta = 1$ the RLHF optimum moves one
# nat towards Canberra and stops.

# %%
one = capitals[australia]
sydney = pq.Preferences.bradley_terry(one, [[0, one.responses[0].index("Sydney")]])
rlhf = pq.solve_rlhf(one).margin(sydney)[0]
gained = rlhf - sydney.ref_margin(one)[0]
print(f"delta_ref = {sydney.ref_margin(one)[0]:.3f}, delta* = {rlhf:.3f}")
assert np.isclose(gained, 1.0)
assert sydney.ref_margin(one)[0] < -7.5
pq.compare(one, pq.Preferences.bradley_terry(one), margin=0.1)

# %%
pq.figures.make("sydney")

# %%
run = pq.figures.sydney.data()
leaves = {name: int(run["step"][run[f"{name}_exit"]]) for name in ("dpo", "hypo")}
print(f"the pair leaves U at step {leaves['dpo']} of DPO, at step {leaves['hypo']} of HyPO")
assert leaves["dpo"] > 500 > 10 > leaves["hypo"]
assert np.all(run["dpo_loss"][1:] < np.log(2))  # from the first step on

# %% [markdown]
# ## The model itself, trained
#
# `examples/smollm2_training/train.py` fine-tunes all its parameters on pairs (capital, the wrong
# city that the reference prefers) and records every pair at every step.

# %%
RESULTS = Path("../examples/smollm2_training/results.csv")
with RESULTS.open(encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))
least = min((int(row["seed"]), float(row["beta"])) for row in rows)


def columns_of(loss, split):
    """The columns of a run, (steps + 1, pairs)."""
    own = [row for row in rows if (row["loss"], row["split"]) == (loss, split)]
    own = [row for row in own if (int(row["seed"]), float(row["beta"])) == least]
    texts = ("loss", "split", "country")
    return {
        name: np.array([float(row[name]) for row in own]).reshape(int(own[-1]["step"]) + 1, -1)
        for name in own[0]
        if name not in texts
    }


runs = {loss: columns_of(loss, "train") for loss in dict.fromkeys(row["loss"] for row in rows)}
beta = least[1]
print(f"beta = {beta}, seed {least[0]}; losses: {', '.join(runs)}")
states, count = runs["dpo"]["margin"].shape
print(f"{count} trained pairs, {states - 1} steps")

# %% [markdown]
# Per step: what the trainer logs ($\delta > \delta_\mathrm{ref}$), what is wanted ($\delta > 0$),
# and what hides between them ($U$). The columns are checked against the definitions, the losses
# against `prefeq.losses`, and the shares against the audit of the same log-probs. (In the figure
# below `easy` lies on DPO, and `smooth` nearly on HyPO.)

# %%
SHOWN = (0, 1, 5, 10, 20)
LOSS = {"clip": "hypo", "ipo_sums": "ipo"}
LABELS = {"dpo": "DPO", "clip": "HyPO", "smooth": "smooth", "easy": "easy"}
LABELS |= {"ipo": "IPO, per token", "ipo_sums": "IPO, sums"}
print("loss       step   mean loss   relative   absolute   in U")
for name, run in runs.items():
    loss = pq.losses.LOSSES[LOSS.get(name, name)]
    for step in SHOWN:
        now = {column: values[step] for column, values in run.items()}
        inside = margins.undesirable(now["margin"], now["ref_margin"])
        assert np.array_equal(inside, now["undesirable"] == 1)
        assert np.array_equal(now["margin"] > 0, now["absolute"] == 1)
        if not loss.target_rule.needs_logps:
            value = loss.value(now["margin"], now["ref_margin"], beta)
            assert np.allclose(value, now["value"], rtol=1e-4, atol=1e-5)
        sides = [
            f"{side}_{what}" for side in ("chosen", "rejected") for what in ("logps", "tokens")
        ]
        columns = {column: now[column] for column in (*sides, *(f"ref_{c}" for c in sides[::2]))}
        way = "mean" if name == "ipo" else "sum"
        audit = pq.audit(columns, beta=beta, normalize=way)
        assert np.isclose(audit["undesirable_share"], inside.mean())
        shares = (now[share].mean() for share in ("relative", "absolute", "undesirable"))
        print(f"{name:9} {step:5} {now['value'].mean():11.4f}", *(f"{s:10.2f}" for s in shares))

# %%
with styled():
    figure, axes = plt.subplots(1, 2, figsize=(TEXT, 2.4), layout="constrained")
    for name, run in runs.items():
        look = line(LOSS.get(name, name), label=LABELS[name])
        if name == "ipo_sums":
            look["color"] = "0.45"
        for axis, share in zip(axes, ("absolute", "undesirable"), strict=True):
            axis.plot(100 * run[share].mean(axis=1), **look)
    logged = 100 * runs["dpo"]["relative"].mean(axis=1)
    axes[0].plot(logged, "k:", lw=0.8, label=r"DPO, $\delta > \delta_{\mathrm{ref}}$ (logged)")
    axes[0].set(xlabel="step", ylabel=r"pairs with $\delta > 0$ (%)", ylim=(0, 103))
    axes[1].set(xlabel="step", ylabel="pairs in $U$ (%)", ylim=(0, 103))
    for axis in axes:
        axis.set_xticks(range(0, 21, 5))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=7, columnspacing=1.0)
    plt.show()

dpo = runs["dpo"]
assert np.array_equal(runs["easy"]["absolute"], dpo["absolute"])
assert np.all(dpo["relative"][1:] == 1)  # from the first step on the trainer logs 100 %
assert np.all(dpo["value"][1:] < np.log(2))
assert dpo["undesirable"][1].mean() > 0.5  # and most pairs are wrong
assert dpo["undesirable"][-1].sum() > 0  # some to the end

# %% [markdown]
# ## Does the table predict the model?
#
# *The order: in part.* For one certain pair on its own, the law says
# $T = (e^u + u - 1)/(2\beta^2 m)$ with $u = -\beta\delta_\mathrm{ref}$: the pairs leave $U$ in the
# order of $\delta_\mathrm{ref}$. A model shares its parameters between the pairs, each of which
# rises at a pace of its own. Spearman's rank correlation with the measured steps, over the pairs
# that the reference ranks wrongly:

# %%
wrong = dpo["ref_margin"][0] < 0
out = dpo["margin"] >= 0
steps = np.where(out.any(axis=0), out.argmax(axis=0), len(out))[wrong]  # the unfinished tie, last
distance = -dpo["ref_margin"][0][wrong]
pace = (dpo["margin"][1] - dpo["margin"][0])[wrong]
law = stats.spearmanr(margins.exit_time(-distance, beta), steps).statistic
own = stats.spearmanr(distance / pace, steps).statistic
print(f"{wrong.sum()} wrong pairs; out of U at step {np.median(steps):g} (median)")
print(f"{np.sum(steps == len(out))} are not out after {len(out) - 1} steps")
print(
    f"rank correlation with the law {law:.2f}, with the distance over the pair's own pace {own:.2f}"
)
assert 0 < law < own < 1

# %% [markdown]
# *The trap: yes.* IPO on sums asks for a rise of $1/(2\beta) = 5$ nats and no more, so the table
# has the pairs with $\delta_\mathrm{ref} < -5$ stay in $U$ for ever:

# %%
ipo = runs["ipo_sums"]
trapped = pq.losses.IPO.traps(ipo["ref_margin"][0], beta)
assert np.array_equal(trapped, ipo["ref_margin"][0] < -5)
assert np.array_equal(trapped, ipo["undesirable"][-1] == 1)
print(f"{trapped.sum()} pairs trapped by the table: the same that are in U after training")

# %% [markdown]
# *Beyond the pairs: no.* The table moves no other pair. In the model the held-out pairs move, and
# few of them across zero; `examples/smollm2_training/README.md` has the answers in words.

# %%
held = columns_of("dpo", "held-out")
rise = held["margin"][-1] - held["margin"][0]
before, after = held["margin"][0] > 0, held["margin"][-1] > 0
print(f"DPO, {rise.size} held-out pairs: rise of delta {rise.mean():+.2f} nats on average,")
print(f"relative accuracy {np.mean(rise > 0):.2f}")
print(f"absolute accuracy {before.mean():.2f} before, {after.mean():.2f} after")
assert np.any(rise != 0)
assert abs(after.mean() - before.mean()) < 0.1 < np.mean(rise > 0)
