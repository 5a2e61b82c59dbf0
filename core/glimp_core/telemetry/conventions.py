"""The attributes and messages of requests and steps in OpenTelemetry, as plain values.

The names under `gen_ai.` are those of the semantic conventions for generative AI (status: development),
https://github.com/open-telemetry/semantic-conventions-genai. Other names are under `glimp.`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from glimp_core.completion import Completion
from glimp_core.events import Routed
from glimp_core.tap import Asked
from glimp_core.types import Message, Step

PROVIDER = "glimp"
FINISH_REASONS = {"stop": "stop", "length": "length", "tool_calls": "tool_call"}


def request(asked: Asked) -> dict[str, Any]:
    """Return the attributes that are known when a request begins."""
    sampling = asked.request.sampling
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": f"{asked.small}+{asked.large}",
        "gen_ai.request.temperature": sampling.temperature,
        "gen_ai.request.top_p": sampling.top_p,
        "gen_ai.request.top_k": sampling.top_k,
        "gen_ai.request.max_tokens": sampling.max_tokens,
        "gen_ai.request.seed": sampling.seed,
        "gen_ai.request.stop_sequences": sampling.stop or None,
        "glimp.policy": repr(asked.policy),
        "glimp.run": asked.id,
    }
    return {name: value for name, value in attributes.items() if value is not None}


def reply(asked: Asked, done: Completion) -> dict[str, Any]:
    """Return the attributes that a finished request adds."""
    figures, usage = done.summary(), done.usage
    return {
        "gen_ai.response.id": asked.id,
        "gen_ai.response.model": f"{asked.small}+{asked.large}",
        "gen_ai.response.finish_reasons": [done.finish_reason],
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
        "glimp.mode": figures.mode,
        "glimp.steps": figures.steps,
        "glimp.intervention_rate": figures.intervention_rate,
        "glimp.large_token_share": figures.large_token_share,
        "glimp.small.seconds": figures.small_seconds,
        "glimp.large.seconds": figures.large_seconds,
    }


def step(written: Step, model: str, routed: Routed | None) -> dict[str, Any]:
    """Return the attributes of a step that `model` wrote, and of the glimpse before it."""
    attributes: dict[str, Any] = {
        "gen_ai.response.model": model,
        "gen_ai.usage.output_tokens": written.tokens,
        "glimp.step.index": written.index,
        "glimp.step.phase": written.phase,
        "glimp.step.writer": written.engine,
        "glimp.step.end": written.end,
        "glimp.step.seconds": written.seconds,
    }
    if routed is not None:
        attributes["glimp.entropy"] = routed.glimpse.entropy
        attributes["glimp.entropy.definition"] = routed.glimpse.definition
        attributes["glimp.intervene"] = routed.decision.intervene
        if routed.decision.threshold is not None:
            attributes["glimp.threshold"] = routed.decision.threshold
    return attributes


def input_messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Return messages in the schema of `gen_ai.input.messages`."""
    return [{"role": message["role"], "parts": list(_parts(message))} for message in messages]


def output_messages(done: Completion) -> list[dict[str, Any]]:
    """Return a reply in the schema of `gen_ai.output.messages`."""
    parts = [{"type": "reasoning", "content": done.reasoning}] if done.reasoning else []
    parts += [{"type": "text", "content": done.answer}] if done.answer else []
    calls = [{"type": "tool_call", "id": c.id, "name": c.name, "arguments": c.arguments} for c in done.tool_calls]
    return [{"role": "assistant", "parts": [*parts, *calls], "finish_reason": FINISH_REASONS[done.finish_reason]}]


def _parts(message: Message) -> Iterable[dict[str, Any]]:
    content = message.get("content")
    if message["role"] == "tool":
        yield {"type": "tool_call_response", "id": message.get("tool_call_id"), "response": content}
        return
    if reasoning := message.get("reasoning_content"):
        yield {"type": "reasoning", "content": reasoning}
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, Mapping):
            yield {"type": "text", "content": part["text"]} if part.get("type") == "text" else dict(part)
        elif part:
            yield {"type": "text", "content": part}
    for call in message.get("tool_calls") or ():
        called = call.get("function", call)
        yield {"type": "tool_call", "id": call.get("id"), "name": called["name"], "arguments": called["arguments"]}
