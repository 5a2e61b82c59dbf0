"""Builds the one tokenizer that both tiny models share."""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

from dialogs import SYSTEMS, TALK, dialog
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from glimp_core.bundled.problems import EASY, HARD, MODULUS, ORDINALS

SPLIT = r" ?[+*-]\p{N}| ?\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""A number up to 30 and an operation such as ` +4` are one token each."""
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
OTHER = (
    "# Tools\n\nYou may call one or more functions to help with the user query. "
    "You are given function signatures within tools. For each call return a json object with "
    "function name and arguments. system user assistant tool type function name description "
    "parameters properties required string integer number object arguments. "
)


def build() -> PreTrainedTokenizerFast:
    """Train the tokenizer on the generator's text and return it with its chat template."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        min_frequency=4,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in MARKS])
    return _wrap(tokenizer)


def _corpus() -> Iterator[str]:
    for word in (*ORDINALS, *map(str, range(MODULUS))):
        yield f"{word}. {word}. {word}" * 9
    for text in (*SYSTEMS, *(part for turn in TALK for part in turn), OTHER):
        yield text * 4
    rng = random.Random(0)
    for _ in range(2000):
        text = "".join(text for text, _, _ in dialog(rng, [1, 1, 1, 1], 9))
        yield from re.split("|".join(map(re.escape, SPECIAL + MARKS)), text)


def _wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    template = Path(__file__).with_name("chat_template.jinja").read_text(encoding="utf-8")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
        chat_template=template,
    )


def save(folder: Path) -> PreTrainedTokenizerFast:
    """Return the tokenizer in `folder`, building and saving it there when missing."""
    if not (folder / "tokenizer.json").exists():
        built = build()
        built.save_pretrained(folder)
        _check(built)
    return PreTrainedTokenizerFast.from_pretrained(folder, trust_remote_code=False)


def _check(tokenizer: PreTrainedTokenizerFast) -> None:
    sample = "Zoë: 12 💡\n\tx  = {'a': 1}\n\n"
    assert tokenizer.decode(tokenizer.encode(sample)) == sample, json.dumps(sample)
    for number in range(MODULUS):
        assert len(tokenizer.encode(str(number))) == 1, number
    for operation in EASY + HARD:
        assert len(tokenizer.encode(f"First {operation} on 7.\n\n")) == 6, operation
