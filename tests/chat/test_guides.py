"""Grammars of calls in every family's own markup, demanded or opened by the model itself."""
# ruff: noqa: RUF001

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chat.schemas import NAMES, Case, object_cases
from chat.writing import allowed, by_chance, space, text_of, written
from glimp_core.chat.formats.base import ToolCallFormat
from glimp_core.chat.formats.deepseek import DEEPSEEK, DEEPSEEK_PLAIN
from glimp_core.chat.formats.detect import FORMATS
from glimp_core.chat.formats.gemma4 import FUNCTION_GEMMA, GEMMA4, GemmaCalls
from glimp_core.chat.formats.harmony import HARMONY, MUSE, MuseCalls
from glimp_core.chat.formats.hermes import HERMES
from glimp_core.chat.formats.kimi import KIMI
from glimp_core.chat.formats.lfm2 import LFM2
from glimp_core.chat.formats.llama import LLAMA
from glimp_core.chat.formats.mistral import MISTRAL_LIST, MISTRAL_NAMED, MISTRAL_WITH_ID
from glimp_core.chat.formats.phi import FUNCTOOLS, PHI
from glimp_core.chat.formats.python_calls import PythonCalls
from glimp_core.chat.formats.qwen_xml import QWEN_XML
from glimp_core.chat.formats.reader import ReplyFormat, ReplyParser
from glimp_core.chat.formats.tagged_calls import TaggedCalls
from glimp_core.chat.grammar.validation import is_valid
from glimp_core.chat.output.constraints import GrammarConstraint, TriggeredConstraint, constraint_for, required_grammar
from glimp_core.chat.request.requirements import OutputRequirements
from glimp_core.chat.request.tools import read_tools
from glimp_core.errors import UnsupportedSchemaError
from glimp_core.types import ToolCall, ToolCallDelta

SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
WEATHER = {
    "name": "get_weather",
    "parameters": {
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["c", "f"]}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
}
TIME = {"name": "get_time", "parameters": {"properties": {"zone": {"type": "string", "pattern": "^[A-Z]{3}$"}}}}
TOOLS = read_tools([WEATHER, TIME])

VALID = [
    (HERMES, '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich", "days": 3}}\n</tool_call>'),
    (HERMES, '<tool_call>{"name":"get_weather","arguments":{\n  "city": "Z",\n  "days": 3\n}}</tool_call>'),
    (QWEN_XML, "<tool_call>\n<function=get_weather>\n<parameter=city>\nSt. <b>\n\nGallen {\n</parameter>\n"
     "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>"),
    (LLAMA, '{"name": "get_weather", "parameters": {"city": "Zürich", "days": 3}}'),
    (LLAMA, '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Zürich", "days": 3, "unit": "c"}}'),
    (MISTRAL_LIST, '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Zürich", "days": 3}}]'),
    (MISTRAL_NAMED, '[TOOL_CALLS]get_weather[ARGS]{"city": "Zürich", "days": 3}'),
    (DEEPSEEK, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
     '{"city": "Zürich", "days": 3}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>'),
    (DEEPSEEK_PLAIN, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>"
     '{"city": "Zürich", "days": 3}<｜tool▁call▁end｜><｜tool▁calls▁end｜>'),
    (MISTRAL_WITH_ID, '[TOOL_CALLS]get_weather[CALL_ID]abcdefghi[ARGS]{"city": "Zürich", "days": 3}'),
    (HARMONY, ' to=functions.get_weather<|channel|>commentary json<|message|>{"city": "Zürich", "days": 3}'),
    (HARMONY, '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Z", "days": 3}'),
    (MUSE, ' to=get_weather<|message|><atem:function_calls>\n<atem:invoke name="get_weather">\n'
     '<atem:parameter name="city">Zürich {</atem:parameter>\n<atem:parameter name="days">3</atem:parameter>\n'
     "</atem:invoke>\n</atem:function_calls>"),
    (GEMMA4, '<|tool_call>call:get_weather{city:<|"|>Zürich "{<|"|>,days:3,unit:<|"|>c<|"|>}<tool_call|>'),
    (FUNCTION_GEMMA, "<start_function_call>call:get_weather{city:<escape>Zürich<escape>,days:3}<end_function_call>"),
    (KIMI, '<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>'
     '{"city": "Zürich", "days": 3}<|tool_call_end|><|tool_calls_section_end|>'),
    (LFM2, "<|tool_call_start|>[get_weather(city='Zürich', days=3, unit=\"c\")]<|tool_call_end|>"),
    (PHI, '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Zürich", "days": 3}}]<|/tool_call|>'),
    (FUNCTOOLS, 'functools[{"name": "get_weather", "arguments": {"city": "Zürich", "days": 3}}]'),
]  # fmt: skip
WRONG = [("get_weather", "get_rain"), ("city", "town"), ("3", "three"), ("days", "dayz")]
OPEN: list[dict[str, Any]] = [
    {"type": "object"}, {"type": "object", "required": ["a"]},
    {"type": "object", "additionalProperties": {"type": "integer"}},
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": True},
    {"type": "object", "properties": {"a": {"type": "object"}, "b": {}}, "required": ["a", "b"]},
    {"type": "object", "properties": {"a": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 3}},
     "required": ["a"]},
]  # fmt: skip
"""Parameters that take arguments of any name, objects of any kind, or texts that are bounded twice."""


@pytest.mark.parametrize(
    "format", [HERMES, QWEN_XML, MUSE, GEMMA4, FUNCTION_GEMMA, LFM2], ids=lambda format: str(format.name)
)
@pytest.mark.parametrize("parameters", OPEN, ids=str)
def test_arguments_of_any_name_are_taken(format: ToolCallFormat, parameters: dict[str, Any]) -> None:
    """Law: in every markup a call follows the parameters, and an open object may hold something."""
    tools = read_tools([{"name": "f", "parameters": parameters}])
    requirements = OutputRequirements(tools=tools, must_call=True, one_call=True, shown=tools)
    closing = {space().spell([byte])[0] for byte in b"}/)"}
    for seed in range(2):
        constraint = constraint_for(space(), ReplyFormat(format), requirements)
        assert isinstance(constraint, GrammarConstraint)
        parser = ReplyParser(ReplyFormat(format), requirements)
        ids = written(constraint, constraint.shortest + 60, by_chance(seed, unwanted=closing))
        text = text_of(space(), ids)
        parts = [*parser.push(text), *parser.finish()]
        (call,) = [part.call for part in parts if isinstance(part, ToolCallDelta) and part.call]
        assert isinstance(call, ToolCall), (call, text)
        assert call.arguments, text
        assert is_valid(call.arguments, parameters), (call, text)


def tokens(text: str, marked: bool = True) -> list[int]:
    """The ids of a text, its markers as control tokens."""
    return space(marked).spell(space(marked).markup_bytes(text))


def guide(format: ToolCallFormat, requirements: OutputRequirements, marked: bool = True) -> Any:
    return constraint_for(space(marked), ReplyFormat(format), requirements)


def takes(guide: Any, token_ids: list[int]) -> bool:
    """Whether a guide lets a whole text pass as it is."""
    return all(guide.advance(token_id, 1000) == token_id for token_id in token_ids)


def calls_in(format: ToolCallFormat, requirements: OutputRequirements, text: str) -> tuple[str, list[Any]]:
    parser = ReplyParser(ReplyFormat(format), requirements)
    pieces = parser.push(text) + parser.finish()
    words = "".join(piece for piece in pieces if isinstance(piece, str))
    return words, [piece.call for piece in pieces if isinstance(piece, ToolCallDelta) and piece.call]


@pytest.mark.parametrize(("format", "reply"), VALID)
@pytest.mark.parametrize("marked", [True, False])
def test_a_valid_call_passes_unchanged(format: ToolCallFormat, reply: str, marked: bool) -> None:
    """Law: a model that writes a valid call in its family's markup is not interfered with."""
    constraint = guide(format, OutputRequirements(TOOLS, True, True), marked)
    assert takes(constraint, tokens(reply, marked))
    assert constraint.whole


@pytest.mark.parametrize(("format", "reply"), VALID)
@pytest.mark.parametrize(("right", "wrong"), WRONG)
def test_a_wrong_call_does_not_pass(format: ToolCallFormat, reply: str, right: str, wrong: str) -> None:
    """Law: an unknown tool, an unknown or missing argument, or a wrong type cannot be written."""
    assert not takes(guide(format, OutputRequirements(TOOLS, True, True)), tokens(reply.replace(right, wrong, 1)))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("one_call", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_a_demanded_call_is_read_back_as_fitting_calls(format: ToolCallFormat, one_call: bool, seed: int) -> None:
    """Law: whatever the writer, a demanded reply is calls of offered tools with fitting arguments, and no text."""
    requirements = OutputRequirements(TOOLS, True, one_call)
    constraint = guide(format, requirements)
    text = text_of(space(), written(constraint, constraint.shortest + 60 * seed, by_chance(seed)))
    words, calls = calls_in(format, requirements, text)
    assert words == ""
    assert len(calls) == 1 or (calls and not one_call)
    for call in calls:
        assert isinstance(call, ToolCall), (text, call)
        assert is_valid(call.arguments, next(tool.parameters for tool in TOOLS if tool.name == call.name))


def numbers_in(value: Any) -> Iterator[float]:
    """Yield the size of every number in a JSON value."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers_in(part)
    elif isinstance(value, int | float):
        yield abs(value)


EMPTY_TEXT = Case({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, 9)


@given(case=object_cases(), format=st.sampled_from(FORMATS), seed=st.integers(0, 999), more=st.integers(0, 40))
@example(case=EMPTY_TEXT, format=GEMMA4, seed=0, more=0)  # the end of a text is no text, if one must be there
@settings(SLOW, max_examples=60)
def test_calls_of_any_schema_fit_it_within_any_limit(case: Case, format: ToolCallFormat, seed: int, more: int) -> None:
    """Law: the same for tools with random parameters, in every markup, within every limit that the shortest fits.

    No grammar bounds the exponent of a number: one that is infinite in 64 bits breaks its schema, and is told.
    """
    tags = isinstance(format, TaggedCalls | PythonCalls | GemmaCalls | MuseCalls)
    if tags and any(name in NAMES[4:] for name in case.schema["properties"]):
        return  # no tag can carry such a name
    requirements = OutputRequirements(read_tools([{"name": "t", "parameters": case.schema}]), True, True)
    constraint = guide(format, requirements)
    text = text_of(space(), written(constraint, constraint.shortest + more, by_chance(seed)))
    words, calls = calls_in(format, requirements, text)
    assert (words, [type(call) for call in calls]) == ("", [ToolCall]), text
    assert is_valid(calls[0].arguments, case.schema) or math.inf in numbers_in(calls[0].arguments), text


@pytest.mark.parametrize("format", FORMATS)
def test_tools_and_a_schema_together_are_a_call_or_the_answer(format: ToolCallFormat) -> None:
    """Law: with both demanded, a call passes, JSON that follows the schema passes, and nothing else does."""
    requirements = OutputRequirements(
        TOOLS, False, False, {"type": "object", "properties": {"answer": {"type": "integer"}}}
    )
    assert takes(guide(format, requirements), tokens('{"answer": 3}'))
    assert takes(guide(format, requirements), tokens(next(reply for other, reply in VALID if other is format)))
    assert not takes(guide(format, requirements), tokens("The answer"))


def test_free_text_is_free_and_a_call_in_it_is_held_to_the_tools() -> None:
    """Law: under "auto" nothing is masked until a call opens; then only a valid call can be written."""
    watch = guide(HERMES, OutputRequirements(TOOLS))
    assert isinstance(watch, TriggeredConstraint)
    assert takes(watch, tokens("Let me {see}.\n"))
    assert watch.allowed() is None
    assert takes(watch, tokens('<tool_call>\n{"name": "get_'))
    assert {chr(i) for i in map(_byte, allowed(watch, space().size))} == {"w", "t"}
    assert takes(watch, tokens('weather", "arguments": {"city": "x", "days": 1}}\n</tool_call>'))
    assert watch.allowed() is None
    assert not watch.done


@pytest.mark.parametrize("header", ['{"name": "get_weather", "arguments": {', '\n```json\n{\n  "name": "get_weather",\n'
                                    '  "parameters": {'])  # fmt: skip
def test_a_bare_call_is_held_to_the_tools_once_it_is_one(header: str) -> None:
    """Law: a reply that begins like a call without marks can only go on as a valid one."""
    watch = guide(HERMES, OutputRequirements(TOOLS))
    assert takes(watch, tokens(header))
    assert watch.allowed() is not None
    assert takes(watch, tokens('"city": "x", "days": 1}'))
    assert not takes(watch, tokens("]"))


@pytest.mark.parametrize("text", ['{"name": "other", "arguments": {"x"', "I call {", '{"answer": 1', "<tool_call>{x"])
def test_what_is_no_call_stays_free(text: str) -> None:
    """Law: text that only looks like a call, or a call that begins wrong, is left to the model."""
    watch = guide(HERMES, OutputRequirements(TOOLS), marked=False)
    for byte in text.encode():
        watch.advance(byte_token(byte), 1000)
    if "<tool_call>" not in text:
        assert watch.allowed() is None


def test_where_one_call_is_wanted_the_reply_ends_with_it() -> None:
    """Law: without parallel calls nothing is written after the first."""
    watch = guide(HERMES, OutputRequirements(TOOLS, one_call=True))
    assert takes(watch, tokens(VALID[0][1]))
    assert watch.done


def test_a_call_opened_too_late_is_left_alone() -> None:
    """Law: where no call can be closed in time any more, the grammar does not set in."""
    watch = guide(HERMES, OutputRequirements(TOOLS))
    watch.advance(tokens("<tool_call>")[0], 5)
    assert watch.allowed() is None


def test_marks_stand_only_where_the_grammar_names_them() -> None:
    """Law: inside the strings of a call no control token can be written."""
    constraint = guide(HERMES, OutputRequirements(TOOLS, True, True))
    takes(constraint, tokens('<tool_call>\n{"name": "get_weather", "arguments": {"city": "'))
    free = allowed(constraint, space().size)
    assert len(free) > 100
    assert not {token_id for token_id in free if space().vocabulary.token_bytes[token_id] is None}


def test_a_copy_goes_its_own_way() -> None:
    """Law: tokens tried on a copy leave the original as it was."""
    constraint = guide(HERMES, OutputRequirements(TOOLS, True, True))
    takes(constraint, tokens('<tool_call>\n{"name": "get_weather", "arguments": {"city": "'))
    before, twin = constraint.allowed(), constraint.copy()
    takes(twin, tokens('x", "days": 1}}\n</tool_call>'))
    assert twin.done
    assert constraint.allowed() == before
    assert takes(constraint, tokens('y", "days": 2}}\n</tool_call>'))


@pytest.mark.parametrize("format", [HERMES, QWEN_XML])
def test_a_tool_of_long_calls_hides_no_short_ones(format: ToolCallFormat) -> None:
    """Law: whatever a tool is called, the shortest reply is that of the tool that has the shortest call.

    What follows the names is alike, so that a search among both takes one for the other.
    """
    long: dict[str, Any] = {"type": "integer"}
    for _ in range(8):
        long = {"type": "object", "properties": {"a": long, "b": long}, "required": ["a", "b"]}
    given = {"f": long, "get": {"properties": {"a": {"type": "integer"}}, "required": ["a"]}}
    tools = read_tools([{"name": name, "parameters": schema} for name, schema in given.items()])
    constraint = guide(format, OutputRequirements(tools=tools, must_call=True, one_call=True, shown=tools))
    (alone,) = read_tools([{"name": "get", "parameters": given["get"]}])
    assert constraint.shortest == guide(format, OutputRequirements((alone,), True, True)).shortest


def test_grammars_are_made_once_per_schema() -> None:
    """Law: two requests with one schema share the compiled grammar."""
    grammars = [required_grammar(ReplyFormat(HERMES), OutputRequirements(TOOLS, True, True)) for _ in range(2)]
    assert space().compile(grammars[0]) is space().compile(grammars[1])


@pytest.mark.parametrize(
    ("schema", "said"),
    [({"type": "objekt"}, "did you mean 'object'"), ({"$ref": "#/$defs/a"}, "which is not there"),
     ({"minLength": 3, "maxLength": 2}, "Unsatisfiable"), ({"lenght": 3, "patern": "a"}, "did you mean 'pattern'")],
)  # fmt: skip
def test_what_the_grammar_cannot_follow_is_an_error(schema: Any, said: str) -> None:
    """Law: it is refused, not ignored, and the reason is told without the grammar around it."""
    with pytest.raises(UnsupportedSchemaError, match=said) as refused:
        guide(HERMES, OutputRequirements((), False, False, {"type": "string", **schema}))
    assert "json_allow" not in str(refused.value)


def test_json_objects_of_any_kind_pass() -> None:
    """Law: json_object lets every object pass, and nothing but objects."""
    requirements = OutputRequirements((), False, False, {})
    value = json.dumps({"a": [1, {"b": None}], "c": "x\n", "d": -1.5e3})
    assert takes(guide(HERMES, requirements), tokens(value))
    assert not takes(guide(HERMES, requirements), tokens("[1]"))


def byte_token(byte: int) -> int:
    return space(False).spell([byte])[0]


def _byte(token_id: int) -> int:
    piece = space().vocabulary.token_bytes[token_id]
    return piece[0] if piece else 0
