"""Counts of violating pairs on the capitals: what `violation-rate` says that needs the table."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from prefeq import margins, story
from prefeq.capitals import load_capitals
from prefeq.claims import exact_capitals as capitals
from prefeq.claims import formulas, recheck, ties
from prefeq.claims.ball import ball, exactly, sign
from prefeq.claims.evidence import Evidence, outcome_of
from prefeq.claims.gallery import numbers_of
from prefeq.claims.instance import Instance, build

QUOTED = Fraction(455, 1000)
BETA = Fraction(1, 10)
PAIR = ("Ivory Coast", (0, 1))
"""Yamoussoukro in seven tokens against Abidjan in four."""

COUNTS: dict[capitals.Normalize, list[int]] = {"sum": [0, 6, 17, 51, 71], "mean": [0, 0, 0, 19, 50]}
"""What the statements below say, at `exact_capitals.BETAS`; counted again by the checks."""


def some() -> Iterator[Evidence]:
    """Count the pairs that violate at β = 0.1."""
    count = sum(capitals.violations(BETA, "sum"))
    numbers = {"pairs": capitals.total(), "violated": count, "prompts": len(capitals.countries())}
    yield Evidence(
        "exact",
        f"{count} of {numbers['pairs']} pairs have delta_ref <= -1/beta, in decimals",
        outcome_of(count > 0),
        "counted",
        {"inputs": {"beta": exactly(BETA)}, **numbers},
    )
    yield recounted()
    yield ties.assumption()


def recounted() -> Evidence:
    """Count again with `story.violation_rates`, in floats, intervals included."""

    def comparisons() -> Iterator[recheck.Comparison]:
        for way in capitals.WAYS:
            rows = story.violation_rates(tuple(map(float, capitals.BETAS)), way)
            for beta, row in zip(capitals.BETAS, rows, strict=True):
                counts = capitals.violations(beta, way)
                name = f"{way}, beta = {beta}"
                yield f"{name}: count", row["violated"] == sum(counts)
                yield f"{name}: pairs", row["pairs"] == capitals.total()
                for field, enclosed in (
                    ("interval", capitals.by_pair(beta, way)),
                    ("by_prompt", capitals.by_prompt(beta, way)),
                ):
                    yield f"{name}: {field}", recheck.close(row[field], numbers_of(enclosed))

    return recheck.rechecked("story.violation_rates counts the same", comparisons())


def _intervals() -> tuple[dict[str, Any], bool | None]:
    """Return the count at β = 0.1 with its intervals, and whether both are below the quoted."""
    enclosed = (capitals.by_pair(BETA, "sum"), capitals.by_prompt(BETA, "sum"))
    count, size = sum(capitals.violations(BETA, "sum")), capitals.total()
    signs = [sign(lambda f=f: ball(QUOTED) - f()[1])[0] for f in enclosed]  # type: ignore[misc]
    data = {
        "inputs": {
            "quoted": exactly(QUOTED),
            "beta": exactly(BETA),
            "level": exactly(capitals.LEVEL),
        },
        "violated": count,
        "pairs": size,
        "rate": exactly(Fraction(count, size)),
        "interval": numbers_of(enclosed[0]),
        "interval_by_prompt": numbers_of(enclosed[1]),
    }
    return data, None if None in signs else signs == [1, 1]


def quoted() -> Iterator[Evidence]:
    """Refute that the quoted rate is within the interval of the capitals' rate."""
    found = quoted_too_high(PAIR[0])
    yield found
    yield recounted()
    yield _prompt(found.data["instance"])


def quoted_too_high(country: str) -> Evidence:
    """Return the counterexample to the quoted rate, one country's bandit shown."""
    data, below = _intervals()
    instance = capitals.bandit(country, BETA)
    data |= {
        "instance": instance.to_data(),
        "rlhf_margin": numbers_of(lambda: _rlhf_margins(instance)),
        "inequalities": ["interval[1] < quoted", "interval_by_prompt[1] < quoted"],
    }
    low, high = (100 * end for end in data["interval"])
    return Evidence(
        "counterexample",
        f"{data['violated']} of {data['pairs']} pairs violate: 95 % interval {low:.2f} to "
        f"{high:.2f} % (shown: one of the prompts, probabilities rounded to fractions)",
        outcome_of(below),
        data=data,
    )


def _rlhf_margins(instance: Instance) -> list[Any]:
    beta = ball(instance.beta)
    return [
        formulas.rlhf_margin(instance.delta_ref(k), ball(instance.gap(k)), beta)
        for k in range(len(instance.pairs))
    ]


def _prompt(data: dict[str, Any]) -> Evidence:
    """Feed the exact bandit of the prompt to the package, beside the table's own."""

    def comparisons() -> Iterator[recheck.Comparison]:
        bandit, prefs = build(data)
        row = list(capitals.countries()).index(PAIR[0])
        table = load_capitals(float(BETA))[row]
        near = recheck.close(prefs.ref_margin(bandit), prefs.ref_margin(table), 1e-3)
        yield "its margins are the table's", near
        want = [not capitals.violates(m, BETA) for m in capitals.margins("sum")[row]]
        for name, problem in (("fractions", bandit), ("table", table)):
            gap = prefs.reward_gap(problem)
            holds = margins.assumption_holds(prefs.ref_margin(problem), gap, problem.beta)
            yield f"the violations, {name}", np.asarray(holds).tolist() == want

    return recheck.rechecked("the prompt's bandit violates the same pairs", comparisons())


def below_quoted() -> Iterator[Evidence]:
    """Show the interval of that rate to end below the quoted one."""
    data, below = _intervals()
    said = {"said_violated": COUNTS["sum"][1], "said_pairs": 720}
    data["inputs"] = {**data["inputs"], **said}
    data["inequalities"] = [
        "violated == said_violated",
        "pairs == said_pairs",
        "interval[1] < quoted",
        "interval_by_prompt[1] < quoted",
    ]
    right = [data["violated"], data["pairs"]] == list(said.values())
    yield Evidence(
        "ball",
        f"the 95 % interval ends at {100 * data['interval'][1]:.2f} % by pairs, at "
        f"{100 * data['interval_by_prompt'][1]:.2f} % by prompts",
        outcome_of(None if below is None else below and right),
        "rate-below-quoted",
        data,
    )
    yield recounted()


def sum_or_mean() -> Iterator[Evidence]:
    """Show a pair that violates by sums and not by means."""
    found = told_apart(*PAIR)
    yield found
    yield recounted()
    yield recheck.rechecked("the package's bandits agree", _pair_comparisons(dict(found.data)))


def told_apart(country: str, cities: tuple[int, int]) -> Evidence:
    """Return a pair as a counterexample: it violates by sums and not by means, or conversely."""
    chosen = [capitals.countries()[country][i] for i in cities]
    both = [chosen[0].score(way) - chosen[1].score(way) for way in capitals.WAYS]
    by_sum, by_mean = (capitals.violates(margin, BETA) for margin in both)
    instance = capitals.bandit(country, BETA, cities)
    star = instance.sign_of_optimal_margin(0)
    data: dict[str, Any] = {
        "instance": instance.to_data(),
        "inputs": {
            "country": country,
            "responses": [city.name for city in chosen],
            "logp": [str(city.logp) for city in chosen],
            "tokens": [city.tokens for city in chosen],
            "gap": 1,
            "beta": exactly(BETA),
        },
        "sum_margin": exactly(both[0]),
        "mean_margin": exactly(both[1]),
        "violated_by_sum": sum(capitals.violations(BETA, "sum")),
        "violated_by_mean": sum(capitals.violations(BETA, "mean")),
        "rlhf_margin": numbers_of(lambda: _rlhf_margins(instance)),
        "inequalities": [
            f"sum_margin {'<=' if by_sum else '>'} -gap/beta",
            f"mean_margin {'<=' if by_mean else '>'} -gap/beta",
            f"rlhf_margin[0] {'<' if by_sum else '>'} 0",
        ],
    }
    same = star is not None and (star < 0) == by_sum
    return Evidence(
        "counterexample",
        f"{chosen[0].name} ({chosen[0].tokens} tokens) against {chosen[1].name} "
        f"({chosen[1].tokens}): delta_ref = {float(both[0]):.3f} by sums, {float(both[1]):.3f} by "
        f"means, -gap/beta = {-1 / float(BETA):g} (the instance: its odds by sums as fractions)",
        outcome_of(by_sum != by_mean if same else None),
        data=data,
    )


def _pair_comparisons(data: dict[str, Any]) -> Iterator[recheck.Comparison]:
    row, chosen = list(capitals.countries()).index(PAIR[0]), data["inputs"]
    for way, violated in (("sum", True), ("mean", False)):
        bandit = load_capitals(float(BETA), way)[row]
        margin = bandit.ref_logp[PAIR[1][0]] - bandit.ref_logp[PAIR[1][1]]
        yield f"{way}: margin", recheck.close(margin, float(Fraction(data[f"{way}_margin"])))
        holds = bool(margins.assumption_holds(margin, float(chosen["gap"]), bandit.beta))
        yield f"{way}: violated", holds != violated
    bandit, prefs = build(data["instance"])
    found = prefs.ref_margin(bandit)[0]
    yield "the instance", recheck.close(found, float(Fraction(data["sum_margin"])), 1e-3)


def rates() -> Iterator[Evidence]:
    """Count by sums and by means at every β."""
    found = {
        f"{way}_violated": [sum(capitals.violations(beta, way)) for beta in capitals.BETAS]
        for way in COUNTS
    }
    last = capitals.BETAS[-1]
    only = len(capitals.violating(last, "mean") - capitals.violating(last, "sum"))
    said = all(found[f"{way}_violated"] == counts for way, counts in COUNTS.items())
    data: dict[str, Any] = {
        "inputs": {
            "betas": [exactly(beta) for beta in capitals.BETAS],
            "level": exactly(capitals.LEVEL),
            "said": COUNTS,
            "said_by_mean_only": 17,
        },
        "pairs": capitals.total(),
        **found,
        "by_mean_only_at_last": only,
    }
    for way in COUNTS:
        data[f"{way}_interval"] = [numbers_of(capitals.by_pair(b, way)) for b in capitals.BETAS]
        data[f"{way}_interval_by_prompt"] = [
            numbers_of(capitals.by_prompt(b, way)) for b in capitals.BETAS
        ]
    yield Evidence(
        "exact",
        f"counted in decimals: sums {found['sum_violated']}, means {found['mean_violated']}",
        outcome_of(said and only == 17 and capitals.total() == 720),
        "rates",
        data,
    )
    yield recounted()


def nested() -> Evidence:
    """Compare the sets of violating pairs at rising β, by sums and by means."""
    sizes: dict[str, list[int]] = {}
    good = True
    for way in capitals.WAYS:
        sets = [capitals.violating(beta, way) for beta in capitals.BETAS]
        good &= all(a <= b for a, b in itertools.pairwise(sets))
        sizes[f"{way}_violated"] = [len(found) for found in sets]
    return Evidence(
        "exact",
        f"on the capitals, beta from {capitals.BETAS[0]} to {capitals.BETAS[-1]}: each set of "
        "violating pairs contains the one before, by sums and by means",
        outcome_of(good),
        "nested",
        {"inputs": {"betas": [exactly(beta) for beta in capitals.BETAS]}, **sizes},
    )
