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
# # Design a loss
#
# Start from DPO, change what it asks of the margin, and let the card of the loss say after every
# step what was won and what was broken: to stop at a finite margin traps, to add a constant is not
# enough, and a target that is never below zero aligns.
#
# A loss is a function of four log-probabilities. Most of DPO's relatives differ in two choices
# only: a link $\ell$ and a target margin $t$,
#
# $$f = \ell\big(\beta(\delta - t)\big), \qquad \delta = \log\frac{\pi(w)}{\pi(l)}, \quad
# \delta_\mathrm{ref} = \log\frac{\pi_\mathrm{ref}(w)}{\pi_\mathrm{ref}(l)}.$$
#
# `pq.analyse_loss` measures any such function: it sees the code and not its name.

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import numpy as np

import prefeq as pq
from prefeq.testing import assert_aligned, assert_no_trap, assert_same_loss

BETA = 1.0


def softplus(z):
    return np.logaddexp(0, z)


def dpo(chosen, rejected, ref_chosen, ref_rejected, beta=BETA):
    return softplus(-beta * ((chosen - rejected) - (ref_chosen - ref_rejected)))


card = pq.analyse_loss(dpo)
print(card)
assert card.same_as == ("dpo",)
assert (card.aligned, card.trap) == (False, False)

# %% [markdown]
# ## What is wrong with DPO
#
# Not a trap: an ordered pair has its minimum at $+\infty$, and gradient flow gets there. But it is
# slow, $e^{-\beta\delta_\mathrm{ref}}$ times slow; and where labels are mixed, with
# $q = \sigma(\Delta r)$, the minimum is $\delta_\mathrm{ref} + \Delta r/\beta$, which stays
# negative if the reference is wrong enough. The card has the smallest bandit that shows it,
# confirmed by the solvers:

# %%
example = card.counterexample
print(example["table"])
print("pi_ref =", example["ref"], " reward gap", example["reward_gap"])
print(f"predicted {example['ref_margin'] + example['reward_gap'] / BETA:.6f}")
print(f"card      {example['minimiser']:.6f}")
print(f"solver    {example['solvers']['dpo']:.6f}")
assert np.isclose(example["minimiser"], example["ref_margin"] + example["reward_gap"] / BETA)
assert np.isclose(example["minimiser"], example["solvers"]["dpo"])
assert example["minimiser"] < 0 < example["reward_gap"]

# %%
print("delta_ref   DPO's exit time   predicted")
for row in card.exits:
    u = -BETA * row["ref_margin"]
    predicted = (np.exp(u) + u - 1) / (2 * BETA**2)
    print(f"{row['ref_margin']:9.1f}  {row['time']:16.6f}  {predicted:10.6f}")
    assert np.isclose(row["time"], predicted, rtol=1e-6)

# %% [markdown]
# ## First idea: a finite target
#
# Let the loss stop once the margin has grown by enough, as IPO does: a square about
# $\delta_\mathrm{ref} + 1/(2\beta)$. Then a pair whose reference is worse than that is never put
# right. This is a trap, the real one: the loss is at its minimum, and the answer is wrong.


# %%
def square(chosen, rejected, ref_chosen, ref_rejected, beta=BETA):
    return ((chosen - rejected) - (ref_chosen - ref_rejected) - 1 / (2 * beta)) ** 2


squared = pq.analyse_loss(square)
((low, threshold),) = squared.trap_region.regions
print(f"traps for delta_ref < {threshold:.6f}; predicted -1/(2 beta) = {-1 / (2 * BETA):.6f}")
assert squared.trap
assert np.isclose(threshold, -1 / (2 * BETA), rtol=1e-6)
try:
    assert_no_trap(square)
except AssertionError as failure:
    print(str(failure).split("theory:")[0])

# %% [markdown]
# ## Second idea: ask for more
#
# Keep DPO's link, which never is content, and raise its target:
# $t = \delta_\mathrm{ref} + s/\beta$. Ordered pairs leave $U$ sooner, and with the target *fixed*
# the minimum is $t + \Delta r/\beta$. But a trainer adds $s$ for a flipped label, too (*per
# label*), and the two pull against each
# other: with $o = e^{\Delta r}$ the odds and $x = \delta - \delta_\mathrm{ref}$,
#
# $$q\,\sigma(s - \beta x) = (1-q)\,\sigma(s + \beta x) \iff
# e^{2\beta x} - e^s (o - 1)\, e^{\beta x} - o = 0.$$


# %%
def shifted(chosen, rejected, ref_chosen, ref_rejected, beta=BETA, shift=0.0):
    target = (ref_chosen - ref_rejected) + shift / beta
    return softplus(-beta * ((chosen - rejected) - target))


print("  s   gap   reading     delta (predicted)    aligned   exit, of DPO's time")
for shift in (0.0, 1.0, 3.0):
    moved = pq.analyse_loss(shifted, beta=BETA, shift=shift)
    assert moved.aligned is moved.aligned_per_label is False
    for row in moved.population:
        if row["ref_margin"] != -3 or row["reward_gap"] != 0.5:
            continue
        odds, size = np.exp(row["reward_gap"]), np.exp(shift)
        root = (size * (odds - 1) + np.hypot(size * (odds - 1), 2 * np.sqrt(odds))) / 2
        rise = {"fixed": shift + row["reward_gap"], "per-label": np.log(root)}[row["reading"]]
        predicted = row["ref_margin"] + rise / BETA
        ((ends, _),) = row["minima"]
        print(f"{shift:3}   {row['reward_gap']:3}   {row['reading']:9}   {ends:+.4f} "
              f"({predicted:+.4f})   {moved.aligned}     {moved.exit_time_ratio:.3f}")  # fmt: skip
        assert np.isclose(ends, predicted, atol=1e-6)

# %% [markdown]
# It helps, per label small gaps by a factor of $(1 + e^s)/2$; but that is a factor of next to
# nothing, and in either reading no $s$ is enough for every reference and every $\Delta r > 0$.

# %%
gap = 1e-6
for shift in (0.0, 1.0, 3.0):
    odds, size = np.exp(gap), np.exp(shift)
    root = (size * (odds - 1) + np.hypot(size * (odds - 1), 2 * np.sqrt(odds))) / 2
    print(f"s = {shift}: beta x = {np.log(root) / gap:.4f} gap, predicted {(1 + size) / 2:.4f}")
    assert np.isclose(np.log(root) / gap, (1 + size) / 2, rtol=1e-4)

# %% [markdown]
# ## Third idea: a target that never is below zero
#
# The minimum $t + \Delta r/\beta$ is positive for *every* $\Delta r > 0$ if and only if $t \ge 0$.
# The cheapest such target that keeps DPO where DPO is right is $t = \max(\delta_\mathrm{ref}, 0)$.


# %%
def clipped(chosen, rejected, ref_chosen, ref_rejected, beta=BETA):
    target = np.maximum(ref_chosen - ref_rejected, 0)
    return softplus(-beta * ((chosen - rejected) - target))


better = pq.analyse_loss(clipped, against="hypo", beta=BETA)
a = 3.0
linear = (1 + a - np.exp(-a)) / (np.exp(a) + a - 1)
print(f"aligned {better.aligned}, per label {better.aligned_per_label}, trap {better.trap}")
print(f"exit: {better.exit_time_ratio:.6f} of DPO's time, predicted {linear:.6f}")
print("it exists already:", better.same_as)
assert (better.aligned, better.aligned_per_label, better.trap) == (True, False, False)
assert np.isclose(better.exit_time_ratio, linear, rtol=1e-6)
assert better.same_as == ("hypo",)
assert_aligned(clipped)
assert_same_loss(clipped, "hypo", beta=BETA)

# %% [markdown]
# *Per label* it is not: where a trainer recomputes the target for a flipped label,
# $\max(-\delta_\mathrm{ref}, 0)$, the two pull against each other. The gap that it needs is below
# $\ln 2$, whatever the reference: labels of $q \ge 2/3$ are enough.

# %%
needs = better.per_label.needed.max()
print(f"largest gap that still misleads: {needs:.3f} (of the card's grid); ln 2 = {np.log(2):.3f}")
assert 0 < needs <= np.log(2)

# %% [markdown]
# ## The smooth one, and how to break it
#
# A kink is easily smoothed: $t = \delta_\mathrm{ref} + \mathrm{softplus}(-\delta_\mathrm{ref})
# / \alpha$. For $\alpha = 1$ that is a smooth maximum of $\delta_\mathrm{ref}$ and 0. For
# $\alpha < 1$ its least value is $H(\alpha)/\alpha$ with $H$ the binary entropy, and for
# $\alpha > 1$ it has none: the slope at $-\infty$ is $1 - 1/\alpha$.


# %%
def smooth(chosen, rejected, ref_chosen, ref_rejected, beta=BETA, alpha=1.0):
    ref = ref_chosen - ref_rejected
    return softplus(-beta * ((chosen - rejected) - ref - softplus(-ref) / alpha))


cards = {alpha: pq.analyse_loss(smooth, beta=BETA, alpha=alpha) for alpha in (0.5, 1.0, 2.0)}
for alpha, found in cards.items():
    print(f"alpha = {alpha}: aligned {found.aligned}, slope of t far left "
          f"{round(found.target.tail, 6) + 0:.3f} (predicted {1 - 1 / alpha:.3f}), least t in "
          f"range {found.target.lowest:.4f}")  # fmt: skip
    assert found.aligned is (alpha <= 1)
    assert np.isclose(found.target.tail, 1 - 1 / alpha, atol=1e-6)
assert cards[0.5].target.lowest >= 2 * np.log(2) - 1e-9  # H(1/2) / (1/2)

# %%
figure, axes = plt.subplots(1, 2, figsize=(6.75, 2.6), layout="constrained")
named = {"DPO": card, "max(δ_ref, 0)": better, "smooth, α = 1": cards[1.0], "α = 2": cards[2.0]}
for (label, found), style in zip(named.items(), ("k--", "C0", "C2", "C1"), strict=True):
    curves = found.curves
    axes[0].plot(curves["margin"], curves["value"], style, label=label)
    axes[1].plot(found.target.ref_margin, found.target.values, style)
axes[0].axvspan(card.curves["ref_margin"], 0, color="#F7E3B8", zorder=0)
axes[0].set(xlabel="δ", ylabel="loss", title="δ_ref = −3; U is shaded")
axes[0].legend(frameon=False, fontsize=8)
axes[1].axhline(0, color="0.7", lw=0.8)
axes[1].set(xlabel="δ_ref", ylabel="target t", title="what the loss asks for")
plt.show()

# %% [markdown]
# ## Before it ships
#
# The formula is half of a loss; the code is the other. The same function, written as one would at
# first, overflows, and the card says where:


# %%
def hasty(chosen, rejected, ref_chosen, ref_rejected, beta=BETA):
    target = np.maximum(ref_chosen - ref_rejected, 0)
    return np.log(1 + np.exp(-beta * ((chosen - rejected) - target)))


faults = [fault for fault in pq.analyse_loss(hasty).faults if fault.severity == "fault"]
for fault in faults:
    print(f"{fault.name}: {fault.message}")
assert faults[0].name == "overflow"
assert not [fault for fault in better.faults if fault.severity == "fault"]
