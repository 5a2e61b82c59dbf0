"""Batched greedy decoding and step-start entropies for the tiny pair."""

from pathlib import Path

import torch
from dialogs import head
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from glimp_core.bundled.problems import Problem

BATCH = 100


def load(folder: Path) -> tuple[PreTrainedModel, Tokenizer]:
    """Return the model and the tokenizer saved in `folder`."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False).eval()
    return model, AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def prompt(problem: Problem, tokenizer: Tokenizer) -> list[int]:
    """Return the ids of the problem's prompt up to and including `<think>`."""
    return tokenizer.encode(head("", problem.question))


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """Return the entropy in nats of each row of logits."""
    logs = logits.log_softmax(-1)
    return -(logs.exp() * logs).sum(-1)


@torch.inference_mode()
def first_logits(model: PreTrainedModel, rows: list[list[int]]) -> torch.Tensor:
    """Return the logits of the token that follows each row."""
    ends = torch.tensor([len(row) - 1 for row in rows])
    width = int(ends.max()) + 1
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    return model.lm_head(hidden[torch.arange(len(rows)), ends])


@torch.inference_mode()
def decode(model: PreTrainedModel, rows: list[list[int]], stops: list[int], limit: int) -> list[list[int]]:
    """Return what the model writes after each row, up to and including a stop token."""
    written: list[list[int]] = []
    pad = int(model.config.pad_token_id)
    for at in range(0, len(rows), BATCH):
        part = rows[at : at + BATCH]
        width = max(map(len, part))
        ids = torch.tensor([[pad] * (width - len(row)) + row for row in part])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in part])
        out = model.generate(ids, attention_mask=mask, max_new_tokens=limit, eos_token_id=stops, pad_token_id=pad)
        written += [_cut(row, stops) for row in out[:, width:].tolist()]
    return written


def _cut(row: list[int], stops: list[int]) -> list[int]:
    ends = [at for at, token in enumerate(row) if token in stops]
    return row[: ends[0] + 1] if ends else row
