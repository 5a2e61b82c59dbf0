"""What a grammar cannot hold: said at the start, and checked when it is whole."""

import json
import threading
from typing import Any

import pytest
from llguidance import LLMatcher

from chat.writing import space
from glimp_core import GlimpRouter, RouterConfig, SamplingParams, Start, ToolCall
from glimp_core.chat.formats.reader import ReplyFormat
from glimp_core.chat.grammar.json_schema import prepare_schema
from glimp_core.chat.grammar.lark import Grammar, Json
from glimp_core.chat.grammar.validation import violation
from glimp_core.chat.output.constraints import compiled_requirements
from glimp_core.chat.request.requirements import OutputRequirements
from glimp_core.context import Context
from glimp_core.errors import Cancelled, OutputValidationError, UnsupportedSchemaError
from glimp_core.testing import ScriptedEngine
from glimp_core.types import Request

TAGS = {"type": "object", "properties": {"tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True}}}
NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
CIRCLE = {"type": "object", "properties": {"x": {"$ref": "#/properties/x"}}, "required": ["x"]}


def tool(name: str, parameters: Any, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters, **more}}


def scripted(answer: Any) -> GlimpRouter:
    return GlimpRouter(ScriptedEngine(["Hm.</think>"]), ScriptedEngine(answer=answer))


def test_a_call_that_breaks_a_keyword_is_invalid_and_names_it() -> None:
    """Law: the call is told apart as invalid, with the keyword, and a call that keeps to it is a call."""
    broken = ToolCall("1", "tag", {"tags": ["a", "a"]})
    done = scripted([broken, ToolCall("2", "tag", {"tags": ["a"]})]).generate("x", tools=[tool("tag", TAGS)])
    assert [call.id for call in done.tool_calls] == ["2"]
    assert "'uniqueItems'" in done.invalid_tool_calls[0].error
    assert json.loads(done.invalid_tool_calls[0].arguments) == broken.arguments


def test_every_call_is_checked() -> None:
    """Law: a call that slips past the grammar, or comes from a server, is invalid by the keyword that it breaks.

    A tool without parameters takes none, and an object that names none takes any.
    """
    cases: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        (NUMBER, {"n": "1"}, "type"), (NUMBER, {}, "required"), (NUMBER, {"n": 1, "m": 1}, "additionalProperties"),
        (NUMBER, {"n": 1}, ""), ({"type": "object", "properties": {}}, {"zone": "x"}, "additionalProperties"),
        ({}, {"zone": "x"}, "additionalProperties"), ({"type": "object"}, {"zone": {"x": 1}}, ""),
        ({"properties": {"x": {"type": "number"}}}, {"x": float("inf")}, "type"),
    ]  # fmt: skip
    for parameters, arguments, keyword in cases:
        done = scripted([ToolCall("1", "f", arguments)]).generate("x", tools=[tool("f", parameters)])
        assert [call.arguments for call in done.tool_calls] == ([] if keyword else [arguments])
        assert all(repr(keyword) in call.error for call in done.invalid_tool_calls)


@pytest.mark.parametrize("parameters", [TAGS, CIRCLE, {"type": "object", "requierd": ["a"]}, {"$ref": "https://x/y"}])
def test_what_is_checked_afterwards_is_said_at_the_start(parameters: Any) -> None:
    """Law: the first event names the tool, and no other tool is touched."""
    tools = [tool("odd", parameters), tool("add", NUMBER)]
    events = list(scripted([ToolCall("1", "add", {"n": 1})]).stream("x", tools=tools))
    assert isinstance(events[0], Start)
    assert [note for note in events[0].notes if "'odd'" in note]
    assert not [note for note in events[0].notes if "'add'" in note]


def test_an_answer_that_breaks_its_schema_is_an_error_that_names_the_keyword() -> None:
    """Law: the answer is in the error; one that keeps to the schema is a reply like any other."""
    form = {"type": "json_schema", "json_schema": {"schema": TAGS}}
    with pytest.raises(OutputValidationError, match="'uniqueItems'") as broken:
        scripted('{"tags": ["a", "a"]}').generate("x", response_format=form)
    assert broken.value.text == '{"tags": ["a", "a"]}'
    assert scripted('{"tags": ["a"]}').generate("x", response_format=form).answer == '{"tags": ["a"]}'


def test_strict_refuses_beforehand() -> None:
    """Law: with strict nothing is left to be checked, for tools and for answers."""
    with pytest.raises(UnsupportedSchemaError, match=r"strict.*'uniqueItems'"):
        scripted("x").generate("x", tools=[tool("tag", TAGS, strict=True)])
    form = {"type": "json_schema", "json_schema": {"schema": TAGS, "strict": True}}
    with pytest.raises(UnsupportedSchemaError, match=r"strict.*'uniqueItems'"):
        scripted("x").generate("x", response_format=form)


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_a_real_pair_offers_odd_tools_and_calls_the_others(choice: str) -> None:
    """Law: on real models too, one tool decides over itself alone, and a tool without parameters takes none."""
    tools = [tool("odd", CIRCLE), tool("tag", TAGS), tool("now", {"type": "object", "properties": {}})]
    pair = GlimpRouter.from_pretrained("glimp-tiny-small", "glimp-tiny-large", config=RouterConfig(reasoning="off"))
    sampling = SamplingParams(temperature=1.0, seed=1, max_tokens=60)
    done = pair.generate("x", tools=tools, tool_choice=choice, sampling=sampling)
    assert len([note for note in done.start.notes if "checked when complete" in note]) == 2
    done = pair.generate("x", tools=tools, tool_choice="now", sampling=sampling)
    assert [call.arguments for call in done.tool_calls] == [{}]


class Small:
    """A compiler that takes grammars up to a size, as llguidance does."""

    def compile(self, grammar: Grammar, _: Any) -> None:
        """Refuse what is larger."""
        if len(str(grammar.node)) > 60_000:
            raise UnsupportedSchemaError("the grammar is too large")


def test_tools_that_are_too_much_together_are_offered_all_the_same() -> None:
    """Law: where each tool can be held and all together cannot, their calls are checked, and that is said."""
    schema = {"type": "object", "properties": {"note": {"type": "string", "enum": ["x" * 5_000]}}}
    tools = [tool(f"f{n}", schema) for n in range(9)]
    with Context(Request(({"role": "user", "content": "x"},), tuple(tools)), "off") as context:
        asked = OutputRequirements.of_context(context)
        held = compiled_requirements(Small(), ReplyFormat(), asked, context)  # type: ignore[arg-type]
        assert [tool.name for tool in held.tools] == [tool.name for tool in asked.tools]
        assert all(tool.parameters == before.parameters for tool, before in zip(held.tools, asked.tools, strict=True))
        assert context.notes == ["the calls of all 9 tools: enforced in part, and checked when complete: "
                                 "the grammar is too large"]  # fmt: skip


def test_making_a_grammar_holds_up_nobody_and_can_be_cancelled() -> None:
    """Law: while one thread makes a grammar others make theirs; who waits for the same one may stop waiting."""
    compiler, slow = space(), Grammar(Json(prepare_schema({"const": "slow"}).text))
    begun, go = threading.Event(), threading.Event()

    def held_up() -> bool:
        begun.set()
        assert go.wait(5)
        return False

    thread = threading.Thread(target=compiler.compile, args=(slow, held_up))
    thread.start()
    assert begun.wait(30)
    assert compiler.compile(Grammar(Json(prepare_schema({"const": "quick"}).text)))
    with pytest.raises(Cancelled):
        compiler.compile(slow, lambda: True)
    go.set()
    thread.join()
    assert compiler.compile(slow)


def _references(n: int) -> dict[str, Any]:
    pair = {f"d{i}": {"properties": {k: {"$ref": f"#/$defs/d{i + 1}"} for k in "ab"}} for i in range(n)}
    return {"properties": {"x": {"$ref": "#/$defs/d0"}}, "$defs": {**pair, f"d{n}": {"type": "integer"}}}


def _mutual(n: int) -> dict[str, Any]:
    def others(i: int) -> list[Any]:
        parts = ({"properties": {"a": {"$ref": f"#/$defs/d{j}"}}, "required": ["a"]} for j in range(n) if j != i)
        return [*parts, {"type": "null"}]

    return {"properties": {"x": {"$ref": "#/$defs/d0"}}, "$defs": {f"d{i}": {"anyOf": others(i)} for i in range(n)}}


@pytest.mark.parametrize("schema", [_references(22), _references(100), _mutual(14), _mutual(30)])
def test_parts_that_refer_to_each_other_are_looked_at_once(schema: Any) -> None:
    """Law: the work is in proportion to the schema: no part is made ready twice, and a grammar can be made of it."""
    prepared = prepare_schema(schema)
    assert prepared.parts <= 3 * json.dumps(schema).count("{")
    assert not LLMatcher(space().bytes, "start: %json " + prepared.text).get_error()


@pytest.mark.parametrize("levels", [90, 400, 5000])
def test_depth_is_refused_by_name_or_held(levels: int) -> None:
    """Law: no schema is too deep for an error that says so."""
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    if levels < 100:
        assert prepare_schema(schema).unenforced == ()
    else:
        with pytest.raises(UnsupportedSchemaError, match="nested more than"):
            prepare_schema(schema)


def test_a_text_is_held_to_a_few_patterns_at_once() -> None:
    """Law: of many patterns that one text has to follow some are checked afterwards, and a grammar is made at once."""
    patterns = [{"type": "string", "pattern": f".*{letter}.{{{n}}}"} for n, letter in enumerate("abcdefghijklmnopqrst")]
    prepared = prepare_schema({"properties": {"x": {"allOf": patterns}}})
    assert {told.keyword for told in prepared.unenforced} == {"pattern"}
    assert space().compile(Grammar(Json(prepared.text)))


def test_a_pattern_that_takes_for_ever_is_not_searched_for_ever() -> None:
    """Law: checking ends, whatever the pattern."""
    assert "'pattern'" in str(violation("a" * 40 + "b", {"pattern": "^(?=a)(a|a)*$"}))
