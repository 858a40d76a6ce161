"""Eq. 10 in a few lines of NumPy: none of the package's formulas."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.optimize import minimize

from prefeq.claims import registry, run


@cache
def evidence(claim, label, kind="counterexample"):
    (reading,) = [r for r in registry.get_claim(claim).readings if r.label == label]
    items = [i for i in run.check_reading(reading).evidence if i.kind == kind]
    assert items
    return [item.data for item in items]


def problem(data):
    """Return reward, log reference, β, pairs and γ of a piece of evidence."""
    made = data["instance"]
    up, _, down = data.get("inputs", {}).get("gamma", "0").partition("/")
    gamma = float(up) / float(down or 1)
    return np.array(made["reward"]), np.log(made["ref"]), made["beta"], made["pairs"], gamma


def rlhf(reward, ref, beta):
    weight = np.exp(ref + reward / beta)
    return weight / weight.sum()


def margins(probs, pairs):
    return np.array([np.log(probs[w] / probs[lo]) for w, lo in pairs])


def value(theta, reward, ref, beta, pairs, gamma):
    """Return E r − β KL + γ · mean margin of softmax logits."""
    logp = theta - np.logaddexp.reduce(theta)
    gain = np.sum(np.exp(logp) * (reward - beta * (logp - ref)))
    return gain + gamma * np.mean([logp[w] - logp[lo] for w, lo in pairs])


def slopes(probs, reward, ref, beta, pairs, gamma):
    """Return dF/dπ of every response."""
    slope = reward - beta * (np.log(probs) - ref)
    for w, lo in pairs:
        slope[w] += gamma / len(pairs) / probs[w]
        slope[lo] -= gamma / len(pairs) / probs[lo]
    return slope


def climb(reward, ref, beta, pairs, gamma, stages=20):
    """Return the local maximum that is reached from π* while γ is raised little by little."""
    theta = np.log(rlhf(reward, ref, beta))
    for share in np.linspace(0, 1, stages + 1)[1:]:
        args = (reward, ref, beta, pairs, share * gamma)
        theta = minimize(lambda t: -value(t, *args), theta, method="BFGS", tol=1e-9).x  # noqa: B023
    probs = np.exp(theta - np.logaddexp.reduce(theta))
    assert np.ptp(slopes(probs, *args)) < 1e-5, "no local maximum was reached"
    return probs


def curvature(theta, args, step=1e-4):
    """Return the eigenvalues of the second difference of F in softmax logits, less the flat one."""
    k = len(theta)
    eye = step * np.eye(k)
    at = lambda t: value(t, *args)  # noqa: E731
    hessian = [
        [at(theta + a + b) - at(theta + a - b) - at(theta - a + b) + at(theta - a - b) for b in eye]
        for a in eye
    ]
    found = np.linalg.eigvalsh(np.array(hessian) / (4 * step**2))
    return np.delete(found, np.argmin(np.abs(found)))
