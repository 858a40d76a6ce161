"""Symbols, balls, boxes, ties: each helper meets a truth, a falsehood and the undecidable."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import sympy as sp

from prefeq import margins
from prefeq.claims import formulas, symbolic
from prefeq.claims.ball import (
    BALL,
    ball,
    digits,
    exactly,
    sign,
    sign_of_log,
    strictly_positive,
)
from prefeq.claims.enclosure import positive_on_box
from prefeq.claims.tie import MIN_POINTS, points, tie, tie_decision

X = symbolic.real("x")
B = symbolic.positive("b")


class TestSymbolic:
    def test_identity(self):
        assert symbolic.prove_zero("s", "", sp.exp(X) * sp.exp(-X) - 1).holds

    @pytest.mark.parametrize("wrong", [X, sp.exp(X) - 1 - X, B - 1, sp.Integer(3)])
    def test_not_an_identity(self, wrong):
        assert symbolic.prove_zero("s", "", wrong).outcome == "fails"

    def test_one_wrong_expression_of_two_fails(self):
        assert symbolic.prove_zero("s", "", X - X, X).outcome == "fails"

    def test_nothing_to_prove_proves_nothing(self):
        assert symbolic.prove_zero("s", "").outcome == "undecided"

    def test_signs(self):
        assert symbolic.prove_positive("s", "", 1 + X**2, B, sp.exp(X)).holds
        assert symbolic.prove_positive("s", "", -B).outcome == "fails"
        assert symbolic.prove_positive("s", "", sp.S.Zero).outcome == "fails"
        assert symbolic.prove_positive("s", "", X).outcome == "undecided"

    def test_limits(self):
        assert symbolic.prove_limit("s", "", 1 / B, B, sp.oo, 0).holds
        assert symbolic.prove_limit("s", "", 1 / B, B, 0, sp.oo).holds
        assert symbolic.prove_limit("s", "", 1 / B, B, sp.oo, 1).outcome == "fails"
        assert symbolic.prove_limit("s", "", B, B, sp.oo, 0).outcome == "fails"

    def test_independence(self):
        assert symbolic.prove_independent("s", "", X + B - X, X).holds
        assert symbolic.prove_independent("s", "", X + B, X).outcome == "fails"

    def test_assumptions_are_written_down(self):
        shown = symbolic.prove_positive("s", "", B + X**2).data["inputs"]
        assert shown == {
            "relation": "left > 0",
            "left": ["b + x**2"],
            "assumptions": {"b": "positive", "x": "real"},
        }

    def test_both_sides_are_written_down(self):
        left = symbolic.as_written(lambda: (X + B) - (2 * X + B))
        found = symbolic.prove_equal(
            "s", "", (left, -X), (sp.S.One, sp.sin(X) ** 2 + sp.cos(X) ** 2)
        )
        assert found.holds
        assert found.data["inputs"] == {
            "relation": "left = right",
            "left": ["(x + b) - (2*x + b)", "1"],
            "right": ["-x", "cos(x)**2 + sin(x)**2"],
            "assumptions": {"b": "positive", "x": "real"},
        }
        assert symbolic.prove_equal("s", "", (left, X)).outcome == "fails"
        assert symbolic.prove_equal("s", "", (left, -X), (X, B)).outcome == "fails"
        assert symbolic.prove_equal("s", "").outcome == "undecided"

    def test_limits_say_from_where(self):
        found = symbolic.prove_limit("s", "", 1 / B, B, 0, sp.oo).data["inputs"]
        assert [found[key] for key in ("symbol", "to", "side", "value")] == [
            "b",
            "0",
            "above",
            "oo",
        ]
        found = symbolic.prove_limit("s", "", 1 / B, B, sp.oo, 0).data["inputs"]
        assert [found[key] for key in ("to", "side", "value")] == ["oo", "below", "0"]


class TestBall:
    def test_decides_what_floats_cannot(self):
        # e^-900 underflows, and so does this difference.
        assert sign(lambda: (ball(1) + ball(-900).exp()).log())[0] == 1

    def test_undecided_equality(self):
        third = Fraction(1, 3)
        assert sign(lambda: ball(third) * 3 - 1) == (None, 4096)
        assert strictly_positive("", lambda: ball(third) * 3 - 1).outcome == "undecided"

    def test_sign(self):
        assert strictly_positive("", lambda: ball(2).log()).holds
        assert strictly_positive("", lambda: -ball(2).log()).outcome == "fails"
        assert strictly_positive("", lambda: ball(0)).outcome == "fails"

    @pytest.mark.parametrize(
        ("ratio", "shift", "want"),
        [(1, 0, 0), (1, 1, 1), (1, -1, -1), (2, 0, 1), ("1/2", 0, -1), ("1/19", 3, 1),
         ("1/19", 2, -1), (1, "1/1000000000000000000000", 1)],
    )  # fmt: skip
    def test_sign_of_log(self, ratio, shift, want):
        assert sign_of_log(Fraction(ratio), Fraction(shift)) == want

    def test_digits_refuse_a_wide_ball(self):
        assert digits(lambda: ball(2).log()) == 0.693147180559945
        assert digits(lambda: ball(Fraction(1, 3)) * 3 - 1) == 0.0
        with pytest.raises(ArithmeticError, match="too wide"):
            digits(lambda: ball(0).union(ball(1)))
        with pytest.raises(ArithmeticError, match="too wide"):
            digits(lambda: ball(0).log())

    def test_exactly(self):
        assert [exactly(x) for x in (2, Fraction(1, 3), 0.5)] == ["2", "1/3", "1/2"]


class TestEnclosure:
    def test_positive_everywhere(self):
        found = positive_on_box(
            "", lambda x, y: x * x - x * y + y * y + 1, {"x": (-1, 1), "y": (-1, 1)}, name="f"
        )
        assert found.holds
        assert found.data["inputs"]["function"] == "f"
        assert found.data["cells"] == found.data["tree"].count("0") >= 1
        assert found.data["inputs"]["box"]["x"] == ["-1", "1"]

    def test_dependency_is_beaten_by_splitting(self):
        found = positive_on_box("", lambda x: x - x + half(), {"x": (0, 100)}, name="f")
        assert found.holds
        assert found.data["cells"] > 16

    def test_the_tree_and_the_worst_cell(self):
        found = positive_on_box("", lambda x: x * x - x + half(), {"x": (0, 2)}, name="f")
        leaves, cells = list(found.data["tree"]), []

        def replay(low, high):
            if leaves.pop(0) == "0":
                cells.append((low, high))
            else:
                replay(low, (low + high) / 2)
                replay((low + high) / 2, high)

        replay(Fraction(0), Fraction(2))
        assert not leaves
        assert len(cells) == found.data["cells"] > 2
        assert (cells[0][0], cells[-1][1]) == (0, 2)
        middles = [float(((low + high) / 2) ** 2 - (low + high) / 2) + 0.5 for low, high in cells]
        worst = cells[middles.index(min(middles))]
        assert found.data["worst_cell"] == {"x": [str(end) for end in worst]}
        assert found.data["worst_value"] == pytest.approx(min(middles), rel=1e-14)

    def test_negative_somewhere(self):
        assert positive_on_box("", lambda x: x - 1, {"x": (0, 3)}, name="f").outcome == "fails"

    def test_touching_zero_is_never_positive(self):
        found = positive_on_box("", lambda x: x * x, {"x": (-1, 1)}, name="f", max_cells=60)
        assert found.outcome in ("undecided", "fails")


def half():
    return ball(Fraction(1, 2))


class TestTie:
    AT = points("delta_ref", "gap", "beta")

    def test_points_reach_the_extremes(self):
        at = self.AT
        assert len(at["beta"]) >= MIN_POINTS
        assert at["beta"].min() == 1e-6
        assert at["beta"].max() == 1e6
        nats = at["gap"] / at["beta"]
        assert at["delta_ref"].max() == 800
        assert np.isclose(nats.max(), 800)
        assert np.isclose(nats.min(), -800)

    def test_a_true_copy_holds(self):
        found = self._tie(lambda delta_ref, gap, beta: margins.optimal_margin(delta_ref, gap, beta))
        assert found.holds
        assert found.data["runs"]["count"] == len(self.AT["beta"])

    @pytest.mark.parametrize(
        "package",
        [
            lambda delta_ref, gap, beta: delta_ref - gap / beta,
            lambda delta_ref, gap, beta: delta_ref + gap * beta,
            lambda delta_ref, gap, beta: (delta_ref + gap / beta) * (1 + 1e-9),
            lambda delta_ref, gap, beta: np.where(beta > 9e5, np.nan, delta_ref + gap / beta),
            lambda delta_ref, gap, beta: np.full_like(beta, np.inf),
            lambda delta_ref, gap, beta: (delta_ref + gap / beta)[:-1],
            lambda delta_ref, gap, beta: 1 / 0,
        ],
        ids=["sign", "beta", "slightly off", "nan at one point", "inf", "shape", "raises"],
    )
    def test_a_wrong_function_breaks_it(self, package):
        found = self._tie(package)
        assert found.outcome == "fails"
        assert "broken" in found.summary

    def test_too_few_points_break_it(self):
        few = {name: column[:50] for name, column in self.AT.items()}
        assert tie("", formulas.rlhf_margin, formulas.rlhf_margin, few).outcome == "fails"

    def test_decisions(self):
        at = points("delta", "delta_ref")
        assert tie_decision("", _below, lambda delta, delta_ref: delta < delta_ref, at).holds
        for wrong in (
            lambda delta, delta_ref: delta > delta_ref,
            lambda delta, delta_ref: delta <= delta_ref,
            lambda delta, delta_ref: 1 / 0,
        ):
            assert tie_decision("", _below, wrong, at).outcome == "fails"
        below = tie_decision("", lambda delta, delta_ref: False, lambda delta, delta_ref: False, at)
        assert below.outcome == "fails"
        always = tie_decision("", lambda delta, delta_ref: True, lambda delta, delta_ref: True, at)
        assert always.outcome == "fails", "a tie that never says no shows nothing"
        never = tie_decision("", lambda delta, delta_ref: None, _below, at)
        assert never.outcome == "fails", "a tie without decided points shows nothing"

    def _tie(self, package):
        def scale(value, at):
            return abs(at["delta_ref"]) + abs(at["gap"] / at["beta"])

        return tie("a copy", formulas.rlhf_margin, package, self.AT, scale=scale)


def _below(delta, delta_ref):
    return delta < delta_ref


@pytest.mark.parametrize("z", [-800.0, -1.0, 0.0, 2.5, 800.0])
def test_both_arithmetics_agree(z):
    exact = digits(lambda: formulas.softplus(BALL, ball(z)))
    symbol = formulas.softplus(symbolic.SYMPY, sp.Rational(z)).evalf(30)
    assert np.isclose(float(symbol), exact, rtol=1e-12, atol=0)
