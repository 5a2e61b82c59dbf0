"""Replies read as they are written: text, and the calls that each family writes among it."""
# ruff: noqa: RUF001

import json
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from glimp_core.chat.formats.base import ToolCallFormat
from glimp_core.chat.formats.deepseek import DEEPSEEK
from glimp_core.chat.formats.detect import FORMATS
from glimp_core.chat.formats.hermes import HERMES
from glimp_core.chat.formats.llama import LLAMA
from glimp_core.chat.formats.mistral import MISTRAL_LIST, MISTRAL_NAMED
from glimp_core.chat.formats.qwen_xml import QWEN_XML
from glimp_core.chat.formats.reader import OutputPart, ReplyFormat, ReplyParser
from glimp_core.chat.request.requirements import OutputRequirements
from glimp_core.chat.request.tools import read_tools
from glimp_core.types import InvalidToolCall, ToolCall, ToolCallDelta

TOOLS = read_tools(
    [
        {
            "name": "get_weather",
            "parameters": {
                "properties": {
                    "city": {"type": "string"},
                    "days": {"type": "integer"},
                    "exact": {"type": ["boolean", "null"]},
                },
                "required": ["city"],
            },
        },
        {"name": "add", "parameters": {"properties": {"x": {"type": "integer"}, "y": {"type": "integer"}}}},
    ]
)
DEMANDS = OutputRequirements(TOOLS)
CITY = ("get_weather", {"city": "Zürich", "days": 3})
ADD = ("add", {"x": 1, "y": 2})

WRITTEN: list[tuple[ToolCallFormat, str, str, list[Any]]] = [
    (HERMES, 'Hm.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich", "days": 3}}\n</tool_call>',
     "Hm.", [CITY]),
    (HERMES, '<tool_call>{"arguments": {"x": 1, "y": 2}, "name": "add"}</tool_call>\n\n<tool_call>\n'
     '{"name":"add","arguments":{"x":1,"y":2}}</tool_call>', "", [ADD, ADD]),
    (HERMES, '<tool_call>\n{{"name": "add", "arguments": {"x": 1, "y": 2}}}\n</tool_call>', "", [ADD]),
    (HERMES, '<tool_call>{"name": "add", "arguments": {"x": 1, "y": 2}}', "", [ADD]),
    (HERMES, "<tool_call>{'name': 'add', 'arguments': {'x': 1, 'y': 2}}</tool_call> Done.", "Done.", [ADD]),
    (HERMES, '<tool_call>{"name": "add", "arguments": "{\\"x\\": 1, \\"y\\": 2}"}</tool_call>', "", [ADD]),
    (HERMES, '<tool_call>[{"name": "add", "arguments": {"x": 1, "y": 2}}, {"name": "add"}]</tool_call>', "",
     [ADD, ("add", {})]),
    (HERMES, '<tool_call>{"type": "function", "function": {"name": "add", "arguments": {"x": 1, "y": 2}}}</tool_call>',
     "", [ADD]),
    (HERMES, '<tool_call>\n<function=add>\n<parameter=x>\n1\n</parameter>\n<parameter=y>\n2\n</parameter>\n'
     "</function>\n</tool_call>", "", [ADD]),
    (HERMES, '{"name": "add", "arguments": {"x": 1, "y": 2}}', "", [ADD]),
    (HERMES, '{{"name": "add", "arguments": {"x": 1, "y": 2}}}\n', "", [ADD]),
    (HERMES, '```json\n{"name": "add", "parameters": {"x": 1, "y": 2}}\n```\n', "", [ADD]),
    (HERMES, '[{"name": "add", "arguments": {"x": 1, "y": 2}}, {"name": "add", "arguments": {"x": 1, "y": 2}}]', "",
     [ADD, ADD]),
    (HERMES, '<tool_call>{"name": "add", "arguments": {"x": 1, "y": 2,}}</tool_call>', "", [ADD]),
    (QWEN_XML, "<tool_call>\n<function=get_weather>\n<parameter=city>\nZürich\n</parameter>\n<parameter=days>\n3\n"
     "</parameter>\n</function>\n</tool_call>", "", [CITY]),
    (QWEN_XML, "Yes.\n\n<function=add>\n<parameter=x>\n1\n</parameter>\n<parameter=y>\n2\n</parameter>\n</function>",
     "Yes.", [ADD]),
    (HERMES, 'Write <tool_call> in front of a call.', "Write <tool_call> in front of a call.", []),
    (HERMES, '<{{"name": "add", "arguments": {"x": 1, "y": 2}}}', "", [ADD]),
    (HERMES, '{"name": "add", "arguments": {"x": 1, "y": 2}}\n</tool_call>', "", [ADD]),
    (HERMES, '<tool_call>\n```json\n{"name": "add", "arguments": {"x": 1, "y": 2}}\n```\n</tool_call>', "", [ADD]),
    (HERMES, '<tool_call>{"name": "add", "arguments": {"x": 1, "y": 2}\n</tool_call>', "", [ADD]),
    (HERMES, '<tool_call>{"name": "get_weather", "arguments": {"city": "C:\\x", "exact": None}}</tool_call>', "",
     [("get_weather", {"city": "C:\\x", "exact": None})]),
    (HERMES, '<tool_call>{"name": "add"}\n{"name": "add", "arguments": ""}</tool_call>', "", [("add", {})] * 2),
    (LLAMA, '{"name": "add", "parameters": {"x": 1, "y": 2}}', "", [ADD]),
    (LLAMA, 'Let me see. {"name": "add", "parameters": {"x": "1"}}\nDone.', "Let me see.Done.", [("add", {"x": "1"})]),
    (LLAMA, "[add(x=1, y=2), add(x=1, y=2)]", "", [ADD, ADD]),
    (LLAMA, '<|python_tag|>{"name": "add", "parameters": {"x": 1, "y": 2}}; {"name": "add", "parameters": {"x": 1, '
     '"y": 2}}', "", [ADD, ADD]),
    (LLAMA, "<|python_tag|>add.call(x=1, y=2)", "", [ADD]),
    (MISTRAL_LIST, '[TOOL_CALLS] [{"name": "add", "arguments": {"x": 1, "y": 2}, "id": "abcdefghi"}]', "", [ADD]),
    (MISTRAL_NAMED, '[TOOL_CALLS]add[ARGS]{"x": 1, "y": 2}[TOOL_CALLS]add[CALL_ID]123456789[ARGS]{"x": 1, "y": 2}', "",
     [ADD, ADD]),
    (DEEPSEEK, "So<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n"
     '{"x": 1, "y": 2}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>add<｜tool▁sep｜>{"x": 1, "y": 2}'
     "<｜tool▁call▁end｜><｜tool▁calls▁end｜>", "So", [ADD, ADD]),
]  # fmt: skip


def read(
    format: ToolCallFormat, chunks: Sequence[str], requirements: OutputRequirements = DEMANDS, lenient: bool = True
) -> list[OutputPart]:
    parser = ReplyParser(ReplyFormat(format), requirements, lenient)
    pieces = [piece for chunk in chunks for piece in parser.push(chunk)]
    return pieces + parser.finish()


def folded(pieces: Sequence[OutputPart]) -> tuple[str, list[ToolCall | InvalidToolCall]]:
    """The text and the calls of a reply, after checking what the deltas of every call promise."""
    text = "".join(piece for piece in pieces if isinstance(piece, str))
    deltas = [piece for piece in pieces if isinstance(piece, ToolCallDelta)]
    calls: list[ToolCall | InvalidToolCall] = []
    for index in sorted({delta.index for delta in deltas}):
        own = [delta for delta in deltas if delta.index == index]
        assert [delta.call is not None for delta in own] == [False] * (len(own) - 1) + [True]
        call = own[-1].call
        assert call
        assert (own[0].id, own[0].name) == (call.id, call.name)
        assert not any(delta.id or delta.name for delta in own[1:])
        if isinstance(call, ToolCall):
            assert json.loads("".join(delta.arguments for delta in own)) == call.arguments
        calls.append(call)
    assert len({call.id for call in calls}) == len(calls)
    assert all(re.fullmatch("call_[0-9a-f]{24}", call.id) for call in calls)
    return text, calls


def named(calls: Sequence[ToolCall | InvalidToolCall]) -> list[tuple[str, Any]]:
    return [(call.name, call.arguments) for call in calls]


@pytest.mark.parametrize(("format", "reply", "text", "calls"), WRITTEN)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_reply_is_read_as_its_family_means_it(
    format: ToolCallFormat, reply: str, text: str, calls: list[Any], size: int
) -> None:
    """Law: every way of writing calls gives the text beside them and the calls, in pieces of any size."""
    got, found = folded(read(format, [reply[at : at + size] for at in range(0, len(reply), size)]))
    assert (got, named(found)) == (text, calls)
    assert all(isinstance(call, ToolCall) for call in found)


def test_a_broken_call_does_not_swallow_the_one_behind_it() -> None:
    """Law: what cannot be read is one invalid call, and reading goes on where the next one opens."""
    broken = '<tool_call>\n{"name": "add", "arguments": {"x": ?}}\n'
    good = '<tool_call>{"name": "add", "arguments": {"x": 1, "y": 2}}</tool_call>'
    text, calls = folded(read(HERMES, [broken + good]))
    assert text == ""
    assert [type(call) for call in calls] == [InvalidToolCall, ToolCall]
    tags = "<tool_call>\n<function=add>\n<parameter name='x'>\n1\n</parameter>\n</function>\n</tool_call>"
    _, (call,) = folded(read(QWEN_XML, [tags]))
    assert isinstance(call, InvalidToolCall)


FRAGMENTS = [
    "<tool_call>", "</tool_call>", "<function=", "add>", "<parameter=", "x>", "</parameter>", "</function>", "{", "}",
    '{"name": "add", "arguments": {"x": 1}}', '"name"', '"add"', '"arguments"', ":", ",", '"', "\\", "[", "]", "\n",
    "```json\n", "```", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>", "add", "add(x=1)", "1", " ", "é", "\x00", "🙂",
    "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>",
]  # fmt: skip
replies = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=5)), max_size=14).map("".join)


@given(reply=replies, cuts=st.lists(st.integers(0, 200), max_size=8), format=st.sampled_from(FORMATS))
@settings(deadline=None, max_examples=200)
def test_no_text_breaks_a_parser_and_cutting_it_changes_nothing(
    reply: str, cuts: list[int], format: ToolCallFormat
) -> None:
    """Law: whatever the text, nothing is raised, and every way of cutting it gives the same text and calls."""
    whole_text, whole = folded(read(format, [reply]))
    edges = sorted({0, len(reply), *(cut for cut in cuts if cut < len(reply))})
    text, calls = folded(read(format, [reply[a:b] for a, b in pairwise(edges)]))
    assert (text, named(calls)) == (whole_text, named(whole))
    assert [type(call) for call in calls] == [type(call) for call in whole]


@given(reply=st.text(), format=st.sampled_from(FORMATS))
@settings(deadline=None, max_examples=100)
def test_text_without_calls_comes_out_to_the_letter(reply: str, format: ToolCallFormat) -> None:
    """Law: a reply without a mark and without a call comes out as it went in."""
    assume(not any(mark in reply for mark in (*format.start_markers, "think", "THINK", "to=")))
    assert folded(read(format, [*reply])) == (reply, [])


@given(reply=replies)
@settings(deadline=None, max_examples=100)
def test_without_tools_everything_is_text(reply: str) -> None:
    """Law: where no tool is offered, or none may be called, a reply is text."""
    assume(not any(tag in reply for tag in ("think", "THINK")))
    assert "".join(map(str, read(HERMES, [reply], OutputRequirements()))) == reply


@pytest.mark.parametrize(
    ("format", "reply", "error"),
    [
        (HERMES, '<tool_call>{"name": "add", "arguments": {"x": 1', "ended inside"),
        (HERMES, "<tool_call>rubbish</tool_call>", "no JSON object"),
        (HERMES, '<tool_call>{"name": "add", "arguments": [1]}</tool_call>', "not a JSON object"),
        (HERMES, '<tool_call>{"arguments": {}}</tool_call>', "names no tool"),
        (HERMES, '<tool_call>{"name": "add", "arguments": {"x": 1 "y"}}</tool_call>', "not valid JSON"),
        (QWEN_XML, "<tool_call>\n<function=add>\n<parameter=x>\n1", "ended inside"),
        (LLAMA, "<|python_tag|>import os", "neither JSON nor"),
        (MISTRAL_LIST, "[TOOL_CALLS]add", "ended inside"),
        (DEEPSEEK, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add", "ended inside"),
    ],
)
def test_a_call_that_cannot_be_read_is_said_to_be_one(format: ToolCallFormat, reply: str, error: str) -> None:
    """Law: what was meant as a call and is none comes back as an InvalidToolCall that says why."""
    text, (call,) = folded(read(format, [*reply]))
    assert text == ""
    assert isinstance(call, InvalidToolCall)
    assert error in call.error


@pytest.mark.parametrize(
    "reply",
    [
        '{"name": "sub", "arguments": {"x": 1}}',
        '{"name": "add", "arguments": {"x": "one"}}',
        '{"name": "get_weather", "arguments": {"days": 3}}',
        '{"name": "add", "arguments": {"x": 1, "y": 2}} is what I would call.',
        'I call {"name": "add", "arguments": {"x": 1, "y": 2}}',
        '{"name": "add", "arguments": {"x": 1, "y": 2}',
        '{"answer": 3}',
        "```python\nprint(1)\n```",
    ],
)
def test_what_only_looks_like_a_bare_call_is_text(reply: str) -> None:
    """Law: without marks only a whole reply of fitting calls of offered tools counts as calls."""
    assert folded(read(HERMES, [*reply])) == (reply, [])


def test_lenience_can_be_switched_off_and_is_told() -> None:
    """Law: a bare call is text to a strict parser; to a lenient one it is a call, and the parser says so."""
    reply = '{"name": "add", "arguments": {"x": 1, "y": 2}}'
    assert folded(read(HERMES, [reply], lenient=False)) == (reply, [])
    parser = ReplyParser(ReplyFormat(HERMES), DEMANDS)
    parser.push(reply)
    parser.finish()
    assert parser.unmarked


@pytest.mark.parametrize(("reply", "held"), [('{"answer', 3), ('{"name": "ge_', 12), ("```py", 3), ("Hello", 0)])
def test_text_is_held_back_only_while_it_can_still_become_a_call(reply: str, held: int) -> None:
    """Law: the first character that no call could have releases all that was held back."""
    parser = ReplyParser(ReplyFormat(HERMES), DEMANDS)
    sizes = [len("".join(str(piece) for piece in parser.push(c))) for c in reply]
    assert sizes[:held] == [0] * held
    assert sizes[held] == held + 1


def test_arguments_stream_while_they_are_written() -> None:
    """Law: the name and pieces of the arguments are there long before the call is complete."""
    parser = ReplyParser(ReplyFormat(HERMES), DEMANDS)
    early = parser.push('<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zü')
    assert [getattr(piece, "name", "") or getattr(piece, "arguments", "") for piece in early] == [
        "get_weather",
        '{"city": "Zü',
    ]


def test_one_call_means_the_first() -> None:
    """Law: where one call is wanted, the ones after the first are dropped."""
    call = '<tool_call>{"name": "add", "arguments": {"x": %d}}</tool_call>\n'
    text, calls = folded(read(HERMES, [call % 1 + call % 2], OutputRequirements(TOOLS, one_call=True)))
    assert (text, named(calls)) == ("", [("add", {"x": 1})])


@pytest.mark.parametrize(
    ("name", "written", "value"),
    [
        ("city", "7", "7"), ("city", '"quoted"', '"quoted"'), ("city", "a\n b", "a\n b"), ("days", "7", 7),
        ("days", "seven", "seven"), ("exact", "true", True), ("exact", "True", True), ("exact", "None", None),
        ("exact", "null", None), ("other", "[1, 2]", [1, 2]), ("other", "x", "x"),
    ],
)  # fmt: skip
def test_xml_values_have_the_type_that_the_schema_names(name: str, written: str, value: Any) -> None:
    """Law: the text of a parameter is a string where the schema says so, else what it spells, if that fits."""
    reply = f"<tool_call><function=get_weather><parameter={name}>\n{written}\n</parameter></function></tool_call>"
    _, (call,) = folded(read(QWEN_XML, [reply]))
    assert call.arguments == {name: value}


def test_no_finished_call_holds_half_a_character() -> None:
    """Law: whoever writes the arguments as UTF-8 can, though a model escaped half a surrogate pair."""
    parser = ReplyParser(ReplyFormat(HERMES), DEMANDS)
    parts = [
        *parser.push(r'<tool_call>{"name": "get_weather", "arguments": {"city": "\ud83d"}}</tool_call>'),
        *parser.finish(),
    ]
    (call,) = [part.call for part in parts if isinstance(part, ToolCallDelta) and part.call]
    assert json.dumps(call.arguments, ensure_ascii=False).encode() == '{"city": "�"}'.encode()
