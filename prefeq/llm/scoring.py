"""Score preference pairs with a causal language model: from text to the columns of an audit."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import numpy as np
import torch

from prefeq.errors import ProblemError
from prefeq.llm.columns import POLICY, REFERENCE, TOKENS
from prefeq.llm.logps import sequence_logps
from prefeq.progress import progress

__all__ = ["score_pairs"]

End: TypeAlias = Literal["template", "eos", "none"]
Role: TypeAlias = Literal["reference", "policy"]
Text: TypeAlias = "str | list[dict[str, Any]]"

SIDES = ("chosen", "rejected")


def score_pairs(
    model: Any,
    tokenizer: Any,
    pairs: Iterable[Mapping[str, Any]],
    *,
    role: Role = "reference",
    end: End = "template",
    max_length: int | None = None,
    batch_size: int = 8,
) -> dict[str, Any]:
    """Return log π(chosen | prompt) and log π(rejected | prompt) of each pair, in nats.

    Sums over the tokens of the completion, each predicted from all tokens before it, tokenised as
    TRL's `DPOTrainer` does: prompt and completion as one text, and what they share with the prompt
    alone belongs to the prompt. A mapping of columns comes back, under TRL's names, ready for
    ``pq.audit``; for the trained model beside its reference,
    ``score_pairs(ref, ...) | score_pairs(policy, ..., role="policy")``.

    Parameters
    ----------
    model, tokenizer
        A causal language model of transformers and its tokenizer. The model is used as it is, on
        its device and in its dtype, without dropout.
    pairs
        Mappings with `prompt`, `chosen` and `rejected`: all text, or all lists of messages
        (``{"role": ..., "content": ...}``), which the tokenizer's chat template then renders.
        Without `prompt`, it is the messages that `chosen` and `rejected` begin with. Other columns
        of numbers or text (rewards, a `row_id`) are handed on.
    role
        Whose columns these are: ``"reference"`` (`ref_chosen_logps`, ...) or ``"policy"``
        (`chosen_logps`, ...).
    end
        How much of the end of a completion is scored. ``"template"``: all that the chat template
        puts after it, or the end-of-sequence token after plain text, as TRL trains it; ``"eos"``:
        up to the end-of-sequence token; ``"none"``: the completion's own text alone.
    max_length
        Tokens of prompt and completion to keep, as in TRL's `DPOConfig` (whose default is 1024).
    batch_size
        Sequences in a forward pass, two a pair.

    Returns
    -------
    dict
        Two columns of log-probs, `chosen_tokens` and `rejected_tokens` (how many tokens were
        scored), `prompt` as the model saw it, and what was handed on; each with one entry a pair,
        in order.

    Raises
    ------
    ProblemError
        On a pair without text, of two kinds of text, longer than the model takes, or of which
        nothing is left to score.
    """
    _check_options(role, end, max_length, batch_size)
    rows = [dict(pair) for pair in pairs]
    coded = [_encode(tokenizer, row, number, end) for number, row in enumerate(rows)]
    _tell_of_merged_tokens(coded)
    jobs = [
        _cut(pair.ids[side], pair.start, max_length, _limit(model), f"pair {number}: {name}")
        for number, pair in enumerate(coded)
        for side, name in enumerate(SIDES)
    ]
    logps = np.zeros(len(jobs))
    by_length = sorted(range(len(jobs)), key=lambda i: -len(jobs[i].ids))
    batches = [by_length[i : i + batch_size] for i in range(0, len(jobs), batch_size)]
    pad = next((t for t in (tokenizer.pad_token_id, tokenizer.eos_token_id) if t is not None), 0)
    with _inference(model):
        for batch in progress(batches, "scoring"):
            logps[batch] = _score(model, [jobs[i] for i in batch], pad)
    tokens = np.array([len(job.ids) - job.start for job in jobs], dtype=np.int64)
    columns = _handed_on(rows)
    columns["prompt"] = [pair.prompt for pair in coded]
    for side, name in enumerate(REFERENCE if role == "reference" else POLICY):
        columns[name] = logps[side::2].copy()
    for side, name in enumerate(TOKENS):
        columns[name] = tokens[side::2].copy()
    return columns


class _Pair(NamedTuple):
    """A pair in tokens: the whole texts, and where in them the completions start."""

    prompt: str
    ids: tuple[list[int], list[int]]
    start: int
    merged: bool


class _Job(NamedTuple):
    """One sequence to score, from position `start` on."""

    ids: list[int]
    start: int


def _score(model: Any, jobs: Sequence[_Job], pad: int) -> Any:
    """Return the log-probs of a batch of sequences."""
    width, first = len(jobs[0].ids), min(job.start for job in jobs)  # the longest comes first
    ids = torch.full((len(jobs), width), pad)
    attention = torch.zeros_like(ids)
    scored = torch.zeros_like(ids)
    for row, job in enumerate(jobs):
        # Padding on the right: attention is causal, so no scored token sees it.
        ids[row, : len(job.ids)] = torch.tensor(job.ids)
        attention[row, : len(job.ids)] = 1
        scored[row, job.start : len(job.ids)] = 1
    device = next(model.parameters()).device
    options: dict[str, Any] = {"use_cache": False}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        options["logits_to_keep"] = width - first + 1  # the others predict prompts
    logits = model(input_ids=ids.to(device), attention_mask=attention.to(device), **options).logits
    logits = logits[:, first - 1 - width : -1]
    return sequence_logps(logits, ids[:, first:], scored[:, first:]).cpu().numpy()


def _encode(tokenizer: Any, row: Mapping[str, Any], number: int, end: End) -> _Pair:
    """Return a pair in tokens."""
    prompt, completions = _parts(row, number)
    if isinstance(prompt, str):
        plain = cast(list[str], completions)
        opening, texts = prompt, [prompt + _closed(tokenizer, text, end) for text in plain]
    else:
        talks = cast(list[list[dict[str, Any]]], completions)
        opening = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        texts = [_rendered(tokenizer, prompt, talk, opening, end, number) for talk in talks]
    # A chat template writes the special tokens itself.
    special = isinstance(prompt, str)
    alone, chosen, rejected = (
        list(tokenizer(text, add_special_tokens=special).input_ids) for text in (opening, *texts)
    )
    start = min(_shared(alone, chosen), _shared(alone, rejected))
    if start == 0:
        raise ProblemError(
            f"pair {number}: nothing comes before the completion, so its first token cannot be "
            "scored; give a prompt"
        )
    return _Pair(opening, (chosen, rejected), start, merged=start < len(alone))


def _parts(row: Mapping[str, Any], number: int) -> tuple[Text, list[Text]]:
    """Return prompt and completions, both text or both messages."""
    missing = [name for name in SIDES if row.get(name) is None]
    if missing:
        raise ProblemError(f"pair {number} has no {missing[0]!r}; it has {', '.join(row)}")
    completions = [row[name] for name in SIDES]
    if "prompt" not in row and all(isinstance(text, list) for text in completions):
        shared = _shared(*completions)
        return completions[0][:shared], [text[shared:] for text in completions]
    prompt = row.get("prompt")
    for kind in (str, list):
        if all(isinstance(text, kind) for text in (prompt, *completions)):
            return cast(Text, prompt), completions
    kinds = ", ".join(type(text).__name__ for text in (prompt, *completions))
    raise ProblemError(
        f"pair {number}: prompt, chosen, rejected are {kinds}; make all of them text, or all of "
        "them lists of messages"
    )


def _shared(first: Sequence[Any], second: Sequence[Any]) -> int:
    """Return how many items two sequences begin with in common."""
    ends = (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    return next(ends, min(len(first), len(second)))


def _closed(tokenizer: Any, text: str, end: End) -> str:
    """Return plain text with the end-of-sequence token, if that is scored, once."""
    if end == "none" or text.endswith(tokenizer.eos_token):
        return text
    return text + str(tokenizer.eos_token)


def _rendered(
    tokenizer: Any,
    prompt: list[dict[str, Any]],
    completion: list[dict[str, Any]],
    opening: str,
    end: End,
    number: int,
) -> str:
    """Return a conversation as text, up to the end that is asked for."""
    whole = str(tokenizer.apply_chat_template(prompt + completion, tokenize=False))
    if end == "template":
        return whole
    at = _shared(opening, whole)
    for message in completion:
        content = str(message.get("content") or "")
        found = next((t for t in (content, content.strip()) if t and t in whole[at:]), None)
        if found is None:
            raise ProblemError(
                f"pair {number}: the chat template changes the text of a message, so its end "
                "cannot be found; pass end='template'"
            )
        at = whole.index(found, at) + len(found)
    if end == "none":
        return whole[:at]
    if tokenizer.eos_token not in whole[at:]:
        raise ProblemError(
            f"pair {number}: the chat template does not end a turn with {tokenizer.eos_token!r}; "
            "pass end='template' or end='none'"
        )
    return whole[: whole.index(tokenizer.eos_token, at) + len(tokenizer.eos_token)]


def _cut(ids: list[int], start: int, max_length: int | None, limit: int | None, name: str) -> _Job:
    """Return a sequence of at most `max_length` tokens."""
    kept = ids[:max_length]
    if len(kept) <= start:
        why = f" within max_length = {max_length}" if len(kept) < len(ids) else ""
        raise ProblemError(f"{name} has no token to score{why}; leave this pair out")
    if limit is not None and len(kept) > limit:
        raise ProblemError(f"{name} has {len(kept)} tokens, the model takes {limit}: max_length?")
    return _Job(kept, start)


def _limit(model: Any) -> int | None:
    limit = getattr(model.config, "max_position_embeddings", None)
    return int(limit) if limit else None


def _handed_on(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the other columns that all pairs have, of numbers or text."""
    names = [name for name in (rows[0] if rows else ()) if name not in ("prompt", *SIDES)]
    found = {name: [row.get(name) for row in rows] for name in names}
    return {
        name: column
        for name, column in found.items()
        if all(isinstance(value, int | float | str) for value in column)
    }


def _tell_of_merged_tokens(coded: list[_Pair]) -> None:
    merged = [number for number, pair in enumerate(coded) if pair.merged]
    if merged:
        warnings.warn(
            f"{len(merged)} of {len(coded)} pairs, the first of them pair {merged[0]}: the prompt "
            "alone has other tokens at its end than before the completion; scored from the first "
            "token that differs, as TRL does",
            stacklevel=3,
        )


@contextmanager
def _inference(model: Any) -> Iterator[None]:
    """Neither dropout nor gradients; every module is put back into the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _check_options(role: str, end: str, max_length: int | None, batch_size: int) -> None:
    if role not in ("reference", "policy"):
        raise ProblemError(f"role = {role!r}: pass 'reference' or 'policy'")
    if end not in ("template", "eos", "none"):
        raise ProblemError(f"end = {end!r}: pass 'template', 'eos' or 'none'")
    for name, value in (("max_length", max_length), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise ProblemError(f"{name} = {value}: must be at least 1")
