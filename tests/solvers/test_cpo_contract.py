"""Constrained PO: cycles, infeasible margins, multipliers, invariances, bad input, planted bugs."""

from __future__ import annotations

import numpy as np
import pytest
from solvers import planted
from solvers.feasible import built, problem, scale, truth

import prefeq as pq
from prefeq.errors import InfeasibleError, ProblemError, UnsolvedError
from prefeq.solvers import blocks, bodies, certificate, constraints, cpo


def test_both_orders_are_a_tie() -> None:
    bandit = pq.Bandit.from_probs(reward=[0, 0, 0], ref=[0.1, 0.6, 0.3], beta=1.0)
    found = pq.solve_cpo(bandit, pq.Preferences([0, 1], [1, 0]))
    weight = np.array([np.sqrt(0.06), np.sqrt(0.06), 0.3])
    np.testing.assert_allclose(np.exp(found.logp), weight / weight.sum(), atol=1e-15)


def test_zero_sum_cycle_is_rigid_and_its_multipliers_satisfy_kkt(rng) -> None:
    pairs = pq.Preferences([0, 1, 2, 2, 3], [1, 2, 0, 3, 4])
    margin = np.array([1.0, 1.0, -2.0, 0.5, 0.25])
    for _ in range(20):
        bandit = pq.Bandit(rng.normal(size=5) * 2, rng.normal(size=5), 0.5)
        found, star = pq.solve_cpo(bandit, pairs, margin=margin), pq.solve_rlhf(bandit)
        np.testing.assert_allclose(found.margin(pairs)[:3], margin[:3], rtol=0, atol=1e-14)
        np.testing.assert_allclose(found.logp, truth(bandit, pairs, margin), rtol=0, atol=1e-12)
        scaled = found.multipliers[np.lexsort((pairs.loser, pairs.winner))] / bandit.beta
        rows = built(bandit, pairs, margin)
        assert certificate.kkt_violation(rows, found.logp, star.logp, scaled) <= 1e-12


def test_multipliers_satisfy_the_textbook_kkt_system(rng) -> None:
    for _ in range(150):
        bandit, pairs, margin = problem(rng, 2.0)
        found, rows = pq.solve_cpo(bandit, pairs, margin=margin), built(bandit, pairs, margin)
        scaled = np.zeros(rows.winner.size)
        np.add.at(scaled, constraints.distinct(rows, pairs.winner, pairs.loser), found.multipliers)
        target = pq.solve_rlhf(bandit).logp
        violation = certificate.kkt_violation(rows, found.logp, target, scaled / bandit.beta)
        assert violation <= 1e-10 * scale(scaled / bandit.beta)


def test_infeasible_margins_name_the_cycle_and_its_sum() -> None:
    bandit = pq.Bandit([0, 0, 0, 0], [0, 0, -np.inf, 0], 1.0)
    pairs, margin = pq.Preferences([0, 1, 3, 0], [1, 3, 0, 3]), [1.0, 0.5, -1.25, 0.0]
    with pytest.raises(InfeasibleError, match=r"they sum to 0\.25 nats") as caught:
        pq.solve_cpo(bandit, pairs, margin=margin)
    ring = caught.value.cycle
    assert " > ".join(map(str, ring)) in str(caught.value)
    assert ring in [(0, 1, 3), (1, 3, 0), (3, 0, 1)]
    assert caught.value.margin_sum == 0.25
    found = pq.solve_cpo(bandit, pairs, margin=margin, throw=False)
    assert (found.status, found.logp, found.cycle) == (pq.Status.INFEASIBLE, None, ring)


def test_infeasible_instance_of_a_batch_leaves_the_others_alone(rng) -> None:
    bandit = pq.Bandit(rng.normal(size=(3, 3)), np.zeros((3, 3)), 1.0)
    pairs = pq.Preferences([0, 1], [1, 0])
    margin = np.array([[1.0, -1.0], [2.0, -1.0], [0.0, -3.0]])
    found = pq.solve_cpo(bandit, pairs, margin=margin)
    wanted = [pq.Status.OPTIMAL, pq.Status.INFEASIBLE, pq.Status.OPTIMAL]
    assert found.status.tolist() == wanted
    assert set(found.cycle[1]) == {0, 1}
    assert found.cycle[0] is found.cycle[2] is None
    assert np.all(np.isneginf(found.logp[1]))
    assert found.residual[1] == np.inf
    for i in (0, 2):
        alone = pq.solve_cpo(bandit[i], pairs, margin=margin[i])
        np.testing.assert_array_equal(found.logp[i], alone.logp)
        np.testing.assert_array_equal(found.multipliers[i], alone.multipliers)
    with pytest.raises((InfeasibleError, UnsolvedError)):
        pq.solve_cpo(bandit, pairs, margin=margin, throw=True)


# --- multipliers, invariances, bad input ---------------------------------------------------------


def test_multipliers_are_the_price_of_the_margins(rng) -> None:
    """dJ/dm = −λ π(w), where λ = multiplier·σ(−m) belongs to the row π(w) − e^m π(l)."""
    pushed, h = 0, 1e-4
    for _ in range(30):
        plant = planted.constrained(rng, 5, 4, nats=1.0, beta=0.8)
        bandit, pairs, margin = plant.bandit, plant.preferences, plant.margin - 0.01
        found = pq.solve_cpo(bandit, pairs, margin=margin)
        if np.any((found.multipliers > 0) & (found.multipliers < 0.05)):
            continue  # a pair about to let go: no two-sided derivative
        for k in np.flatnonzero(found.multipliers):
            step = h * np.eye(pairs.P)[k]
            up, down = (pq.solve_cpo(bandit, pairs, margin + d).value for d in (step, -step))
            price = found.multipliers[k] / (1 + np.exp(margin[k]))
            slope = -price * np.exp(found.logp[pairs.winner[k]])
            assert (up - down) / (2 * h) == pytest.approx(slope, rel=1e-4, abs=1e-8)
            pushed += 1
    assert pushed > 20


def test_invariances_of_the_policy(rng) -> None:
    for nats in (3.0, 3.0, 3.0, 800.0, 800.0) * 6:
        bandit, pairs, margin = problem(rng, nats, k_max=6, p_max=8)
        found = pq.solve_cpo(bandit, pairs, margin=margin)
        reward, ref, beta = bandit.reward, bandit.ref_logp, bandit.beta
        limit = 1e-11 * scale(bandit.tilt, ref)
        order, extra = rng.permutation(bandit.K), rng.integers(0, pairs.P, 5)
        place = np.argsort(order)
        same = {
            "reward shift": (pq.Bandit(reward + 2.5, ref, beta), pairs, margin),
            "scaled reward and beta": (pq.Bandit(8 * reward, ref, 8 * beta), pairs, margin),
            "duplicates": (
                bandit,
                pq.Preferences(
                    np.append(pairs.winner, pairs.winner[extra]),
                    np.append(pairs.loser, pairs.loser[extra]),
                ),
                np.append(margin, margin[extra] - [0, 0, 1, 2, 3]),  # the larger margin wins
            ),
            "labels and masses": (
                bandit,
                pq.Preferences(pairs.winner, pairs.loser, prob=0.2, mass=7.0),
                margin,
            ),
            "a pair of zero mass": (
                bandit,
                pq.Preferences(
                    np.append(pairs.winner, 0),
                    np.append(pairs.loser, 1),
                    mass=np.append(pairs.mass, 0.0),
                ),
                np.append(margin, 5000.0),
            ),
            "an order of the pairs": (
                bandit,
                pq.Preferences(pairs.winner[::-1], pairs.loser[::-1]),
                margin[::-1],
            ),
        }
        for name, (other, others, margins) in same.items():
            logp = pq.solve_cpo(other, others, margin=margins).logp
            np.testing.assert_allclose(logp, found.logp, rtol=0, atol=limit, err_msg=name)
        moved = pq.Bandit(reward[order], ref[order], beta)
        renamed = pq.Preferences(place[pairs.winner], place[pairs.loser])
        logp = pq.solve_cpo(moved, renamed, margin=margin).logp
        np.testing.assert_allclose(logp, found.logp[order], rtol=0, atol=limit)


def test_only_the_binding_duplicate_has_a_multiplier() -> None:
    bandit = pq.Bandit([0, 0], [0, 0], 1.0)
    found = pq.solve_cpo(bandit, pq.Preferences([0, 0, 0], [1, 1, 1]), margin=[0.5, 2.0, 2.0])
    assert found.multipliers[[0, 2]].tolist() == [0.0, 0.0]
    assert found.multipliers[1] == pytest.approx(2.0)


REFUSED = {
    "NaN": ({"margin": [0.0, np.nan]}, r"margin\[1\] = nan: must be finite"),
    "infinite": ({"margin": [-np.inf, 0.0]}, r"margin\[0\] = -inf: must be finite"),
    "scalar NaN": ({"margin": np.nan}, "margin = nan: must be finite"),
    "shape": ({"margin": [0.0, 0.0, 0.0]}, r"margin has shape \(3,\), the pairs \(2,\)"),
    "text": ({"margin": "high"}, "margin has dtype"),
    "method": ({"method": "simplex"}, "method = 'simplex': choose 'auto' or 'conic'"),
    "off-support": ({"preferences": pq.Preferences([0, 2], [1, 3])}, r"loser\[1\] = 3: is off"),
    "out of range": ({"preferences": pq.Preferences([9], [1])}, r"winner\[0\] = 9: is out"),
    "swapped": ({"preferences": "pairs"}, "pass prefeq.Preferences second"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_named(case: str) -> None:
    change, message = REFUSED[case]
    bandit = pq.Bandit([1, 0, 0, 0], [0, 0, 0, -np.inf], 1.0)
    arguments = {"preferences": pq.Preferences([0, 1], [1, 2]), **change}
    with pytest.raises(ProblemError, match=message):
        pq.solve_cpo(bandit, **arguments)


def test_no_pairs_and_one_response_are_rlhf() -> None:
    bandit = pq.Bandit([1, 0, 5], [0, 0, -np.inf], 1.0)
    found = pq.solve_cpo(bandit, pq.Preferences([], []))
    np.testing.assert_array_equal(found.logp, pq.solve_rlhf(bandit).logp)
    assert pq.solve_cpo(pq.Bandit([3], [0], 1.0), pq.Preferences([], [])).logp.tolist() == [0.0]


# --- planted bugs must be caught -----------------------------------------------------------------


def losses(rng, count: int = 60) -> tuple[int, int]:
    """Return how many of the problems end with a red residual, and how many differ from truth."""
    red, wrong = 0, 0
    for _ in range(count):
        bandit, pairs, margin = problem(rng, 3.0, k_max=5, p_max=8)
        found = pq.solve_cpo(bandit, pairs, margin=margin, throw=False)
        assert (found.residual > 1e-9) == (found.status is not pq.Status.OPTIMAL)
        red += found.residual > 1e-9
        wrong += not np.allclose(found.logp, truth(bandit, pairs, margin), rtol=0, atol=1e-8)
    return red, wrong


def test_the_right_solver_is_green(rng) -> None:
    assert losses(rng) == (0, 0)


def test_bodies_joined_without_weights_turn_the_residual_red(rng, monkeypatch) -> None:
    def plain_mean(self, other):
        weight = np.logaddexp(self.log_weight, other.log_weight)
        return bodies.Body(float(weight), 0.5 * (self.pull + other.pull))

    monkeypatch.setattr(bodies.Body, "join", plain_mean)
    red, wrong = losses(rng)
    assert red >= wrong > 5


def test_edges_that_never_let_go_turn_the_residual_red(rng, monkeypatch) -> None:
    """Rare on small graphs: ten responses or more, and the untouched solver beside it."""
    red = 0
    for _ in range(150):
        bandit, pairs, margin = problem(rng, 3.0, k_max=14, p_max=30)
        right = pq.solve_cpo(bandit, pairs, margin=margin)
        with monkeypatch.context() as patch:
            patch.setattr(bodies.Travel, "first_release", lambda self, *_: (self.need, []))
            wrong = pq.solve_cpo(bandit, pairs, margin=margin, throw=False)
        if not np.allclose(wrong.logp, right.logp, rtol=0, atol=1e-8):
            assert wrong.residual > 1e-9
            assert wrong.status is pq.Status.ITERATION_LIMIT
            red += 1
    assert red > 0


def test_margins_of_the_wrong_sign_inside_blocks_turn_the_residual_red(rng, monkeypatch) -> None:
    right = blocks.Forest.levels

    def upside_down(self, order, height):
        return {v: 2 * height - level for v, level in right(self, order, height).items()}

    monkeypatch.setattr(blocks.Forest, "levels", upside_down)
    red, wrong = losses(rng)
    assert red >= wrong > 5


def test_margins_flipped_at_the_door_are_seen_by_the_comparison_alone(rng, monkeypatch) -> None:
    """The certificate shares the margins with the solver: only another source can object."""
    right = cpo._margins
    monkeypatch.setattr(cpo, "_margins", lambda *given: -np.abs(right(*given)))
    red, wrong = losses(rng)
    assert red == 0
    assert wrong > 10


@pytest.mark.parametrize("bug", ["goal", "weight"])
def test_groups_contracted_wrongly_turn_the_residual_red(rng, monkeypatch, bug: str) -> None:
    right = cpo._groups

    def groups(rows, target, tilt):
        goal, log_weight = right(rows, target, tilt)
        shift = 0.1 * np.arange(goal.size)
        return (goal + shift, log_weight) if bug == "goal" else (goal, log_weight + shift)

    monkeypatch.setattr(cpo, "_groups", groups)
    red, wrong = losses(rng)
    assert red >= wrong > 5


def test_a_wrong_policy_is_refused_by_the_certificate(rng) -> None:
    for _ in range(80):
        bandit, pairs, margin = problem(rng, 3.0)
        rows, star = built(bandit, pairs, margin), pq.solve_rlhf(bandit).logp
        found, _ = cpo._project(rows, star)
        logp = planted.log_normalise(found.f)
        right = certificate.certify(rows, logp, star, logp, found.forest)
        assert right.violation <= 1e-12
        if np.any(star[rows.winner] - star[rows.loser] < rows.margin - 1e-6):
            assert certificate.certify(rows, star, star, star, ()).violation > 1e-7
        for edge in found.forest:  # feasible, but a multiplier is left out
            fewer = tuple(e for e in found.forest if e != edge)
            pull = np.exp(right.log_multiplier[edge] + logp[rows.winner[edge]])
            missed = certificate.certify(rows, logp, star, logp, fewer).violation
            assert missed > 0.4 * pull - 1e-12
        if bandit.K > 1:
            off = logp + 1e-6 * rng.choice([-1, 1], bandit.K) * np.linspace(1, 2, bandit.K)
            off = planted.log_normalise(off)
            assert certificate.certify(rows, off, star, off, found.forest).violation > 1e-8
