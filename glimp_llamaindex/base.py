"""GlimpLLM: a pair of models as one LlamaIndex LLM."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llama_index.core.base.llms.generic_utils import messages_to_prompt
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    MessageRole,
)
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.llm import ToolSelection, default_completion_to_prompt
from llama_index.core.tools.types import BaseTool

from glimp_llamaindex._calls import Call, verbatim
from glimp_llamaindex._messages import core_messages
from glimp_llamaindex._replies import ReplyStream, Shape, chat_response, completion_response
from glimp_llamaindex._requests import Demands
from glimp_llamaindex._settings import PairLLM
from glimp_llamaindex._structured import GrammarPrediction
from glimp_llamaindex._tools import only_first_call, selections, tool_demands


class GlimpLLM(GrammarPrediction, PairLLM):
    """A small and a large model that share their thinking, as one LlamaIndex LLM.

        llm = GlimpLLM(small="Qwen/Qwen3-0.6B", large="Qwen/Qwen3-8B", threshold=1.0)

    Takes two models, or `router=` with a `GlimpRouter` made elsewhere; a `threshold`, or a `policy`. Reasoning is
    never in the text: it comes as a `ThinkingBlock` and, while streaming, as `additional_kwargs["thinking_delta"]`.
    `raw["usage"]` counts tokens, `raw["routing"]` says which model wrote what. Keyword arguments of a call win over
    the fields; `Demands` lists them. As in all of LlamaIndex, `system_prompt` is for `predict`, `stream` and the
    structured methods; `chat` and `complete` send what they are given. Raises `GlimpError`, which is a `ValueError`.
    """

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation."""
        return self._chat_call(messages, kwargs).run(chat_response)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answer a prompt; a `formatted` one is sent to both models as it is."""
        return self._completion_call(prompt, formatted, kwargs).run(completion_response)

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Answer a conversation bit by bit; nothing runs before the first `next()`, closing stops the models."""
        return self._chat_call(messages, kwargs).stream(ReplyStream.chat)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """Answer a prompt bit by bit."""
        return self._completion_call(prompt, formatted, kwargs).stream(ReplyStream.completion)

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation; the event loop stays free."""
        return await self._chat_call(messages, kwargs).arun(chat_response)

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answer a prompt; the event loop stays free."""
        return await self._completion_call(prompt, formatted, kwargs).arun(completion_response)

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Answer a conversation bit by bit; the event loop stays free."""
        return self._chat_call(messages, kwargs).astream(ReplyStream.chat)

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """Answer a prompt bit by bit; the event loop stays free."""
        return self._completion_call(prompt, formatted, kwargs).astream(ReplyStream.completion)

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        messages = list(chat_history or [])
        if user_msg is not None:
            asked = user_msg if isinstance(user_msg, ChatMessage) else ChatMessage(user_msg, role=MessageRole.USER)
            messages.append(asked)
        demands = tool_demands(tools, kwargs.pop("tool_choice", None), tool_required)
        return {"messages": messages, **demands, "parallel_tool_calls": allow_parallel_tool_calls, **kwargs}

    def _validate_chat_with_tools_response(
        self, response: ChatResponse, tools: Sequence[BaseTool], allow_parallel_tool_calls: bool = False, **kwargs: Any
    ) -> ChatResponse:
        return response if allow_parallel_tool_calls else only_first_call(response)

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """Return the tool calls of a reply, finished or streaming. Raises `ValueError` where one is due and none is."""
        calls = selections(response)
        if not calls and error_on_no_tool_call:
            raise ValueError(f"expected a tool call and the reply has none: {response.message.content!r}")
        return calls

    def _chat_call(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> Call:
        if self.messages_to_prompt not in (None, messages_to_prompt):
            return self._verbatim_call(self.messages_to_prompt(messages), kwargs)
        return self._call(core_messages(messages), kwargs)

    def _completion_call(self, prompt: str, formatted: bool, kwargs: dict[str, Any]) -> Call:
        if formatted:
            return self._verbatim_call(prompt, kwargs)
        if self.completion_to_prompt not in (None, default_completion_to_prompt):
            return self._verbatim_call(self.completion_to_prompt(prompt), kwargs)
        return self._call([{"role": "user", "content": prompt}], kwargs)

    def _verbatim_call(self, prompt: str, kwargs: dict[str, Any]) -> Call:
        messages, template = verbatim(prompt)
        given = kwargs.get("chat_template_kwargs") or self.chat_template_kwargs
        return self._call(messages, {**kwargs, "chat_template_kwargs": {**given, **template}})

    def _call(self, messages: list[dict[str, Any]], kwargs: dict[str, Any]) -> Call:
        fields = {name: getattr(self, name) for name in ("threshold", "timeout", "chat_template_kwargs")}
        demands = Demands.of({**fields, **{name: value for name, value in kwargs.items() if value is not None}})
        demands = replace(demands, sampling=demands.sampling.over(self.sampling()))
        shape = Shape(self.pair.name, self.thinking_position, demands.tool_names, demands.one_call)
        return Call(lambda: self.router, messages, demands, shape, self.routing_events)
