"""The options of models and their descriptions. The router, both adapters and the command line use them."""

from collections.abc import Mapping
from typing import Annotated, Any, TypedDict, get_type_hints

SECRETS = ("token", "api_key")
"""The options that are secrets."""


class LoadOptions(TypedDict, total=False):
    """How a model loads and runs. Every option is optional; None means that it is not set."""

    dtype: Annotated[Any, "Type of the weights, such as 'bfloat16'. Not set: as stored, or float32 on some CPUs."]
    device: Annotated[str | None, "Where the models run: 'cpu', 'cuda:1', 'mps'. Not set: on the GPU if there is one."]
    device_map: Annotated[Any, "The devices of the parts of a model, as in transformers: 'auto', or a mapping."]
    quantization_config: Annotated[Any, "The quantisation of the weights: a quantisation config of transformers."]
    attn_implementation: Annotated[str | None, "The implementation of attention, as in transformers."]
    revision: Annotated[str | None, "Revision of the models on the hub: a branch, a tag or a commit."]
    token: Annotated[str | None, "Token for gated models on the hub. Not set: that of HF_TOKEN."]
    max_batch: Annotated[int | None, "How many requests a model serves at once; other requests wait."]
    max_cached_tokens: Annotated[int | None, "How many tokens of finished requests stay in the cache."]
    max_memory_bytes: Annotated[int | None, "How many bytes the weights and caches of a model take at most."]
    engine: Annotated[Any, "What runs the models: 'vllm' or 'llama.cpp' on servers that Glimp starts, or this process."]
    prepacked: Annotated[bool | None, "Keep a second copy of float32 weights, with which a CPU is faster in batches."]


class ServerOptions(TypedDict, total=False):
    """Options of models on servers, which are named as http://host:port/v1#model. Every option is optional."""

    small_tokenizer: Annotated[str | None, "Folder or hub id of the small model's tokenizer, if it is on a server."]
    large_tokenizer: Annotated[str | None, "Folder or hub id of the large model's tokenizer, if it is on a server."]
    api_key_env: Annotated[str | None, "Environment variable with the key for the servers of the pair."]


class ModelOptions(LoadOptions, ServerOptions, total=False):
    """The options of the two models of a pair, local or on servers."""


class SecretText(str):
    """A token or a key as a text. Its repr does not show it, and its pickle contains None instead.

    A copy is the same object. Formatting gives the secret, because a request needs it.
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
    "entropy": "What a glimpse measures: 'full', or 'top20', which servers support. 'full' if not set.",
    "intervene_on_tie": "Whether the large model writes a step with an entropy equal to the threshold.",
    "reasoning": "What is routed: the thinking ('auto'), the visible reply ('inline'), or nothing ('off').",
    "reasoning_effort": "Amount of thinking: 'none', 'low', 'medium', 'high' or 'xhigh'. The model's own if not set.",
    "answer_by": "Which model writes the answer: 'large', 'small' or 'routed'. 'large' if not set.",
    "on_large_failure": "If the large model fails: 'raise', or 'small', which writes the rest. 'raise' if not set.",
    "max_step_tokens": "The longest step. 512 if not set.",
    "max_reasoning_tokens": "The most tokens of thinking. 8192 if not set.",
    "max_answer_tokens": "The tokens that are reserved for the answer. 2048 if not set.",
    "speculate": "Whether the small model drafts for the large one. If not set: only if no model of the pair thinks.",
    "prewarm": "Whether the large model prefills while the small one writes. If not set: only on separate devices.",
    "lenient_tool_calls": "Whether a reply that contains only calls, without the model's markup, is read as calls.",
}
"""The descriptions of the settings of the router and its threshold, by name; values are quoted as in Python."""

SAMPLING_TEXTS = {
    "temperature": "Sampling temperature; 0 is greedy. The model's generation_config if not set.",
    "top_p": "Probability mass of the likeliest tokens to sample from. The model's generation_config if not set.",
    "top_k": "Number of likeliest tokens to sample from; 0 means all. The model's generation_config if not set.",
    "max_tokens": "The most tokens of the answer, without the thinking. 2048 if not set.",
    "max_completion_tokens": "The most tokens of thinking and answer together.",
    "stop": "Texts that end the answer. They do not end the thinking.",
    "seed": "Makes sampling deterministic.",
}
"""The descriptions of the sampling parameters, by name."""

FILE_TEXT = "A pair file: 'pair.toml', or 'pair.toml#NAME' for one of several pairs. Other options override it."

LOAD_OPTIONS = described(LoadOptions)
"""Every loading option by name, with its description."""

SERVER_OPTIONS = described(ServerOptions)
"""Every option of models on servers by name, with its description."""
