"""The markup of a model's thinking, and the template's settings that switch it on and off.

No family is known here. The template is rendered with a test thought, and the text around the thought is the markup.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from glimp_core.chat.formats.template import (
    ANSWER,
    MEANS_OFF,
    MEANS_ON,
    PROBE_TOOLS,
    THOUGHT,
    USER,
    Template,
    common_start,
)
from glimp_core.types import ThinkingStyle

KNOWN_PAIRS = (
    ("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<seed:think>", "</seed:think>"), ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|>"), ("<mm:think>", "</mm:think>"), ("<thinking>", "</thinking>"),
)  # fmt: skip
"""Pairs of tags that a template or a vocabulary may contain without rendering a thought in them."""

TAIL = 200
"""How many characters at the end of a prompt can say whether the thinking is open."""

LONGEST_MARKUP = 80

LEVELS = re.compile("effort|level|strength|budget")
"""Settings that say how much is to be thought, which is no switch."""

_ONE = r"(?:<[^<>\s][^<>\n]{0,60}>|\[/?[A-Z][^\[\]\n]{0,40}\]|◁[^◁▷]{1,20}▷)"
TAG = re.compile(rf"{_ONE}(?:\w+{_ONE})?")
"""A tag, or two with a word between them."""

Default = Literal["on", "off", "free"]
"""What a template does with the thinking if nobody says: it is on, it is off, or it is the model's to choose."""


@dataclass(frozen=True, slots=True)
class ThinkingMarkup:
    """The markup around a thought: `start`, the thought, `before_end`, `end` and `after_end`.

    `end` closes the thought, without blank space. `after_end` is the text up to the answer, `lead` is the part of it
    that is also before a call. `closed` is the text instead of a thought if there is none; it may be "".
    """

    start: str
    end: str
    before_end: str = ""
    after_end: str = "\n\n"
    lead: str = ""
    closed: str = ""

    def style(self, prompt: str) -> ThinkingStyle:
        """Say where a prompt ends: inside a thought, behind a closed one, or neither."""
        tail, start = prompt[-TAIL:].rstrip(), self.start.strip()
        if tail.endswith(start):
            return "open"
        _, opened, rest = tail.rpartition(start)
        _, ended, lead = (rest if opened else tail).rpartition(self.end)
        over = (self.before_end.strip() in rest if opened else True) and self.after_end.strip().startswith(lead.strip())
        return "closed" if ended and over and (opened or not lead.strip()) else "none"


@dataclass(frozen=True, slots=True)
class Thinking:
    """The markup of a model's thoughts, and the template's settings that switch them `on` and `off`, if any do."""

    markup: ThinkingMarkup
    default: Default
    on: Mapping[str, Any] | None = None
    off: Mapping[str, Any] | None = None


def thinking_of(template: Template, texts: Iterable[str]) -> Thinking | None:
    """Return the markup of a model's thinking; None if neither the template nor the vocabulary's `texts` have one."""
    vocabulary = set(texts)
    markup = _derived(template) or _from_prompt(template, vocabulary) or _named(template, vocabulary)
    return None if markup is None else _switched(template, markup)


def with_markup(template: Template, markup: ThinkingMarkup) -> Thinking:
    """Return how a model thinks whose markup is known from elsewhere."""
    return _switched(template, markup)


def _derived(template: Template) -> ThinkingMarkup | None:
    """Take the markup from what the template writes around a thought."""
    field = template.reasoning_field
    for options in ({}, {"enable_thinking": True}, {"thinking": True}):
        if field is None:
            break
        whole, prompt = template.with_thought(field, options)
        if whole:
            return _markup(template, whole, prompt, options)
    return None


def _markup(template: Template, whole: str, prompt: str, options: Mapping[str, Any]) -> ThinkingMarkup | None:
    before, _, rest = whole.partition(THOUGHT)
    shown = ANSWER in rest
    after = rest.partition(ANSWER)[0] if shown else rest
    end = _first_tag(after)
    start = _start(template, before, prompt, end)
    if not (start and end):
        return None
    before_end, _, after_end = after.partition(end)
    after_end = after_end if shown else ""
    lead = _lead(template, after_end, end, options)
    return ThinkingMarkup(start, end, before_end, after_end, lead, _closed(template, options))


def _lead(template: Template, after_end: str, end: str, options: Mapping[str, Any]) -> str:
    """As much of what leads to an answer as leads to a call, too."""
    field = template.reasoning_field
    if not after_end.strip() or not template.arguments or field is None:
        return after_end
    message = {**field.message("", THOUGHT), **template.calling([("glimp_tool", {"glimp_text": "v"})])}
    text = template.render([USER, message], generation=False, tools=PROBE_TOOLS, **options) or ""
    before_call = text.partition(THOUGHT)[2].partition(end)[2]
    shared = after_end[: common_start(after_end, before_call)] if before_call else after_end
    return re.sub(r" ?\w+=$", "", shared)  # a key whose value tells the two apart


def _first_tag(after: str) -> str:
    """What closes a thought: the first tag, or else the first words, behind it."""
    text = after.strip()
    tag = TAG.match(text)
    return tag[0] if tag else text.partition("\n")[0]


def _start(template: Template, before: str, prompt: str, end: str) -> str:
    """What opens a thought: written behind the prompt by the model, or the end of the prompt itself."""
    if before.startswith(prompt) and before != prompt:
        return before[len(prompt) :]
    if prompt.startswith(before) and end not in prompt[len(before) :] and prompt[len(before) :].strip():
        return prompt[len(before) :]  # words that the history leaves out
    others = [text for switch in template.switches if (text := template.render([USER], **switch))]
    rests = [before[common_start(before, other) :] for other in others if other != prompt]
    tags = list(TAG.finditer(before))
    last = before[tags[-1].start() :] if tags and not before[tags[-1].end() :].strip() else ""
    if not all(rest.strip() and rest.endswith(last) for rest in rests):
        return last
    return min((rest for rest in rests if len(rest) < LONGEST_MARKUP), key=len, default=last)


def _closed(template: Template, options: Mapping[str, Any]) -> str:
    """What the template writes of its own accord between its prompt and an answer without a thought."""
    prompt = template.render([USER], **options) or ""
    plain = template.render([USER, {"role": "assistant", "content": ANSWER}], generation=False, **options) or ""
    return plain[len(prompt) :].partition(ANSWER)[0] if plain.startswith(prompt) and ANSWER in plain else ""


def _from_prompt(template: Template, vocabulary: set[str]) -> ThinkingMarkup | None:
    """Take the tag that the prompt ends with, if it has a counterpart that closes it."""
    for options in ({}, *template.switches):
        tail = (template.render([USER], **options) or "")[-TAIL:]
        for tag in TAG.finditer(tail):
            rest = tail[tag.end() :].strip()
            blank = "\n" if tail[tag.end() :].startswith("\n") else ""
            start = tag[0] + (blank if rest else tail[tag.end() :])
            for end in _counterparts(tag[0]):
                known = end in vocabulary or end in template.source or (tag[0], end) in KNOWN_PAIRS
                if known and rest in ("", end):
                    return ThinkingMarkup(start, end, "\n" if start.endswith("\n") else "", "\n\n", "\n\n")
    return None


def _counterparts(tag: str) -> Iterable[str]:
    if re.search("think|reason|thought", tag, re.IGNORECASE) and "/" not in tag:
        yield tag[0] + "/" + tag[1:]
        yield from (tag.replace(*words) for words in (("START", "END"), ("start", "end"), ("begin", "end")))


def _named(template: Template, vocabulary: set[str]) -> ThinkingMarkup | None:
    """Take a pair that the vocabulary has as tokens, or that the template speaks of."""
    for start, end in KNOWN_PAIRS:
        if {start, end} <= vocabulary or (start in template.source and end in template.source):
            return ThinkingMarkup(start + "\n", end, "\n")
    return None


def _switched(template: Template, markup: ThinkingMarkup) -> Thinking:
    """Find the settings that open or close the thinking, by what they change in the prompt."""
    plain = template.render([USER]) or ""
    style = markup.style(plain)
    on: Mapping[str, Any] | None = None
    off: Mapping[str, Any] | None = {} if style == "closed" else None
    elsewhere: Mapping[str, Any] | None = None
    for options in template.switches:
        text = template.render([USER], **options)
        ((name, value),) = options.items()
        if text is None or text == plain:
            continue
        now = markup.style(text)
        if value in MEANS_OFF and off is None and (now == "closed" or (style == "open" and now != "open")):
            off = options
        elif (
            value in MEANS_ON
            and on is None
            and style != "open"
            and (now == "open" or (style, now) == ("closed", "none"))
        ):
            on = options
        elif value in MEANS_ON and now == style == "none" and not LEVELS.search(name):
            elsewhere = elsewhere or options
    if style == "none" and on is None and off is None:
        on = elsewhere
    return Thinking(markup, _default(template, style, on, off), on, off)


def _default(
    template: Template, style: ThinkingStyle, on: Mapping[str, Any] | None, off: Mapping[str, Any] | None
) -> Default:
    if style != "none":
        return "on" if style == "open" else "off"
    if on is not None and off is None:
        return "off"
    shown = template.reasoning_field or re.search(r"\breasoning_content\b", template.source)
    return "on" if off is not None or shown else "free"


_LEVELS = {"low": ("low",), "medium": ("medium",), "high": ("high",), "xhigh": ("xhigh", "max", "high")}


def effort_options(template: Template, effort: str | None) -> dict[str, Any]:
    """Return the template's own setting for how much is to be thought; {} if it has none.

    A template that compares its setting with words takes one of those; one that shows any word takes low, medium, high.
    """
    if effort not in _LEVELS:
        return {}
    for name, constants in template.switch_words.items():
        if not re.search("effort|level|strength", name):
            continue
        known = [word for word in _LEVELS[effort] if word in constants]
        for word in known or [_LEVELS[effort][-1]]:
            setting: dict[str, Any] = {name: word}
            unknown: dict[str, Any] = {name: "glimp-level"}
            text = template.render([USER], **setting)
            if text is not None and text != template.render([USER], **unknown):
                return setting
    return {}
