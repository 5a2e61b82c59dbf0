"""Tools and structured output: every form that LangChain's users have for them."""

import json
from collections.abc import Iterable
from functools import partial
from typing import Any, TypedDict

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field
from pydantic.v1 import BaseModel as BaseModelV1

from adapters.good_model import good_router, reply
from glimp_core import ConfigError, GlimpRouter, Request, ToolCall
from glimp_core.testing import ScriptedEngine
from glimp_langchain import ChatGlimp
from glimp_langchain._errors import ModelInvalidRequestError


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


class Person(BaseModel):
    """A person."""

    name: str = Field(description="what they are called")
    age: int


class PersonV1(BaseModelV1):
    """A person."""

    name: str
    age: int


class PersonDict(TypedDict):
    """A person."""

    name: str
    age: int


class Family(BaseModel):
    """People."""

    parents: list[Person]
    pet: str | None = None


SCHEMA = {"title": "Person", "type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
FUNCTION = {"name": "Person", "description": "A person.", "parameters": {k: SCHEMA[k] for k in SCHEMA if k != "title"}}
QUESTION = "Ann is 7"


class Asked(GlimpRouter):
    """A good pair that remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        engine = ScriptedEngine(["Hm.</think>"], self.reply)
        super().__init__(engine, engine)

    def reply(self, request: Request) -> Any:
        self.requests.append(request)
        return reply(request)


def names(message: AIMessage) -> list[str]:
    return [call["name"] for call in message.tool_calls]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, []),
        ("auto", []),
        ("none", []),
        (False, []),
        ("any", ["add"]),
        ("required", ["add"]),
        (True, ["add"]),
        ("multiply", ["multiply"]),
        ({"type": "function", "function": {"name": "multiply"}}, ["multiply"]),
        ({"type": "tool", "name": "multiply"}, ["multiply"]),
        ({"type": "any"}, ["add"]),
    ],
)
def test_every_form_of_tool_choice_means_what_it_says(choice: Any, expected: list[str]) -> None:
    """Words, names, bools and the dicts of OpenAI and Anthropic arrive at the pair, bound or given in the call."""
    llm = ChatGlimp(router=good_router())
    assert names(llm.bind_tools([add, multiply], tool_choice=choice).invoke("Hello 3")) == expected
    assert names(llm.invoke("Hello 3", tools=[add, multiply], tool_choice=choice)) == expected


def test_tools_of_every_kind_are_offered() -> None:
    """Tools, functions, classes and schemas become function specs; one given twice is no error."""
    router = Asked()
    tools = [add, multiply, Person, PersonDict, FUNCTION, {**SCHEMA, "title": "Other"}, add]
    ChatGlimp(router=router).bind_tools(tools).invoke("Hello")
    offered = [spec["function"]["name"] for spec in router.requests[0].tools]
    assert offered == ["add", "multiply", "Person", "PersonDict", "Person", "Other", "add"]
    parameters = router.requests[0].tools[0]["function"]["parameters"]
    assert parameters["properties"]["a"]["type"] == "integer"


def test_no_tools_are_no_tools() -> None:
    """An empty list of tools is a plain call."""
    assert ChatGlimp(router=good_router()).bind_tools([]).invoke("Hello").content == "You said: Hello"


def test_parallel_calls_can_be_forbidden() -> None:
    """Several tools are called at once where the model wants to, one alone where that is forbidden or demanded."""
    llm = ChatGlimp(router=good_router())
    question = "add and multiply 3"
    assert names(llm.bind_tools([add, multiply]).invoke(question)) == ["add", "multiply"]
    assert names(llm.bind_tools([add, multiply], parallel_tool_calls=False).invoke(question)) == ["add"]
    assert names(llm.bind_tools([add, multiply], tool_choice="any").invoke(question)) == ["add"]


def test_tools_and_a_schema_go_together() -> None:
    """A call with tools and a response_format calls a tool or answers in the schema, as ProviderStrategy needs."""
    form = {"type": "json_schema", "json_schema": {"name": "Person", "schema": SCHEMA, "strict": True}}
    llm = ChatGlimp(router=good_router()).bind_tools([add], response_format=form, strict=True)
    assert names(llm.invoke("add 3")) == ["add"]
    assert json.loads(str(llm.invoke(QUESTION).content)) == {"age": 7}


def test_a_wrong_tool_or_choice_is_an_error() -> None:
    """A tool that is a server's, and the name of no tool, are refused with what is wrong."""
    llm = ChatGlimp(router=good_router())
    with pytest.raises(ConfigError, match="web_search_preview"):
        llm.bind_tools([{"type": "web_search_preview"}])
    with pytest.raises(ValueError, match=r"multiplly.*did you mean 'multiply'"):
        llm.bind_tools([add, multiply], tool_choice="multiplly").invoke("Hello")


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (Person, Person(name=QUESTION, age=7)),
        (PersonV1, PersonV1(name=QUESTION, age=7)),
        (PersonDict, {"name": QUESTION, "age": 7}),
        (Family, Family(parents=[Person(name=QUESTION, age=7)])),
        (SCHEMA, {"age": 7}),
        ({k: v for k, v in SCHEMA.items() if k != "title"}, {"age": 7}),
        (FUNCTION, {"age": 7}),
        ({"type": "function", "function": FUNCTION}, {"age": 7}),
    ],
)
async def test_a_schema_of_any_kind_comes_back_filled(method: Any, schema: Any, expected: Any) -> None:
    """Every schema by every method gives an instance or a dict, whole and streamed, sync and async."""
    llm = ChatGlimp(router=good_router()).with_structured_output(schema, method=method)
    assert llm.invoke(QUESTION) == expected == await llm.ainvoke(QUESTION)
    assert list(llm.stream(QUESTION))[-1] == expected
    assert [partial async for partial in llm.astream(QUESTION)][-1] == expected


@pytest.mark.parametrize("schema", [{"name": "Person", "schema": SCHEMA}, {"type": "json_object"}])
def test_a_response_format_is_a_schema_too(schema: dict[str, Any]) -> None:
    """What OpenAI calls a response_format can be given as the schema."""
    llm = ChatGlimp(router=good_router()).with_structured_output(schema)
    assert llm.invoke(QUESTION) == ({"age": 7} if "schema" in schema else {})


def test_dicts_grow_while_they_stream() -> None:
    """A streamed dict is there before it is whole."""
    llm = ChatGlimp(router=good_router()).with_structured_output(PersonDict)
    partials = list(llm.stream(QUESTION))
    assert {"name": "Ann"} in partials
    assert len(partials) > 3


def test_references_and_descriptions_reach_the_pair() -> None:
    """The schema that is sent keeps nested classes and what fields are for: the model is shown it."""
    router = Asked()
    ChatGlimp(router=router).with_structured_output(Family).invoke(QUESTION)
    schema = router.requests[0].response_format["json_schema"]["schema"]
    assert schema["$defs"]["Person"]["properties"]["name"]["description"] == "what they are called"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "integer"}, "minItems": 2},
        {"title": "Counts", "type": "object", "additionalProperties": {"type": "integer"}},
        {"anyOf": [SCHEMA, {"type": "null"}]},
        {"$ref": "#/$defs/Person", "$defs": {"Person": SCHEMA}},
        {"title": "Colour", "type": "string", "enum": ["red", "green"]},
    ],
)
def test_a_schema_without_properties_reaches_the_pair_whole(schema: dict[str, Any]) -> None:
    """Lists, maps, unions, references and plain values are held to all that they say, by name or without."""
    router = Asked()
    ChatGlimp(router=router).with_structured_output(schema, include_raw=True).invoke(QUESTION)
    assert router.requests[0].response_format["json_schema"]["schema"] == schema
    if schema.get("type", "object") == "object":
        ChatGlimp(router=router).with_structured_output(schema, method="function_calling").invoke(QUESTION)
        parameters = router.requests[1].tools[0]["function"]["parameters"]
        assert parameters == {key: value for key, value in schema.items() if key != "title"}


@pytest.mark.parametrize("form", [{"name": "P", "schema": SCHEMA}, {"json_schema": {"name": "P", "schema": SCHEMA}}])
def test_a_response_format_can_be_called_as_a_function(form: dict[str, Any]) -> None:
    """The schema in a response_format is that of the function, which has its name."""
    llm = ChatGlimp(router=good_router()).with_structured_output(form, method="function_calling", include_raw=True)
    said = llm.invoke(QUESTION)
    assert (names(said["raw"]), said["parsed"]) == (["P"], {"age": 7})


@pytest.mark.parametrize("schema", ["Person", list[Person], 7, {"parameters": {}}, partial(max, 1)])
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_what_is_no_schema_is_refused(schema: Any, method: Any) -> None:
    """An error shows it and says what to pass."""
    with pytest.raises(ConfigError, match=r"cannot be read as a tool or schema: pass"):
        ChatGlimp(router=good_router()).with_structured_output(schema, method=method)


def test_raw_replies_come_along() -> None:
    """With include_raw the message is there too, and what cannot be parsed is reported, not raised."""
    llm = ChatGlimp(router=good_router())
    both = llm.with_structured_output(Person, include_raw=True).invoke(QUESTION)
    assert (both["parsed"], both["parsing_error"]) == (Person(name=QUESTION, age=7), None)
    assert both["raw"].additional_kwargs["reasoning_content"]
    bad = ChatGlimp(router=GlimpRouter(ScriptedEngine(answer="no"), ScriptedEngine(answer="no")))
    failed = bad.with_structured_output(Person, include_raw=True).invoke(QUESTION)
    assert (failed["parsed"], type(failed["parsing_error"])) == (None, OutputParserException)
    with pytest.raises(OutputParserException):
        bad.with_structured_output(Person).invoke(QUESTION)


def _merged(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Streamed parts, of each kind the last one, and the raw ones added up."""
    merged: dict[str, Any] = {}
    for part in parts:
        merged |= {**part, "raw": merged["raw"] + part["raw"]} if "raw" in merged and "raw" in part else part
    return merged


@pytest.mark.parametrize("method", ["json_schema", "json_mode", "function_calling"])
async def test_a_reply_that_breaks_its_schema_is_a_parsing_error(method: Any) -> None:
    """With include_raw the raw reply is there, whole and streamed, beside an error that names the keyword."""
    tags = {"title": "Tags", "type": "object", "properties": {"tags": {"type": "array", "uniqueItems": True}}}
    broken = {"tags": [1, 1]}
    answer: Any = [ToolCall("1", "Tags", broken)] if method == "function_calling" else json.dumps(broken)
    llm = ChatGlimp(router=GlimpRouter(ScriptedEngine(["Hm.</think>"]), ScriptedEngine(answer=answer)))
    chain = llm.with_structured_output(tags, method=method, include_raw=True)
    streamed = [
        _merged(chain.stream(QUESTION)),
        _merged([part async for part in chain.astream(QUESTION)]),
    ]
    for both in (chain.invoke(QUESTION), await chain.ainvoke(QUESTION), *streamed):
        assert both["raw"].response_metadata["finish_reason"] in ("stop", "tool_calls")
        assert both["parsed"] is None
        assert isinstance(both["parsing_error"], OutputParserException)
        assert "'uniqueItems'" in str(both["parsing_error"])
    with pytest.raises(OutputParserException, match="'uniqueItems'"):
        llm.with_structured_output(tags, method=method).invoke(QUESTION)
    with pytest.raises(OutputParserException, match="'uniqueItems'"):
        list(llm.with_structured_output(tags, method=method).stream(QUESTION))


def test_json_mode_needs_no_schema() -> None:
    """JSON of any kind can be asked for without a schema, by json_mode alone; an unknown method is refused."""
    llm = ChatGlimp(router=good_router())
    assert llm.with_structured_output(None, method="json_mode").invoke(QUESTION) == {}
    with pytest.raises(ValueError, match="needs a schema"):
        llm.with_structured_output(None)
    with pytest.raises(ConfigError, match="did you mean 'json_schema'"):
        llm.with_structured_output(Person, method="json_scheme")  # type: ignore[arg-type]


def test_bound_options_go_along() -> None:
    """Other options of with_structured_output and bind_tools are those of a call."""
    llm = ChatGlimp(router=good_router()).with_structured_output(Person, include_raw=True, reasoning=False)
    assert "reasoning_content" not in llm.invoke(QUESTION)["raw"].additional_kwargs


def test_tokens_are_counted_by_the_pair() -> None:
    """A prompt's tokens are the pair's own, tools included; nothing at all is nothing."""
    llm = ChatGlimp(router=good_router())
    plain = llm.get_num_tokens_from_messages([HumanMessage("Hello")])
    assert plain == 5
    assert llm.get_num_tokens_from_messages([HumanMessage("Hello")], tools=[add]) > plain
    assert llm.get_num_tokens_from_messages([]) == 0
    with pytest.raises(ModelInvalidRequestError):
        llm.get_num_tokens_from_messages([HumanMessage([{"type": "image", "url": "x"}])])
    assert ChatGlimp(router=good_router(), custom_get_token_ids=lambda text: [1, 2]).get_num_tokens("Hello") == 2
