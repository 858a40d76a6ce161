"""Any preference loss as a `PairLoss`: each pair's value and gradient, whatever the code's form."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from prefeq.errors import ProblemError
from prefeq.loss_cards.engines import Engine, NumpyEngine, OwnEngine, TorchEngine, raised
from prefeq.loss_cards.pair_loss import PairLoss, checked_beta
from prefeq.loss_cards.pairs import mixed_pairs
from prefeq.loss_cards.settle import settled
from prefeq.losses import Loss

Library: TypeAlias = Literal["auto", "numpy", "torch"]


def adapt(loss: Any, *, library: Library = "auto", **parameters: Any) -> PairLoss:
    """Return any preference loss as a `PairLoss`.

    Parameters
    ----------
    loss
        A callable of (chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps,
        **parameters) on NumPy arrays or torch tensors, returning one value a pair, their mean or
        their sum, alone or first in a tuple; a `prefeq.losses.Loss`; a name (see `names.load`);
        or a `PairLoss`.
    library
        ``auto`` tries NumPy arrays first, then torch tensors.
    parameters
        Keyword arguments of the loss, such as ``beta=0.1``. Of a function that takes no ``beta``,
        the β that it has inside: margins are measured in units of 1/β.

    Raises
    ------
    ProblemError
        If it cannot be called so, or returns something else than numbers.

    Examples
    --------
    >>> import numpy as np
    >>> def dpo(chosen, rejected, ref_chosen, ref_rejected, beta=0.1):
    ...     return np.logaddexp(0, -beta * (chosen - rejected - ref_chosen + ref_rejected)).mean()
    >>> loss = adapt(dpo)
    >>> loss.library, loss.reduction, loss.coupled, loss.beta
    ('numpy', 'mean', False, 0.1)
    """
    if isinstance(loss, str):
        from prefeq.loss_cards import names

        return names.load(loss, library=library, **parameters)
    if isinstance(loss, PairLoss):
        return loss.with_parameters(**parameters) if parameters else loss
    if isinstance(loss, Loss):
        return own_loss(loss, **parameters)
    if not callable(loss):
        raise ProblemError(
            f"{type(loss).__name__} is no loss: pass a function of (chosen_logps, rejected_logps, "
            "ref_chosen_logps, ref_rejected_logps), a name, or one of prefeq.losses"
        )
    name = str(getattr(loss, "__name__", type(loss).__name__))
    beta, inside = _beta(loss, parameters), "beta" in parameters and not _takes(loss, "beta")
    given = {key: x for key, x in parameters.items() if key != "beta" or not inside}
    engine = _engine(loss, name, library, given)
    return settled(PairLoss(name, engine, given, beta, beta_inside=inside))


def own_loss(loss: Loss, **parameters: Any) -> PairLoss:
    """Return one of `prefeq.losses` with its β (0.1 unless given)."""
    beta = checked_beta(parameters.pop("beta", 0.1))
    if parameters:
        raise ProblemError(
            f"{loss.name} takes beta only, not {', '.join(parameters)}; build the loss with other "
            "parameters (prefeq.losses.smooth(alpha=...)) and pass that"
        )
    return PairLoss(loss.name, OwnEngine(loss), {"beta": beta}, beta)


def _takes(function: Callable[..., Any], name: str) -> bool:
    try:
        known = inspect.signature(function).parameters
    except (TypeError, ValueError):  # some built-in functions have no signature
        return True
    return name in known or any(p.kind is p.VAR_KEYWORD for p in known.values())


def _beta(function: Callable[..., Any], parameters: Mapping[str, Any]) -> float | None:
    if "beta" in parameters:
        return checked_beta(parameters["beta"])
    try:
        found = inspect.signature(function).parameters.get("beta")
    except (TypeError, ValueError):
        return None
    if found is None or not isinstance(found.default, int | float):
        return None
    return checked_beta(found.default)


def _engine(
    function: Callable[..., Any], name: str, library: Library, parameters: Mapping[str, Any]
) -> Engine:
    engines: dict[str, Callable[[Any], Engine]] = {
        "numpy": NumpyEngine,
        "torch": TorchEngine,
    }
    if library not in ("auto", *engines):
        raise ProblemError(f"library = {library!r}: pass 'auto', 'numpy' or 'torch'")
    pairs = mixed_pairs(3)
    said: dict[str, str] = {}
    for kind in engines if library == "auto" else (library,):
        try:
            engine = engines[kind](function)
            engine.call(pairs, parameters, "float64")
            return engine
        except (Exception, SystemExit) as error:  # other people's code raises what it likes
            said[kind] = raised(error)
    hint = ""
    if any("beta" in text and "missing" in text for text in said.values()):
        hint = "; pass it: beta=0.1 (on the command line --kw beta=0.1)"
    why = "; ".join(f"with {kind}: {text}" for kind, text in said.items())
    if len(said) > 1 and len(set(said.values())) == 1:  # the same with both: said once
        why = next(iter(said.values()))
    raise ProblemError(f"{name} cannot be called ({why}){hint}")
