"""What a chat template can do, found out by rendering small conversations with it."""

import inspect
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

from glimp_core.errors import ConfigError, ModelLoadError

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


RESERVED = """
conversation conversations messages tools chat_template add_generation_prompt continue_final_message tokenize
sanitize_control_tokens padding truncation max_length stride return_tensors return_dict tokenizer_kwargs
return_assistant_tokens_mask processor_kwargs bos_token eos_token unk_token sep_token pad_token cls_token mask_token
additional_special_tokens
""".split()  # noqa: SIM905
"""Options that replace a template, cut a prompt or encode it otherwise, in any version of transformers or server."""

Arguments = Literal["values", "text"]
"""How a template takes the arguments of earlier calls: as values, or as JSON text."""


class VerbatimPrompt(str):
    """A template that shows one prompt as it is, control tokens included: the one template that replaces a model's."""

    def __new__(cls, prompt: str) -> "VerbatimPrompt":
        """Make the template of a prompt."""
        return super().__new__(cls, "{{ " + json.dumps(prompt, ensure_ascii=False) + " }}")


def check_template_options(options: Any, tokenizer: Any = None) -> None:
    """Let pass what is the template's own. Raises `ConfigError` for an option that goes to transformers instead.

    Those are the named arguments of the tokenizer's `apply_chat_template`, except `documents`, which are content, and
    the names of its special tokens.
    """
    if not isinstance(options, Mapping):
        raise ConfigError(f"chat_template_kwargs={options!r} cannot work: it must be a dict of template options")
    taken: set[str] = set(RESERVED)
    if tokenizer is not None:
        arguments = inspect.signature(tokenizer.apply_chat_template).parameters.values()
        taken |= {argument.name for argument in arguments if argument.kind is not argument.VAR_KEYWORD} - {"documents"}
        taken |= {name for name in tokenizer.special_tokens_map}
    for name in options:
        if name in taken and not isinstance(options[name], VerbatimPrompt):
            raise ConfigError(
                f"chat_template_kwargs cannot hold {name!r}: it would change how the prompt is made, not what the "
                "template shows. Only the template's own options can be given, for example enable_thinking"
            )


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
    def takes_parts(self) -> bool:
        """Whether a content is rendered as a list of parts alone, as some multimodal templates have it.

        Raises `ModelLoadError` for a template that renders a user's words in neither form.
        """
        for parts in (False, True):
            if str(_USER["content"]) in (self._rendered([_USER], parts) or ""):
                return parts
        raise ModelLoadError(
            "the model's chat template does not show what the user says: choose an instruct or reasoning model"
        )

    @cached_property
    def takes_system(self) -> bool:
        """Whether a system message at the front is rendered."""
        return self._shows("glimp-system", [{"role": "system", "content": "glimp-system"}, _USER])

    @cached_property
    def takes_late_system(self) -> bool:
        """Whether a system message is rendered in its place, after a user's as well as before one."""
        late = {"role": "system", "content": "glimp-system"}
        opening = [_USER, {"role": "assistant", "content": "glimp-assistant"}]
        texts = [self._render([*opening, *rest]) or "" for rest in ([_USER, late], [late, _USER])]
        return all(-1 < text.find("glimp-assistant") < text.find("glimp-system") for text in texts)

    @cached_property
    def arguments(self) -> Arguments | None:
        """How it takes the arguments of calls; None where it does not render tools, calls and their results."""
        if not self._shows("glimp_tool", [_USER], tools=[_TOOL]):
            return None
        forms: tuple[Arguments, ...] = ("values", "text")
        return next(filter(self._renders_calls, forms), None)

    @cached_property
    def short_ids(self) -> bool:
        """Whether it takes only call ids of nine letters and digits."""
        return self.arguments is not None and not self._renders_calls(self.arguments, "call_0123456789abcdef01234567")

    @cached_property
    def single_calls(self) -> bool:
        """Whether it takes one call a message at most."""
        return self.arguments is not None and not self._renders_calls(self.arguments, count=2)

    @cached_property
    def names_parameters(self) -> bool:
        """Whether it writes calls as `{"name": ..., "parameters": {...}}`."""
        return '"glimp_call", "parameters": {"glimp_argument"' in self._call_text(self.arguments or "values")

    def _renders_calls(self, form: Arguments, call_id: str = _CALL_ID, count: int = 1) -> bool:
        text = self._call_text(form, call_id, count)
        written = "glimp_argument" in text and "'glimp_argument'" not in text and '\\"glimp_argument' not in text
        return written and "glimp_call" in text and "glimp-result" in text

    def _call_text(self, form: Arguments, call_id: str = _CALL_ID, count: int = 1) -> str:
        """Render a conversation with some calls and their results; "" where it is refused."""
        arguments: Any = '{"glimp_argument": "v"}' if form == "text" else {"glimp_argument": "v"}
        call = {"id": call_id, "type": "function", "function": {"name": "glimp_call", "arguments": arguments}}
        result = {"role": "tool", "name": "glimp_call", "tool_call_id": call_id, "content": "glimp-result"}
        calling: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": [call] * count}
        return self._render([_USER, calling, *[result] * count], tools=[_TOOL]) or ""

    def _shows(self, mark: str, messages: Sequence[Mapping[str, Any]], **options: Any) -> bool:
        return mark in (self._render(messages, **options) or "")

    def _render(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> str | None:
        return self._rendered(messages, self.takes_parts, **options)

    def _rendered(self, messages: Sequence[Mapping[str, Any]], parts: bool, **options: Any) -> str | None:
        try:
            text = self._tokenizer.apply_chat_template(
                [in_parts(message) if parts else dict(message) for message in messages],
                tokenize=False, add_generation_prompt=True, **options,
            )  # fmt: skip
        except Exception:  # a template that refuses says so in any of jinja's ways
            return None
        return str(text)


def in_parts(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a message with its text as the one part of a list."""
    return {**message, "content": [{"type": "text", "text": message["content"]}] if message["content"] else []}
