"""`e-cpoc`: a surrogate whose target is kept from falling below a floor keeps the guarantee.

Each released branch has readings of its own, in `smooth_surrogate` and `clip_surrogate`; the
criteria for targets of any kind are readings of `e_cpo`.
"""

from __future__ import annotations

from prefeq.claims import clip_surrogate, smooth_surrogate
from prefeq.claims.registry import Claim, register

register(
    Claim(
        id="e-cpoc",
        title="the E-CPOC surrogate aligns whatever the reference (read as the released smooth and "
        "`clip` branches: which loss the name means is our inference)",
        source="arXiv:2605.20834, released training code",
        provenance="reconstructed",
        readings=(*smooth_surrogate.READINGS, *clip_surrogate.READINGS),
    )
)
