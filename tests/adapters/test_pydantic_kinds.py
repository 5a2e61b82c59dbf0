"""Fields of every kind of pydantic's, as tools and as answers, through both frameworks."""

import json
from functools import cache
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from llama_index.core import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, ValidationError

from chat.pydantic_kinds import EXAMPLES, KINDS, model_of
from chat.writing import by_chance, space, text_of, written
from glimp_core import GlimpRouter, RouterConfig, SamplingParams, ToolCall
from glimp_core.chat.grammar.json_schema import prepare_schema
from glimp_core.chat.grammar.lark import Grammar, Json
from glimp_core.chat.grammar.validation import violation
from glimp_core.chat.output.constraints import GrammarConstraint
from glimp_core.testing import ScriptedEngine
from glimp_langchain import ChatGlimp
from glimp_llamaindex import GlimpLLM

SEEDS = range(2)
kinds = pytest.mark.parametrize("kind", KINDS)


@cache
def replies(kind: str) -> tuple[str, ...]:
    """What a grammar lets pass as a value of a class with a field of this kind."""
    constraint = GrammarConstraint(space(), Grammar(Json(prepare_schema(model_of(kind).model_json_schema()).text)))
    limit = constraint.shortest + 100
    return tuple(text_of(space(), written(constraint.copy(), limit, by_chance(seed))) for seed in SEEDS)


def fits(kind: str, reply: str) -> bool:
    """Whether the class itself takes a reply."""
    try:
        model_of(kind).model_validate_json(reply)
    except ValidationError:
        return False
    return True


def fine(kind: str) -> str:
    """A reply that the class takes; of what no grammar holds, an example."""
    schema = model_of(kind).model_json_schema()
    found = (reply for reply in replies(kind) if fits(kind, reply) and violation(json.loads(reply), schema) is None)
    return EXAMPLES.get(kind) or next(found)


def scripted(answer: Any) -> GlimpRouter:
    """A pair that thinks and gives one answer."""
    return GlimpRouter(ScriptedEngine(["Hm.</think>"]), ScriptedEngine(answer=answer))


@kinds
def test_every_reply_is_one_of_the_class_or_it_is_said_what_is_checked(kind: str) -> None:
    """Law: pydantic takes whatever the grammar of its own schema lets pass, unless a keyword was named beforehand."""
    told = prepare_schema(model_of(kind).model_json_schema()).unenforced
    assert told or kind in EXAMPLES or all(fits(kind, reply) for reply in replies(kind)), replies(kind)


@kinds
def test_langchain_gives_objects_of_the_class(kind: str) -> None:
    """Law: by every method the parsed reply is what the class makes of it."""
    model, reply = model_of(kind), fine(kind)
    for method in ("json_schema", "function_calling"):
        answer: Any = reply if method == "json_schema" else [ToolCall("1", "Kind", json.loads(reply))]
        llm = ChatGlimp(router=scripted(answer)).with_structured_output(model, method=method)  # type: ignore[arg-type]
        assert llm.invoke([HumanMessage("x")]).model_dump(mode="json") == dumped(model, reply)


@kinds
def test_llamaindex_gives_objects_of_the_class(kind: str) -> None:
    """Law: a structured prediction is what the class makes of the reply, and a tool gets the arguments as written."""
    model, reply = model_of(kind), fine(kind)
    predicted = GlimpLLM(router=scripted(reply)).structured_predict(model, PromptTemplate("x"))
    assert predicted.model_dump(mode="json") == dumped(model, reply)
    seen: list[Any] = []
    tool = FunctionTool.from_defaults(lambda **given: seen.append(given), name="f", fn_schema=model, description="F.")
    arguments = json.loads(reply)
    GlimpLLM(router=scripted([ToolCall("1", "f", arguments)])).predict_and_call([tool], "x")
    assert seen == [arguments]


def dumped(model: type[BaseModel], reply: str) -> dict[str, Any]:
    """A reply as the class reads and writes it."""
    return model.model_validate_json(reply).model_dump(mode="json")


@cache
def tiny_pair() -> GlimpRouter:
    """Models that know nothing, whose every token is drawn at random."""
    return GlimpRouter.from_pretrained(
        "glimp-tiny-small", "glimp-tiny-large", config=RouterConfig(reasoning="off"),
        sampling=SamplingParams(temperature=1.0, seed=1, max_tokens=150),
    )  # fmt: skip


@pytest.mark.slow
@kinds
def test_replies_of_a_pair_that_writes_at_random_are_of_the_class(kind: str) -> None:
    """Law: the same of answers and calls that a model wrote, through both frameworks."""
    model = model_of(kind)
    left = kind in EXAMPLES or prepare_schema(model.model_json_schema()).unenforced
    found: Any = ChatGlimp(router=tiny_pair()).with_structured_output(model, include_raw=True).invoke("x")
    called = ChatGlimp(router=tiny_pair()).bind_tools([model], tool_choice="any").invoke("x")
    told = [note for note in found["raw"].response_metadata["glimp"]["notes"] if "checked when" in note]
    assert isinstance(found["parsed"], model) or left
    assert bool(told) == bool(prepare_schema(model.model_json_schema()).unenforced)
    assert left or all(fits(kind, json.dumps(call["args"])) for call in called.tool_calls)
    assert left or not called.invalid_tool_calls
    llm, tool = (
        GlimpLLM(router=tiny_pair()),
        FunctionTool.from_defaults(lambda **given: given, name="f", fn_schema=model),
    )
    if not left:
        assert isinstance(llm.structured_predict(model, PromptTemplate("x")), model)
        calls = llm.get_tool_calls_from_response(llm.chat_with_tools([tool], "x", tool_required=True))
        assert all(fits(kind, json.dumps(call.tool_kwargs)) for call in calls)
