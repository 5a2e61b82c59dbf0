"""LlamaIndex messages as the core takes them: OpenAI-shaped dicts, text only, reasoning only where it still counts."""

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    ContentBlock,
    DocumentBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from glimp_core import ConfigError
from glimp_llamaindex._tools import arguments_of

ROLES = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "tool",
}


def core_messages(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Return the messages as dicts; the given ones stay as they are.

    Reasoning is kept for the replies after the last user message alone (the current tool loop): LlamaIndex's
    memories do not count it, so older reasoning would fill the window unseen. Of `additional_kwargs` calls alone are
    read, if there are none in blocks. Raises `ConfigError` for a block that is not text.
    """
    users = [at for at, message in enumerate(messages) if message.role == MessageRole.USER]
    loop_start = users[-1] if users else -1
    return [_core_message(message, at > loop_start) for at, message in enumerate(messages)]


def _core_message(message: ChatMessage, in_loop: bool) -> dict[str, Any]:
    role = ROLES[MessageRole(message.role)]
    blocks = [block for block in message.blocks if in_loop or not _is_old_thought(block)]
    core: dict[str, Any] = {"role": role, "content": [_part(block) for block in blocks]}
    extra = message.additional_kwargs
    if role == "assistant" and not any(isinstance(block, ToolCallBlock) for block in blocks):
        if calls := _older_calls(extra):
            core["tool_calls"] = calls
        elif isinstance(extra.get("function_call"), Mapping):
            core["function_call"] = extra["function_call"]
    if role == "tool":  # agents send the id alone, the core finds the name
        core |= {key: str(extra[key]) for key in ("tool_call_id", "name") if extra.get(key)}
    return core


def _is_old_thought(block: ContentBlock) -> bool:
    return isinstance(block, ThinkingBlock) and bool(block.content)


def _older_calls(extra: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the calls that other integrations, and older chat stores, keep beside the blocks."""
    calls = extra.get("tool_calls") or ()
    read = [call if isinstance(call, Mapping) else getattr(call, "model_dump", dict)() for call in calls]
    return [dict(call) if "function" in call else _openai_call(call) for call in read if call]


def _openai_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call of LlamaIndex's own older kinds, `ToolSelection` and `ToolCallBlock`, in OpenAI's shape."""
    name = call.get("tool_name", call.get("name"))
    arguments: Any = next((call[key] for key in ("tool_kwargs", "arguments", "input", "args") if key in call), {})
    call_id = next((call[key] for key in ("tool_id", "tool_call_id", "id", "call_id") if call.get(key)), "")
    return {"id": call_id, "function": {"name": name, "arguments": arguments}}


def _part(block: ContentBlock) -> str | dict[str, Any]:
    """Return a block as the core reads it."""
    match block:
        case TextBlock():
            return block.text
        case ThinkingBlock():
            return {"type": "thinking", "thinking": block.content, "redacted": not block.content}
        case ToolCallBlock():
            return {"type": "tool_call", "id": block.tool_call_id, "name": block.tool_name, "args": arguments_of(block)}
        case CachePoint():
            return {"type": "cache_point"}
        case CitableBlock():
            return _titled(block, [_part(part) for part in block.content])
        case CitationBlock():
            return _titled(block, [_part(block.cited_content)])
        case DocumentBlock() if str(block.document_mimetype or "").startswith("text/"):
            return str(block.resolve_document().read(), "utf-8", "replace")
    raise ConfigError(
        f"Glimp's models read text, and a message has a block of kind {type(block).__name__}: "
        "turn it into a TextBlock first, or send it to a model that reads such blocks"
    )


def _titled(block: CitableBlock | CitationBlock, content: list[Any]) -> dict[str, Any]:
    return {"type": "search_result", "title": block.title, "source": block.source, "content": content}
