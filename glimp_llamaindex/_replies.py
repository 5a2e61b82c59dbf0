"""The core's events as LlamaIndex responses: cumulative messages, incremental deltas, reasoning kept apart."""

from dataclasses import dataclass
from typing import Any, Literal

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ContentBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from glimp_core import Completion, Delta, Event, Finish, InvalidToolCall, ToolCall, ToolCallDelta
from glimp_llamaindex._tools import call_dicts

ThinkingPosition = Literal["first", "last", "omit"]


@dataclass(frozen=True, slots=True)
class Shape:
    """The format of a reply.

    With `one_call` only the first call is passed on.
    """

    model: str
    thinking_position: ThinkingPosition = "first"
    one_call: bool = False

    def message(self, answer: str, thinking: ThinkingBlock | None, calls: list[ToolCallBlock]) -> ChatMessage:
        """Build a message: at most one thinking block, exactly one text block, then the calls."""
        calls = calls[:1] if self.one_call else calls
        blocks: list[ContentBlock] = [TextBlock(text=answer), *calls]
        if thinking and self.thinking_position != "omit":
            blocks.insert(0 if self.thinking_position == "first" else len(blocks), thinking)
        extra = {"tool_calls": call_dicts(calls)} if calls else {}
        return ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks, additional_kwargs=extra)

    def call_block(self, call: ToolCall) -> ToolCallBlock:
        """Build the block of a finished call."""
        return self.open_call(call.id, call.name, call.arguments)

    def open_call(self, call_id: str, name: str, arguments: dict[str, Any] | str) -> ToolCallBlock:
        """Build the block of a call whose arguments may still be a piece of JSON text."""
        return ToolCallBlock(tool_call_id=call_id, tool_name=name, tool_kwargs=arguments)


def chat_response(completion: Completion, shape: Shape) -> ChatResponse:
    """Build the response to a whole reply."""
    message = shape.message(
        completion.answer, _thinking(completion), [shape.call_block(call) for call in completion.tool_calls]
    )
    return ChatResponse(message=message, delta="", raw=raw(completion, shape), additional_kwargs=_counts(completion))


def completion_response(completion: Completion, shape: Shape) -> CompletionResponse:
    """Build the response to a whole reply, for the completion endpoints; the reasoning is in `raw`."""
    calls = [shape.call_block(call) for call in completion.tool_calls]
    extra = {"tool_calls": call_dicts(calls)} if calls else {}
    return CompletionResponse(
        text=completion.answer,
        delta="",
        raw={**raw(completion, shape), "reasoning": completion.reasoning},
        additional_kwargs={**_counts(completion), **extra},
    )


def raw(completion: Completion, shape: Shape) -> dict[str, Any]:
    """Return a reply's usage and trace as plain JSON. LlamaIndex reads token counts from `usage`."""
    document, usage = completion.document(), completion.usage
    return {
        "model": shape.model,
        "finish_reason": completion.finish_reason,
        "usage": {
            **_counts(completion),
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
            **({"cost": document["usage"]["cost"]} if usage.cost else {}),
        },
        "routing": {
            "summary": document["summary"],
            "steps": document["steps"],
            "small": document["usage"]["small"],
            "large": document["usage"]["large"],
        },
        "invalid_tool_calls": document["invalid_tool_calls"],
    }


class ReplyStream:
    """Takes the events of one reply, one after another, and returns the chunk to show for each.

    Every chunk has the message so far; the last one is the whole response.
    """

    def __init__(self, shape: Shape):
        self._shape = shape
        self._events: list[Event] = []
        self._reasoning = ""
        self._answer = ""
        self._calls: dict[int, ToolCallBlock] = {}

    def chat(self, event: Event) -> ChatResponse | None:
        """Take an event; return the chunk to show, if any."""
        self._events.append(event)
        match event:
            case Delta(phase="thinking", text=text) if text:
                self._reasoning += text
                return self._chunk(event, thinking_delta=text)
            case Delta(text=text) if text:
                self._answer += text
                return self._chunk(event, delta=text)
            case ToolCallDelta():
                return self._chunk(event) if self._grow(event) else None
            case Finish():
                return chat_response(Completion.fold(self._events), self._shape)
        return None

    def completion(self, event: Event) -> CompletionResponse | None:
        """Take an event; return the chunk to show, if any: pieces of the answer and, last, the whole response."""
        self._events.append(event)
        match event:
            case Delta(phase="answer" | "inline", text=text) if text:
                self._answer += text
                return CompletionResponse(text=self._answer, delta=text, raw=self._progress(event))
            case Finish():
                return completion_response(Completion.fold(self._events), self._shape)
        return None

    def _chunk(self, event: Delta | ToolCallDelta, delta: str = "", **extra: str) -> ChatResponse:
        thinking = ThinkingBlock(content=self._reasoning) if self._reasoning else None
        message = self._shape.message(self._answer, thinking, list(self._calls.values()))
        return ChatResponse(message=message, delta=delta, raw=self._progress(event), additional_kwargs=extra)

    def _progress(self, event: Delta | ToolCallDelta) -> dict[str, Any]:
        """Say which model is writing what: a user interface can show it."""
        if isinstance(event, ToolCallDelta):
            return {"model": self._shape.model}
        return {
            "model": self._shape.model,
            "step": {"index": event.index, "phase": event.phase, "engine": event.engine},
        }

    def _grow(self, piece: ToolCallDelta) -> bool:
        """Add a piece of a call; tells whether the message has changed."""
        if piece.index and self._shape.one_call:
            return False
        if isinstance(piece.call, InvalidToolCall):
            return self._calls.pop(piece.index, None) is not None
        if piece.call:
            self._calls[piece.index] = self._shape.call_block(piece.call)
            return True
        if piece.index not in self._calls:
            self._calls[piece.index] = self._shape.open_call(piece.id, piece.name, piece.arguments)
            return True
        block = self._calls[piece.index]
        self._calls[piece.index] = block.model_copy(update={"tool_kwargs": f"{block.tool_kwargs}{piece.arguments}"})
        return bool(piece.arguments)


def _thinking(completion: Completion) -> ThinkingBlock | None:
    if not completion.reasoning:
        return None
    summary = completion.summary()
    shares = {"steps": summary.steps, "large_token_share": round(summary.large_token_share, 4)}
    return ThinkingBlock(
        content=completion.reasoning,
        num_tokens=completion.usage.reasoning_tokens,
        additional_information={"routing": {**shares, "intervention_rate": round(summary.intervention_rate, 4)}},
    )


def _counts(completion: Completion) -> dict[str, int]:
    usage = completion.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
