"""The options of models, listed once: the router, both adapters and the command line read them here."""

from collections.abc import Mapping
from typing import Annotated, Any, TypedDict, get_type_hints

SECRETS = ("token", "api_key")
"""The options that are secrets."""


class LoadOptions(TypedDict, total=False):
    """How a model loads and serves. All may be left out; None is as good as left out."""

    dtype: Annotated[Any, "Type of the weights, such as 'bfloat16'. As stored; float32 on a CPU slow in 16 bits."]
    device: Annotated[str | None, "Where the models run, such as 'cpu', 'cuda:1' or 'mps'. The GPU if there is one."]
    device_map: Annotated[Any, "Where the parts of a model run, as in transformers: 'auto', or a mapping."]
    quantization_config: Annotated[Any, "How weights are quantised: a quantisation config of transformers."]
    attn_implementation: Annotated[str | None, "Which attention code runs, as in transformers."]
    revision: Annotated[str | None, "Revision of the models on the hub: a branch, a tag or a commit."]
    token: Annotated[str | None, "Token for gated models on the hub. The one of HF_TOKEN is found without."]
    max_batch: Annotated[int | None, "How many requests a model serves at once; others wait."]
    max_cached_tokens: Annotated[int | None, "For how many tokens finished requests may keep room in the cache."]
    engine: Annotated[Any, "What runs the models: 'vllm' or 'llama.cpp' start servers here; this process if not set."]
    prepacked: Annotated[bool | None, "Keep a second copy of float32 weights that a CPU reads faster in batches."]


class ServerOptions(TypedDict, total=False):
    """How models at servers, named as http://host:port/v1#model, are reached. All may be left out."""

    small_tokenizer: Annotated[str | None, "Folder or hub id of the small model's tokenizer, if it is at a server."]
    large_tokenizer: Annotated[str | None, "Folder or hub id of the large model's tokenizer, if it is at a server."]
    api_key_env: Annotated[str | None, "Environment variable with the key that each server of the pair gets."]


class ModelOptions(LoadOptions, ServerOptions, total=False):
    """How the two models of a pair load or are reached, and serve."""


class SecretText(str):
    """A token or a key as a text that no repr shows and no pickle holds, where it is None; copies are the text itself.

    Formatting gives the secret: whoever sends it writes it out.
    """

    def __repr__(self) -> str:
        return "'***'"

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return type(None), ()

    def __copy__(self) -> "SecretText":
        return self

    def __deepcopy__(self, memo: Any) -> "SecretText":
        return self


def concealed(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return options with each secret as a `SecretText`; without one, the very same options."""
    plain = [name for name in SECRETS if isinstance(options.get(name), str)]
    return {**options, **{name: SecretText(options[name]) for name in plain}} if plain else options


def described(options: type) -> Mapping[str, str]:
    """Return the description of each option of an annotated `TypedDict`."""
    hints = get_type_hints(options, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")}


ROUTING_TEXTS = {
    "threshold": "Entropy in nats above which the large model writes a step. 1.0 if not set.",
    "entropy": "What a glimpse measures: 'full', or 'top20', which is what servers can show. 'full' if not set.",
    "intervene_on_tie": "Whether an entropy equal to the threshold is over it.",
    "reasoning": "What is routed: the thinking ('auto'), the visible reply ('inline'), or nothing ('off').",
    "reasoning_effort": "How much is thought: 'none', 'low', 'medium', 'high' or 'xhigh'. As it comes if not set.",
    "answer_by": "Who writes the answer: 'large', 'small' or 'routed'. 'large' if not set.",
    "on_large_failure": "If the large model fails: 'raise', or let the 'small' one write the rest. 'raise' if not set.",
    "max_step_tokens": "The longest step. 512 if not set.",
    "max_reasoning_tokens": "The most tokens of thinking; it never takes the answer's room. 8192 if not set.",
    "max_answer_tokens": "The room that is kept for the answer. 2048 if not set.",
    "speculate": "Whether the small model drafts what the large one writes. For a pair that does not think if not set.",
    "prewarm": "Whether the large model prefills while the small one writes. On a device of its own if not set.",
    "lenient_tool_calls": "Whether a reply that is nothing but calls is read as calls without the model's markup.",
}
"""What the settings of the router and its threshold are for, by name; words are quoted as Python and TOML have them."""

SAMPLING_TEXTS = {
    "temperature": "0 is greedy. If not set, as the model's generation_config says.",
    "top_p": "Share of the likeliest tokens to draw from. If not set, as the model's generation_config says.",
    "top_k": "Number of likeliest tokens to draw from, 0 is all. If not set, as the model's generation_config says.",
    "max_tokens": "The most tokens of an answer; thinking comes on top. 2048 if not set.",
    "max_completion_tokens": "The most tokens of thinking and answer together.",
    "stop": "Texts that end the answer; they are not looked for in the thinking.",
    "seed": "Makes sampling deterministic.",
}
"""What the sampling parameters are for, by name."""

FILE_TEXT = "A pair file: 'pair.toml', or 'pair.toml#NAME' for one of several. Other options win over it."

LOAD_OPTIONS = described(LoadOptions)
"""Every loading option by name, with its description."""

SERVER_OPTIONS = described(ServerOptions)
"""Every option of models at servers by name, with its description."""
