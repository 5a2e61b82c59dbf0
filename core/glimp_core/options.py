"""The options of models, listed once: the router, both adapters and the command line read them here."""

from collections.abc import Mapping
from typing import Annotated, Any, TypedDict, get_type_hints


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


def described(options: type) -> Mapping[str, str]:
    """Return the description of each option of an annotated `TypedDict`."""
    hints = get_type_hints(options, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")}


LOAD_OPTIONS = described(LoadOptions)
"""Every loading option by name, with its description."""

SERVER_OPTIONS = described(ServerOptions)
"""Every option of models at servers by name, with its description."""
