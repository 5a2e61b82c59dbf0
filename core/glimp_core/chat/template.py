"""What a chat template can do, found out by rendering small conversations with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_USER = {"role": "user", "content": "glimp-user"}
_TOOL = {
    "type": "function",
    "function": {
        "name": "glimp_tool",
        "description": "",
        "parameters": {"type": "object", "properties": {"glimp_key": {"type": "string"}}},
    },
}
_CALL_ID = "abcdef123"
"""Nine letters and digits: the shape that Mistral's templates insist on."""


@dataclass(frozen=True, slots=True)
class CallStyle:
    """How a template wants the calls of earlier turns: arguments as JSON text, no content beside calls."""

    arguments_as_text: bool
    content_none: bool


class Template:
    """The chat template of one tokenizer, asked what it does with tools and system messages."""

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer

    @cached_property
    def source(self) -> str:
        """The Jinja text, of the tool variant where there are several."""
        template = self._tokenizer.chat_template
        if isinstance(template, Mapping):
            template = template.get("tool_use") or template.get("default") or ""
        return str(template or "")

    @cached_property
    def takes_system(self) -> bool:
        """Whether a system message at the front is rendered."""
        return self._shows("glimp-system", [{"role": "system", "content": "glimp-system"}, _USER])

    @cached_property
    def takes_late_system(self) -> bool:
        """Whether a system message after a user's is rendered, and in its place."""
        text = self._render([_USER, {"role": "system", "content": "glimp-system"}]) or ""
        return -1 < text.find("glimp-user") < text.find("glimp-system")

    @cached_property
    def call_style(self) -> CallStyle | None:
        """How it takes calls; None where it does not render tools, calls and their results."""
        if not self._shows("glimp_tool", [_USER], tools=[_TOOL]):
            return None
        styles = [CallStyle(text, none) for none in (False, True) for text in (False, True)]
        return next(filter(self._renders_calls, styles), None)

    @cached_property
    def short_ids(self) -> bool:
        """Whether it takes only call ids of nine letters and digits."""
        return not self._renders_calls(self.call_style, "call_0123456789abcdef01234567") if self.call_style else False

    def _renders_calls(self, style: CallStyle, call_id: str = _CALL_ID) -> bool:
        arguments: Any = '{"glimp_argument": "v"}' if style.arguments_as_text else {"glimp_argument": "v"}
        call = {"id": call_id, "type": "function", "function": {"name": "glimp_call", "arguments": arguments}}
        messages: list[dict[str, Any]] = [
            _USER,
            {"role": "assistant", "content": None if style.content_none else "", "tool_calls": [call]},
            {"role": "tool", "name": "glimp_call", "tool_call_id": call_id, "content": "glimp-result"},
        ]
        text = self._render(messages, tools=[_TOOL]) or ""
        written = "glimp_argument" in text and "'glimp_argument'" not in text and '\\"glimp_argument' not in text
        return written and "glimp_call" in text and "glimp-result" in text

    def _shows(self, mark: str, messages: Sequence[Mapping[str, Any]], **options: Any) -> bool:
        return mark in (self._render(messages, **options) or "")

    def _render(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> str | None:
        try:
            text = self._tokenizer.apply_chat_template(
                [dict(message) for message in messages], tokenize=False, add_generation_prompt=True, **options
            )
        except Exception:  # a template that refuses says so in any of jinja's ways
            return None
        return str(text)
