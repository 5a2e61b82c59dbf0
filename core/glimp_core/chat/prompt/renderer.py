"""Rendering: a request becomes the ids of a prompt, by the model's own template, and of the chain after it.

A prompt that cannot fit is refused before all of it is tokenised, so that it does not delay other requests.
"""

import copy
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from glimp_core.chat.formats.derived import KnownMarkup, rendered_call
from glimp_core.chat.formats.detect import reply_format
from glimp_core.chat.formats.hermes import HERMES
from glimp_core.chat.formats.reader import ReplyFormat
from glimp_core.chat.formats.template import MEANS_OFF, PROBE_TOOLS, Template, check_template_options, in_parts
from glimp_core.chat.formats.thinking import TAIL, Thinking, ThinkingMarkup, effort_options
from glimp_core.chat.prompt.messages import instructions, normalised, words_parted
from glimp_core.chat.request.requirements import OutputRequirements
from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.context import Context, Span, ThinkingClosed
from glimp_core.errors import Cancelled, ConfigError, ContextOverflowError, ModelLoadError
from glimp_core.forking import Lock
from glimp_core.json_values import mended, with_texts
from glimp_core.model_facts import Footprint, ModelFacts
from glimp_core.types import ThinkingStyle


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """The ids of a prompt, its state of thinking, and whether thinking can be switched on if it is off."""

    token_ids: list[int]
    thinking: ThinkingStyle
    can_think: bool = False


class Renderer:
    """Renders the requests of one model. Content never becomes a control token, because it is sanitised."""

    def __init__(self, tokenizer: Any, vocabulary: Vocabulary, name: str, stop_ids: Iterable[int] = ()):
        if not getattr(tokenizer, "chat_template", None):
            raise ModelLoadError(f"{name!r} has no chat template: choose an instruct or reasoning model")
        control = [text for text in tokenizer.get_added_vocab() if not text.isspace()]
        self._control = re.compile("|".join(map(re.escape, control)) or "(?!)")
        self._tokenizer = copy.copy(tokenizer)
        self._tokenizer.chat_control_tokens = control
        self._template = Template(self._tokenizer)
        self._vocabulary = vocabulary
        self._name = name
        self._stop_ids = frozenset(stop_ids)
        self._known_to_leak: bool | None = None
        self._lock = Lock()  # rendering sets flags on the tokenizer, which all threads share

    @cached_property
    def format(self) -> ReplyFormat:
        """How this model writes its replies."""
        with self._lock:
            return reply_format(self._template, self._vocabulary, self._stop_ids)

    @property
    def thinking(self) -> ThinkingMarkup | None:
        """What stands around this model's thoughts."""
        return self.format.thinking.markup if self.format.thinking else None

    def prompt(self, context: Context) -> RenderedPrompt:
        """Render a request up to where the model continues. Raises `ConfigError` if the template refuses it."""
        check_template_options(context.request.chat_template_kwargs, self._tokenizer)
        thinking = self.format.thinking
        options = self._options(context, thinking)
        ids = self._apply(context, options)
        if thinking is None:
            return RenderedPrompt(ids, "none")
        markup, routed = thinking.markup, context.reasoning == "auto"
        style = markup.style(self._vocabulary.markup(ids[-TAIL:]))
        given = context.request.chat_template_kwargs.keys() & self._template.switch_words.keys()
        can_think = not given and (thinking.default == "on" or thinking.on is not None)
        if routed and style == "none" and self._model_opens(context, thinking, options):
            return RenderedPrompt([*ids, *self._vocabulary.encode_markup(markup.start)], "open")
        if not routed and style != "closed" and (closing := self._closing(context, thinking, style)):
            return RenderedPrompt([*ids, *self._vocabulary.encode_markup(closing)], "closed")
        return RenderedPrompt(ids, style, can_think and style != "open")

    def facts(
        self, place: str, window: int, footprint: Footprint | None = None, server: str | None = None
    ) -> ModelFacts:
        """Return what template and tokenizer tell of the model, with what its engine knows."""
        format, thinking = self.format, self.format.thinking
        return ModelFacts(
            name=self._name,
            place=place,
            window=window,
            thinking=thinking.default if thinking else "none",
            markup=(thinking.markup.start.strip(), thinking.markup.end) if thinking else None,
            switches=tuple(f"{key}={value!r}" for key, value in (thinking.on or {}).items()) if thinking else (),
            calls=format.calls.name,
            proved=format.native,
            notes=format.notes,
            token_bytes=self._vocabulary.token_bytes,
            footprint=footprint,
            server=server,
        )

    def link(self, link: Span | ThinkingClosed, before: str, calls: bool = False) -> list[int]:
        """Return the ids of one link of the chain in this vocabulary; `before` is the text it follows.

        Where `calls` may follow, a thought that the router closes is not led on to words.
        """
        if isinstance(link, Span):
            same = link.vocabulary == self._vocabulary.key
            return list(link.token_ids) if same else self._vocabulary.encode(link.text)
        markup = self.thinking
        assert markup, "a chain of thought was closed for a model that does not think"
        if link.written:
            return self._vocabulary.encode_markup(markup.end)
        before_end = markup.before_end.lstrip("\n") if before.endswith("\n") else markup.before_end
        return self._vocabulary.encode_markup(before_end + markup.end + (markup.lead if calls else markup.after_end))

    def _options(self, context: Context, thinking: Thinking | None) -> dict[str, Any]:
        """The settings of the template: those of the request, then what switches the thinking, and its effort."""
        given = dict(context.request.chat_template_kwargs)
        if thinking is None:
            return given
        switch: Mapping[str, Any] | None = None
        if not given.keys() & self._template.switch_words.keys():
            wanted = context.thinking_wanted or thinking.default == "on"
            switch = thinking.off if context.reasoning != "auto" else thinking.on if wanted else None
        effort = effort_options(self._template, context.reasoning_effort) if context.reasoning == "auto" else {}
        return {**effort, **(switch or {}), **given}

    def _model_opens(self, context: Context, thinking: Thinking, options: Mapping[str, Any]) -> bool:
        """Whether the model is to open its thinking where the prompt does not: not if it was switched off."""
        given = {name: options[name] for name in self._template.switch_words if name in options}
        if thinking.off and any(given.get(name, thinking) == value for name, value in thinking.off.items()):
            return False
        if any(value in MEANS_OFF for value in given.values()):
            return False
        switched_on = bool(thinking.on) and any(given.get(name) == value for name, value in (thinking.on or {}).items())
        return thinking.default == "on" or switched_on or (context.thinking_wanted and thinking.default != "off")

    def _closing(self, context: Context, thinking: Thinking, style: ThinkingStyle) -> str:
        """What to write behind a prompt so that nothing is thought; "" if nothing can be written, or need be."""
        markup = thinking.markup
        calls = bool(OutputRequirements.of_context(context).tools)
        ending = markup.before_end + markup.end + (markup.lead if calls else markup.after_end)
        if style == "open":
            return ending
        if thinking.default != "on":
            return ""
        if not markup.closed.strip():
            return markup.start.lstrip("\n") + ending
        return "" if calls and markup.end not in markup.closed else markup.closed

    def _apply(self, context: Context, options: dict[str, Any]) -> list[int]:
        request, requirements = context.request, OutputRequirements.of_context(context)
        format, template = self.format, self._template
        calls_in_words = template.arguments is None or not format.native
        tools_in_words = not template.shows_tools or (template.arguments is not None and not format.native)
        with self._lock:
            told = instructions(requirements, tools_in_words, self._example() if tools_in_words else "")
            names = {tool.given: tool.name for tool in requirements.shown}
            messages = normalised(request.messages, template, calls_in_words, told, names)
            tools = [] if tools_in_words else [tool.document() for tool in requirements.shown]
            try:
                return self._encoded_or_mended(messages, tools, options)
            except Exception as error:
                roles = ", ".join(str(message["role"]) for message in request.messages)
                raise ConfigError(
                    f"the chat template of {self._name!r} refuses the roles [{roles}]: {error}"
                ) from error

    def _encoded_or_mended(self, messages: list[Any], tools: list[Any], options: Mapping[str, Any]) -> list[int]:
        """Encode a conversation; one that is refused once more with words and calls in messages of their own."""
        try:
            return self._encoded(messages, tools, options)
        except Exception:
            if (parted := words_parted(messages)) == messages:
                raise
            return self._encoded(parted, tools, options)

    def _encoded(self, messages: Any, tools: Any, options: Mapping[str, Any]) -> list[int]:
        """Have the template rendered and encoded; whatever it raises passes."""
        messages = [in_parts(message) for message in messages] if self._template.takes_parts else messages
        ids: Any = self._tokenizer.apply_chat_template(
            self._inert(messages),
            tools=self._inert(tools) or ([] if self._template.needs_tools else None),
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
            sanitize_control_tokens=True,
            **self._inert(options),
        )
        return list(ids)

    def _example(self) -> str:
        """A call as this model's own template writes it, "" if it is asked for in Hermes' words."""
        if self._template.arguments is None or not self.format.native or self.format.calls is HERMES:
            return ""
        name, arguments = "function-name", {"parameter-name": "value"}
        return rendered_call(self._template, KnownMarkup(tuple(self._vocabulary.markers)), (name, arguments))

    def _inert(self, value: Any) -> Any:
        """Mend texts; break control tokens that sanitising leaves: in names, and in texts if a template `_leaks`."""

        def broken(text: str) -> str:
            return self._control.sub(_broken, mended(text))

        return with_texts(value, broken if self._leaks else mended, broken)

    @property
    def _leaks(self) -> bool:
        """Whether a control token in a text becomes one all the same, as the template escapes what marks it as text."""
        if self._known_to_leak is None:
            self._known_to_leak = False  # the probes themselves are left as they are
            counts = [self._probed(text) for text in ("x", f"x{next(iter(self._vocabulary.markers), '')}")]
            self._known_to_leak = None in counts or counts[0] != counts[1]
        return self._known_to_leak

    def _probed(self, text: str) -> int | None:
        """Count the first marker in the prompt of a conversation that holds a text everywhere; None if refused."""
        marker, template = next(iter(self._vocabulary.markers.values()), -1), self._template
        tools = json.loads(json.dumps(PROBE_TOOLS).replace("Does it.", text))
        calling = template.calling([("glimp_tool", {"glimp_text": text})]) if template.arguments else {}
        messages: list[Any] = [{"role": "user", "content": text}]
        messages += [{"role": "assistant", "content": "" if calling else text, **calling}]
        messages += template.results(1, content=text) if calling else [{"role": "user", "content": text}]
        try:
            return self._encoded(messages, tools, {}).count(marker)
        except Exception:  # a template that refuses the probe is taken for one that leaks
            return None


def _broken(token: re.Match[str]) -> str:
    return f"{token[0][0]} {token[0][1:]}"


class TokenizedRequest:
    """The token ids of a context: the prompt and each span of the chain are encoded once."""

    def __init__(self, context: Context, renderer: Renderer):
        self.requirements = OutputRequirements.of_context(context)
        for note in renderer.format.notes if self.requirements.tools else ():
            context.note(note)
        self.prompt: RenderedPrompt = renderer.prompt(context)
        self._context = context
        self._renderer = renderer
        self._token_ids = list(self.prompt.token_ids)
        self._links = 0
        self._text = ""

    def token_ids(self) -> list[int]:
        """Return the ids of the prompt and of the chain so far; the caller may extend the list."""
        for link in self._context.spans[self._links :]:
            self._token_ids += self._renderer.link(link, self._text, bool(self.requirements.tools))
            self._text = link.text if isinstance(link, Span) else self._text
        self._links = len(self._context.spans)
        return list(self._token_ids)


LARGE = 262_144
"""Text of fewer characters is tokenised at once: it takes a fraction of a second."""

PIECE = 65_536
"""So many characters are counted between two looks at whether the request was cancelled."""

CUT = 16
"""A cut through a text makes at most so many tokens more than there are."""


def check_length(
    context: Context, encode: Callable[[str], Sequence[int]], window: int, large: int = LARGE, piece: int = PIECE
) -> None:
    """Count the tokens of a very long request piece by piece, until it is clear that it cannot fit the `window`.

    Text of fewer than `large` characters is let pass, and a piece has `piece` of them. Raises
    `ContextOverflowError`, and `Cancelled` if the request is cancelled meanwhile. A request that is to be
    counted as a whole (`context.counted`) is let pass.
    """
    texts = [*_texts(context.request.messages), *_texts(context.request.tools)]
    if context.counted or sum(map(len, texts)) < large:
        return
    tokens = 0
    for text in texts:
        for start in range(0, len(text), piece):
            if context.cancelled.is_set():
                raise Cancelled("the request was cancelled")
            tokens += max(0, len(encode(text[start : start + piece])) - CUT)
            if tokens > window:
                raise ContextOverflowError(
                    f"the prompt has {sum(map(len, texts)):,} characters, of which the first {tokens:,} tokens or so "
                    f"fill the window of {window:,}: shorten it or choose a model with a longer window"
                )


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in messages and tools, however nested."""
    left = [value]
    while left:
        part = left.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, Mapping):
            left += part.values()
        elif isinstance(part, Sequence) and not isinstance(part, bytes | bytearray):
            left += part
