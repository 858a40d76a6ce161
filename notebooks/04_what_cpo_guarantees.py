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
# # What CPO guarantees, and what Eq. 10 does not
#
# The constrained program, max J subject to δ ≥ m, has one optimum, which prefers every winner by at
# least m; the penalty of Eq. 10, meant for the same purpose, has no optimum on these pairs for any
# γ > 0, only a local maximum that ends in a fold.
#
# Constrained Preference Optimization (arXiv:2605.20834) stands for two objects:
#
# $$\text{(hard)}\quad \max_\pi J(\pi) \ \text{ s.t. }\ \delta_k \ge m_k \ \text{ for all pairs } k,
# \qquad \text{(Eq. 10)}\quad \max_\pi\; J(\pi) + \gamma\,\mathbb{E}[\delta].$$

# %%
# %matplotlib inline
import numpy as np

import prefeq as pq
from prefeq.solvers import penalty_value, stationary_points

bandit = pq.Bandit.from_probs(reward=[1, 0, 0.5], ref=[0.02, 0.90, 0.08], beta=1.0)
pairs = pq.Preferences.bradley_terry(bandit)
cpo = pq.solve_cpo(bandit, pairs, margin=0.1)
cpo

# %% [markdown]
# ## The hard constraint
#
# $\delta \ge m$ reads $\pi(w) \ge e^m\,\pi(l)$, which is linear in $\pi$, and $J$ is strictly
# concave: a convex program with one optimum. The residual above is the largest violation of the
# KKT conditions, recomputed from the policy; multipliers say which pairs cost something. A convex
# solver, as a second route, finds the same policy:

# %%
conic = pq.solve_cpo(bandit, pairs, margin=0.1, method="conic")
agree = np.abs(np.exp(conic.logp) - np.exp(cpo.logp)).max()
print("margins    ", cpo.margin(pairs).round(6))
print("multipliers", cpo.multipliers.round(4))
print("a convex solver agrees within 1e-5:", agree < 1e-5)
assert agree < 1e-5
assert cpo.residual < 1e-12
assert np.all(cpo.margin(pairs) > 0.1 - 1e-12)

# %% [markdown]
# **CPO is RLHF iff $\delta^* \ge m$ on every pair**: only then are all constraints idle. On 2,000
# random bandits of four responses and chains of three pairs, at $m = 0$:

# %%
rng = np.random.default_rng(1)
batch = pq.Bandit(rng.normal(size=(2_000, 4)), rng.normal(size=(2_000, 4)), 0.5)
order = np.argsort(-batch.reward, axis=-1)
chain = pq.Preferences(order[:, :-1], order[:, 1:])
rlhf, constrained = pq.solve_rlhf(batch), pq.solve_cpo(batch, chain)

star = rlhf.margin(chain).min(axis=-1)  # the least delta* of each bandit
same = np.abs(constrained.logp - rlhf.logp).max(axis=-1) < 1e-9
print(f"delta* >= 0 on every pair: {np.sum(star >= 0)} bandits; CPO is RLHF: {np.sum(same)}")
assert np.array_equal(same, star >= 0)
assert 0 < same.sum() < same.size
assert constrained.margin(chain).min() > -1e-12
assert np.all(constrained.value <= rlhf.value + 1e-12)  # alignment has a price in J

# %% [markdown]
# ## Its price, and its fine print
#
# For two responses and $m = 0$ the price is known: $J(\pi^*) - J(\pi_\mathrm{CPO}) =
# \beta \log\cosh(\delta^*/2)$ where $\delta^* < 0$. And with $m = 0$ such a pair ends *on* the
# constraint, at a tie: strict alignment needs $m > 0$.

# %%
print("delta*   price in J   predicted    margin, m = 0    margin, m = 0.1")
for delta_star in (-0.5, -2.0, -8.0):
    two = pq.Bandit(reward=[1, 0], ref_logp=[delta_star - 1, 0], beta=1.0)
    pair = pq.Preferences.ordered(two)
    tie, strict = pq.solve_cpo(two, pair), pq.solve_cpo(two, pair, margin=0.1)
    price = pq.solve_rlhf(two).value - tie.value
    predicted = float(pq.margins.price_of_alignment(delta_star, 1.0))
    margins = tie.margin(pair)[0] + 0.0, strict.margin(pair)[0]
    print(
        f"{delta_star:6}  {price:11.6f}  {predicted:10.6f}  {margins[0]:15.3f}  {margins[1]:17.3f}"
    )
    assert np.isclose(price, predicted, rtol=1e-9)
    assert np.allclose(margins, (0, 0.1), rtol=0, atol=1e-12)

# %% [markdown]
# Margins around a cycle cannot all be positive. That is an answer, too, with the cycle
# that proves it:

# %%
circle = pq.Preferences.ordered(bandit, [[0, 1], [1, 2], [2, 0]])
impossible = pq.solve_cpo(bandit, circle, margin=0.1, throw=False)
assert impossible.status is pq.Status.INFEASIBLE
impossible

# %% [markdown]
# ## Eq. 10 has no maximiser
#
# $\gamma\,\mathbb{E}[\delta]$ grows without bound as a rejected answer dies out, while $J$ stays
# bounded. One pair is enough. Follow $\pi = (1 - \varepsilon, \varepsilon)$, $\varepsilon \to 0$:

# %%
wrong = pq.Bandit.from_probs(reward=[1, 0], ref=[0.05, 0.95], beta=1.0)
label = pq.Preferences.ordered(wrong)
depth = np.array([1.0, 10, 100, 1_000])  # -log(epsilon)
policies = np.stack([np.log1p(-np.exp(-depth)), -depth], axis=-1)
values = penalty_value(wrong, label, 0.1, policies)
for nats, value in zip(depth, values, strict=True):
    print(f"log pi(l) = {-nats:7.0f}:  J + 0.1 E[delta] = {value:8.3f}")
assert np.isclose(values[-1] - values[-2], 0.1 * 900, rtol=1e-3)

# %% [markdown]
# What $\gamma$ does buy is a *local* maximum that starts at RLHF's policy. For two responses it is
# aligned from $\gamma^* = -\beta\delta^*/4$ (mass 1) on, and there is none beyond the fold. Only
# between the two does the penalty do what it is for.

# %%
delta_star = pq.solve_rlhf(wrong).margin(label)[0]
critical = float(pq.margins.penalty_critical_gamma(delta_star, 1.0))
fold_margin, fold = (float(part) for part in pq.margins.penalty_fold(delta_star, 1.0))
print(f"aligned from gamma* = {critical:.4f}; no local maximum above {fold:.4f}")
assert np.isclose(critical, -delta_star / 4)
for gamma in (0.2, critical - 1e-3, critical + 1e-3, fold - 1e-3, fold + 1e-3, 2.0):
    found = pq.solve_penalty(wrong, label, gamma)
    where = None if found.logp is None else float(found.margin(label)[0])
    shown = "none" if where is None else f"at delta = {where:+.4f}"
    maxima = sum(point.is_local_maximum for point in stationary_points(wrong, label, gamma))
    print(f"gamma = {gamma:.4f}: {found.status}; local maximum {shown}")
    assert found.status is pq.Status.UNBOUNDED
    assert maxima == (gamma < fold)
    assert where is None or (where > 0) == (gamma > critical)

# %%
pq.figures.make("abyss")

# %% [markdown]
# So "every $\gamma \ge \gamma^*$ aligns" (Theorem 4.9) fails from the fold on; and for pairs that
# share responses it can fail before. Read as it stands, and what is proved instead:

# %%
report = pq.verify("cpo-penalty")
assert report.ok
assert report.verdict("cpo-penalty", "has-optimum").value == "refuted"
report

# %%
alignment = pq.verify("cpo-alignment")
assert alignment.ok
assert alignment.verdict("cpo-alignment", "two-responses").value == "proved"
for reading in ("existence", "chain", "more-gamma-is-better"):
    assert alignment.verdict("cpo-alignment", reading).value == "refuted"
hard = pq.verify("cpo-constrained")
assert hard.verdict("cpo-constrained", "meets-margins").value == "proved"
alignment
