"""Losses by name: ours, TRL's, and a function of a module or of a file."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Callable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from prefeq import losses
from prefeq.errors import ProblemError
from prefeq.loss_cards.callables import Library, adapt, own_loss
from prefeq.loss_cards.engines import ALIASES, TOKENS, arguments
from prefeq.loss_cards.pair_loss import PairLoss, checked_beta
from prefeq.loss_cards.settle import settled
from prefeq.losses import LOSSES, Loss

CONSTRUCTORS: Mapping[str, Callable[..., Loss]] = {
    name: function
    for name, function in vars(losses).items()
    if name in losses.__all__ and inspect.isfunction(function) and name in LOSSES
}
"""Those of our losses that take more parameters than β."""


def load(text: str, *, library: Library = "auto", **parameters: Any) -> PairLoss:
    """Return the loss that a text names.

    Parameters
    ----------
    text
        One of ours (``dpo``, or ``prefeq:dpo``), a loss type of TRL's `DPOTrainer` (``sppo_hard``,
        or ``trl:sigmoid``), ``MODULE:FUNCTION``, or ``FILE.py:FUNCTION``. What both of us have
        under one name is ours, unless it says ``trl:``.
    library
        For functions: see `adapt`.
    parameters
        Keyword arguments of the loss.

    Raises
    ------
    ProblemError
        If there is none, saying which there are.

    Examples
    --------
    >>> load("cdpo", eps=0.2, beta=0.5).name
    'cdpo'
    """
    where, colon, what = text.rpartition(":")
    if where == "prefeq" or (not colon and what in LOSSES):
        return _own(what, **parameters)
    if where == "trl" or not colon:
        return _of_trl(what, listed=not colon, **parameters)
    function = _function(text)
    _check_parameters(function, what, parameters)
    return adapt(function, library=library, **parameters)


def source_files(text: str) -> list[Path]:
    """Return the files that a loss by name may be read from: none for ours and for TRL's.

    Examples
    --------
    >>> [path.as_posix() for path in source_files("losses/mine.py:loss")]
    ['losses/mine.py']
    >>> [path.as_posix() for path in source_files("mine:loss")]
    ['mine.py', 'mine/__init__.py']
    >>> source_files("trl:ipo")
    []
    """
    where, colon, _ = text.rpartition(":")
    if not colon or where in ("prefeq", "trl"):
        return []
    if where.endswith(".py"):
        return [Path(where)]
    module = where.replace(".", "/")  # beside the user, where `_imported` looks first
    return [Path(f"{module}.py"), Path(module, "__init__.py")]


def _function(text: str) -> Any:
    where, _, what = text.rpartition(":")
    found = _from_file(Path(where), what) if where.endswith(".py") else _imported(where, what)
    if isinstance(found, type):
        raise ProblemError(f"{what} is a class: pass an instance of it, or a function")
    return found


def _check_parameters(function: Any, name: str, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that the function does not know, and say which it knows."""
    known = _settable(function)
    for given in parameters:
        if known is not None and given not in (*known, "beta"):  # β may be inside the function
            takes = ", ".join(known) or "the log-probs alone"
            raise ProblemError(f"{name} takes no {given!r}; it takes {takes}")


def _settable(function: Any) -> list[str] | None:
    """Return the parameters beside log-probs and lengths; None if it may take any."""
    try:
        # A decorator may take more than the function within says: its own signature counts.
        known = inspect.signature(function, follow_wrapped=False).parameters.values()
        first, named = arguments(function, {n: n for n in ALIASES}, {n: n for n in TOKENS})
    except (TypeError, ValueError):  # some built-in functions have no signature
        return None
    if any(p.kind is p.VAR_KEYWORD for p in known):
        return None
    by_place = [p for p in known if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    by_name = [p for p in known if p.kind is p.KEYWORD_ONLY]
    rest = by_place[len(first) :] + by_name
    return [p.name for p in rest if p.name not in named and p.kind is not p.POSITIONAL_ONLY]


def beside(other: Any, first: PairLoss, parameters: Mapping[str, Any]) -> PairLoss:
    """Return a second loss to compare with a first: at its β, with the parameters that it takes.

    Parameters
    ----------
    other
        Whatever `adapt` takes.
    first
        The loss that it is compared with: its β counts if `parameters` have none.
    parameters
        Those that the first was given; the second gets those that it knows.

    Examples
    --------
    >>> beside("hypo", adapt("dpo", beta=0.5), {}).beta
    0.5
    """
    if isinstance(other, PairLoss):
        known = {name: x for name, x in parameters.items() if name in other.settings}
        return adapt(other, **known)
    if isinstance(other, str) and ":" in other and not other.startswith(("trl:", "prefeq:")):
        other = _function(other)
    beta = {} if first.beta is None else {"beta": first.beta}
    given = {**beta, **parameters}
    return adapt(other, **{name: x for name, x in given.items() if _takes(other, name)})


def _takes(other: Any, name: str) -> bool:
    """Tell whether a loss, by name or itself, knows a parameter."""
    if isinstance(other, Loss):
        return name == "beta"
    if isinstance(other, str):
        from prefeq.loss_cards.trl_engine import DEFAULTS

        own = other.removeprefix("prefeq:")
        if own not in LOSSES:
            return name in DEFAULTS
        return name == "beta" or name in inspect.signature(CONSTRUCTORS.get(own, len)).parameters
    try:
        known = inspect.signature(other).parameters
    except (TypeError, ValueError):  # some built-in functions have no signature
        return False
    return name in known or any(p.kind is p.VAR_KEYWORD for p in known.values())


def _own(name: str, **parameters: Any) -> PairLoss:
    if name not in LOSSES:
        raise ProblemError(f"prefeq has no loss {name!r}: choose from {', '.join(sorted(LOSSES))}")
    if name not in CONSTRUCTORS:
        return own_loss(LOSSES[name], **parameters)
    beta = {"beta": parameters.pop("beta")} if "beta" in parameters else {}
    known = inspect.signature(CONSTRUCTORS[name]).parameters
    for given in parameters:
        if given not in known:
            raise ProblemError(f"{name} takes beta, {', '.join(known)}, not {given!r}")
    return own_loss(CONSTRUCTORS[name](**parameters), **beta)


def _of_trl(name: str, listed: bool, **parameters: Any) -> PairLoss:
    from prefeq.loss_cards.trl_engine import DEFAULTS, TrlEngine, trl_types

    if importlib.util.find_spec("trl") is None and listed:
        raise ProblemError(
            f"no loss {name!r}: ours are {', '.join(sorted(LOSSES))}; those of TRL need the trl "
            "extra; for a function of yours write MODULE:FUNCTION or FILE.py:FUNCTION"
        )
    if name not in trl_types():
        ours = f"; ours are {', '.join(sorted(LOSSES))}" if listed else ""
        raise ProblemError(
            f"TRL has no loss type {name!r}: choose from {', '.join(trl_types())}{ours}; for a "
            "function of yours write MODULE:FUNCTION or FILE.py:FUNCTION"
        )
    beta = checked_beta(parameters.get("beta", DEFAULTS["beta"]))
    for parameter in DEFAULTS.keys() & parameters.keys() - {"beta"}:
        _check_number(f"trl:{name}: {parameter}", parameters[parameter])
    given = {**parameters, "beta": beta}
    return settled(PairLoss(f"trl:{name}", TrlEngine(name), given, beta))


def _check_number(what: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ProblemError(f"{what} = {value!r}: must be a finite number")


def _imported(module: str, name: str) -> Any:
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)  # `python -m` finds modules beside the user; so does this
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        raise ProblemError(
            f"module {module!r} cannot be imported ({error}); name a module on the path, or a "
            "file: FILE.py:FUNCTION"
        ) from error
    except (Exception, SystemExit) as error:  # other people's modules raise what they like
        raise ProblemError(f"module {module!r} fails: {_why(error)}") from error
    finally:
        if added:
            sys.path.remove(here)
    return _attribute(loaded, name, module)


def _from_file(path: Path, name: str) -> Any:
    if not path.is_file():
        raise ProblemError(f"{path}: no such file")
    key = f"prefeq_loss_{path.stem}"
    spec = importlib.util.spec_from_file_location(key, path)
    if spec is None or spec.loader is None:
        raise ProblemError(f"{path}: cannot be loaded as a module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[key] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # other people's files raise what they like
        raise ProblemError(f"{path} fails: {_why(error)}") from error
    finally:
        del sys.modules[key]
    return _attribute(module, name, str(path))


def _why(error: BaseException) -> str:
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, SystemExit):
        said += "; it must not exit when it is loaded: do that under if __name__ == '__main__'"
    return said


def _attribute(module: Any, name: str, where: str) -> Any:
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None:
        here = sorted(n for n, v in vars(module).items() if callable(v) and n[0] != "_")
        raise ProblemError(f"{where} has no {name!r}; it has {', '.join(here) or 'no functions'}")
    return found
