"""The nine kinds of tool, schema and history that people have, on a pair of your choice, through both frameworks.

The bundled pair, which takes a minute, unless GLIMP_SMALL and GLIMP_LARGE name another; GLIMP_OPTIONS holds further
arguments, as JSON. `python -m pytest tests/adapters/test_pair_kinds.py -m slow -s` prints what came back.
"""

import json
import multiprocessing
import os
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any, Generic, Literal, TypeVar

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from llama_index.core import PromptTemplate
from llama_index.core.base.llms.types import DocumentBlock, TextBlock
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, Field

from glimp_core import GlimpRouter, SamplingParams
from glimp_langchain import ChatGlimp
from glimp_llamaindex import GlimpLLM

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
T = TypeVar("T")


class Cat(BaseModel):
    """One of a union."""

    kind: Literal["cat"]
    lives: int = Field(ge=1, le=9)


class Dog(BaseModel):
    """The other one."""

    kind: Literal["dog"]
    barks: bool


class Owner(BaseModel):
    """Somebody with a pet."""

    pet: Cat | Dog = Field(discriminator="kind")


class Tags(BaseModel):
    """Some words."""

    tags: set[Literal["cat", "dog", "bird"]] = Field(max_length=3)


class Counts(BaseModel):
    """Numbers by word."""

    counts: dict[Literal["cat", "dog"], int]


class Price(BaseModel):
    """What something costs; pydantic 2.12 writes a look-around for it."""

    euros: Decimal = Field(json_schema_extra={"pattern": r"^(?!^[-+.]*$)[+-]?0*\d{1,4}(?:\.\d{0,2})?$"})


class Page(BaseModel, Generic[T]):
    """Some of a list."""

    items: list[T] = Field(min_length=1, max_length=2)


def now() -> str:
    """Return the current time."""
    return "12:00"


NOW = {"name": "now", "description": "Return the current time.", "parameters": {"type": "object", "properties": {}}}
WEATHER = {
    "name": "get_weather",
    "description": "Say what the weather is like in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}}, "required": ["city"]},
}
LABELS = {
    "name": "add_labels",
    "description": "Label an issue.",
    "parameters": {
        "type": "object", "units": "none", "propertyOrdering": ["labels"],
        "properties": {"labels": {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True}},
    },
}  # fmt: skip
EMAIL = {
    "name": "mail",
    "description": "Send a mail.",
    "parameters": {
        "type": "object",
        "properties": {"to": {"type": "string", "format": "email", "maxLength": 20, "pattern": r"^(?!\.)[^@]+@[^@]+$"}},
        "required": ["to"],
    },
}


@cache
def router() -> GlimpRouter:
    """The pair, greedy, with short thoughts."""
    small, large = (os.environ.get(f"GLIMP_{role}", f"glimp-tiny-{role.lower()}") for role in ("SMALL", "LARGE"))
    options = json.loads(os.environ.get("GLIMP_OPTIONS", "{}"))
    return GlimpRouter.from_pretrained(small, large, sampling=SamplingParams(temperature=0, max_tokens=60), **options)


def chat(**fields: Any) -> Any:
    return ChatGlimp(router=router(), reasoning="off", **fields)


def llm(**fields: Any) -> Any:
    return GlimpLLM(router=router(), reasoning="off", **fields)


def called(tools: list[Any], question: str, choice: str | None = "any") -> list[Any]:
    """The calls through LangChain, those that are invalid first."""
    message = chat().bind_tools(tools, tool_choice=choice).invoke(question)
    return [*message.invalid_tool_calls, *((call["name"], call["args"]) for call in message.tool_calls)]


def run(tool: FunctionTool, question: str) -> tuple[Any, Any]:
    """The call through LlamaIndex that runs a tool: its arguments, and what came of it."""
    source = llm().predict_and_call([tool], question, tool_required=True).sources[0]
    return source.raw_input["kwargs"], source.raw_output


def structured(model: type[BaseModel], question: str) -> list[Any]:
    """Objects of a class by every road."""
    by_methods = [chat().with_structured_output(model, method=method).invoke(question) for method in METHODS]
    return [*by_methods, llm().structured_predict(model, PromptTemplate(question))]


METHODS = ("json_schema", "function_calling")


def no_parameters() -> Any:
    """A tool without parameters takes none."""
    calls = called([NOW], "What time is it in Tokyo, in 24h format?")
    ran = run(FunctionTool.from_defaults(now), "What time is it in Tokyo? Call the tool.")
    assert [args for _, args in calls] == [{}]
    assert ran == ({}, "12:00")
    return calls, ran


def odd_neighbour() -> Any:
    """A tool that cannot be held breaks no other one, under "auto"."""
    question = "What is the weather like in Paris? Use the tool."
    message = chat().bind_tools([WEATHER, LABELS]).invoke(question)
    tools = [
        FunctionTool.from_defaults(lambda city: city, name="get_weather", description="Weather in a city."),
        FunctionTool.from_defaults(sorted_tags),
    ]
    response = llm().chat_with_tools(tools, question)
    calls = llm().get_tool_calls_from_response(response, error_on_no_tool_call=False)
    told = [note for note in message.response_metadata["glimp"]["notes"] if "'uniqueItems'" in note]
    assert told
    assert not message.invalid_tool_calls
    return message.tool_calls or message.content, calls or response.message.content


def sorted_tags(tags: set[str]) -> list[str]:
    """Sort some tags."""
    return sorted(tags)


def checked_keywords() -> Any:
    """Sets, dicts with given keys, and annotations of any vocabulary."""
    found = [
        *structured(Tags, "Tags for a text about cats and dogs?"),
        *structured(Counts, "Two cats, one dog: count."),
    ]
    assert all(isinstance(value, (Tags, Counts)) for value in found)
    return found


def discriminated() -> Any:
    """A union that a constant tells apart."""
    found = structured(Owner, "Ann has a cat with 9 lives. Which pet?")
    assert all(isinstance(value, Owner) for value in found)
    return found


def look_around() -> Any:
    """Patterns that no automaton reads."""
    found = structured(Price, "What does a pear for 4.25 euros cost?")
    calls = called([EMAIL], "Mail to ann@example.org")
    assert all(isinstance(value, Price) for value in found)
    assert calls
    return found, calls


def _answer(queue: Any) -> None:
    queue.put(chat(max_tokens=4).invoke("Say hi.").content)


def forked() -> Any:
    """A process that is forked after a call answers, too."""
    before = chat(max_tokens=4).invoke("Say hi.").content
    processes = multiprocessing.get_context("fork")
    queue = processes.Queue()
    child = processes.Process(target=_answer, args=(queue,))
    child.start()
    after = queue.get(timeout=1200)
    child.join()
    assert before == after
    return before, after


def half_characters() -> Any:
    """Half a surrogate pair costs its character, not the batch."""
    text = "Say \ud83d hi."
    return chat(max_tokens=4).invoke(text).content, str(llm(max_tokens=4).complete(text))


def other_blocks() -> Any:
    """Text in any block is read, and what a hosted model did is told."""
    call = {"id": "1", "name": "f", "args": {}, "type": "tool_call"}
    found = {"type": "search_result", "source": "u", "title": "t", "content": [{"type": "text", "text": "x"}]}
    source = {"type": "text", "media_type": "text/plain", "data": "Ann is 7."}
    message = chat(max_tokens=6).invoke([
        HumanMessage(content_blocks=[{"type": "text-plain", "text": "Bob is 9.", "mime_type": "text/plain"}]),
        AIMessage([{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}], tool_calls=[call]),
        ToolMessage([found], tool_call_id="1"),
        HumanMessage([{"type": "document", "source": source}, {"cachePoint": {"type": "default"}}, "How old is Ann?"]),
    ])  # fmt: skip
    document = DocumentBlock(data=b"Ann is 7.", document_mimetype="text/plain")
    asked = ChatMessage(role="user", blocks=[document, TextBlock(text="How old is Ann?")])
    older = {"tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}]}
    history = [
        ChatMessage("q"), ChatMessage(role="assistant", content=None, additional_kwargs=older),
        ChatMessage(role="tool", content="51", additional_kwargs={"tool_call_id": "a"}), asked,
    ]  # fmt: skip
    return message.content, llm(max_tokens=6).chat(history).message.content


def any_name() -> Any:
    """A tool is called by the name it has, whatever a model can write."""
    (skill, arguments), *_ = called([{**WEATHER, "name": "Example Skill"}], "The weather in Paris?")
    page = chat().with_structured_output(Page[int], method="function_calling").invoke("Give me one number.")
    tool = FunctionTool.from_defaults(lambda x: x, name="Example Skill", description="Take a number.")
    assert skill == "Example Skill"
    assert isinstance(page, Page)
    return arguments, page, run(tool, "Call the tool with 3.")


KINDS: list[Callable[[], Any]] = [
    no_parameters, odd_neighbour, checked_keywords, discriminated, look_around, forked, half_characters, other_blocks,
    any_name,
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_kind_works_through_both_frameworks(kind: Callable[[], Any]) -> None:
    """Law: what people really have works the first time; what it gave is printed."""
    print(f"\n{kind.__name__}: {kind()}")
