"""From a request to the ids of a prompt, by the model's own template, and to the ids of the chain after it."""

import copy
import re
import threading
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from glimp_core.chat.formats.base import GENERIC, ToolCallFormat, format_of
from glimp_core.chat.prompt.messages import normalised
from glimp_core.chat.prompt.template import Template, check_template_options, in_parts
from glimp_core.chat.request.requirements import OutputRequirements, instructions
from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.context import Context, Span, ThinkingClosed
from glimp_core.errors import ConfigError, ModelLoadError
from glimp_core.types import ThinkingStyle

TAIL = 8
"""The think tag that a prompt ends with, if any, is among its last ids."""


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """The ids of a prompt, and whether it ends inside the thinking."""

    token_ids: list[int]
    thinking: ThinkingStyle


class Renderer:
    """Renders the requests of one model. Content can never become a control token: it is sanitised."""

    def __init__(self, tokenizer: Any, vocabulary: Vocabulary, name: str):
        if not getattr(tokenizer, "chat_template", None):
            raise ModelLoadError(f"{name!r} has no chat template: choose an instruct or reasoning model")
        control = [text for text in tokenizer.get_added_vocab() if not text.isspace()]
        self._control = re.compile("|".join(map(re.escape, control)) or "(?!)")
        self._tokenizer = copy.copy(tokenizer)
        self._tokenizer.chat_control_tokens = control
        self._template = Template(self._tokenizer)
        self._vocabulary = vocabulary
        self._name = name
        self._lock = threading.Lock()  # rendering sets flags on the tokenizer, which all threads share

    @cached_property
    def dialect(self) -> ToolCallFormat:
        """How this model writes tool calls."""
        return format_of(self._template)

    def prompt(self, context: Context) -> RenderedPrompt:
        """Render a request up to where the model goes on. Raises `ConfigError` where the template refuses it."""
        check_template_options(context.request.chat_template_kwargs, self._tokenizer)
        options = dict(context.request.chat_template_kwargs)
        think, encode = self._vocabulary.think, self._vocabulary.encode
        routed = context.reasoning == "auto"
        if think and not routed:
            options.setdefault("enable_thinking", False)
        ids = self._apply(context, options)
        style = self._style(ids)
        if think and style == "open" and not routed:  # a template that cannot switch its thinking off
            return RenderedPrompt([*ids, *encode("\n"), think.close_id, *encode("\n\n")], "closed")
        if think and style == "none" and routed and self._thinks_by_itself(context, options):
            return RenderedPrompt([*ids, think.open_id, *encode("\n")], "open")
        return RenderedPrompt(ids, style)

    def link(self, link: Span | ThinkingClosed, before: str) -> list[int]:
        """Return the ids of one link of the chain in this vocabulary; `before` is the text it follows."""
        if isinstance(link, Span):
            return (
                list(link.token_ids) if link.vocabulary == self._vocabulary.key else self._vocabulary.encode(link.text)
            )
        assert self._vocabulary.think, "a chain of thought was closed for a model without think tags"
        close = [self._vocabulary.think.close_id]
        if link.written:
            return close
        newline = [] if before.endswith("\n") else self._vocabulary.encode("\n")
        return newline + close + self._vocabulary.encode("\n\n")

    def _apply(self, context: Context, options: dict[str, Any]) -> list[int]:
        request, requirements = context.request, OutputRequirements.of(context.request)
        with self._lock:
            in_words = self.dialect is GENERIC
            told = instructions(requirements, in_words)
            messages = normalised(request.messages, self._template, in_words, told)
            if self._template.takes_parts:
                messages = [in_parts(message) for message in messages]
            tools = [] if in_words else [tool.document() for tool in requirements.shown]
            try:
                ids = self._tokenizer.apply_chat_template(
                    self._inert(messages),
                    tools=self._inert(tools) or None,
                    add_generation_prompt=True,
                    tokenize=True,
                    return_dict=False,
                    sanitize_control_tokens=True,
                    **self._inert(options),
                )
            except Exception as error:
                roles = ", ".join(str(message["role"]) for message in request.messages)
                raise ConfigError(
                    f"the chat template of {self._name!r} refuses the roles [{roles}]: {error}"
                ) from error
        return list(ids)

    def _inert(self, value: Any) -> Any:
        """Break control tokens in the keys of dicts, which the sanitising of values leaves as they are."""
        if isinstance(value, dict):
            return {self._control.sub(_broken, key): self._inert(part) for key, part in value.items()}
        return [self._inert(part) for part in value] if isinstance(value, list) else value

    def _style(self, ids: list[int]) -> ThinkingStyle:
        think = self._vocabulary.think
        tags = [i for i in ids[-TAIL:] if think and i in (think.open_id, think.close_id)]
        if not think or not tags:
            return "none"
        return "open" if tags[-1] == think.open_id else "closed"

    def _thinks_by_itself(self, context: Context, options: dict[str, Any]) -> bool:
        """Whether thinking is what the template leaves to the model: it can be switched off, and was not."""
        if "enable_thinking" in options:
            return bool(options["enable_thinking"])
        return self._style(self._apply(context, {**options, "enable_thinking": False})) == "closed"


def _broken(token: re.Match[str]) -> str:
    return f"{token[0][0]} {token[0][1:]}"


class TokenizedRequest:
    """Follows a context: prompt and chain are encoded once, link by link, and never again."""

    def __init__(self, context: Context, renderer: Renderer):
        self.requirements = OutputRequirements.of(context.request)
        self.prompt: RenderedPrompt = renderer.prompt(context)
        self._context = context
        self._renderer = renderer
        self._token_ids = list(self.prompt.token_ids)
        self._links = 0
        self._text = ""

    def token_ids(self) -> list[int]:
        """Return the ids of the prompt and of the chain so far; the caller may extend the list."""
        for link in self._context.chain[self._links :]:
            self._token_ids += self._renderer.link(link, self._text)
            self._text = link.text if isinstance(link, Span) else self._text
        self._links = len(self._context.chain)
        return list(self._token_ids)
