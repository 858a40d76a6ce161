"""Phase diagrams: who is aligned where, over two of δ_ref, Δr, β, m, γ and K.

>>> import prefeq as pq
>>> atlas = pq.atlas.compute("delta_ref=-6:2:9", "beta=0.1:10:5:log", methods=["rlhf", "dpo"])
>>> atlas.share("rlhf") == atlas.share("dpo")
True
"""

from prefeq.atlas.atlas import CODES, Atlas
from prefeq.atlas.axes import FIXED_ONLY, PARAMETERS, Axis
from prefeq.atlas.draw import draw
from prefeq.atlas.grid import compute
from prefeq.atlas.methods import METHODS

__all__ = ["CODES", "FIXED_ONLY", "METHODS", "PARAMETERS", "Atlas", "Axis", "compute", "draw"]
