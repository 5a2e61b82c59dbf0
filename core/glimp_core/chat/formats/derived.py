"""The tool call format of a model without a file, derived from the text that its template writes for test calls.

The test calls have known names, keys and values, so everything between these is markup.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from glimp_core.chat.formats.base import CALL_ID, INDEX, NAME, Frame, Header, ToolCallFormat
from glimp_core.chat.formats.builder import ARGUMENTS
from glimp_core.chat.formats.json_calls import JsonCalls
from glimp_core.chat.formats.named_calls import NamedCalls
from glimp_core.chat.formats.python_calls import PythonCalls
from glimp_core.chat.formats.tagged_calls import KEY, ParameterMarkup, TaggedCalls
from glimp_core.chat.formats.template import ANSWER, Template
from glimp_core.chat.formats.template import CALL_ID as PROBE_ID

TOOL, TEXT, COUNT, VALUE, NUMBER = "glimp_tool", "glimp_text", "glimp_count", "glimp-value", 70707
PROBE = (TOOL, {TEXT: VALUE, COUNT: NUMBER})
DERIVED = "the template's own"


@dataclass(frozen=True, slots=True)
class KnownMarkup:
    """What is known of a model's markup before its calls are: `markers` are whole, and `stops` end a turn.

    A `thought` that is empty, given by its start and its end, may stand in front of calls.
    """

    markers: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()
    thought: tuple[str, str] = ("", "")


class _Rendering:
    """What a template writes for one probe call and for two: the text of the calls, and the markup around them."""

    def __init__(self, template: Template, known: KnownMarkup, call: Any = PROBE):
        longest_first = sorted((marker for marker in known.markers if len(marker) > 1), key=len, reverse=True)
        self._atom = re.compile("|".join([*map(re.escape, longest_first), r"<[^<>\s]*>", r"\[/?[A-Z_]+\]", r"(?s:.)"]))
        self._markers = set(longest_first)
        self._stops = known.stops
        start, end = map(str.strip, known.thought)
        self._thought = re.compile(rf"\s*{re.escape(start)}\s*{re.escape(end)}" if start else "(?!)")
        self.one = self._stripped(template, [call])
        self.two = "" if template.single_calls else self._stripped(template, [call, call])

    def _stripped(self, template: Template, calls: Any) -> str:
        """The calls without what the template writes around any reply."""
        text = template.calls_text(calls) or ""
        plain = template.reply_text({"role": "assistant", "content": ANSWER}) or ""
        before, _, after = plain.partition(ANSWER)
        if thought := self._thought.match(text):
            text, before = text[thought.end() :], ""
        start = self.same_start(text, before)
        start += self.same_start(text[start:], after)  # an empty answer in front of the calls
        end = self.same_end(text[start:], after)
        written: str = text[start : len(text) - end].strip()
        while stop := next((stop for stop in self._stops if written.endswith(stop)), ""):
            written = written.removesuffix(stop).rstrip()
        return written

    def same_start(self, one: str, other: str) -> int:
        """Count the characters that two texts begin with alike, in whole tags."""
        return _same(self._atom.findall(one), self._atom.findall(other))

    def same_end(self, one: str, other: str) -> int:
        """Count the characters that two texts end with alike, in whole tags."""
        return _same(self._atom.findall(one)[::-1], self._atom.findall(other)[::-1])

    def from_tag(self, text: str) -> str:
        """Cut what stands in front of the first tag or marker; a text without any stays whole."""
        at = 0
        for atom in self._atom.findall(text):
            if atom in self._markers or atom[0] in "<[":
                return text[at:]
            at += len(atom)
        return text


def _same(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += len(a)
    return count


def rendered_call(template: Template, known: KnownMarkup, call: Any = PROBE) -> str:
    """Return what the template writes for a call alone, by default the probe's, "" if it writes none."""
    return "" if template.arguments is None else _Rendering(template, known, call).one


def derived_formats(template: Template, known: KnownMarkup) -> Iterator[ToolCallFormat]:
    """Yield the formats that the template's rendering can be read as, the likeliest first, still to be proved."""
    if template.arguments is None:
        return
    rendering = _Rendering(template, known)
    if TOOL not in rendering.one:
        return
    for derive in (_json_calls, _named_calls, _tagged_calls, _python_calls):
        found = derive(rendering)
        if found is not None:
            yield found


def _json_calls(rendering: _Rendering) -> JsonCalls | None:
    """Objects that hold the name and the arguments."""
    text = rendering.one
    for at in (match.start() for match in re.finditer(r"[\[{]", text)):
        if at > text.find(TOOL):
            return None
        try:
            value, end = json.JSONDecoder().raw_decode(text, at)
        except ValueError:
            continue
        listed = isinstance(value, list)
        call = value[0] if listed and value else value
        if isinstance(call, dict) and (keys := _keys(call)):
            return _json_format(rendering, text[:at], text[end:], listed, call, keys)
    return None


def _keys(call: dict[str, Any]) -> dict[str, Any] | None:
    """The keys of a call object."""
    if list(call) == [TOOL] and isinstance(call[TOOL], dict):
        return {"by_name": True}
    name = next((key for key, value in call.items() if value == TOOL), None)
    arguments = next((key for key, value in call.items() if isinstance(value, dict) and TEXT in value), None)
    if name is None or arguments not in ARGUMENTS:
        return None
    others = [key for key, value in call.items() if key not in (name, arguments, "type") and isinstance(value, str)]
    found = {"name_key": name, "arguments_key": arguments}
    return found | ({"id_key": others[0], "id_first": list(call).index(others[0]) == 0} if others else {})


def _json_format(
    rendering: _Rendering, start: str, end: str, listed: bool, call: dict[str, Any], keys: dict[str, Any]
) -> JsonCalls:
    sections = listed or not end.strip()
    between = ", " if listed else ""
    if rendering.two and not listed:
        first = rendering.two.find(start)
        _, over = json.JSONDecoder().raw_decode(rendering.two, first + len(start))
        rest = rendering.two[over:]
        between = rest[: rest.find("{")]
        sections = not (end.strip() and between.lstrip().startswith(end.strip()))
        if not sections:
            between = between[len(end) : len(between) - rendering.same_end(between, start)]
    return JsonCalls(DERIVED, start, end, sections, listed, between, **keys)


def _named_calls(rendering: _Rendering) -> NamedCalls | None:
    """A name, and an object of arguments somewhere behind it."""
    spans = list(_argument_spans(rendering.one))
    if len(spans) != 1 or TOOL not in rendering.one[: spans[0][0]]:
        return None
    (start, end), text = spans[0], rendering.one
    before, after = text[:start], text[end:]
    frame, header, close = Frame(), before, after
    seconds = list(_argument_spans(rendering.two))
    if len(seconds) == 2:
        frame, header, close = _split(rendering, before, after, rendering.two[seconds[0][1] : seconds[1][0]])
    return NamedCalls(DERIVED, _header(header), close, frame)


def _argument_spans(text: str) -> Iterator[tuple[int, int]]:
    for match in re.finditer(r"\{", text):
        try:
            value, end = json.JSONDecoder().raw_decode(text, match.start())
        except ValueError:
            continue
        if value == PROBE[1]:
            yield match.start(), end


def _split(rendering: _Rendering, before: str, after: str, middle: str) -> tuple[Frame, str, str]:
    """Part the markup around all calls from that around each, by what stands between two.

    Numbers of calls differ there, so that both are looked at without their numbers.
    """
    numberless = re.compile(rf"(?<=[:\"])\d+(?=[<\"])|{PROBE_ID[:-1]}\w")
    plain_before, plain_middle = numberless.sub("#", before), numberless.sub("#", middle)
    close_length = rendering.same_start(middle, after)
    header_length = rendering.same_end(plain_before, plain_middle[close_length:])
    close, header = after[:close_length], plain_before[len(plain_before) - header_length :]
    between = plain_middle[close_length : len(plain_middle) - header_length]
    end = after[close_length:]
    if not header.strip():
        header, between = before, ""
        return Frame(), before, after
    number = numberless.search(before[-len(header) :] if len(before) >= len(header) else before)
    header = header.replace("#", number[0]) if number else header
    return Frame(before[: len(before) - len(header)], end, between), header, close


def _header(text: str) -> Header:
    """Cut a header at the name, the id and the number of the call."""
    parts = re.split(f'({re.escape(TOOL)}|{PROBE_ID[:-1]}\\w|(?<=:)\\d+(?=<)|(?<=")\\d+(?="))', text)
    named = {TOOL: NAME}
    ids = re.compile(rf"{PROBE_ID[:-1]}\w")
    kinds = ((CALL_ID if ids.fullmatch(part) else INDEX if part.isdigit() else part) for part in parts if part)
    return tuple(named.get(kind, kind) for kind in kinds)


def _tagged_calls(rendering: _Rendering) -> TaggedCalls | None:
    """A name, and every parameter with its name and its value between tags."""
    text, number = rendering.one, str(NUMBER)
    places = [text.find(part) for part in (TOOL, TEXT, VALUE, COUNT, number)]
    if -1 in places or places != sorted(places):
        return None
    name_at = text.rfind(TOOL, 0, places[1])
    to_key = text[name_at + len(TOOL) : places[1]]
    to_text = text[places[1] + len(TEXT) : places[2]]
    to_next = text[places[2] + len(VALUE) : places[3]]
    to_number = text[places[3] + len(COUNT) : places[4]]
    rest = text[places[4] + len(number) :]
    shared = to_key[len(to_key) - rendering.same_end(to_key, to_next) :]
    start = rendering.from_tag(shared)
    if not start.strip() or not to_next[: -len(start)].strip():
        return None
    end = to_next[: len(to_next) - len(start)].replace(TEXT, KEY)
    own_end = end.replace(KEY, COUNT)
    if not rest.startswith(own_end.rstrip()):
        return None
    close = rest[len(own_end) :] if rest.startswith(own_end) else rest[len(own_end.rstrip()) :]
    header = text[: name_at + len(TOOL)] + to_key[: len(to_key) - len(start)]
    frame = Frame()
    middle = _between_calls(rendering, own_end, start)
    if middle is not None:
        frame, header, close = _split(rendering, header, close, middle)
    other = to_number if to_number != to_text else ""
    return TaggedCalls(DERIVED, _header(header), ParameterMarkup(start, to_text, end, other), close, frame)


def _between_calls(rendering: _Rendering, end: str, start: str) -> str | None:
    """What stands between the last value of one call and the first key of the next."""
    numbers = [match.end() for match in re.finditer(str(NUMBER), rendering.two)]
    if len(numbers) != 2:
        return None
    middle = rendering.two[numbers[0] : rendering.two.find(TEXT, numbers[0])]
    middle = middle[len(end.rstrip()) :].removeprefix(end[len(end.rstrip()) :])
    return middle.removesuffix(start)


def _python_calls(rendering: _Rendering) -> PythonCalls | None:
    match = re.search(rf"\[{TOOL}\(.*\)\]", rendering.one, re.DOTALL)
    if match is None:
        return None
    return PythonCalls(DERIVED, rendering.one[: match.start()], rendering.one[match.end() :])
