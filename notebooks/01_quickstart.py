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
# # Quickstart
#
# On a bandit of three answers RLHF and DPO find the same optimum to the last digit and both keep
# preferring the wrong answer, because the reference leans too far; Constrained PO does not.
#
# One prompt, a reference $\pi_\mathrm{ref}$, rewards $r$, a KL strength $\beta > 0$. RLHF maximises
#
# $$J(\pi) = \mathbb{E}_\pi[r] - \beta\,\mathrm{KL}(\pi \,\|\, \pi_\mathrm{ref}), \qquad
# \pi^*(y) \propto \pi_\mathrm{ref}(y)\, e^{r(y)/\beta},$$
#
# and DPO minimises, over pairs of a preferred response $w$ and a rejected $l$,
#
# $$L(\pi) = -\log \sigma\bigl(\beta(\delta - \delta_\mathrm{ref})\bigr), \qquad
# \delta = \log\pi(w) - \log\pi(l).$$
#
# Every cell that predicts a number asserts it.

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import numpy as np

import prefeq as pq
from prefeq.figures.style import TEXT, UNDESIRABLE, styled

bandit = pq.Bandit.from_probs(reward=[1, 0, 0.5], ref=[0.02, 0.90, 0.08], beta=1.0)
bandit

# %% [markdown]
# Response 0 is the right one, and the reference gives it 2 %. All three pairs are compared, each
# with a Bradley–Terry label: $q = \sigma(\Delta r)$ is the probability that an annotator prefers
# the winner.

# %%
pairs = pq.Preferences.bradley_terry(bandit)
pairs

# %% [markdown]
# ## Three methods, one table
#
# The RLHF optimum has the margin $\delta^* = \delta_\mathrm{ref} + \Delta r/\beta$ on every pair.
# Assumption 3.1 of arXiv:2605.20834 asks for $\delta^* > 0$. Here it fails on all three.

# %%
pq.compare(bandit, pairs, margin=0.1)

# %%
predicted = pairs.ref_margin(bandit) + pairs.reward_gap(bandit) / bandit.beta
rlhf, dpo = pq.solve_rlhf(bandit), pq.solve_dpo(bandit, pairs)
cpo = pq.solve_cpo(bandit, pairs, margin=0.1)

print("predicted  ", predicted.round(6))
for name, solution in (("RLHF", rlhf), ("DPO", dpo), ("CPO(0.1)", cpo)):
    print(f"{name:9}  ", solution.margin(pairs).round(6), " answers", np.argmax(solution.logp))
    assert solution.residual < 1e-12  # recomputed from the policy alone

for solution in (rlhf, dpo):
    assert np.allclose(solution.margin(pairs), predicted, rtol=0, atol=1e-12)
    assert np.argmax(solution.logp) == 1  # the wrong answer, for ever
assert np.all(predicted < 0)
assert cpo.margin(pairs).min() > 0.1 - 1e-12
assert np.argmax(cpo.logp) == 0

# %% [markdown]
# ## Certain labels
#
# A trainer takes each label as certain, $q = 1$. Then the loss has no minimiser, and the solution
# says so, with the part of the comparison graph that proves it.

# %%
certain = pq.Preferences.ordered(bandit)
limit = pq.solve_dpo(bandit, certain)
assert limit.status is pq.Status.DIVERGES
assert np.all(limit.margin(pairs) == np.inf)
limit

# %% [markdown]
# What a run does on its way is gradient descent. From the first step on every pair's loss is below
# $\ln 2$, that of the reference, so a trainer logs a reward accuracy of 1. All pairs are then in
# the *undesirable space* $U = \{\delta_\mathrm{ref} < \delta < 0\}$ (shaded: that of
# $0 \succ 1$), and the last one needs several steps more. From a steeper reference it is hundreds
# (`06_a_real_model`).

# %%
run = pq.solve_dpo(bandit, certain, "gradient-descent", max_steps=20, record_every=1).trajectory
delta_ref = certain.ref_margin(bandit)
loss = pq.losses.DPO.value(run.margin, delta_ref, bandit.beta)
leaves = (run.margin >= 0).argmax(axis=0)  # the first step with a margin of 0 or more

names = [f"{w} ≻ {lost}" for w, lost in zip(certain.winner, certain.loser, strict=True)]
with styled():
    figure, (left, right) = plt.subplots(1, 2, figsize=(TEXT, 2.2), layout="constrained")
    right.axhspan(delta_ref.min(), 0, **UNDESIRABLE)
    for k, look in enumerate(("o-", "s--", "^-.")):
        left.plot(run.step, loss[:, k], look, label=names[k])
        right.plot(run.step, run.margin[:, k], look, label=names[k])
    left.axhline(np.log(2), color="0.5", lw=0.8)
    left.annotate(r"$\ln 2$", (20, np.log(2)), (0, 2), textcoords="offset points", ha="right")
    left.set(xlabel="step", ylabel="DPO loss of the pair (nats)", ylim=(0, 0.8))
    right.set(xlabel="step", ylabel=r"margin $\delta$ (nats)")
    for axes in (left, right):
        axes.set_xticks(range(0, 21, 5))
    right.legend()
    plt.show()

for name, step in zip(names, leaves, strict=True):
    print(f"pair {name}: loss below ln 2 from step 1, out of U at step {step}")
assert np.all(loss[1:] < np.log(2))
assert np.all(run.undesirable[1])
assert leaves.max() >= 5

# %% [markdown]
# ## Statements, decided
#
# prefeq reads the paper's statements one by one, each in every reading, and decides it: *proved*
# by a symbolic identity, a rigorous enclosure or a finite argument, *refuted* by an instance in
# exact or ball arithmetic.

# %%
report = pq.verify("assumption")
assert report.ok
report

# %% [markdown]
# Where a reading is false, `search` finds an instance small enough for a blackboard. This one says
# that under the assumption DPO's answer is RLHF's, even if the pairs leave responses uncompared.

# %%
found = pq.search("equivalence/bradley-terry-disconnected:if", seed=1)
assert found.result("equivalence", "bradley-terry-disconnected", "if").found
found

# %% [markdown]
# Next: when DPO is RLHF (`02_when_is_dpo_rlhf`), how it fails, with sliders (`03_failure_modes`),
# what CPO guarantees (`04_what_cpo_guarantees`), your own data (`05_audit_your_data`), and a
# language model (`06_a_real_model`).
