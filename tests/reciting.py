"""A tiny real model that wants to say a given text, and tokenizers for the control tokens of any chat template."""
# ruff: noqa: RUF001

import inspect
import re
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

_MARKER = re.compile(
    r"<\|[\w:.\"-]{1,40}\|?>|<[\w]{1,30}\|>|<｜[^｜<>\n]{1,40}｜>|\[/?[A-Z][A-Z_]{2,20}\]"
    r"|</?(?:\w+:)?(?:think|tool_calls?|arg_key|arg_value)(?::\w+)?>|<(?:start|end)_(?:of_turn|function_call)>"
)
ENDS = (
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|eot|>", "<turn|>", "<|tool_response>", "<|return|>", "<|call|>",
    "<|observation|>", "<|user|>", "<end_of_turn>", "<|end_of_text|>", "<|END_OF_TURN_TOKEN|>",
    "<｜end▁of▁sentence｜>",
)  # fmt: skip


def tokenizer(template: str) -> PreTrainedTokenizerFast:
    """A tokenizer of bytes with the control tokens that a template names."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={piece: n for n, piece in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    markers = sorted({*_MARKER.findall(template), "<bos>", "<eos>"})
    text = [marker for marker in markers if marker.startswith(("</", "<think", "<tool", "<arg"))]
    backend.add_special_tokens([marker for marker in markers if marker not in text])
    backend.add_tokens([AddedToken(marker, normalized=False) for marker in text])
    tokens = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>")
    tokens.chat_template = template
    return tokens


class Reciting(LlamaForCausalLM):
    """Goes on with its script wherever the context ends in a beginning of it, the longest one."""

    script: tuple[int, ...] = ()
    end: int = 0

    def forward(self, input_ids: Any = None, **kwargs: Any) -> Any:
        """Put all the weight on the next token of the script."""
        cache = next((kwargs[name] for name in ("cache", "past_key_values") if kwargs.get(name) is not None), None)
        before = cache.get_seq_length() if cache is not None else 0
        out = super().forward(input_ids=input_ids, **kwargs)
        said = self.__dict__.setdefault("_said", [])
        del said[before:]
        said += input_ids[0].tolist()
        rows = out.logits.shape[1]
        out.logits.zero_()
        for row in range(rows):
            out.logits[0, row, self._following(said[: len(said) - rows + row + 1])] = 40.0
        return out

    def _following(self, context: list[int]) -> int:
        for length in range(len(self.script), -1, -1):
            if not length or context[-length:] == list(self.script[:length]):
                return self.script[length] if length < len(self.script) else self.end
        return self.end


def reciting(tokens: Any, text: str) -> tuple[Any, Any]:
    """A model that says a text, control tokens written out, and its tokenizer."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokens), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=16_384,
    )  # fmt: skip
    model = Reciting(config).eval()
    ends = [tokens.get_vocab()[end] for end in ends_of(tokens)]
    model.script, model.end = tuple(tokens(text, add_special_tokens=False)["input_ids"]), ends[0]
    assert model.generation_config is not None
    model.generation_config.eos_token_id = ends
    return model, tokens


def ends_of(tokens: Any) -> list[str]:
    """The tokens that end a reply."""
    vocabulary = tokens.get_vocab()
    harmony = "<|return|>" in vocabulary  # where <|user|> and the like are no ends
    ends = [end for end in ENDS if end in vocabulary and not (harmony and end == "<|user|>")]
    return [*ends, "<eos>"]


Reciting.forward.__signature__ = inspect.signature(LlamaForCausalLM.forward)  # type: ignore[attr-defined]
