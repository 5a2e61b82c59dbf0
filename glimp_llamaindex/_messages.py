"""LlamaIndex messages as the core takes them: OpenAI-shaped dicts, text only, reasoning only where it still counts."""

from collections.abc import Sequence
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
from glimp_llamaindex._tools import arguments_of, sanitised

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
    memories do not count it, so older reasoning would fill the window unseen. `additional_kwargs` are never
    rendered. Raises `ConfigError` for a block that is not text.
    """
    users = [at for at, message in enumerate(messages) if message.role == MessageRole.USER]
    loop_start = users[-1] if users else -1
    return [_core_message(message, at > loop_start) for at, message in enumerate(messages)]


def _core_message(message: ChatMessage, in_loop: bool) -> dict[str, Any]:
    role = ROLES[MessageRole(message.role)]
    texts = [text for block in message.blocks if (text := _text_of(block, role)) is not None]
    core: dict[str, Any] = {"role": role, "content": "".join(texts)}
    if role == "assistant":
        calls = [_core_call(block) for block in message.blocks if isinstance(block, ToolCallBlock)]
        if calls := calls or _older_calls(message):
            core["tool_calls"] = calls
        thoughts = [block.content or "" for block in message.blocks if isinstance(block, ThinkingBlock)]
        if in_loop and any(thoughts):
            core["reasoning_content"] = "".join(thoughts)
    if role == "tool":
        extra = message.additional_kwargs  # agents send the id alone, the core finds the name
        core |= {key: str(extra[key]) for key in ("tool_call_id", "name") if extra.get(key)}
    return core


def _older_calls(message: ChatMessage) -> list[dict[str, Any]]:
    """Return the calls that other integrations, and older chat stores, keep beside the blocks."""
    calls = message.additional_kwargs.get("tool_calls") or ()
    read = [call if isinstance(call, dict) else getattr(call, "model_dump", dict)() for call in calls]
    functions = [(call.get("id") or "", call.get("function", call)) for call in read]
    return [
        {"id": call_id, "type": "function", "function": {**function, "name": sanitised(function["name"])}}
        for call_id, function in functions
        if isinstance(function, dict) and isinstance(function.get("name"), str)
    ]


def _core_call(block: ToolCallBlock) -> dict[str, Any]:
    function = {"name": sanitised(block.tool_name), "arguments": arguments_of(block)}
    return {"id": block.tool_call_id or "", "type": "function", "function": function}


def _text_of(block: ContentBlock, role: str) -> str | None:
    """Return a block's text, None for a block that has none to show."""
    if isinstance(block, TextBlock):
        return block.text
    if isinstance(block, CitableBlock):
        texts = [_text_of(part, role) or "" for part in block.content]
        return "\n".join([f"{block.title} ({block.source})", *texts])
    if isinstance(block, DocumentBlock) and str(block.document_mimetype or "").startswith("text/"):
        return str(block.resolve_document().read(), "utf-8", "replace")
    if isinstance(block, CitationBlock):
        return _text_of(block.cited_content, role)
    if isinstance(block, (ThinkingBlock, ToolCallBlock, CachePoint)):
        return None
    raise ConfigError(
        f"Glimp's models read text, and a message of role {role!r} has a block of kind {type(block).__name__}: "
        "turn it into a TextBlock first, or send it to a model that reads such blocks"
    )
