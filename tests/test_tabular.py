"""`solve_table` against answers recomputed here, from the formulas, without the solvers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logit

from prefeq.errors import ProblemError
from prefeq.tabular import solve_table

METHODS = ("rlhf", "dpo", "cpo")


def make_table(prompts: dict[str, dict[str, tuple[float, float]]]) -> dict[str, list[Any]]:
    """Turn {prompt: {response: (ref_logp, reward)}} into columns."""
    rows = [(p, r, *values) for p, inner in prompts.items() for r, values in inner.items()]
    names = ("prompt", "response", "ref_logp", "reward")
    return {name: [row[c] for row in rows] for c, name in enumerate(names)}


def random_table(rng: np.random.Generator, n: int, k: int) -> dict[str, list[Any]]:
    return make_table(
        {
            f"p{i}": {
                f"r{j}": (4 * rng.standard_normal(), float(rng.integers(-2, 3))) for j in range(k)
            }
            for i in range(n)
        }
    )


def cpo_by_descent(ref: np.ndarray, reward: np.ndarray, beta: float, pairs: list[Any], m: float):
    """Maximise J under the margins with a general-purpose optimiser on softmax logits."""

    def loss(z: np.ndarray) -> float:
        logp = log_softmax(z)
        p = np.exp(logp)
        return float(-(p @ reward) + beta * (p @ (logp - ref)))

    constraints = [
        {"type": "ineq", "fun": lambda z, w=w, lo=lo: z[w] - z[lo] - m} for w, lo in pairs
    ]
    found = minimize(
        loss, log_softmax(ref + reward / beta), constraints=constraints, method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    )  # fmt: skip
    assert found.success, found.message
    return log_softmax(found.x)


def test_every_field_of_a_two_response_prompt() -> None:
    table = make_table({"p": {"right": (-3.0, 1.0), "famous": (-0.5, 0.25)}})
    beta, m = 0.8, 0.125
    form = solve_table(table, beta=beta, margin=m).to_dict()
    assert list(form) == ["beta", "labels", "margin", "summary", "prompts"]
    assert (form["beta"], form["labels"], form["margin"]) == (beta, "bradley-terry", m)
    assert form["summary"] == {"prompts": 1, "pairs": 1, "violated": 1, "violation_rate": 1.0}
    (prompt,) = form["prompts"]
    assert list(prompt) == ["prompt", "responses", "assumption_holds", "logp", "objective",
                            "status", "residual", "pairs"]  # fmt: skip
    assert prompt["prompt"] == "p"
    assert prompt["responses"] == ["right", "famous"]
    assert prompt["assumption_holds"] is False
    assert prompt["status"] == dict.fromkeys(METHODS, "optimal")

    ref_margin, gap = -2.5, 0.75
    star = ref_margin + gap / beta
    margins = {"ref": ref_margin, "rlhf": star, "dpo": star, "cpo": m}
    (pair,) = prompt["pairs"]
    assert list(pair) == ["winner", "loser", "reward_gap", "ref_margin", "rlhf_margin",
                          "dpo_margin", "cpo_margin", "critical_gap", "violated"]  # fmt: skip
    assert (pair["winner"], pair["loser"], pair["violated"]) == ("right", "famous", True)
    assert pair["reward_gap"] == gap
    assert pair["critical_gap"] == pytest.approx(2.0, rel=1e-14)
    for name, delta in margins.items():
        assert pair[f"{name}_margin"] == pytest.approx(delta, rel=1e-9), name
        logp = np.log([expit(delta), expit(-delta)])
        assert prompt["logp"][name] == pytest.approx(logp, rel=1e-9), name
        p, ref = np.exp(logp), np.log([expit(ref_margin), expit(-ref_margin)])
        value = p @ [1.0, 0.25] - beta * p @ (logp - ref)
        assert prompt["objective"][name] == pytest.approx(value, rel=1e-9), name
    for method in METHODS:
        assert 0 <= prompt["residual"][method] <= 1e-9


def test_random_tables_against_recomputation(rng: np.random.Generator) -> None:
    beta, table = 0.7, random_table(rng, n=12, k=4)
    report = solve_table(table, beta=beta)
    assert [p["prompt"] for p in report.prompts] == [f"p{i}" for i in range(12)]
    violated = 0
    for i, prompt in enumerate(report.prompts):
        ref = log_softmax(np.array(table["ref_logp"][4 * i : 4 * i + 4]))
        reward = np.array(table["reward"][4 * i : 4 * i + 4])
        pairs = [(w, lo) for w in range(4) for lo in range(4) if reward[w] > reward[lo]]
        named = {(f"r{w}", f"r{lo}") for w, lo in pairs}
        assert {(p["winner"], p["loser"]) for p in prompt["pairs"]} == named
        star = log_softmax(ref + reward / beta)
        cpo = cpo_by_descent(ref, reward, beta, pairs, 0.0)
        np.testing.assert_allclose(prompt["logp"]["ref"], ref, rtol=0, atol=1e-12)
        np.testing.assert_allclose(prompt["logp"]["rlhf"], star, rtol=0, atol=1e-12)
        np.testing.assert_allclose(np.exp(prompt["logp"]["cpo"]), np.exp(cpo), rtol=0, atol=1e-5)
        for pair in prompt["pairs"]:
            w, lo = (int(pair[role][1:]) for role in ("winner", "loser"))
            assert pair["reward_gap"] == reward[w] - reward[lo]
            assert pair["ref_margin"] == pytest.approx(ref[w] - ref[lo], abs=1e-12)
            assert pair["rlhf_margin"] == pytest.approx(star[w] - star[lo], abs=1e-12)
            assert pair["dpo_margin"] == pytest.approx(star[w] - star[lo], abs=1e-9)
            assert pair["cpo_margin"] >= -1e-12
            assert pair["critical_gap"] == pytest.approx(-beta * (ref[w] - ref[lo]), abs=1e-12)
            assert pair["violated"] is bool(star[w] <= star[lo])
            violated += pair["violated"]
        assert prompt["assumption_holds"] is not any(p["violated"] for p in prompt["pairs"])
    total = sum(len(p["pairs"]) for p in report.prompts)
    assert 0 < violated < total
    assert report.summary == {
        "prompts": 12, "pairs": total, "violated": violated, "violation_rate": violated / total,
    }  # fmt: skip


def test_ordered_labels_diverge_and_have_no_policy() -> None:
    table = make_table({"p": {"a": (-1.0, 1.0), "b": (-1.0, 0.0), "c": (-2.0, 0.0)}})
    form = solve_table(table, beta=1.0, labels="ordered").to_dict()
    (prompt,) = form["prompts"]
    assert form["labels"] == "ordered"
    assert prompt["status"] == {"rlhf": "optimal", "dpo": "diverges", "cpo": "optimal"}
    assert prompt["logp"]["dpo"] is None
    assert prompt["objective"]["dpo"] is None
    assert 0 <= prompt["residual"]["dpo"] <= 1e-9, "the divergence carries its certificate"
    assert [pair["dpo_margin"] for pair in prompt["pairs"]] == ["inf", "inf"]


def test_labels_of_a_prob_column_override_and_masses_weigh() -> None:
    table = make_table({"p": {"a": (-1.0, 1.0), "b": (-0.5, 0.0)}, "q": {"a": (0, 1), "b": (0, 0)}})
    probs, masses = [0.9, 0.25, 0.8], [2.0, 0.5, 0.0]
    pairs = {"prompt": ["p", "p", "p"], "winner": ["a", "a", "b"], "loser": ["b", "b", "a"],
             "prob": probs, "mass": masses}  # fmt: skip
    beta = 0.4
    report = solve_table(table, pairs, beta=beta, labels="ordered")
    assert report.labels == "prob"
    first, second = report.prompts
    q = (2.0 * 0.9 + 0.5 * 0.25) / 2.5
    assert len(first["pairs"]) == 2, "a pair of zero mass is absent"
    for pair in first["pairs"]:
        assert pair["dpo_margin"] == pytest.approx(-0.5 + logit(q) / beta, abs=1e-9)
    assert second["pairs"] == []
    assert second["assumption_holds"] is True
    np.testing.assert_allclose(second["logp"]["dpo"], second["logp"]["ref"], atol=1e-12)
    np.testing.assert_allclose(second["logp"]["cpo"], second["logp"]["rlhf"], atol=1e-12)


def test_a_disconnected_graph_is_not_unique_and_lands_where_descent_does() -> None:
    table = make_table({"p": {str(i): (0.0, 2.0 - i) for i in range(4)}})
    pairs = {"prompt": ["p", "p"], "winner": ["0", "2"], "loser": ["1", "3"]}
    (prompt,) = solve_table(table, pairs, beta=1.0).prompts
    assert prompt["status"]["dpo"] == "not-unique"
    assert prompt["assumption_holds"] is True
    dpo, rlhf = np.exp(prompt["logp"]["dpo"]), np.exp(prompt["logp"]["rlhf"])
    np.testing.assert_allclose(dpo, [0.36553, 0.13447, 0.36553, 0.13447], atol=5e-6)
    np.testing.assert_allclose(rlhf, [0.64391, 0.23688, 0.08714, 0.03206], atol=5e-6)


def test_infeasible_margins_are_an_answer_of_their_prompt_alone() -> None:
    table = make_table({p: dict.fromkeys("abc", (-1.0, 0.0)) for p in "pq"})
    pairs = {"prompt": list("pppq"), "winner": list("abca"), "loser": list("bcab")}
    first, second = solve_table(table, pairs, beta=1.0, margin=0.5).to_dict()["prompts"]
    assert first["status"]["cpo"] == "infeasible"
    assert first["logp"]["cpo"] is None
    assert first["objective"]["cpo"] is None
    assert first["residual"]["cpo"] is None
    assert [pair["cpo_margin"] for pair in first["pairs"]] == [None] * 3
    assert second["status"]["cpo"] == "optimal"
    assert second["pairs"][0]["cpo_margin"] == pytest.approx(0.5, abs=1e-12)


def test_margins_of_a_diverging_dpo_are_limits() -> None:
    table = make_table({"p": dict.fromkeys("abcd", (-1.0, 0.0))})
    pairs = {"prompt": ["p"] * 3, "winner": list("aca"), "loser": list("bdc"), "prob": [1, 1, 0.5],
             "mass": [1, 1, 1]}  # fmt: skip
    (prompt,) = solve_table(table, pairs, beta=1.0).to_dict()["prompts"]
    assert prompt["status"]["dpo"] == "diverges"
    assert [pair["dpo_margin"] for pair in prompt["pairs"]] == ["inf", "inf", 0.0]


def test_the_assumption_is_strict_so_a_tie_violates_it() -> None:
    table = make_table({"p": {"a": (-1.0, 0.5), "b": (-1.0, 0.5)}})
    pairs = {"prompt": ["p"], "winner": ["b"], "loser": ["a"]}
    (prompt,) = solve_table(table, pairs, beta=1.0).to_dict()["prompts"]
    assert prompt["assumption_holds"] is False
    (pair,) = prompt["pairs"]
    assert pair["violated"] is True
    assert {name: pair[name] for name in pair if name.endswith(("margin", "gap"))} == {
        "reward_gap": 0.0, "ref_margin": 0.0, "rlhf_margin": 0.0, "dpo_margin": 0.0,
        "cpo_margin": 0.0, "critical_gap": 0.0,
    }  # fmt: skip
    assert "-0.0" not in str(pair)


def test_impossible_responses_stay_listed_with_no_mass() -> None:
    table = make_table({"p": {"a": (-1.0, 1.0), "x": (-math.inf, 9.0), "b": (-2.0, 0.0)}})
    (prompt,) = solve_table(table, beta=1.0).to_dict()["prompts"]
    assert prompt["responses"] == ["a", "x", "b"]
    assert [(p["winner"], p["loser"]) for p in prompt["pairs"]] == [("a", "b")]
    for name in ("ref", *METHODS):
        assert prompt["logp"][name][1] == "-inf"


def test_rows_of_a_prompt_need_not_stand_together() -> None:
    table = make_table({"p": {"a": (-1, 1), "b": (-2, 0)}, "q": {"a": (-3, 1), "b": (-1, 0)}})
    order = [0, 2, 1, 3]
    mixed = {name: [values[i] for i in order] for name, values in table.items()}
    assert solve_table(mixed, beta=1.0).to_dict() == solve_table(table, beta=1.0).to_dict()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"beta": 0.0}, "beta = 0"),
        ({"beta": -1.0}, "beta = -1"),
        ({"beta": math.nan}, "beta = nan"),
        ({"beta": math.inf}, "beta = inf"),
        ({"beta": 1.0, "margin": math.nan}, "margin = nan"),
        ({"beta": 1.0, "labels": "elo"}, "labels = 'elo'"),
        ({"beta": 1e-200}, "prompt 'p'"),
    ],
)
def test_parameters_that_cannot_be_meant(options: dict[str, Any], word: str) -> None:
    table = make_table({"p": {"a": (-1, 1), "b": (-2, 0)}})
    with pytest.raises(ProblemError) as caught:
        solve_table(table, **options)
    assert str(caught.value).startswith(word)
    assert "\n" not in str(caught.value)


def test_the_report_fits_a_terminal_and_shows_the_worst_prompts_first() -> None:
    names = {f"prompt {i} \x1b[31m\n东京 " + "x" * 300: i for i in range(30)}
    table = make_table({n: {"a" * 90: (-float(i), 1), "b\tc": (0, 0)} for n, i in names.items()})
    report = solve_table(table, beta=1.0)
    text = str(report)
    assert text.isprintable() or set(text) - {"\n"} <= {c for c in text if c.isprintable()}
    assert max(map(len, text.splitlines())) <= 100
    shown = [line for line in text.splitlines() if line.startswith("prompt ") and "1/1" in line]
    assert shown[0].startswith("prompt 29 ")
    assert len(shown) == 20
    assert "... and 10 more prompts" in text
    assert "violated by 29 of 30 pairs (96.7 %)" in text
    assert report._repr_html_().startswith("<pre>")


def test_the_worst_pair_of_a_prompt_is_the_one_shown() -> None:
    table = make_table({"p": {"a": (-1.0, 1.0), "b": (-0.5, 0.0), "c": (-9.0, 0.5)}})
    row = next(line for line in str(solve_table(table, beta=1.0)).splitlines() if line[:2] == "p ")
    assert row.split() == ["p", "c", ">", "b", "1/3", "-8.500", "-8.000", "-8.000", "0.000"]


def test_a_status_that_is_no_optimum_explains_itself() -> None:
    table = make_table({"p": {"a": (-1.0, 1.0), "b": (-1.0, 0.0)}})
    assert "diverges: The loss has no minimiser" in str(
        solve_table(table, beta=1, labels="ordered")
    )
    assert "diverges" not in str(solve_table(table, beta=1))


def test_a_table_without_pairs_has_no_rate() -> None:
    report = solve_table(make_table({"p": {"a": (-1.0, 1.0)}}), beta=1.0)
    assert report.summary["violation_rate"] is None
    assert report.prompts[0]["pairs"] == []
    assert "(no pairs)" in str(report)
