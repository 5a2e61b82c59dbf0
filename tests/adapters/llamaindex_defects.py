"""Defects that were found in real LlamaIndex integrations, planted into GlimpLLM."""

import asyncio
import copy
import functools
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from queue import Queue
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, TextBlock, ThinkingBlock
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.llms.callbacks import llm_chat_callback

from glimp_llamaindex import GlimpLLM


class ChangedCall:
    """A call of which every response goes through `change`."""

    def __init__(self, call: Any, change: Callable[[Any], None]):
        self.call, self.change = call, change

    def changed(self, response: Any) -> Any:
        self.change(response)
        return response

    def run(self, build: Any) -> Any:
        return self.changed(self.call.run(build))

    async def arun(self, build: Any) -> Any:
        return self.changed(await self.call.arun(build))

    def stream(self, show: Any) -> Generator[Any, None, None]:
        for chunk in self.call.stream(show):
            yield self.changed(chunk)

    async def astream(self, show: Any) -> AsyncGenerator[Any, None]:
        async for chunk in self.call.astream(show):
            yield self.changed(chunk)


def changing(change: Callable[[Any], None], name: str = "Changed") -> type[GlimpLLM]:
    """A GlimpLLM of which every response goes through `change`."""

    def call(self: Any, messages: Any, kwargs: Any) -> Any:
        # a defect stands where no user can reach: behind the class's own method
        return ChangedCall(GlimpLLM._call(self, messages, kwargs), change)

    return type(name, (GlimpLLM,), {"_call": call})


def put_an_object_into_raw(response: Any) -> None:
    response.raw["model_output"] = object()


def drop_usage(response: Any) -> None:
    response.raw.pop("usage", None)


def drop_finish_reason(response: Any) -> None:
    response.raw.pop("finish_reason", None)


def leak_reasoning(response: Any) -> None:
    thoughts = "".join(block.content or "" for block in response.message.blocks if isinstance(block, ThinkingBlock))
    response.message.blocks = [TextBlock(text=f"<think>{thoughts}</think>{response.message.content}")]


def say_none(response: Any) -> None:
    response.delta = response.delta or None


def show_the_delta_alone(response: Any) -> None:
    if isinstance(response, ChatResponse) and response.delta:
        response.message = ChatMessage(response.delta, role="assistant")


def hide_thinking_delta(response: Any) -> None:
    response.additional_kwargs.pop("thinking_delta", None)


def show_calls_as_blocks_alone(response: Any) -> None:
    response.message.additional_kwargs.pop("tool_calls", None)


def split_the_text(response: Any) -> None:
    response.message.blocks.append(TextBlock(text="More."))


class FakeAsync(GlimpLLM):
    """achat runs on the event loop."""

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        response: ChatResponse = self.chat(messages, **kwargs)
        return response


class Nested(GlimpLLM):
    """chat calls another decorated endpoint, and is counted twice."""

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        completion = self.complete(str(messages[-1].content), **kwargs)
        return ChatResponse(message=ChatMessage(completion.text, role="assistant"), raw=completion.raw)


class Wrapped(GlimpLLM):
    """functools.wraps underneath the callback: it takes the method for decorated, and sends nothing."""

    @llm_chat_callback()
    @functools.wraps(GlimpLLM.chat)
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return self._chat_call(messages, kwargs).run(lambda done, _: ChatResponse(message=ChatMessage(done.answer)))


class NoCoroutine(GlimpLLM):
    """astream_chat is an async generator, not a coroutine that returns one."""

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        yield await self.achat(messages, **kwargs)


class Deaf(GlimpLLM):
    """Keyword arguments of a call are ignored."""

    def _call(self, messages: list[dict[str, Any]], kwargs: dict[str, Any]) -> Any:
        return super()._call(messages, {})


class Detached(GlimpLLM):
    """Streams are read in a thread that nobody stops, and that dies of an error in silence."""

    def _call(self, messages: list[dict[str, Any]], kwargs: dict[str, Any]) -> Any:
        call = super()._call(messages, kwargs)

        class Pumped(ChangedCall):
            def stream(self, show: Any) -> Generator[Any, None, None]:
                chunks: Queue[Any] = Queue()

                def pump() -> None:
                    try:
                        for chunk in call.stream(show):
                            chunks.put(chunk)
                        chunks.put(None)
                    except RuntimeError:
                        pass

                threading.Thread(target=pump, daemon=True).start()
                yield from iter(chunks.get, None)

        return Pumped(call, lambda response: None)


class Eager(GlimpLLM):
    """A stream starts when it is made."""

    def _call(self, messages: list[dict[str, Any]], kwargs: dict[str, Any]) -> Any:
        call = super()._call(messages, kwargs)

        class Started(ChangedCall):
            def stream(self, show: Any) -> Any:
                chunks = call.stream(show)
                first = next(chunks)
                return (chunk for part in ([first], chunks) for chunk in part)

        return Started(call, lambda response: None)


class StoredLock(GlimpLLM):
    """A lock of asyncio is kept on the LLM: it belongs to the loop that first waited for it."""

    _lock: Any = PrivateAttr(default_factory=asyncio.Lock)

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        async with self._lock:
            await asyncio.sleep(0.01)
            return ChatResponse(message=ChatMessage("Four.", role="assistant"))


class Cloned(GlimpLLM):
    """A deep copy has weights of its own."""

    def __deepcopy__(self, memo: Any = None) -> Any:
        copied = super().__deepcopy__(memo)
        copied._given = copy.copy(self._given)  # the defect is planted in what a copy must share
        return copied


class WrittenDownWrong(GlimpLLM):
    """What is written down is not what the constructor takes."""

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().to_dict(**kwargs), "prompt": "x"}


class Replaying(GlimpLLM):
    """Old reasoning is sent back as text."""

    def _chat_call(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> Any:
        texts = ["".join(getattr(b, "content", None) or getattr(b, "text", "") for b in m.blocks) for m in messages]
        return super()._chat_call([ChatMessage(t, role=m.role) for t, m in zip(texts, messages, strict=True)], kwargs)


class Blind(GlimpLLM):
    """Blocks that it cannot read are left out without a word."""

    def _chat_call(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> Any:
        return super()._chat_call([ChatMessage(m.content or "", role=m.role) for m in messages], kwargs)


class Truncating(GlimpLLM):
    """A prompt that is too long is cut without a word."""

    def _chat_call(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> Any:
        return super()._chat_call([ChatMessage((m.content or "")[:50], role=m.role) for m in messages], kwargs)


class Appending(GlimpLLM):
    """The caller's history is appended to."""

    def _prepare_chat_with_tools(
        self, tools: Any, user_msg: Any = None, chat_history: Any = None, **kwargs: Any
    ) -> Any:
        chat_history = chat_history if chat_history is not None else []
        chat_history.append(ChatMessage(str(user_msg), role="user"))
        kwargs.pop("tool_required", None)
        return {"messages": chat_history}


class ManyCalls(GlimpLLM):
    """allow_parallel_tool_calls is not looked at."""

    def _prepare_chat_with_tools(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return super()._prepare_chat_with_tools(*args, **{**kwargs, "allow_parallel_tool_calls": True})

    def _validate_chat_with_tools_response(self, response: ChatResponse, *args: Any, **kwargs: Any) -> ChatResponse:
        return response


class ShownNames(GlimpLLM):
    """Names of tools come back as the model was shown them."""

    def _prepare_chat_with_tools(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        prepared = super()._prepare_chat_with_tools(*args, **kwargs)
        prepared["tools"] = [tool.metadata.to_openai_tool() for tool in args[0]]
        return prepared


class Forgetful(GlimpLLM):
    """The system prompt is left out."""

    def _extend_messages(self, messages: list[ChatMessage]) -> list[ChatMessage]:
        return messages
