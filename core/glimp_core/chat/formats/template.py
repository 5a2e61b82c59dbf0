"""The behaviour of a chat template, tested by rendering small conversations."""

import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import jinja2
from jinja2 import nodes

from glimp_core.errors import ConfigError, ModelLoadError, shown

USER: dict[str, Any] = {"role": "user", "content": "glimp-user"}
THOUGHT, ANSWER = "glimp-thought", "glimp-answer"
PROBE_TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "Does it.",
            "parameters": {
                "type": "object",
                "properties": {
                    "glimp_text": {"type": "string", "description": "A text."},
                    "glimp_count": {"type": "integer", "description": "A number."},
                },
                "required": ["glimp_text"],
            },
        },
    }
    for name in ("glimp_tool", "glimp_other")
]
CALL_ID = "abcdef123"
"""Nine letters and digits: the shape that Mistral's templates insist on."""

RESERVED = """
conversation conversations messages tools chat_template add_generation_prompt continue_final_message tokenize
sanitize_control_tokens padding truncation max_length stride return_tensors return_dict tokenizer_kwargs
return_assistant_tokens_mask processor_kwargs bos_token eos_token unk_token sep_token pad_token cls_token mask_token
additional_special_tokens
""".split()  # noqa: SIM905
"""Options that replace a template, cut a prompt or encode it otherwise, in any version of transformers or server."""

ArgumentsForm = Literal["values", "text"]
"""How a template takes the arguments of earlier calls: as values, or as JSON text."""

SWITCH_NAMES = re.compile(r"think|reason|thought|cot_|effort", re.IGNORECASE)
"""Variables of a template that may switch the thinking."""

MEANS_OFF: tuple[Any, ...] = (False, "none", "off", "disabled", "no_think", "no", "chat")
MEANS_ON: tuple[Any, ...] = ("enabled", "on", "thinking", "high", "xhigh", "max", "medium", "low", True)


@dataclass(frozen=True, slots=True)
class ReasoningField:
    """Where a template reads the thoughts of an earlier reply: a key of the message, or a part of its content."""

    key: str
    in_parts: bool = False

    def message(self, answer: str, thought: str) -> dict[str, Any]:
        """Return an assistant's message with a thought."""
        if not self.in_parts:
            return {"role": "assistant", "content": answer, self.key: thought}
        parts = [{"type": self.key, self.key: thought}, {"type": "text", "text": answer}]
        return {"role": "assistant", "content": parts if answer else parts[:1]}


REASONING_FIELDS = (
    *map(ReasoningField, ("reasoning_content", "thinking", "reasoning", "thought")),
    ReasoningField("thinking", in_parts=True),
)


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
        raise ConfigError(f"chat_template_kwargs={shown(options)} cannot work: it must be a dict of template options")
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
    """The chat template of one tokenizer, and tests of how it renders tools, system messages and thinking."""

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer

    @cached_property
    def source(self) -> str:
        """The Jinja text, of the tool variant if there are several."""
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
            if USER["content"] in (self._rendered([USER], parts=parts, tools=[] if self.needs_tools else None) or ""):
                return parts
        raise ModelLoadError(
            "the model's chat template does not show what the user says: choose an instruct or reasoning model"
        )

    @cached_property
    def takes_system(self) -> bool:
        """Whether a system message at the front is rendered."""
        return self._shows("glimp-system", [{"role": "system", "content": "glimp-system"}, USER])

    @cached_property
    def takes_late_system(self) -> bool:
        """Whether a system message is rendered in its place, after a user's as well as before one."""
        late = {"role": "system", "content": "glimp-system"}
        opening = [USER, {"role": "assistant", "content": "glimp-assistant"}]
        texts = [self.render([*opening, *rest]) or "" for rest in ([USER, late], [late, USER])]
        return all(-1 < text.find("glimp-assistant") < text.find("glimp-system") for text in texts)

    @cached_property
    def needs_tools(self) -> bool:
        """Whether it cannot be rendered without a list of tools, be it an empty one."""
        return not any(self._rendered([USER], parts=parts) for parts in (False, True)) and any(
            self._rendered([USER], tools=[], parts=parts) for parts in (False, True)
        )

    @cached_property
    def shows_tools(self) -> bool:
        """Whether it tells the model of the tools."""
        return self._shows("glimp_tool", [USER], tools=PROBE_TOOLS)

    @cached_property
    def arguments(self) -> ArgumentsForm | None:
        """How it takes the arguments of calls; None if it does not render calls and their results."""
        forms: tuple[ArgumentsForm, ...] = ("values", "text")
        return next(filter(self._renders_calls, forms), None)

    @cached_property
    def short_ids(self) -> bool:
        """Whether it takes only call ids of nine letters and digits."""
        return self.arguments is not None and not self._renders_calls(self.arguments, "call_0123456789abcdef01234567")

    @cached_property
    def single_calls(self) -> bool:
        """Whether it takes one call a message at most."""
        return self.arguments is not None and not self._renders_calls(self.arguments, count=2)

    def with_thought(self, field: ReasoningField, options: Mapping[str, Any]) -> tuple[str, str]:
        """Render a thought before an answer, or before a call where thoughts are only shown there.

        Returns the text and the prompt that it goes on from; the text is "" if no thought is shown.
        """
        return next((found for found in self._with_thoughts(field, options) if THOUGHT in found[0]), ("", ""))

    @cached_property
    def reasoning_field(self) -> ReasoningField | None:
        """Where it reads the thoughts of earlier replies; None if it shows none."""
        for field in REASONING_FIELDS:
            for options in ({}, {"enable_thinking": True}, {"thinking": True}):
                text, _ = self.with_thought(field, options)
                if text and not re.search(r"['\"]type['\"]: ?['\"]", text.partition(USER["content"])[2]):
                    return field
        return None

    def _with_thoughts(self, field: ReasoningField, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        message = field.message(ANSWER, THOUGHT)
        yield self.render([USER, message], generation=False, **options) or "", self.render([USER], **options) or ""
        if self.arguments:
            calling = {**field.message("", THOUGHT), **self.calling([("glimp_tool", {"glimp_text": "v"})])}
            prompt = self.render([USER], tools=PROBE_TOOLS, **options) or ""
            yield self.render([USER, calling, *self.results(1)], tools=PROBE_TOOLS, **options) or "", prompt

    @cached_property
    def switches(self) -> tuple[dict[str, Any], ...]:
        """The settings that may change how it treats thinking, those that switch it off first."""
        found: list[dict[str, Any]] = []
        for name, constants in self.switch_words.items():
            values = [0] if "budget" in name else [v for v in MEANS_OFF if isinstance(v, bool) or v in constants]
            values += [value for value in MEANS_ON if isinstance(value, bool) or value in constants]
            found += [{name: value} for value in values]
        return tuple(found)

    @cached_property
    def switch_words(self) -> dict[str, list[Any]]:
        """The variables that may switch the thinking, each with the constants that the template compares it with."""
        source = re.sub(r"\{%-?\s*(?:end)?generation\s*-?%\}", "", self.source)
        try:
            tree = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"]).parse(source)  # only parsed, never run
        except jinja2.TemplateError:
            return {"enable_thinking": [], "thinking": []}
        names = {node.name for node in tree.find_all(nodes.Name) if SWITCH_NAMES.search(node.name)}
        words: dict[str, list[Any]] = {name: [] for name in sorted(names)}
        for node in tree.find_all((nodes.Compare, nodes.Filter)):
            constants = [const.value for const in node.find_all(nodes.Const) if isinstance(const.value, (str, int))]
            for name in node.find_all(nodes.Name):
                words.get(name.name, []).extend(constants)
        return words

    def calls_text(self, calls: Sequence[tuple[str, Mapping[str, Any]]], **options: Any) -> str | None:
        """Render what an assistant's reply with some calls is written as, with the markup around it."""
        if self.arguments is None:
            return None
        message = {"role": "assistant", "content": "", **self.calling(calls)}
        alone = self.reply_text(message, **options)  # some templates show the tools right in front of a call
        shown = alone is not None and calls[0][0] in alone
        return alone if shown else self.reply_text(message, tools=PROBE_TOOLS, **options)

    def reply_text(self, message: Mapping[str, Any], **options: Any) -> str | None:
        """Render what stands behind the generation prompt for an assistant's message; None if it is refused.

        Where the template closes or opens the thinking by itself in its generation prompt, what the two have in common
        is left out, down to a whole tag.
        """
        whole = self.render([USER, message], generation=False, **options)
        prompt = self.render([USER], **options) or ""
        return None if whole is None else whole[common_start(prompt, whole) :]

    def render(
        self, messages: Sequence[Mapping[str, Any]], generation: bool = True, tools: Any = None, **options: Any
    ) -> str | None:
        """Render a conversation, up to where the model goes on with `generation`; None if it is refused."""
        tools = [] if tools is None and self.needs_tools else tools
        return self._rendered(messages, generation, tools, self.takes_parts, **options)

    def _renders_calls(self, form: ArgumentsForm, call_id: str = CALL_ID, count: int = 1) -> bool:
        calls = [("glimp_call", {"glimp_argument": "v"})] * count
        messages = [USER, {"role": "assistant", "content": "", **self.calling(calls, form, call_id)}]
        text = self.render([*messages, *self.results(count, call_id)], tools=PROBE_TOOLS) or ""
        quoted = '\\"glimp_argument' in text or "'glimp_argument'" in text
        whole = text.count("glimp_argument") >= count  # some leave all calls but one out
        return whole and not quoted and "glimp_call" in text and "glimp-result" in text

    def calling(
        self, calls: Sequence[tuple[str, Mapping[str, Any]]], form: ArgumentsForm | None = None, call_id: str = CALL_ID
    ) -> dict[str, Any]:
        """Return the `tool_calls` of an assistant's message, as this template takes them."""
        as_text = (form or self.arguments) == "text"
        written: list[Any] = []
        for number, (name, arguments) in enumerate(calls):
            values = json.dumps(arguments, ensure_ascii=False) if as_text else dict(arguments)
            unique = call_id[:-1] + str(number) if number else call_id
            written.append({"id": unique, "type": "function", "function": {"name": name, "arguments": values}})
        return {"tool_calls": written}

    @staticmethod
    def results(count: int, call_id: str = CALL_ID, content: str = "glimp-result") -> list[dict[str, Any]]:
        """Return the results of some calls, as messages."""
        ids = [call_id[:-1] + str(number) if number else call_id for number in range(count)]
        return [{"role": "tool", "name": "glimp_tool", "tool_call_id": i, "content": content} for i in ids]

    def _shows(self, mark: str, messages: Sequence[Mapping[str, Any]], **options: Any) -> bool:
        return mark in (self.render(messages, **options) or "")

    def _rendered(
        self,
        messages: Sequence[Mapping[str, Any]],
        generation: bool = True,
        tools: Any = None,
        parts: bool = False,
        **options: Any,
    ) -> str | None:
        try:
            text = self._tokenizer.apply_chat_template(
                [in_parts(message) if parts else dict(message) for message in messages],
                tools=tools,
                tokenize=False,
                add_generation_prompt=generation,
                **options,
            )
        except Exception:  # a template that refuses says so in any of jinja's ways
            return None
        return str(text)


def in_parts(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a message with its text as the one part of a list; a content in parts stays as it is."""
    content = message["content"]
    if not isinstance(content, str):
        return dict(message)
    return {**message, "content": [{"type": "text", "text": content}] if content else []}


def common_start(one: str, other: str) -> int:
    """Count the characters that two texts begin with alike, down to a whole tag."""
    same = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    if same < min(len(one), len(other)):
        opened = max(other.rfind("<", 0, same), other.rfind("[", 0, same))
        if opened >= 0 and not re.search(r"[>\]\s]", other[opened:same]):
            return opened
    return same
