"""Any preference loss on the bench: its card, and the measurements that the card is made of.

Importing this loads NumPy and nothing heavier; torch and TRL are loaded where a loss needs them.
"""

from prefeq.loss_cards.agreement import Agreement, agreement, same_as
from prefeq.loss_cards.alignment import Alignment, alignment
from prefeq.loss_cards.analyse import analyse_loss
from prefeq.loss_cards.between import looked_at
from prefeq.loss_cards.callables import adapt
from prefeq.loss_cards.card import LossCard
from prefeq.loss_cards.counterexample import Counterexample
from prefeq.loss_cards.curve import Curve, Ranges
from prefeq.loss_cards.dependence import Dependence, dependence
from prefeq.loss_cards.faults import Fault, find_faults
from prefeq.loss_cards.field import Field
from prefeq.loss_cards.flow import (
    FirstStep,
    Trap,
    exit_time,
    exit_time_ratio,
    first_step,
    ordered,
    trap,
    traps,
    weak_share,
)
from prefeq.loss_cards.minima import Landscape, landscape
from prefeq.loss_cards.pair_loss import PairLoss
from prefeq.loss_cards.pairs import Pairs
from prefeq.loss_cards.precision import Finding, extremes
from prefeq.loss_cards.shape import Shape, shape
from prefeq.loss_cards.target import Target, target

__all__ = [
    "Agreement",
    "Alignment",
    "Counterexample",
    "Curve",
    "Dependence",
    "Fault",
    "Field",
    "Finding",
    "FirstStep",
    "Landscape",
    "LossCard",
    "PairLoss",
    "Pairs",
    "Ranges",
    "Shape",
    "Target",
    "Trap",
    "adapt",
    "agreement",
    "alignment",
    "analyse_loss",
    "dependence",
    "exit_time",
    "exit_time_ratio",
    "extremes",
    "find_faults",
    "first_step",
    "landscape",
    "looked_at",
    "ordered",
    "same_as",
    "shape",
    "target",
    "trap",
    "traps",
    "weak_share",
]
