"""What a ChatGlimp can do, as LangChain's profiles say it."""

from typing import get_args

from langchain_core.language_models import ModelProfile

from glimp_core import RouterConfig
from glimp_core.context import ReasoningEffort


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
