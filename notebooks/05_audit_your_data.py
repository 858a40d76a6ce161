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
# # Audit your data
#
# Four log-probabilities a pair, which every DPO run computes, are enough to count the pairs that
# the logged reward accuracy calls right and the policy still answers wrongly.
#
# With $\delta = \log\pi(w) - \log\pi(l)$ and $\delta_\mathrm{ref}$ the same of the reference:
#
# $$\text{relative accuracy (logged): } P(\delta > \delta_\mathrm{ref}), \qquad
# \text{absolute accuracy: } P(\delta > 0), \qquad
# \text{share in } U:\ P(\delta_\mathrm{ref} < \delta < 0).$$
#
# The logged one counts a pair in $U$ as right.

# %%
# %matplotlib inline
import csv
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import prefeq as pq
from prefeq.figures.style import COLUMN, styled

table = {name: np.array(column) for name, column in pq.capitals_table().items()}
by_country = {name: column.reshape(-1, 6) for name, column in table.items()}
assert np.all(by_country["role"][:, 0] == "capital")

# %% [markdown]
# ## The pairs
#
# Real ones: SmolLM2-135M-Instruct, asked for the capitals of 144 countries; chosen is the capital,
# rejected each of five other cities. Columns have TRL's names; log-probs are in nats, sums over
# the tokens of the answer. Rewards are optional: they are 1 and 0 here.

# %%
pairs = {"prompt": np.repeat(by_country["country"][:, 0], 5)}
for ours, column in (("logps", "ref_logp"), ("tokens", "tokens"), ("reward", "reward")):
    prefix = "ref_" if ours == "logps" else ""
    pairs[f"{prefix}chosen_{ours}"] = np.repeat(by_country[column][:, 0], 5)
    pairs[f"{prefix}rejected_{ours}"] = by_country[column][:, 1:].ravel()

before = pq.audit(pairs, beta=1.0)
before

# %% [markdown]
# The same figures by hand. The violation rate counts $\Delta r \le -\beta\delta_\mathrm{ref}$; the
# critical label probability $\sigma(-\beta\delta_\mathrm{ref})$ is how sure a label must be to
# outweigh the reference.

# %%
delta_ref = pairs["ref_chosen_logps"] - pairs["ref_rejected_logps"]
gap = pairs["chosen_reward"] - pairs["rejected_reward"]
assert before["violation_rate"] == np.mean(gap <= -delta_ref)
assert before["ref_below_zero"] == np.mean(delta_ref < 0)
print(f"{np.sum(gap <= -delta_ref)} of {gap.size} pairs violate Assumption 3.1 at beta = 1")

# %% [markdown]
# ## A run
#
# Descend on DPO's loss, every label certain, as a trainer does; here on the table of logits, one
# country a bandit. Its log-probs are the other two columns.


# %%
def columns_after(steps):
    """The columns of an audit after so many steps of gradient descent."""
    bandit = pq.load_capitals(beta=1.0)
    certain = pq.Preferences.ordered(bandit)
    policy = pq.solve_dpo(bandit, certain, "gradient-descent", max_steps=steps).logp
    policy = policy + (by_country["ref_logp"] - bandit.ref_logp)[:, :1]  # not normalised there
    return {
        **pairs,
        "chosen_logps": np.repeat(policy[:, 0], 5),
        "rejected_logps": policy[:, 1:].ravel(),
    }


names = ("relative_accuracy", "absolute_accuracy", "undesirable_share")
steps = (1, 3, 10, 30, 100, 300)
runs = {count: pq.audit(columns_after(count), beta=1.0) for count in steps}
print("steps " + "".join(f"{name:>20}" for name in names) + "   mean DPO loss")
for count, report in runs.items():
    loss = report["losses"]["dpo"]["mean"]
    print(f"{count:5} " + "".join(f"{report[name]:20.3f}" for name in names) + f"{loss:16.4f}")

first, last = runs[1], runs[300]
assert first["relative_accuracy"] == 1.0  # what the trainer logs, after one step
assert first["absolute_accuracy"] < 0.95
assert first["losses"]["dpo"]["mean"] < np.log(2)
for report in runs.values():
    total = report["absolute_accuracy"] + report["undesirable_share"]
    assert report["relative_accuracy"] <= total + 1e-12
assert last["undesirable_share"] < first["undesirable_share"]

# %% [markdown]
# After one step every pair is better than the reference; the wrong ones among them stay wrong for
# as long as $\beta|\delta_\mathrm{ref}|$ says. The report's verdict names the share and what to do:

# %%
runs[3]

# %% [markdown]
# ## Which β?
#
# The report looks at other $\beta$ as well. The condition is
# $\Delta r > -\beta\delta_\mathrm{ref}$, so the rate can only grow with $\beta$:

# %%
rows = before["at_other_beta"]
betas = [row["beta"] for row in rows]
rates = [row["violation_rate"] for row in rows]
assert betas == sorted(betas)
assert rates == sorted(rates)
assert rates == [np.mean(gap <= -beta * delta_ref) for beta in betas]
traps = [row["ipo_trap_share"] for row in rows]
with styled():
    figure, axes = plt.subplots(figsize=(COLUMN, 2.2), layout="constrained")
    axes.plot(betas, 100 * np.array(rates), "o-", label="violate Assumption 3.1")
    axes.plot(betas, 100 * np.array(traps), "s--", label="trapped for ever by IPO (per token)")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel=r"$\beta$", ylabel="pairs (%)", ylim=(0, None))
    axes.legend()
    plt.show()

# %% [markdown]
# ## Sum or mean over tokens
#
# DPO is defined on sums. Dividing by the number of tokens makes another reference, and the rate is
# another one. So the report says which it was.

# %%
by_mean = pq.audit(pairs, beta=1.0, normalize="mean")
per_token = (
    pairs["ref_chosen_logps"] / pairs["chosen_tokens"]
    - pairs["ref_rejected_logps"] / pairs["rejected_tokens"]
)
print(f"sum {before['violation_rate']:.4f}, mean {by_mean['violation_rate']:.4f}")
assert by_mean["violation_rate"] == np.mean(gap <= -per_token) != before["violation_rate"]

# %% [markdown]
# ## Sick numbers
#
# Some mistakes show in the numbers alone. Here somebody exchanged chosen and rejected in the
# reference's columns but not in the policy's, and one log-prob is not a number.

# %%
sick = columns_after(3)
sick["ref_chosen_logps"], sick["ref_rejected_logps"] = (
    sick["ref_rejected_logps"],
    sick["ref_chosen_logps"],
)
sick["chosen_logps"][17] = np.nan
report = pq.audit(sick, beta=1.0)
for fault in report["faults"]:
    print(f"{fault['name']}: {fault['message']}; rows {fault['rows'][:3]}")
print(*report.verdict, sep="\n")
assert report["excluded"] == 1
assert "swapped_columns" in report.faults
assert not runs[3].faults

# %% [markdown]
# ## Files
#
# `prefeq audit run/ --beta 1` reads Parquet, CSV, JSON Lines, Arrow, safetensors and npz in
# pieces, on a command line or from Python, and finds the same:

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "pairs.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(pairs)
        writer.writerows(zip(*pairs.values(), strict=True))
    from_file = pq.audit(path, beta=1.0)
for name in ("pairs", "prompts", "violation_rate", "violation_rate_interval", "ref_below_zero"):
    assert from_file[name] == before[name]
print(from_file.verdict[0])
