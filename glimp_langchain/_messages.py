"""LangChain messages as the core takes them: OpenAI-shaped dicts, their contents as they are.

What is not LangChain's own is the core's to settle: the parts of a content, roles that a template does not know,
results without a name, and how much of the earlier reasoning, which goes along as `reasoning_content`, is shown.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, FunctionMessage, ToolMessage

ROLES = {"system": "system", "developer": "system", "human": "user", "ai": "assistant", "tool": "tool"}


def core_messages(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Return the messages as dicts; the given ones stay as they are."""
    return [_core_message(message) for message in messages]


def _core_message(message: BaseMessage) -> dict[str, Any]:
    core = {"role": _role(message), "content": message.content}
    core |= {"name": message.name} if message.name else {}
    if isinstance(message, AIMessage):
        core |= dict(_assistants(message))
    elif isinstance(message, ToolMessage):
        core |= {"tool_call_id": message.tool_call_id, "status": message.status}
    elif isinstance(message, FunctionMessage):
        core["role"] = "tool"
    return core


def _role(message: BaseMessage) -> str:
    role = message.role if isinstance(message, ChatMessage) else message.type.removesuffix("MessageChunk").lower()
    return ROLES.get(role, role)


def _assistants(message: AIMessage) -> Iterator[tuple[str, Any]]:
    """Yield what an assistant says beside its content."""
    calls = [_call(call["id"], call["name"], call["args"]) for call in message.tool_calls]
    calls += [_call(call["id"], call["name"], call["args"] or "") for call in message.invalid_tool_calls]
    if calls:
        yield "tool_calls", calls
    extra = message.additional_kwargs
    yield from ((key, extra[key]) for key in ("refusal", "audio", "function_call") if extra.get(key))
    reasoning = extra.get("reasoning_content") or extra.get("reasoning")
    if isinstance(reasoning, Mapping):  # of OpenAI: a part, as it would stand in the content
        parts = [message.content] if isinstance(message.content, str) else message.content
        yield "content", [{**reasoning, "type": "reasoning"}, *parts]
    elif reasoning:
        yield "reasoning_content", reasoning


def _call(call_id: str | None, name: str | None, arguments: Any) -> dict[str, Any]:
    return {"id": call_id or "", "type": "function", "function": {"name": name or "", "arguments": arguments}}
