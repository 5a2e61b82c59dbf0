"""LangChain messages as the core takes them: OpenAI-shaped dicts with text alone.

What is not LangChain's own is the core's to settle: roles that a template does not know, results without a name,
and how much of the earlier reasoning, which goes along as `reasoning_content`, is shown.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, FunctionMessage, ToolMessage

from glimp_core.chat.prompt.blocks import block_text

ROLES = {"system": "system", "developer": "system", "human": "user", "ai": "assistant", "tool": "tool"}
CALLS = ("tool_use", "tool_call", "tool_call_chunk", "invalid_tool_call", "function_call")
"""Blocks that repeat what `tool_calls` says, save Anthropic's `tool_use`, which may say it alone."""


def core_messages(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Return the messages as dicts; the given ones stay as they are.

    Raises `ConfigError` for content that is not text.
    """
    return [converted for message in messages for converted in _convert(message)]


def _convert(message: BaseMessage) -> Iterator[dict[str, Any]]:
    content = _Content.of(message.content, _role(message))
    yield from content.results
    if isinstance(message, AIMessage):
        yield _assistant(message, content)
    elif isinstance(message, ToolMessage):
        named = {"name": message.name} if message.name else {}
        yield {**_tool_result(message.tool_call_id, content.text, message.status), **named}
    elif isinstance(message, FunctionMessage):
        yield {"role": "tool", "content": content.text, "name": message.name}
    elif content.text or not content.results:
        named = {"name": message.name} if message.name else {}
        yield {"role": _role(message), "content": content.text, **named}


def _role(message: BaseMessage) -> str:
    role = message.role if isinstance(message, ChatMessage) else message.type.removesuffix("MessageChunk").lower()
    return ROLES.get(role, role)


def _assistant(message: AIMessage, content: "_Content") -> dict[str, Any]:
    calls = [_call(call["id"], call["name"], call["args"]) for call in message.tool_calls]
    calls += [_call(call["id"], call["name"], call["args"] or "") for call in message.invalid_tool_calls]
    reasoning = message.additional_kwargs.get("reasoning_content") or content.reasoning
    return {
        "role": "assistant",
        "content": content.text,
        **({"reasoning_content": reasoning} if reasoning else {}),
        **({"tool_calls": calls or content.calls} if calls or content.calls else {}),
    }


def _call(call_id: str | None, name: str | None, arguments: Any) -> dict[str, Any]:
    return {"id": call_id or "", "type": "function", "function": {"name": name or "", "arguments": arguments}}


def _tool_result(call_id: str, text: str, status: str) -> dict[str, Any]:
    return {"role": "tool", "content": text, "tool_call_id": call_id, "status": status}


@dataclass
class _Content:
    """The parts of one message's content, whoever's blocks they are: LangChain's, OpenAI's or Anthropic's."""

    role: str = "user"
    text: str = ""
    reasoning: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    results: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @classmethod
    def of(cls, blocks: str | Sequence[str | Mapping[str, Any]], role: str = "user") -> "_Content":
        content = cls(role)
        for block in [blocks] if isinstance(blocks, str) else blocks:
            content._add({"type": "text", "text": block} if isinstance(block, str) else block)
        return content

    def _add(self, block: Mapping[str, Any]) -> None:
        kind = block.get("type") or next(iter(block), "")
        if kind in ("text", "input_text", "output_text", "refusal"):
            self.text += block.get("text") or block.get("refusal") or ""
        elif kind in ("reasoning", "thinking", "redacted_thinking"):
            self.reasoning += block.get("reasoning") or block.get("thinking") or ""
        elif kind == "tool_use":
            self.calls.append(_call(block.get("id"), block.get("name"), block.get("input") or {}))
        elif kind == "tool_result":
            status = "error" if block.get("is_error") else "success"
            self.results.append(
                _tool_result(block["tool_use_id"], _Content.of(block.get("content") or "").text, status)
            )
        elif kind == "json":
            self.text += json.dumps(block.get("json"), ensure_ascii=False)
        elif kind not in CALLS:
            self.text += block_text(block, self.role)
