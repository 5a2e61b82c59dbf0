"""The parts of a message's content, of any provider: text, thinking, calls, results, and unsupported parts."""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from glimp_core.errors import ConfigError, shown

TEXTS = ("text", "input_text", "output_text", "text-plain", "refusal", "summary_text", "guard_content")
THOUGHTS = ("thinking", "reasoning", "redacted_thinking", "reasoning_content", "reasoning_text")
CALLS = ("tool_use", "tool_call", "tool_call_chunk", "invalid_tool_call", "function_call", "custom_tool_call")
RESULTS = ("tool_result", "function_call_output", "custom_tool_call_output")
DOCUMENTS = ("document", "file", "input_file", "text-plain", "resource", "search_result", "citations_content")
MEDIA = re.compile(r"(input_|output_)?(image|audio|video|media)(_url|_file)?|container_upload")
CACHE_POINTS = ("cache", "cache_point", "cache_control")
UNTYPED = (*TEXTS, *THOUGHTS, *CALLS, *RESULTS, *DOCUMENTS, *CACHE_POINTS, "json", "image", "audio", "video")
"""What the key of a part without a "type" says it is, as Bedrock's parts do."""

SEALED = re.compile(r"encrypted_\w+|redacted_content|redacted|thought_?signature")
"""Keys of what only the model that wrote it can read."""
_BOOKKEEPING = {"type", "id", "index", "status", "signature", "caller", "extras"}
_LONGEST_WORD = 2_000
"""A text without blank space that is longer is no text: an image, as a hosted model's tools return them."""
_TEXT_FILES = re.compile(r"text/.*|application/(.*\+)?(json|xml|yaml|x-yaml|javascript)|txt|md|csv|html|xml|json")


@dataclass
class Content:
    """What the parts of one message say; `left_out` names what is not passed on to a model."""

    role: str
    texts: list[str] = field(default_factory=list[str])
    thoughts: list[str] = field(default_factory=list[str])
    calls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    results: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    left_out: list[str] = field(default_factory=list[str])

    @property
    def text(self) -> str:
        """All texts, one behind the other as they are."""
        return "".join(self.texts)


def read_content(content: Any, role: str) -> Content:
    """Read a content: a text, or a list of texts and parts.

    Raises `ConfigError` for images and whatever else is no text, and for what is no content.
    """
    read = Content(role)
    if isinstance(content, Mapping) and (role != "tool" or is_part(content)):
        content = [content]
    if isinstance(content, str):
        read.texts.append(content)
    elif isinstance(content, (bytes, bytearray)):
        raise ConfigError(f"the content of a message must be a text, got {shown(content)}: decode it first")
    elif role == "tool" and content is not None and not _are_parts(content):
        read.texts.append(_as_json(content))
    elif content is not None:
        if not isinstance(content, Sequence):
            raise ConfigError(f"the content of a message must be a text or a list of parts, got {shown(content)}")
        for part in content:
            _add_part(read, part)
    return read


def is_part(value: Any) -> bool:
    """Tell whether a value is a part of a content, rather than some JSON that a tool returned."""
    if not isinstance(value, Mapping):
        return isinstance(value, str)
    return isinstance(value.get("type"), str) or (len(value) == 1 and _snake(next(iter(value))) in UNTYPED)


def _are_parts(content: Any) -> bool:
    return isinstance(content, list) and all(map(is_part, content))


def _kind(block: Mapping[str, Any]) -> str:
    kind = block.get("type", next((key for key in block if _snake(key) in UNTYPED), None))
    if not isinstance(kind, str):
        raise ConfigError(f"a part of a message must be a text or an object with a 'type', got {shown(block)}")
    return _snake(kind)


def _snake(name: Any) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() if isinstance(name, str) else ""


def _add_part(read: Content, part: Any) -> None:
    if isinstance(part, str):
        read.texts.append(part)
        return
    if not isinstance(part, Mapping):
        raise ConfigError(f"a part of a message must be a text or an object with a 'type', got {shown(part)}")
    kind = _kind(part)
    inner = next((value for key, value in part.items() if _snake(key) == kind and isinstance(value, Mapping)), None)
    block = {**part, **inner} if inner is not None and kind != "json" else part
    if read.role == "assistant" and kind in THOUGHTS:
        _add_thought(read, kind, block)
    elif read.role == "assistant" and kind in CALLS:
        read.calls.append(_call(block))
    elif kind in RESULTS:
        _add_result(read, block)
    elif kind in CACHE_POINTS:
        read.left_out.append(kind)
    elif kind == "non_standard" and isinstance(block.get("value"), Mapping):
        _add_part(read, block["value"] if "type" in block["value"] else {"type": "unknown", **block["value"]})
    else:
        read.texts.append(_text(read, kind, block))


def _text(read: Content, kind: str, block: Mapping[str, Any]) -> str:
    if kind == "json":
        return _as_json(block.get("json"))
    if kind in DOCUMENTS and (found := _document(read, block)) is not None:
        return found
    if kind in TEXTS and kind != "text-plain":
        return _said(block)
    known = kind in (*DOCUMENTS, *THOUGHTS, *CALLS) or MEDIA.fullmatch(kind)
    if read.role == "tool" and not known:
        return _as_json(block)
    if read.role == "assistant" and not known:  # what a hosted model did with tools of its own
        told = {key: value for key, value in block.items() if key not in _BOOKKEEPING}
        told = {key: value for key, value in _readable(read, kind, told).items() if value not in (None, "", [], {})}
        return f"[{kind}: {_as_json(told)}]"
    raise ConfigError(
        f"these models read text only: a {read.role} message has a part of type {kind!r:.100}. "
        "Take it out, or turn it into text"
    )


def _said(block: Mapping[str, Any]) -> str:
    found = next((block[key] for key in ("text", "refusal", "data") if key in block), block)
    if isinstance(found, Mapping) and found is not block:
        found = found.get("text", block)
    if found is not None and not isinstance(found, str):
        raise ConfigError(f"a part of a message must hold a text, got {shown(found)}")
    return found or ""


def _document(read: Content, block: Mapping[str, Any]) -> str | None:
    """Return the text of a document that is one, None of any other."""
    held = block.get("source")
    source: Mapping[str, Any] = held if isinstance(held, Mapping) else block
    body = _document_body(read, {**block, **source})
    if body is None:
        return None
    head = [str(block[key]) for key in ("title", "context") if block.get(key)]
    if isinstance(held, str) and head:
        head[0] += f" ({held})"
    return "\n".join([*head, body])


def _document_body(read: Content, source: Mapping[str, Any]) -> str | None:
    if isinstance(source.get("content"), (str, list, tuple)):
        content = source["content"]
        inner = read_content([content] if isinstance(content, str) else content, "user")
        read.left_out += inner.left_out
        return "\n".join(inner.texts)
    if isinstance(source.get("text"), str):
        return str(source["text"])
    mime = next((source[key] for key in ("mime_type", "media_type", "mimeType", "format") if key in source), "")
    data = next((source[key] for key in ("base64", "file_data", "data", "bytes", "blob") if source.get(key)), None)
    if isinstance(data, str) and (url := re.match(r"data:([^;,]*)[^,]*;base64,", data)):
        mime, data = url[1], data[url.end() :]
    if isinstance(data, str) and source.get("type") == "text":
        return data
    if data is None or not isinstance(mime, str) or not _TEXT_FILES.fullmatch(mime.lower()):
        return None
    try:
        return (data if isinstance(data, bytes) else base64.b64decode(data, validate=True)).decode(errors="replace")
    except (TypeError, binascii.Error):
        raise ConfigError(f"a part of a message must hold {mime!r:.100} as base64, got {shown(data)}") from None


def _add_thought(read: Content, kind: str, block: Mapping[str, Any]) -> None:
    inner = next((block[key] for key in ("thinking", "reasoning", "text", "reasoningText") if block.get(key)), None)
    listed = [part for key in ("summary", "content") for part in block.get(key) or () if isinstance(part, Mapping)]
    inner = inner.get("text") if isinstance(inner, Mapping) else inner
    thought = str(inner) if inner else "\n\n".join(_said(part) for part in listed)
    read.thoughts.append(thought)
    sealed = any(block[key] for key in block if SEALED.fullmatch(_snake(key)))
    if sealed or (not thought and (block.get("data") or block.get("signature"))):
        read.left_out.append(f"{kind} that is encrypted")


def _call(block: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("call_id", "id", "toolUseId", "tool_call_id")
    call_id = next((block[key] for key in keys if block.get(key)), "")
    arguments: Any = next((block[key] for key in ("input", "arguments", "args") if key in block), {})
    return {"id": call_id, "function": {"name": block.get("name"), "arguments": arguments}}


def _add_result(read: Content, block: Mapping[str, Any]) -> None:
    keys = ("tool_use_id", "call_id", "toolUseId", "tool_call_id")
    call_id = next((block[key] for key in keys if block.get(key)), "")
    content = next((block[key] for key in ("content", "output") if key in block), "")
    inner = read_content(content, "tool")
    read.left_out += inner.left_out
    failed = block.get("is_error") or block.get("status") == "error"
    result = {"role": "tool", "content": inner.text, "tool_call_id": call_id}
    read.results.append({**result, "is_error": True} if failed else result)


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"a part of a message cannot be written as JSON ({error}): {type(value).__name__}") from None


def _readable(read: Content, kind: str, value: Any) -> Any:
    """Return a value without what no other model can read, which is noted."""
    if isinstance(value, Mapping):
        sealed = [key for key in value if SEALED.fullmatch(_snake(key))]
        read.left_out += [f"{key} of {kind}" for key in sealed if value[key]]
        kept = {key: part for key, part in value.items() if key not in sealed and key not in _BOOKKEEPING - {"type"}}
        return {str(key): _readable(read, kind, part) for key, part in kept.items()}
    if isinstance(value, (list, tuple)):
        return [_readable(read, kind, part) for part in value]
    if isinstance(value, (bytes, str)) and len(value) > _LONGEST_WORD and len(value.split()) == 1:
        read.left_out.append(f"data of {kind}")
        return None
    return value
