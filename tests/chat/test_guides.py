"""Grammars of calls in every family's own markup, demanded or opened by the model itself."""
# ruff: noqa: RUF001

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat.schemas import NAMES, Case, object_cases
from chat.writing import allowed, by_chance, space, text_of, written
from glimp_core.chat.formats.base import (
    DEEPSEEK,
    DEEPSEEK_PLAIN,
    FORMATS,
    HERMES,
    LLAMA,
    MISTRAL_LIST,
    MISTRAL_NAMED,
    XML,
    ToolCallFormat,
)
from glimp_core.chat.grammar.validation import is_valid
from glimp_core.chat.output.constraints import TriggeredConstraint, constraint_for, required_grammar
from glimp_core.chat.output.reply_parser import ReplyParser
from glimp_core.chat.request.requirements import OutputRequirements
from glimp_core.chat.request.tools import Tool, read_tools
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
    (XML, "<tool_call>\n<function=get_weather>\n<parameter=city>\nSt. <b>\n\nGallen {\n</parameter>\n"
     "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>"),
    (LLAMA, '{"name": "get_weather", "parameters": {"city": "Zürich", "days": 3}}'),
    (LLAMA, '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Zürich", "days": 3, "unit": "c"}}'),
    (MISTRAL_LIST, '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Zürich", "days": 3}}]'),
    (MISTRAL_NAMED, '[TOOL_CALLS]get_weather[ARGS]{"city": "Zürich", "days": 3}'),
    (DEEPSEEK, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
     '{"city": "Zürich", "days": 3}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>'),
    (DEEPSEEK_PLAIN, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>"
     '{"city": "Zürich", "days": 3}<｜tool▁call▁end｜><｜tool▁calls▁end｜>'),
]  # fmt: skip
WRONG = [("get_weather", "get_rain"), ("city", "town"), ("3", "three"), ("days", "dayz")]


def tokens(text: str, marked: bool = True) -> list[int]:
    """The ids of a text, its marks as control tokens."""
    path: list[int] = []
    for mark in (*LLAMA.marks, *HERMES.marks, *MISTRAL_NAMED.marks):
        text = text.replace(mark, f"\0{mark}\0")
    for part in text.split("\0"):
        path += (
            space(marked).marker_bytes(part)
            if part in (*HERMES.marks, *LLAMA.marks, *MISTRAL_NAMED.marks)
            else [*part.encode()]
        )
    return space(marked).spell(path)


def guide(dialect: ToolCallFormat, requirements: OutputRequirements, marked: bool = True) -> Any:
    return constraint_for(space(marked), dialect, requirements)


def takes(guide: Any, token_ids: list[int]) -> bool:
    """Whether a guide lets a whole text pass as it is."""
    return all(guide.advance(token_id, 1000) == token_id for token_id in token_ids)


def calls_in(dialect: ToolCallFormat, requirements: OutputRequirements, text: str) -> tuple[str, list[Any]]:
    parser = ReplyParser(dialect, requirements)
    pieces = parser.push(text) + parser.finish()
    words = "".join(piece for piece in pieces if isinstance(piece, str))
    return words, [piece.call for piece in pieces if isinstance(piece, ToolCallDelta) and piece.call]


@pytest.mark.parametrize(("dialect", "reply"), VALID)
@pytest.mark.parametrize("marked", [True, False])
def test_a_valid_call_passes_unchanged(dialect: ToolCallFormat, reply: str, marked: bool) -> None:
    """Law: a model that writes a valid call in its family's markup is not interfered with."""
    constraint = guide(dialect, OutputRequirements(TOOLS, True, True), marked)
    assert takes(constraint, tokens(reply, marked))
    assert constraint.whole


@pytest.mark.parametrize(("dialect", "reply"), VALID)
@pytest.mark.parametrize(("right", "wrong"), WRONG)
def test_a_wrong_call_does_not_pass(dialect: ToolCallFormat, reply: str, right: str, wrong: str) -> None:
    """Law: an unknown tool, an unknown or missing argument, or a wrong type cannot be written."""
    assert not takes(guide(dialect, OutputRequirements(TOOLS, True, True)), tokens(reply.replace(right, wrong, 1)))


@pytest.mark.parametrize("dialect", FORMATS)
@pytest.mark.parametrize("one_call", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_a_demanded_call_is_read_back_as_fitting_calls(dialect: ToolCallFormat, one_call: bool, seed: int) -> None:
    """Law: whatever the writer, a demanded reply is calls of offered tools with fitting arguments, and no text."""
    requirements = OutputRequirements(TOOLS, True, one_call)
    constraint = guide(dialect, requirements)
    text = text_of(space(), written(constraint, constraint.shortest + 60 * seed, by_chance(seed)))
    words, calls = calls_in(dialect, requirements, text)
    assert words == ""
    assert len(calls) == 1 or (calls and not one_call)
    for call in calls:
        assert isinstance(call, ToolCall), (text, call)
        assert is_valid(call.arguments, next(tool.parameters for tool in TOOLS if tool.name == call.name))


@given(case=object_cases(), dialect=st.sampled_from(FORMATS), seed=st.integers(0, 999), more=st.integers(0, 40))
@settings(SLOW, max_examples=60)
def test_calls_of_any_schema_fit_it_within_any_limit(case: Case, dialect: ToolCallFormat, seed: int, more: int) -> None:
    """Law: the same for tools with random parameters, in every markup, within every limit that the shortest fits."""
    if dialect is XML and any(name in NAMES[4:] for name in case.schema["properties"]):
        return  # no tag can carry such a name
    requirements = OutputRequirements((Tool("t", "", case.schema),), True, True)
    constraint = guide(dialect, requirements)
    text = text_of(space(), written(constraint, constraint.shortest + more, by_chance(seed)))
    words, calls = calls_in(dialect, requirements, text)
    assert (words, [type(call) for call in calls]) == ("", [ToolCall]), text
    assert is_valid(calls[0].arguments, case.schema), text


@pytest.mark.parametrize("dialect", FORMATS)
def test_tools_and_a_schema_together_are_a_call_or_the_answer(dialect: ToolCallFormat) -> None:
    """Law: with both demanded, a call passes, JSON that follows the schema passes, and nothing else does."""
    requirements = OutputRequirements(
        TOOLS, False, False, {"type": "object", "properties": {"answer": {"type": "integer"}}}
    )
    assert takes(guide(dialect, requirements), tokens('{"answer": 3}'))
    assert takes(
        guide(dialect, requirements), tokens(next(reply for other, reply in VALID if other.write == dialect.write))
    )
    assert not takes(guide(dialect, requirements), tokens("The answer"))


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


def test_grammars_are_made_once_per_schema() -> None:
    """Law: two requests with one schema share the compiled grammar."""
    grammars = [required_grammar(HERMES, OutputRequirements(TOOLS, True, True)) for _ in range(2)]
    assert space().compile(grammars[0]) is space().compile(grammars[1])


@pytest.mark.parametrize(
    ("schema", "said"),
    [({"pattern": "(?=a)b"}, "look-ahead"), ({"pattern": "a{2"}, "regex parse error"),
     ({"type": "objekt"}, "Invalid type: objekt$"), ({"$ref": "#/$defs/a"}, "'/\\$defs/a' does not exist$")],
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
