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
# # When is DPO RLHF?
#
# With population labels on pairs that connect all responses DPO *is* RLHF, whether Assumption 3.1
# holds or not; with islands or with certain labels it need not be, and what the assumption decides
# is whether RLHF itself prefers the right answers.
#
# The theorem of arXiv:2605.20834 says: DPO and RLHF are equivalent iff
# $\delta_\mathrm{ref} > -\Delta r/\beta$ on every pair. Everything hangs on what the labels are,
# and on which pairs there are.

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import numpy as np

import prefeq as pq
from prefeq.figures.style import COLUMN, line, styled

rng = np.random.default_rng(0)
shape = (2_000, 5)  # bandits, responses
beta = rng.uniform(0.2, 2, shape[0])
batch = pq.Bandit(reward=rng.normal(size=shape), ref_logp=rng.normal(size=shape), beta=beta)
batch[:3]

# %% [markdown]
# ## Population labels, connected pairs: always
#
# A pair of mass $m$ with the label probability $q$ contributes
# $m\,[\,q\,\mathrm{softplus}(-\beta x) + (1-q)\,\mathrm{softplus}(\beta x)\,]$,
# $x = \delta - \delta_\mathrm{ref}$, and its derivative vanishes where
#
# $$\sigma(\beta x) = q \iff \beta x = \mathrm{logit}\, q = \Delta r \iff
# \delta = \delta_\mathrm{ref} + \Delta r/\beta = \delta^*.$$
#
# RLHF's policy has this margin on *every* pair at once, so it minimises each term. If the pairs
# connect all responses the margins determine the policy: DPO's minimiser is $\pi^*$, and unique.
# Measured on 2,000 random bandits, each with all ten pairs:

# %%
pairs = pq.Preferences.bradley_terry(batch)
rlhf, dpo = pq.solve_rlhf(batch), pq.solve_dpo(batch, pairs)
star = pairs.ref_margin(batch) + pairs.reward_gap(batch) / batch.beta[:, None]
holds = np.all(star > 0, axis=-1)  # Assumption 3.1, on every pair of a bandit

apart = np.abs(np.exp(dpo.logp) - np.exp(rlhf.logp)).max(axis=-1)
print(f"the assumption holds in {holds.sum()} bandits and fails in {(~holds).sum()}")
for name, which in (("holds", holds), ("fails", ~holds)):
    print(f"  {name}: largest difference of a probability below 1e-9: {apart[which].max() < 1e-9}")
assert 0 < holds.sum() < holds.size
assert apart.max() < 1e-9

# %% [markdown]
# What fails with the assumption is alignment, of both: where $\delta^* \le 0$ on a pair, RLHF and
# DPO agree on preferring the loser.

# %%
least = dpo.margin(pairs).min(axis=-1)
assert np.array_equal(least > 0, holds)
assert np.allclose(dpo.margin(pairs), star, rtol=0, atol=1e-9)

wrong = pq.Bandit.from_probs(reward=[1, 0], ref=[0.05, 0.95], beta=1.0)
pq.compare(wrong, pq.Preferences.bradley_terry(wrong))

# %% [markdown]
# ## Pairs that leave islands: only if the islands tie
#
# Gradient descent on logits never moves the mean logit of a connected component, for each pair
# pushes one response up as much as it pushes the other down. RLHF's logits are
# $\log\pi_\mathrm{ref} + r/\beta$. So DPO, started at $\pi_\mathrm{ref}$, ends at $\pi^*$ iff the
# mean reward is the same in every component. The assumption plays no part: below, it *holds* on
# both pairs, and only the second grouping is RLHF.

# %%
four = pq.Bandit(reward=[2, 1, 0, -1], ref_logp=[0, 0, 0, 0], beta=1.0)
optimum = np.exp(pq.solve_rlhf(four).logp)
print("RLHF              ", optimum.round(4))
for islands in ([[0, 1], [2, 3]], [[0, 3], [1, 2]]):
    labels = pq.Preferences.bradley_terry(four, islands)
    found = pq.solve_dpo(four, labels)
    means = [float(four.reward[part].mean()) for part in islands]
    print(f"DPO, {islands}", np.exp(found.logp).round(4), f"{found.status}; mean rewards {means}")
    assert np.all(labels.ref_margin(four) > -labels.reward_gap(four) / four.beta)
    assert np.allclose(np.exp(found.logp), optimum, atol=1e-9) == (means[0] == means[1])
    assert found.status is pq.Status.NOT_UNIQUE

# %% [markdown]
# One pair a prompt and more than two possible answers, the usual data set, is never connected.
#
# ## Certain labels: never
#
# With $q = 1$ on pairs without a cycle the loss has no minimiser at all, so DPO has no policy that
# could be RLHF's. Finitely many annotators are in between: $n$ votes a pair give
# $\hat q$ and, if a chain of wins leads from each response to each other, a minimiser that
# approaches $\pi^*$ like $1/\sqrt n$.

# %%
three = pq.Bandit(reward=[1.0, 0.5, 0.0], ref_logp=[-2.0, 0.0, -1.0], beta=0.5)
truth = np.exp(pq.solve_rlhf(three).logp)
assert pq.solve_dpo(three, pq.Preferences.ordered(three)).status is pq.Status.DIVERGES

counts = 10 ** np.arange(1, 7)
errors = []
for n in counts:
    drawn = [pq.solve_dpo(three, pq.Preferences.sample(three, int(n), seed)) for seed in range(20)]
    converged = [found for found in drawn if found.status is pq.Status.OPTIMAL]
    off = [np.abs(np.exp(found.logp) - truth).max() for found in converged]
    errors.append(np.sqrt(np.mean(np.square(off))))
    print(f"{n:>8,} votes a pair: {len(converged)} of 20 converge, off by {errors[-1]:.4f}")
rate = np.polyfit(np.log(counts), np.log(errors), 1)[0]
print(f"error ~ n^{rate:.2f}")
assert abs(rate + 0.5) < 0.1

# %%
with styled():
    figure, axes = plt.subplots(figsize=(COLUMN, 2.2), layout="constrained")
    axes.loglog(counts, errors, **{**line("dpo"), "marker": "o", "label": "DPO on n votes a pair"})
    guide = errors[-1] * np.sqrt(counts[-1] / counts)
    axes.loglog(counts, guide, color="0.5", lw=0.8, label=r"$n^{-1/2}$")
    axes.set(xlabel="votes a pair, $n$", ylabel="largest error of a probability")
    axes.legend()
    plt.show()

# %% [markdown]
# ## The phase diagram
#
# Two responses, $\beta = 1$; each cell was solved. Left: DPO on population labels is RLHF on both
# sides of the line $\delta^* = 0$. Middle: with certain labels it is RLHF nowhere. Right:
# Constrained PO with margin 0 is RLHF exactly where $\delta^* \ge 0$.

# %%
pq.figures.make("phase")

# %%
cells = pq.figures.phase.data(columns=24, rows=24)
line_at = cells["ref"] + cells["tilt"][:, None] / cells["beta"]  # delta*, cell by cell
assert cells["dpo_gap"].max() < 1e-9
assert np.array_equal(cells["dpo"] > 0, line_at > 0)
assert cells["ordered_diverges"].all()
assert np.array_equal(cells["cpo_gap"] < 1e-9, line_at >= 0)
print(f"{line_at.size} cells, the assumption holds in {np.mean(line_at > 0):.1%}")

# %% [markdown]
# ## Each reading, decided

# %%
report = pq.verify("equivalence")
for reading, part, expected in (
    ("bradley-terry-connected", "if", "proved"),
    ("bradley-terry-connected", "only-if", "refuted"),
    ("bradley-terry-disconnected", "if", "refuted"),
    ("component-means", "if", "proved"),
    ("component-means", "only-if", "proved"),
):
    assert report.verdict("equivalence", reading, part).value == expected
assert report.ok
report
