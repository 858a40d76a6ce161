"""`pathological-convergence`: training lowers the loss and ends preferring the rejected response.

For ever with Bradley–Terry labels, for a while with ordered pairs; losses with a finite target are
in `finite_targets`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from flint import ctx

from prefeq import bandit as bandits
from prefeq import margins, preferences, solvers
from prefeq.claims import (
    finite_targets,
    formulas,
    gallery,
    lemmas,
    overlapping_ipo,
    recheck,
    samples,
    ties,
)
from prefeq.claims.ball import BALL, DISPLAY_BITS, ball, midpoint
from prefeq.claims.contradiction import counterexample
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Instance, build
from prefeq.claims.registry import Claim, Reading, register
from prefeq.claims.symbolic import SYMPY, as_written, positive, prove_equal, prove_positive, real

VIOLATED = Instance.of(
    "two responses, violated", reward=[1, 0], ref=["1/20", "19/20"], pairs=[(0, 1)]
)
STEP_SIZE, STEPS = 1, 60
"""η of the descents below: with m = β = 1 the map x ↦ x + 2η(q − σ(x)) is increasing."""


def _bradley_terry() -> Iterator[Evidence]:
    """One pair: z ↦ z + c(σ(Δr) − σ(z)), c = 2ηmβ², is increasing and fixes Δr; start at 0 < Δr."""
    import sympy as sp

    z, a = real("z a")
    yield _one_step(a)
    room = positive("p")
    speed = 4 / (1 + room)  # any c in (0, 4)
    sigma = formulas.sigmoid(SYMPY, z)
    step = z + speed * (formulas.sigmoid(SYMPY, a) - sigma)
    square = room / (1 + room) + (1 - 2 * sigma) ** 2 / (1 + room)
    there = as_written(lambda: step.xreplace({z: a}))
    yield prove_equal("fixed-point", "z = gap is a fixed point", (there, a))
    yield prove_equal(
        "increasing-map",
        "slope of the map = (1 - c/4) + (c/4)(1 - 2 sigma)^2",
        (sp.diff(step, z), square),
    )
    yield prove_positive("increasing-map", "> 0: z < gap implies next z < gap", square)
    yield prove_positive(
        "sigma-increases",
        "sigma' > 0: every step below gap goes up, nothing else is fixed",
        sp.diff(sigma, z),
    )
    loss = formulas.pair_loss(SYMPY, z, 0, 1, formulas.sigmoid(SYMPY, a))
    slope = formulas.sigmoid(SYMPY, a) - sigma
    yield prove_equal("loss-falls", "-dL/dz = sigma(gap) - sigma(z)", (-sp.diff(loss, z), slope))
    yield lemmas.rlhf_margin_identity()
    yield _descent_recheck(VIOLATED.labelled("bradley-terry"), 20)
    yield from (ties.soft_loss(), ties.soft_gradient(), ties.rlhf_margin())


def _one_step(gap: Any) -> Evidence:
    """A step of size η on the logits of a pair of mass m moves z by 2ηmβ²(σ(Δr) − σ(z))."""
    import sympy as sp

    tw, tl, pw, pl = real("theta_w theta_l p_w p_l")
    beta, mass, eta = positive("beta m eta")
    q = formulas.sigmoid(SYMPY, gap)
    loss = mass * formulas.pair_loss(SYMPY, tw - tl, pw - pl, beta, q)
    z = beta * ((tw - tl) - (pw - pl))
    moved = beta * eta * (sp.diff(loss, tl) - sp.diff(loss, tw))
    return prove_equal(
        "descent-map",
        "a step moves z = beta x by 2 eta m beta^2 (sigma(gap) - sigma(z))",
        (moved, 2 * eta * mass * beta**2 * (q - formulas.sigmoid(SYMPY, z))),
    )


def _bradley_terry_graph() -> Iterator[Evidence]:
    yield from lemmas.edge_minimiser()
    yield lemmas.rlhf_attains()
    yield lemmas.rlhf_margin_identity()
    yield from lemmas.convex_and_smooth()
    problems = samples.connected(10)
    yield samples.asserted("DPO ends at delta*, with a lower loss", problems, _ends_at_optimum)
    yield from (ties.soft_gradient(), ties.soft_minimiser(), ties.rlhf_margin())


def _ordered() -> Iterator[Evidence]:
    """A pair that starts in the worst of U is aligned after finitely many steps, and for good."""
    path = _ball_path(VIOLATED, STEPS)
    first = next((k for k, value in enumerate(path) if value > 0), STEPS)
    inside = [k for k, value in enumerate(path) if k and value < 0]
    star = gallery.assumption(VIOLATED)
    data: dict[str, Any] = {
        "instance": VIOLATED.to_data(),
        "inputs": {"step_size": STEP_SIZE, "steps": STEPS},
        **star.numbers,
        "path": [midpoint(value) for value in path],
        "steps_in_U": len(inside),
        "first_aligned_step": first,
    }
    yield counterexample(
        f"gradient descent is in U for {len(inside)} steps and has delta > 0 from step {first} on",
        data,
        {
            "rlhf_margin[0] < 0": None if star.answer is None else not star.answer,
            "path[0] < path[1]": bool(path[0] < path[1]) or None,
            "path[1] < 0": bool(path[1] < 0) or None,
            f"path[{first}] > 0": bool(path[first] > 0) or None,
            f"path[{STEPS}] > 0": bool(path[STEPS] > 0) or None,
        },
    )
    yield from lemmas.ordered_loss_falls()
    yield recheck.rechecked("the package leaves U, too", _ordered_comparisons(data))
    yield _descent_recheck(VIOLATED, STEPS)
    yield from (ties.pair_gradient(), ties.exit_time(), ties.undesirable())


def _ordered_comparisons(data: dict[str, Any]) -> Iterator[recheck.Comparison]:
    bandit, prefs = build(data["instance"])
    delta_ref = prefs.ref_margin(bandit)[0]
    low, high = margins.exit_steps_bounds(delta_ref, bandit.beta, STEP_SIZE)
    first = data["first_aligned_step"]
    yield f"exit steps {low:.2f} <= {first} <= {high:.0f}", bool(low <= first <= high)
    run = solvers.solve_dpo(
        bandit, prefs, method="gradient-descent", step_size=STEP_SIZE, max_steps=60, record_every=1
    )
    inside = run.trajectory.undesirable[:, 0]
    yield "steps in U", int(inside.sum()) == data["steps_in_U"]
    yield "out of U for good", not bool(inside[first:].any())
    yield "the loss falls", bool(np.all(np.diff(run.trajectory.loss) < 0))


def _ordered_transient() -> Iterator[Evidence]:
    """Every pair ends with δ > 0, and the loss of ordered pairs only ever falls."""
    yield from lemmas.descent_aligns()
    yield recheck.rechecked("gradient descent aligns every pair", _all_leave())
    yield from (ties.pair_loss(), ties.pair_gradient(), ties.certificate())


def _all_leave() -> Iterator[recheck.Comparison]:
    for instance in gallery.in_scope(gallery.acyclic, "ordered"):
        bandit, prefs = build(instance.to_data())
        run = solvers.solve_dpo(bandit, prefs, method="gradient-descent", max_steps=1500)
        last = run.trajectory.undesirable[-1]
        yield f"{instance.name}: aligned", bool(np.all(run.margin(prefs) > 0)) and not last.any()
        yield f"{instance.name}: loss", bool(np.all(np.diff(run.trajectory.loss) < 0))


def _ball_path(instance: Instance, steps: int) -> list[Any]:
    """Iterate δ ↦ δ − 2η dL/dδ of a single pair in balls, from δ_ref."""
    with ctx.workprec(DISPLAY_BITS):
        beta, delta_ref = ball(instance.beta), instance.delta_ref(0)
        ordered = instance.labels == "ordered"
        q = ball(1) if ordered else formulas.sigmoid(BALL, ball(instance.gap(0)))
        path = [delta_ref]
        for _ in range(steps):
            slope = formulas.pair_gradient(BALL, path[-1], delta_ref, beta, q)
            path.append(path[-1] - 2 * STEP_SIZE * slope)
    return path


def _descent_recheck(instance: Instance, steps: int) -> Evidence:
    """Compare the package's gradient descent with the iteration in balls, step by step."""

    def comparisons() -> Iterator[recheck.Comparison]:
        bandit, prefs = build(instance.to_data())
        run = solvers.solve_dpo(
            bandit,
            prefs,
            method="gradient-descent",
            step_size=STEP_SIZE,
            max_steps=steps,
            record_every=1,
        )
        want = np.array([midpoint(value) for value in _ball_path(instance, steps)])
        path = run.trajectory.margin[:, 0]
        yield "margins along the descent", recheck.close(path, want[: path.size])
        yield "the loss falls", bool(np.all(np.diff(run.trajectory.loss) < 0))
        yield "the margin rises", bool(np.all(np.diff(path) > 0))
        if instance.labels == "bradley-terry":
            star = float(gallery.assumption(instance).numbers["rlhf_margin"][0])
            yield "stays below delta* < 0", bool(np.all(path < star) and star < 0)
            yield "ends at delta*", bool(abs(path[-1] - star) < 1e-3)
            yield "stays in U", bool(run.trajectory.undesirable[1:].all())

    return recheck.rechecked(
        f"solve_dpo and balls descend alike ({instance.labels})", comparisons()
    )


def _ends_at_optimum(bandit: bandits.Bandit, prefs: preferences.Preferences) -> bool:
    """Descend numerically and solve exactly: δ* at the end, and the loss only ever falls."""
    star = solvers.solve_rlhf(bandit).margin(prefs)
    run = solvers.solve_dpo(bandit, prefs, method="gradient-descent", max_steps=1500)
    exact = solvers.solve_dpo(bandit, prefs)
    loss = run.trajectory.loss
    falls = (
        bool(np.all(np.diff(loss) <= 1e-12))
        and loss[-1] < loss[0]
        and (abs(loss[-1] - exact.loss) <= 1e-9)
    )
    return (
        falls
        and recheck.close(run.margin(prefs), star, 1e-4)
        and recheck.close(bandit.beta * exact.margin(prefs), bandit.beta * star)
    )


_ENDS_WRONG = "ends with delta < 0 for ever, at a lower loss than pi_ref"

register(
    Claim(
        id="pathological-convergence",
        title="training lowers the loss and ends preferring the rejected response",
        source="arXiv:2605.20834, abstract",
        provenance="quoted",
        readings=(
            Reading(
                "bradley-terry",
                f"gradient descent on DPO raises delta from delta_ref towards delta*, stays in U "
                f"and {_ENDS_WRONG}",
                "one Bradley-Terry pair, gap > 0, delta* < 0, any K, softmax logits, a constant "
                "step with eta m beta^2 < 2",
                _bradley_terry,
                proof=(
                    "descent-map",
                    "fixed-point",
                    "increasing-map",
                    "sigma-increases",
                    "loss-falls",
                    "margin-identity",
                ),
            ),
            Reading(
                "bradley-terry-graph",
                f"gradient descent on DPO ends at delta = delta* on every pair: every pair with "
                f"delta* < 0 {_ENDS_WRONG} (of its own term)",
                "Bradley-Terry population labels, gaps > 0, any K and graph, a constant step below "
                "2/Lipschitz",
                _bradley_terry_graph,
                proof=("edge-minimiser", "rlhf-attains", "margin-identity", "descent-converges"),
            ),
            Reading(
                "ordered-acyclic",
                f"gradient descent on DPO {_ENDS_WRONG}",
                "ordered pairs (q = 1) without a directed cycle, delta* < 0, softmax logits, a "
                "constant step",
                _ordered,
                lemmas=("loss-decreases",),
            ),
            Reading(
                "ordered-acyclic-transient",
                "gradient descent on DPO leaves U after finitely many steps on every pair and for "
                "good",
                "ordered pairs (q = 1) without a directed cycle, any K, any full-support "
                "reference, a constant step of at most 1/Lipschitz",
                _ordered_transient,
                proof=(
                    "descent-converges",
                    "acyclic-heights",
                    "ordered-slope",
                    "ordered-limit",
                    "loss-decreases",
                    "loss-at-zero",
                ),
                corrects="ordered-acyclic",
            ),
            *finite_targets.READINGS,
            *overlapping_ipo.READINGS,
        ),
    )
)
