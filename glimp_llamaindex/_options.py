"""The options of `GlimpLLM` as type checkers and editors see them, and what fields LlamaIndex has are for."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from llama_index.core.callbacks import CallbackManager
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.types import BaseOutputParser, PydanticProgramMode

from glimp_core.options import described
from glimp_core.pair_model import PairOptions
from glimp_llamaindex._replies import ThinkingPosition


class GlimpLLMOptions(PairOptions, total=False):
    """The keyword options of `GlimpLLM(small, large, ...)`: those of the pair, its own, and those of every LLM."""

    thinking_position: Annotated[
        ThinkingPosition, "The position of the ThinkingBlock in a message: 'first', 'last' or 'omit'."
    ]
    is_function_calling_model: Annotated[bool, "Whether the metadata says that tools are supported."]
    routing_events: Annotated[bool, "Dispatch a GlimpStepEvent for every finished step."]

    callback_manager: Annotated[CallbackManager, "Callbacks that see every call."]
    rate_limiter: Annotated[Any, "Limits how often the LLM is called."]
    system_prompt: Annotated[str | None, "System prompt of `predict`, `stream` and the structured methods."]
    messages_to_prompt: Annotated[Callable[[Sequence[Any]], str] | None, "Renders a chat instead of the template."]
    completion_to_prompt: Annotated[Callable[[str], str] | None, "Renders a prompt instead of the template."]
    output_parser: Annotated[BaseOutputParser | None, "Parses the replies of `predict` and `stream`."]
    pydantic_program_mode: Annotated[PydanticProgramMode, "How LlamaIndex's programs ask for structured output."]
    query_wrapper_prompt: Annotated[BasePromptTemplate | None, "Wraps the queries of `predict` and `stream`."]


TEXTS = described(GlimpLLMOptions)
