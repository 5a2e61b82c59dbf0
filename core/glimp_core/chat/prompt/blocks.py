"""The parts of a message's content, whoever's they are, as text."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from glimp_core.errors import ConfigError

TEXT_KINDS = ("text", "input_text", "output_text", "text-plain", "refusal")
IGNORED_KINDS = (
    "cache_point", "cachePoint", "cache_control", "guard_content", "tool_use", "tool_call", "tool_calls",
    "tool_call_chunk", "invalid_tool_call", "function_call", "non_standard",
)  # fmt: skip
"""Parts that say nothing to a model, or repeat what the message's calls say."""

_HOSTED = re.compile(r".*(_call|_use|_result|_output|_code|_call_chunk)")
"""What a hosted model did with tools of its own."""

_UNREADABLE = {"type", "id", "index", "status", "signature", "encrypted_content", "encrypted_index", "caller", "extras"}


def block_text(block: Mapping[str, Any], role: str) -> str:
    """Return the text of a part, "" for one that has none to show.

    What a hosted model did with tools of its own is told in words. Raises `ConfigError` for images, files and whatever
    else is no text.
    """
    kind = str(block.get("type") or next((key for key in block if key in ("text", "json", *IGNORED_KINDS)), "text"))
    if kind in TEXT_KINDS:
        return _said(block, "text", "refusal", "data")
    if kind in IGNORED_KINDS:
        return ""
    if kind == "json":
        return json.dumps(block.get("json"), ensure_ascii=False)
    if kind == "search_result":
        return "\n".join(
            [f"{block.get('title', '')} ({block.get('source', '')})", _of_many(block.get("content"), role)]
        )
    source = block.get("source") if isinstance(block.get("source"), Mapping) else block
    if kind in ("document", "file") and (found := _document(block, source, role)) is not None:
        return found
    if role == "assistant" and _HOSTED.fullmatch(kind):
        told = {
            key: value for key, value in block.items() if key not in _UNREADABLE and value not in (None, "", [], {})
        }
        return f"[{kind}: {json.dumps(_readable(told), ensure_ascii=False, default=str)}]"
    raise ConfigError(
        f"these models read text only: a {role} message has a part of type {kind!r:.100}. "
        "Take it out, or turn it into text"
    )


def _said(block: Mapping[str, Any], *keys: str) -> str:
    found = next((block[key] for key in keys if block.get(key)), "")
    if not isinstance(found, str):
        raise ConfigError(f"a part of a message must hold a text, got {found!r:.200}")
    return found


def _document(block: Mapping[str, Any], source: Any, role: str) -> str | None:
    """Return the text of a document that is one, None of any other."""
    kind = source.get("source_type") or source.get("type")
    title = f"{block['title']}\n" if block.get("title") else ""
    if kind == "text":
        return title + _said(source, "data", "text")
    if kind == "content":
        return title + _of_many(source.get("content"), role)
    return None


def _of_many(content: Any, role: str) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, Sequence) else ()
    return "\n".join(block_text(part, role) if isinstance(part, Mapping) else str(part) for part in parts)


def _readable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _readable(part) for key, part in value.items() if key not in _UNREADABLE}
    return [_readable(part) for part in value] if isinstance(value, list) else value
