"""ChatGlimp: a small and a large local model as one LangChain chat model."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool

from glimp_core import Completion
from glimp_core.aio import stream_in_thread
from glimp_langchain._calls import Call
from glimp_langchain._errors import langchain_errors
from glimp_langchain._messages import core_messages
from glimp_langchain._replies import PROVIDER, ReplyStream, message_of
from glimp_langchain._settings import GlimpSettings
from glimp_langchain._structured import Method, structured
from glimp_langchain._tools import tool_specs


class ChatGlimp(GlimpSettings):
    """TODO"""

    def bind_tools(
        self,
        tools: Sequence[Mapping[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | Mapping[str, Any] | bool | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Offer tools to the model: functions, `BaseTool`s, Pydantic or TypedDict classes, or schemas.

        `tool_choice` is None or "auto" (the model decides), "any", "required" or True (it must call one), "none", or
        a tool's name. A call that must be made is one call, unless `parallel_tool_calls=True`. Other arguments,
        `response_format` among them, are bound as they are.
        """
        choice = {} if tool_choice is None else {"tool_choice": tool_choice}
        return self.bind(tools=tool_specs(tools, strict), **choice, **kwargs)

    def with_structured_output(
        self,
        schema: Mapping[str, Any] | type | None = None,
        *,
        method: Method = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Make the model answer in a schema: a Pydantic (v2 or v1) or TypedDict class, a JSON schema or a function.

        The model thinks freely; a grammar then holds the answer to the schema, by every `method`: "json_schema" as
        the text of the answer, "function_calling" as a forced tool call, "json_mode" as JSON (of any kind, without
        a schema). Returns instances of a Pydantic class, else dicts; with `include_raw` a dict of `raw`, `parsed`
        and `parsing_error`. Other arguments are bound as they are.
        """
        return structured(self, schema, method, include_raw, strict, kwargs)

    def get_token_ids(self, text: str) -> list[int]:
        """Return the ids of a text in the large model's tokens, without a template."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        large = self._router().large
        encode: Callable[[str], list[int]] | None = getattr(large, "encode", None)
        if encode is None:
            raise NotImplementedError(f"{large.name!r} cannot show its tokens: use get_num_tokens_from_messages")
        return encode(text)

    def get_num_tokens_from_messages(self, messages: Sequence[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Count the tokens of a prompt by the large model's own template, `tools` included."""
        with langchain_errors():
            return self._router().count_tokens(core_messages(messages), tool_specs(tools)) if messages else 0

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = Call.of(self, messages, stop, kwargs)
        with closing(call.events(threading.Event())) as events:
            return _result(Completion.fold(events), call)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = Call.of(self, messages, stop, kwargs)
        async with aclosing(stream_in_thread(call.events)) as events:
            return _result(Completion.fold([event async for event in events]), call)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        call = Call.of(self, messages, stop, kwargs)
        reply = ReplyStream(call.model.model_name)
        with closing(call.events(threading.Event())) as events:
            for message in (message for event in events for message in reply.push(event)):
                chunk = ChatGenerationChunk(message=message)
                if run_manager:  # only where the caller does not report chunks itself
                    run_manager.on_llm_new_token(str(message.content), chunk=chunk)
                yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        call = Call.of(self, messages, stop, kwargs)
        reply = ReplyStream(call.model.model_name)
        async with aclosing(stream_in_thread(call.events)) as events:
            async for event in events:
                for message in reply.push(event):
                    chunk = ChatGenerationChunk(message=message)
                    if run_manager:
                        await run_manager.on_llm_new_token(str(message.content), chunk=chunk)
                    yield chunk

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = PROVIDER
        if stop := list(self._sampling(stop).stop):
            params["ls_stop"] = stop
        return params

    def _combine_llm_outputs(self, llm_outputs: list[dict[str, Any] | None]) -> dict[str, Any]:
        outputs = [output for output in llm_outputs if output]
        counts = [output["token_usage"] for output in outputs]
        names = {name: sum(count[name] for count in counts) for name in (counts[0] if counts else ())}
        return {"token_usage": names, "model_name": self.model_name}


def _result(completion: Completion, call: Call) -> ChatResult:
    usage, name = completion.usage, call.model.model_name
    tokens = {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}
    return ChatResult(
        generations=[ChatGeneration(message=message_of(completion, name))],
        llm_output={"token_usage": {**tokens, "total_tokens": sum(tokens.values())}, "model_name": name},
    )
