"""DPO-type losses as one family: ℓ(β(δ − t)) with a target margin t.

`LOSSES` maps names to losses with default parameters; the constructors take others. The defaults
of `smooth`, `eq17`, `easy`, `simpo` and `cdpo` are ours.

>>> from prefeq.losses import LOSSES, smooth
>>> sorted(LOSSES)
['cdpo', 'clip', 'dpo', 'easy', 'eq17', 'hinge', 'hypo', 'ipo', 'simpo', 'smooth']
>>> float(LOSSES["dpo"].value(-1.0, -2.0, 1.0))
0.31326168751822286
>>> float(LOSSES["ipo"].minimiser(-8.0, 0.1)), bool(LOSSES["ipo"].traps(-8.0, 0.1))
(-3.0, True)
>>> round(float(smooth(gamma=0.0).target(-2.0, 1.0)), 6)
0.126928
"""

from prefeq.losses.family import (
    CLIP,
    DPO,
    HINGE,
    IPO,
    LOSSES,
    cdpo,
    easy,
    eq17,
    simpo,
    smooth,
)
from prefeq.losses.links import Link
from prefeq.losses.loss import Flipped, Loss
from prefeq.losses.targets import Reference, TargetRule

__all__ = [
    "CLIP",
    "DPO",
    "HINGE",
    "IPO",
    "LOSSES",
    "Flipped",
    "Link",
    "Loss",
    "Reference",
    "TargetRule",
    "cdpo",
    "easy",
    "eq17",
    "simpo",
    "smooth",
]
