"""The core's events as LangChain messages: one whole message, or chunks with one kind of content each."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.utils.json import parse_partial_json
from langchain_core.version import VERSION
from packaging.version import Version

from glimp_core import Completion, Cost, Delta, Event, Finish, InvalidToolCall, Routed, Step, ToolCallDelta, Usage

PROVIDER = "glimp"
NORMALIZED = {"stop": "stop", "length": "length", "tool_calls": "tool_call"}
"""LangChain's names of finish reasons, the same for all providers."""
READS_NORMALIZED = Version(VERSION) >= Version("1.8.4")
"""Whether the installed langchain-core reads `normalized_finish_reason`."""
FIRST_TOOL_INDEX = 1000
"""LangChain merges blocks of equal index whatever their type, and numbers reasoning and text from 0 itself."""


def message_of(events: Sequence[Event], model_name: str) -> AIMessage:
    """Return a whole reply: the answer as content, the thinking as `reasoning_content`."""
    completion = Completion.fold(events)
    steps = [_trace(step.index, step.phase, step.engine, step.entropy) for step in completion.steps]
    reasoning = {"reasoning_content": completion.reasoning} if completion.reasoning else {}
    return AIMessage(
        content=completion.answer,
        additional_kwargs={**reasoning, "glimp": {"steps": steps}},
        tool_calls=[tool_call(name=c.name, args=c.arguments, id=c.id) for c in completion.tool_calls],
        invalid_tool_calls=[
            invalid_tool_call(name=c.name, args=c.arguments, id=c.id, error=c.error)
            for c in completion.invalid_tool_calls
        ],
        usage_metadata=_usage(completion.usage),
        response_metadata=_metadata(completion, events, model_name),
    )


def result_of(events: Iterable[Event], model_name: str) -> ChatResult:
    """Return a whole reply as the result of `_generate`, with the token counts that `generate` sums."""
    message = message_of(list(events), model_name)
    usage = message.usage_metadata
    assert usage, "a reply is counted"
    tokens = {"prompt_tokens": usage["input_tokens"], "completion_tokens": usage["output_tokens"]}
    return ChatResult(
        generations=[ChatGeneration(message=message)],
        llm_output={"token_usage": {**tokens, "total_tokens": usage["total_tokens"]}, "model_name": model_name},
    )


class ReplyStream:
    """Turns the events of one reply into chunks. The last one has only usage and metadata."""

    def __init__(self, model_name: str):
        self._model_name = model_name
        self._events: list[Event] = []
        self._entropies: dict[int, float] = {}
        self._traced: set[int] = set()
        self._arguments: dict[int, str] = {}

    def push(self, event: Event) -> Iterator[AIMessageChunk]:
        """Take the next event and yield its chunks, if it has any."""
        self._events.append(event)
        match event:
            case Routed():
                self._entropies[event.index] = event.glimpse.entropy
            case Delta() if event.text:
                yield self._text(event)
            case ToolCallDelta():
                yield from self._tool_call(event)
            case Step() if event.index not in self._traced:
                yield _chunk(additional_kwargs=self._traces(event.index, event.phase, event.engine))
            case Finish():
                yield self._last()

    def _text(self, delta: Delta) -> AIMessageChunk:
        trace = self._traces(delta.index, delta.phase, delta.engine)
        if delta.phase == "thinking":
            return _chunk(additional_kwargs={"reasoning_content": delta.text, **trace})
        return _chunk(content=delta.text, additional_kwargs=trace)

    def _tool_call(self, delta: ToolCallDelta) -> Iterator[AIMessageChunk]:
        shown, arguments = self._arguments.get(delta.index, ""), delta.arguments
        if isinstance(delta.call, InvalidToolCall):
            written = delta.call.arguments
            arguments = written.removeprefix(shown) if written.startswith(shown) else arguments
            arguments += _spoiler(shown + arguments)
        self._arguments[delta.index] = shown + arguments
        if delta.id or arguments:
            name, index = delta.name if delta.id else None, FIRST_TOOL_INDEX + delta.index
            piece = tool_call_chunk(name=name, args=arguments, id=delta.id or None, index=index)
            yield _chunk(tool_call_chunks=[piece])

    def _traces(self, index: int, phase: str, engine: str) -> dict[str, Any]:
        """Return the trace of a step for its first chunk; the lists of several chunks append when merged."""
        if index in self._traced:
            return {}
        self._traced.add(index)
        return {"glimp": {"steps": [_trace(index, phase, engine, self._entropies.get(index))]}}

    def _last(self) -> AIMessageChunk:
        completion = Completion.fold(self._events)
        return _chunk(
            usage_metadata=_usage(completion.usage),
            response_metadata=_metadata(completion, self._events, self._model_name),
            chunk_position="last",
        )


def _chunk(content: str = "", **fields: Any) -> AIMessageChunk:
    return AIMessageChunk(content=content, **fields)


def _trace(index: int, phase: str, engine: str, entropy: float | None) -> dict[str, Any]:
    return {"step": index, "phase": phase, "model": engine, "entropy": entropy}


def _usage(usage: Usage) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        input_token_details=InputTokenDetails(
            cache_read=usage.cached_tokens, cache_creation=usage.prompt_tokens - usage.cached_tokens
        ),
        output_token_details=OutputTokenDetails(reasoning=usage.reasoning_tokens),
    )


def _metadata(completion: Completion, events: Iterable[Event], model_name: str) -> dict[str, Any]:
    measured = [event for event in events if isinstance(event, Delta) and event.measure and event.phase != "thinking"]
    tokens = [{"token": delta.text, "logprob": -delta.measure.surprisal} for delta in measured if delta.measure]
    return {
        **({"logprobs": {"content": tokens}} if tokens else {}),
        "model_name": model_name,
        "model_provider": PROVIDER,
        "finish_reason": completion.finish_reason,
        **({"normalized_finish_reason": NORMALIZED[completion.finish_reason]} if READS_NORMALIZED else {}),
        "glimp": _summary(completion),
    }


def _summary(completion: Completion) -> dict[str, Any]:
    """Only integers, lists and strings: LangChain cannot merge messages with other values."""
    summary, steps = completion.summary(), completion.steps
    return {
        "mode": summary.mode,
        "steps": summary.steps,
        "routed_steps": summary.routed_steps,
        "interventions": sum(routed.decision.intervene for routed in completion.routed),
        "switches": sum(one.engine != other.engine for one, other in pairwise(steps)),
        "small_tokens": sum(step.tokens for step in steps if step.engine == "small"),
        "large_tokens": sum(step.tokens for step in steps if step.engine == "large"),
        "milliseconds": round(summary.seconds * 1000),
        "thinking_end": summary.thinking_end,
        "notes": list(summary.notes),
        **({"cost_in_billionths": _cost(summary.cost)} if summary.cost else {}),
        "invalid_calls": [f"{call.name}: {call.error}" for call in completion.invalid_tool_calls],
    }


def _cost(cost: Cost) -> dict[str, Any]:
    """Amounts in billionths, as integers: when two messages are merged, these are added."""
    amounts = {"total": cost.total, "small": cost.small, "large": cost.large}
    return {**{name: round(amount * 1e9) for name, amount in amounts.items()}, "currency": cost.currency}


def _spoiler(arguments: str) -> str:
    """Return what makes broken arguments stay broken.

    LangChain mends the JSON of streamed calls by closing what is open, and the tool would run with half its
    arguments. A closing bracket that closes nothing keeps it from that.
    """
    endings = ["", "]", "}", '"]', '"}', '""]', '""}']  # after a structure, inside a string, after a backslash in one
    return next(end for end in endings if not _mends(arguments + end))


def _mends(arguments: str) -> bool:
    try:
        return not arguments or isinstance(parse_partial_json(arguments), dict)
    except json.JSONDecodeError:
        return False
