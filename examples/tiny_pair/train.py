"""Trains the bundled tiny models: python examples/tiny_pair/train.py [--model small|large|grown]."""

import argparse
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import attention
import torch
import torch.nn.functional as F
from dialogs import MASKED, Row, dialog, encode, sorting_dialog
from growing import grow
from muon import Muon
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from vocabulary import save

from glimp_core import bundled
from glimp_core.local.loading import fast_in_16_bits

BUILD = Path(__file__).resolve().parents[2] / "build" / "tiny_pair"
LEVELS = ((0.1, (3.0, 1.0, 0.0, 0.0)), (0.3, (1.0, 2.0, 2.0, 0.0)), (1.0, (1.0, 1.0, 2.0, 2.0)))
"""Until which share of a training how often each level is drawn."""
BATCH = 16
POOL = 8


@dataclass(frozen=True, slots=True)
class Stage:
    """How a model is trained, for how many `steps`, and where it is kept.

    `known` is the largest factor whose products it learns (of larger ones it sees a few), `hard_weight` the weight of
    hard starts in its loss, `peak` the highest factor of its learning rates, `begin` where on the way through `LEVELS`
    it starts. A stage with a share of `sorting` dialogues goes on from what the stages before it left in its folder,
    and learns to sort as well: lists of up to `sorted_length` numbers and now and then longer ones.
    """

    folder: str
    layers: int
    heads: int
    steps: int
    known: int
    hard_weight: float
    peak: float = 1.0
    begin: float = 0.0
    sorting: float = 0.0
    sorted_length: int = 0


STAGES = {
    "small": Stage(bundled.SMALL, layers=2, heads=8, steps=2600, known=5, hard_weight=1.0),
    "large": Stage("glimp-tiny-large-10", layers=10, heads=4, steps=3000, known=9, hard_weight=3.0),
    # the large model again, with three layers more, so that it costs four times the small one
    "grown": Stage(bundled.LARGE, layers=13, heads=4, steps=400, known=9, hard_weight=3.0, peak=0.3, begin=0.3),
    # both again, with the second kind of text
    "small-sorting": Stage(
        bundled.SMALL, 2, 8, steps=1200, known=5, hard_weight=1.0, peak=0.3, begin=0.3,
        sorting=0.5, sorted_length=5,
    ),
    "large-sorting": Stage(
        bundled.LARGE, 13, 4, steps=1200, known=9, hard_weight=3.0, peak=0.3, begin=0.3,
        sorting=0.5, sorted_length=9,
    ),
    "large-longer": Stage(
        bundled.LARGE, 13, 4, steps=700, known=9, hard_weight=1.0, peak=0.6, begin=0.3,
        sorting=0.75, sorted_length=9,
    ),
}  # fmt: skip


def make_model(name: str, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return a freshly initialised `small` or `large` model."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        attention_bias=True,
        head_dim=32,
        hidden_size=128,
        intermediate_size=256,
        tie_word_embeddings=True,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        num_hidden_layers=STAGES[name].layers,
        num_attention_heads=STAGES[name].heads,
    )
    config._attn_implementation = attention.NAME
    return LlamaForCausalLM(config)


def grown_model() -> LlamaForCausalLM:
    """Return the trained `large` model with the layers of the grown one."""
    torch.manual_seed(0)
    trained = LlamaForCausalLM.from_pretrained(
        BUILD / STAGES["large"].folder,
        dtype=torch.float32,
        attn_implementation=attention.NAME,
        trust_remote_code=False,
    )
    return grow(trained, STAGES["grown"].layers)


def trained(folder: Path) -> tuple[PreTrainedTokenizerFast, LlamaForCausalLM]:
    """Return the tokenizer and the model in `folder`, to go on from."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, trust_remote_code=False)
    model = LlamaForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=attention.NAME, trust_remote_code=False
    )
    return tokenizer, model


def batches(name: str, tokenizer: PreTrainedTokenizerFast, start: int, steps: int) -> Iterator[list[Row]]:
    """Yield one batch of similar lengths per step; the same rows for the same step."""
    stage = STAGES[name]
    for pool in range(start // POOL, (steps + POOL - 1) // POOL):
        rng = random.Random(f"{name}/{pool}")
        progress = pool * POOL / steps
        mix = list(next(weights for until, weights in LEVELS if max(progress, stage.begin) < until))
        sorts = int(stage.sorting * POOL * BATCH)
        dialogs = [dialog(rng, mix, stage.known) for _ in range(POOL * BATCH - sorts)]
        dialogs += [sorting_dialog(rng, stage.sorted_length) for _ in range(sorts)]
        rows = sorted((encode(tokenizer, d) for d in dialogs), key=lambda row: len(row.ids))
        order = rng.sample(range(POOL), POOL)
        yield from (rows[at * BATCH : (at + 1) * BATCH] for at in order)


def tensors(rows: list[Row]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ids, labels and marks of hard starts, padded on the right."""
    longest = max(len(row.ids) for row in rows)
    width = (longest + 15) // 16 * 16

    def pad(values: list, filler: float) -> list:
        return values + [filler] * (width - len(values))

    ids = torch.tensor([pad(row.ids, 0) for row in rows])
    labels = torch.tensor([pad(row.labels, MASKED) for row in rows])
    return ids, labels, torch.tensor([pad(row.hard, False) for row in rows])


def losses(
    model: LlamaForCausalLM, rows: list[Row], hard_weight: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the weighted loss, the share of right tokens, and that at hard starts."""
    ids, labels, hard = tensors(rows)
    with torch.autocast("cpu", torch.bfloat16, enabled=fast_in_16_bits()):
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    kept = labels[:, 1:] != MASKED
    labels, hard = labels[:, 1:][kept], hard[:, 1:][kept]
    logits = model.lm_head(hidden[kept].float())
    weights = 1.0 + (hard_weight - 1.0) * hard
    each = F.cross_entropy(logits, labels, reduction="none")
    right = (logits.argmax(-1) == labels).float()
    return (each * weights).sum() / weights.sum(), right.mean(), right[hard].mean()


def rate(step: int, steps: int) -> float:
    """Return the learning rate's factor: warm-up, constant, linear decay in the last 35 %."""
    return min((step + 1) / 100, 1.0, max(0.02, (steps - step) / (0.35 * steps)))


class Run:
    """One training run that can be resumed from its last checkpoint."""

    def __init__(self, name: str, steps: int, resume: bool) -> None:
        self.name, self.steps = name, steps
        if STAGES[name].sorting:
            self.tokenizer, self.model = trained(BUILD / STAGES[name].folder)
        else:
            self.tokenizer = save(BUILD / "tokenizer")
            self.model = grown_model() if name == "grown" else make_model(name, self.tokenizer)
        matrices = [p for p in self.model.model.layers.parameters() if p.ndim == 2]
        inside = {id(p) for p in matrices}
        others = [p for p in self.model.parameters() if id(p) not in inside]
        self.muon = Muon(matrices)
        self.adam = torch.optim.AdamW(others, lr=2e-3, betas=(0.9, 0.98), weight_decay=0.0)
        self.start = self._load() if resume else 0
        self.log = Path(__file__).with_name(f"train_{name}.log")
        if not self.start:
            self.log.write_text("step,seconds,loss,token_accuracy,hard_accuracy\n")

    def run(self) -> None:
        """Train to the last step, writing a log line every 50 and a checkpoint every 200."""
        begun, seen = time.time(), []
        rows = batches(self.name, self.tokenizer, self.start, self.steps)
        for step, batch in enumerate(rows, self.start // POOL * POOL):
            seen.append(self._step(step, batch))
            if step % 50 == 49:
                self._write(step + 1, time.time() - begun, seen)
                seen = []
            if step % 200 == 199 or step + 1 >= self.steps:
                self._save(step + 1)

    def _step(self, step: int, batch: list[Row]) -> list[float]:
        loss, right, hard = losses(self.model, batch, STAGES[self.name].hard_weight)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        factor = STAGES[self.name].peak * rate(step, self.steps)
        self.adam.param_groups[0]["lr"] = 2e-3 * factor
        self.adam.step()
        self.muon.step(factor)
        self.model.zero_grad()
        return [loss.item(), right.item(), hard.item()]

    def _write(self, step: int, seconds: float, seen: list[list[float]]) -> None:
        means = torch.tensor(seen).nanmean(0).tolist()
        line = f"{step},{seconds:.0f}," + ",".join(f"{mean:.4f}" for mean in means)
        with self.log.open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)

    def _save(self, step: int) -> None:
        export(self.model, self.tokenizer, BUILD / STAGES[self.name].folder)
        state = [self.model.state_dict(), self.muon.state, self.adam.state_dict(), step]
        torch.save(state, BUILD / f"{self.name}.new")
        (BUILD / f"{self.name}.new").replace(BUILD / f"{self.name}.pt")

    def _load(self) -> int:
        model, self.muon.state, adam, step = torch.load(BUILD / f"{self.name}.pt")
        self.model.load_state_dict(model)
        self.adam.load_state_dict(adam)
        return step


def export(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save a folder that AutoModelForCausalLM and AutoTokenizer load, greedy by default."""
    ends = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    model.generation_config = GenerationConfig(do_sample=False, eos_token_id=ends, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    kept = {key: value for key, value in settings.items() if "local" not in key}
    kept["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(kept, indent=2) + "\n")


def main() -> None:
    """Train the models asked for, from seeds alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=(*STAGES, "both"), default="both")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in STAGES if args.model == "both" else (args.model,):
        Run(name, args.steps or STAGES[name].steps, args.resume).run()
    print(f"trained; copy {BUILD}/{bundled.SMALL} and {BUILD}/{bundled.LARGE} to {bundled.path(bundled.SMALL).parent}")


if __name__ == "__main__":
    main()
