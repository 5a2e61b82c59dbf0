"""The format of a model's replies: families and the template propose formats, and a test parses the template's text."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from glimp_core.chat.formats import deepseek, gemma4, harmony, hermes, kimi, lfm2, llama, mistral, phi, qwen_xml
from glimp_core.chat.formats.base import Family, ToolCallFormat
from glimp_core.chat.formats.derived import KnownMarkup, derived_formats, rendered_call
from glimp_core.chat.formats.reader import ReplyFormat, ReplyParser
from glimp_core.chat.formats.template import ANSWER, PROBE_TOOLS, USER, Template
from glimp_core.chat.formats.thinking import TAG, thinking_of, with_markup
from glimp_core.chat.grammar.compiler import accepts
from glimp_core.chat.grammar.lark import Grammar
from glimp_core.chat.request.requirements import OutputRequirements
from glimp_core.chat.request.tools import read_tools
from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.errors import UnsupportedSchemaError
from glimp_core.types import ToolCall, ToolCallDelta

FAMILIES: tuple[Family, ...] = (
    harmony.FAMILY, harmony.MUSE_FAMILY, gemma4.FAMILY, deepseek.FAMILY, kimi.FAMILY, mistral.FAMILY, lfm2.FAMILY,
    qwen_xml.FAMILY, phi.FAMILY, llama.FAMILY, hermes.FAMILY,
)  # fmt: skip
"""Families in the order in which they are tried. A new family is a file, and a line here."""

FORMATS: tuple[ToolCallFormat, ...] = tuple(calls for family in FAMILIES for calls in family.calls)

_PROBES: tuple[list[tuple[str, dict[str, Any]]], ...] = (
    [("glimp_tool", {"glimp_text": 'a "b" {c}\n<d>', "glimp_count": 3})],
    [("glimp_tool", {"glimp_text": "e", "glimp_count": 4}), ("glimp_other", {"glimp_text": "f"})],
)


def reply_format(template: Template, vocabulary: Vocabulary, stop_ids: Iterable[int] = ()) -> ReplyFormat:
    """Return the format of a model's replies. A chosen format can parse the calls that the template writes.

    `stop_ids` end a reply: they are not part of its markup.
    """
    families = [family for family in FAMILIES if _shows_signs(family, template, vocabulary)]
    thinking = thinking_of(template, vocabulary.markers)
    if thinking is None and (known := next((family.thinking for family in families if family.thinking), None)):
        thinking = with_markup(template, known)
    controls = frozenset(text for text, i in vocabulary.markers.items() if vocabulary.token_bytes[i] is None)
    format = _with_surroundings(ReplyFormat(thinking=thinking, controls=controls), template)
    stops = [text for text, i in vocabulary.markers.items() if i in set(stop_ids)]
    return _with_calls(format, template, vocabulary, families, stops)


def _shows_signs(family: Family, template: Template, vocabulary: Vocabulary) -> bool:
    return any(sign in template.source or sign in vocabulary.markers for sign in family.signs)


def _with_calls(
    format: ReplyFormat,
    template: Template,
    vocabulary: Vocabulary,
    families: Sequence[Family],
    stops: Sequence[str],
) -> ReplyFormat:
    candidates = (calls for family in families for calls in family.calls)
    if template.arguments is None:  # nothing is rendered that could be read back
        return _unproved(format, template, vocabulary, families)
    markup = format.thinking.markup if format.thinking else None
    thought = (markup.start, markup.end) if markup else ("", "")
    known = KnownMarkup(tuple(vocabulary.markers), tuple(stops), thought)
    proved = (calls for calls in _all(candidates, derived_formats(template, known))
              if _proved(replace(format, calls=calls), template))  # fmt: skip
    if (chosen := _native(list(proved), rendered_call(template, known))) is not None:
        return replace(format, calls=chosen)
    note = (
        "what this model's template writes for a tool call is no format that Glimp knows or can derive, so that the "
        "tools are explained in words and calls are read in Hermes' markup"
    )
    return replace(format, native=False, notes=(note,))


def _unproved(
    format: ReplyFormat, template: Template, vocabulary: Vocabulary, families: Sequence[Family]
) -> ReplyFormat:
    """Choose the format of a family whose markers are tokens. Hermes calls in the history are parsed too."""
    named = (calls for family in families for calls in family.calls if _is_token(calls, vocabulary))
    note = "this model's template does not render earlier tool calls and their results: the prompt has them as text"
    notes = (note,) if "tool_calls" in template.source else ()
    return replace(format, calls=next(named, format.calls), native=False, notes=notes)


def _native(proved: Sequence[ToolCallFormat], call: str) -> ToolCallFormat | None:
    """Choose the format whose grammar allows the template's text of a call, else the first that can parse it."""
    tools = read_tools(PROBE_TOOLS)
    for calls in proved:
        try:
            if accepts(Grammar(calls.grammar(tools, many=False)), call.strip()):
                return calls
        except UnsupportedSchemaError:
            continue
    return proved[0] if proved else None


def _all(*sources: Iterator[ToolCallFormat]) -> Iterator[ToolCallFormat]:
    for source in sources:
        yield from source


def _is_token(calls: ToolCallFormat, vocabulary: Vocabulary) -> bool:
    return any(marker in vocabulary.markers for marker in calls.start_markers)


def _proved(format: ReplyFormat, template: Template) -> bool:
    """Return whether parsing the template's text gives the calls that were rendered."""
    probes = _PROBES[:1] if template.single_calls else _PROBES
    return all(_read_back(format, template.calls_text(probe) or "") == probe for probe in probes)


def _read_back(format: ReplyFormat, text: str) -> list[tuple[str, dict[str, Any]]] | None:
    """The calls in a text; None if some of it is left over, or is an invalid call."""
    parser = ReplyParser(format, OutputRequirements(read_tools(PROBE_TOOLS)))
    parts = parser.push(text) + parser.finish()
    calls = [part.call for part in parts if isinstance(part, ToolCallDelta) and part.call]
    words = "".join(part for part in parts if isinstance(part, str))
    if "glimp_" in words or not all(isinstance(call, ToolCall) for call in calls):
        return None
    return [(call.name, call.arguments) for call in calls if isinstance(call, ToolCall)]


def _with_surroundings(format: ReplyFormat, template: Template) -> ReplyFormat:
    """Add what stands in front of a reply, and around the words in it."""
    prompt = template.render([USER]) or ""
    asked = template.render([USER], generation=False) or ""
    header = prompt[len(asked) :] if prompt.startswith(asked) else ""
    thinking = format.thinking
    plain = template.reply_text({"role": "assistant", "content": ANSWER}) or ""
    before, _, after = plain.partition(ANSWER)
    start = before
    if thinking:
        markup = thinking.markup
        header = header.partition(markup.start.strip())[0].partition(markup.end)[0]
        start = before.rpartition(markup.end)[2] if markup.end in before else before
        if markup.after_end.strip() and markup.after_end != markup.lead:
            start = markup.after_end[len(markup.lead) :]
    return replace(
        format,
        header=header,
        content_start=start if start.strip() and not header.strip().endswith(start.strip()) else "",
        content_ends=_tags(after, format.controls),
        lead=thinking.markup.lead if thinking else "",
    )


def _tags(text: str, controls: frozenset[str]) -> tuple[str, ...]:
    """The tags and control tokens that a template puts behind an answer."""
    known = "|".join(map(re.escape, sorted(controls, key=len, reverse=True)))
    tags = re.findall(f"{TAG.pattern}|{known}" if known else TAG.pattern, text)
    return tuple(dict.fromkeys(tag for tag in tags if tag))
