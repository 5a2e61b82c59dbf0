"""The options of `ChatGlimp` as type checkers and editors see them, and what LangChain is told it can do."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, get_args

from langchain_core.caches import BaseCache
from langchain_core.callbacks import Callbacks
from langchain_core.language_models import ModelProfile
from langchain_core.rate_limiters import BaseRateLimiter
from pydantic import SecretStr

from glimp_core import ConfigError, GlimpRouter, Policy, RouterConfig
from glimp_core.context import ReasoningEffort
from glimp_core.options import described
from glimp_core.pair_model import NamedPairOptions


class ChatGlimpOptions(NamedPairOptions, total=False):
    """The options of `ChatGlimp(...)`: those of the pair, its own, and those of every LangChain chat model."""

    model: Annotated[str, "Both models as 'small+large', or the large one alone."]
    router: Annotated[GlimpRouter | None, "A GlimpRouter, instead of small and large."]
    policy: Annotated[Policy | None, "A policy, instead of a threshold."]
    logprobs: Annotated[bool, "Report the log-probabilities of the answer's tokens, if a local model writes it."]
    step_events: Annotated[bool, "Send each decision to the run around the model as a custom event, 'glimp_step'."]
    streaming: Annotated[bool | None, "Whether LangChain streams if it may choose; None is LangChain's default."]
    max_retries: Annotated[int | None, "Accepted without effect: calls of a local model need no retries."]
    hf_token: Annotated[SecretStr | str | None, "Token for gated models on the hub. HF_TOKEN if not set."]
    api_key: Annotated[SecretStr | str | None, "Another name of hf_token."]

    name: Annotated[str | None, "Name of this runnable in traces."]
    cache: Annotated[BaseCache | bool | None, "Response cache: a cache, the global one (True), or none (False)."]
    verbose: Annotated[bool, "Print what LangChain's callbacks print."]
    callbacks: Annotated[Callbacks, "Callbacks that see every run of this model."]
    tags: Annotated[list[str] | None, "Tags of every run in traces."]
    metadata: Annotated[dict[str, Any] | None, "Metadata of every run in traces."]
    custom_get_token_ids: Annotated[Callable[[str], list[int]] | None, "Counts tokens instead of the large model's."]
    rate_limiter: Annotated[BaseRateLimiter | None, "Limits how often the model is called."]
    disable_streaming: Annotated[bool | Literal["tool_calling"], "When `stream` gives the whole reply in one chunk."]
    output_version: Annotated[str | None, "Format of message contents: 'v1' has content blocks."]
    profile: Annotated[ModelProfile | None, "The capabilities of the pair; filled in if not set."]


TEXTS = described(ChatGlimpOptions)


def concealed_token(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with their token as a `SecretStr`, because Pydantic's errors show all other values.

    Raises `ConfigError` for a token that is not a text.
    """
    options = dict(given)
    for name in ("hf_token", "api_key"):
        token = options.get(name)
        if isinstance(token, str):
            options[name] = SecretStr(token)
        elif not isinstance(token, SecretStr | None):
            raise ConfigError(f"hf_token is a text, not of type {type(token).__name__}")
    return options


def profile_of(name: str, config: RouterConfig, max_tokens: int | None, window: int | None) -> ModelProfile:
    """Say what the pair can do, as far as it is known without loading it, in the installed LangChain's fields."""
    profile = ModelProfile(
        name=name,
        open_weights=True,
        text_inputs=True,
        text_outputs=True,
        reasoning_output=config.with_effort().reasoning == "auto",
        tool_calling=True,
        tool_choice=True,
        tool_call_streaming=True,
        structured_output=True,
        temperature=True,
        max_output_tokens=max_tokens or config.max_answer_tokens,
    )
    if window is not None:
        profile["max_input_tokens"] = window
    if profile["reasoning_output"]:
        profile["reasoning_effort_levels"] = list(get_args(ReasoningEffort))
        if config.reasoning_effort is not None:
            profile["reasoning_effort_default"] = config.reasoning_effort
    if "mid_conversation_system_messages" in ModelProfile.__annotations__:  # since langchain-core 1.7
        profile["mid_conversation_system_messages"] = True  # chat templates get them, or the user's turn there
    return profile
