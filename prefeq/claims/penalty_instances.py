"""The exact instances on which the statements about Eq. 10 are decided, and their γ."""

from __future__ import annotations

from fractions import Fraction

from prefeq.claims.instance import Instance

TIED = Instance.of("a tie at gamma*", reward=[0, 1], ref=["1/2", "1/2"], pairs=[(0, 1)])
"""Its winner has the lower reward: γ* = −βδ*/4 is rational only where the reference ties (e^x is
irrational for rational x ≠ 0), and then δ* = Δr/β < 0."""

VIOLATED = Instance.of(
    "two responses, violated", reward=[1, 0], ref=["1/20", "19/20"], pairs=[(0, 1)]
)
WORSE = Instance.of(
    "two responses, violated by more", reward=[1, 0], ref=["1/100", "99/100"], pairs=[(0, 1)]
)
SHORT_CHAIN = Instance.of(
    "a violated chain of three",
    reward=["1/5", "1/10", 0],
    ref=["28/89", "36/89", "25/89"],
    pairs=[(0, 1), (1, 2)],
)
ALIGNED = Instance.of(
    "aligned before the penalty",
    reward=[1, 1, 1, "1/10", 0],
    ref=["1/5"] * 5,
    pairs=[(0, 3), (1, 3), (2, 3), (3, 4)],
)
LONG_CHAIN = Instance.of(
    "a chain of four",
    reward=["3/10", "1/5", "1/10", 0],
    ref=["1/6", "1/6", "1/2", "1/6"],
    pairs=[(0, 1), (1, 2), (2, 3)],
)
FALLING = Instance.of(
    "two winners over one",
    reward=[1, 1, "1/2", 0],
    ref=["3/10", "3/10", "1/20", "7/20"],
    pairs=[(0, 2), (1, 2), (2, 3)],
)
UNEVEN = Instance.of(
    "two losers, the second one of more",
    reward=[1, "1/2", 0, 1],
    ref=["1/4"] * 4,
    pairs=[(0, 1), (0, 2), (3, 2)],
)
AMONG_FOUR = Instance.of(
    "a pair among four",
    reward=[1, 0, "1/2", 0],
    ref=["1/10", "2/5", "3/10", "1/5"],
    pairs=[(0, 1)],
)
CHAIN = Instance.of(
    "a chain of three", reward=[1, "1/2", 0], ref=["1/2", "3/10", "1/5"], pairs=[(0, 1), (1, 2)]
)

FAINTEST, FAINT, STRONG = Fraction(1, 20), Fraction(1, 10), Fraction(1)
"""Values of γ."""

CHAINED = Fraction(2, 25)
"""A γ above γ* of `SHORT_CHAIN`, .0757."""

BEFORE_FOLD = Fraction(1, 25)
"""A γ at which `FALLING` still has a local maximum: until .0446."""
