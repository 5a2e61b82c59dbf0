"""Tools and what a request says about calling them."""

from typing import Any

import pytest

from glimp_core import GlimpRouter, RouterConfig
from glimp_core.chat.request.requirements import OutputRequirements, read_format
from glimp_core.chat.request.tools import CALLABLE, ToolChoice, read_choice, read_tools
from glimp_core.errors import ConfigError, UnsupportedSchemaError
from glimp_core.types import Request

SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
ADD = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": SCHEMA}}
NOTE = {"name": "take_note", "description": "Notes."}
MESSAGES = ({"role": "user", "content": "hi"},)


@pytest.mark.parametrize(
    "form", [ADD, ADD["function"], {"name": "add", "description": "Adds.", "input_schema": SCHEMA, "cache_control": {}}]
)
def test_every_form_of_a_tool_is_the_same_tool(form: Any) -> None:
    """Law: OpenAI's tool, a bare function and an `input_schema` dict are read alike."""
    (tool,) = read_tools([form])
    assert tool.document() == ADD


def test_a_tool_without_parameters_takes_none() -> None:
    """Law: parameters are always the schema of an object."""
    (tool,) = read_tools([NOTE])
    assert tool.parameters == {"type": "object", "properties": {}}


@pytest.mark.parametrize("names", [["Example Skill"], ["Page[int]"], ["a b", "a[b", "a_b"], ["x" * 200], ["\ud800f"]])
def test_names_that_no_markup_carries_are_mapped_and_mapped_back(names: list[str]) -> None:
    """Law: a model sees a name it can write, each tool another one, and the caller gets the name it gave."""
    tools = read_tools([{"name": name} for name in names])
    assert [tool.given for tool in tools] == names
    assert all(CALLABLE.fullmatch(tool.name) for tool in tools)
    assert len({tool.name for tool in tools}) == len(names)
    pair = GlimpRouter.from_pretrained("glimp-tiny-small", "glimp-tiny-large", config=RouterConfig(reasoning="off"))
    done = pair.generate("x", tools=[{"name": name} for name in names], tool_choice=names[-1])
    assert [call.name for call in done.tool_calls] == [names[-1]]


def test_of_two_tools_with_one_name_the_first_counts() -> None:
    """Law: duplicates are no error, as agents do send them."""
    assert len(read_tools([ADD, ADD, NOTE])) == 2


@pytest.mark.parametrize(
    "bad", [3, {}, {"name": 3}, {"name": ""}, {"name": "f", "parameters": {"type": "string"}},
            {"name": "f", "parameters": {"enum": {1}}}]
)  # fmt: skip
def test_what_is_no_tool_is_refused(bad: Any) -> None:
    """Law: a tool that cannot be called is an error before anything runs, and shows what was passed."""
    with pytest.raises((ConfigError, UnsupportedSchemaError)):
        read_tools([bad])


@pytest.mark.parametrize(
    ("form", "choice"),
    [
        (None, ToolChoice()), ("auto", ToolChoice()), ({"type": "auto"}, ToolChoice()),
        ("none", ToolChoice("none")), (False, ToolChoice("none")), ({"type": "none"}, ToolChoice("none")),
        ("required", ToolChoice("required")), ("any", ToolChoice("required")), (True, ToolChoice("required")),
        ({"type": "any"}, ToolChoice("required")), ("add", ToolChoice("required", ("add",))),
        ({"type": "function", "function": {"name": "add"}}, ToolChoice("required", ("add",))),
        ({"type": "function", "name": "add"}, ToolChoice("required", ("add",))),
        ({"type": "tool", "name": "add"}, ToolChoice("required", ("add",))),
        ({"name": "add"}, ToolChoice("required", ("add",))),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [ADD]}},
         ToolChoice("required", ("add",))),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "take_note"}]},
         ToolChoice("auto", ("take_note",))),
    ],
)  # fmt: skip
def test_every_form_of_a_choice_is_understood(form: Any, choice: ToolChoice) -> None:
    """Law: each way of saying whom to call means what it says."""
    assert read_choice(form, read_tools([ADD, NOTE])) == choice


@pytest.mark.parametrize(
    "form",
    ["ad", {"name": "takenote"}, 3, {"type": "function"}, {"type": "function", "function": {"name": "auto"}},
     {"type": "allowed_tools"}, {"type": "allowed_tools", "mode": "auto", "tools": [{"name": "ad"}]},
     {"type": "allowed_tools", "mode": "add", "tools": [ADD]}],
)  # fmt: skip
def test_an_unknown_choice_is_an_error_with_the_nearest_name(form: Any) -> None:
    """Law: a name that is not offered is an error that suggests one that is."""
    with pytest.raises(ConfigError, match=r"add|take_note|cannot be read|must have a mode"):
        read_choice(form, read_tools([ADD, NOTE]))


def test_a_demanded_call_needs_tools() -> None:
    """Law: "required" without tools is an error, "auto" without tools is plain text."""
    with pytest.raises(ConfigError, match="tools is empty"):
        read_choice("required", ())
    assert read_choice("auto", ()) == ToolChoice()


@pytest.mark.parametrize(
    ("choice", "parallel", "tools", "must_call", "one_call"),
    [
        (None, None, ["add", "take_note"], False, False), (None, False, ["add", "take_note"], False, True),
        ("required", None, ["add", "take_note"], True, True), ("required", True, ["add", "take_note"], True, False),
        ("add", None, ["add"], True, True), ("none", None, [], False, False),
        ({"type": "any", "disable_parallel_tool_use": False}, None, ["add", "take_note"], True, False),
        ({"type": "auto", "disable_parallel_tool_use": True}, None, ["add", "take_note"], False, True),
        ({"type": "auto", "disable_parallel_tool_use": True}, True, ["add", "take_note"], False, False),
        ({"type": "allowed_tools", "mode": "auto", "tools": [NOTE]}, None, ["take_note"], False, False),
    ],
)  # fmt: skip
def test_requirements_follow_the_request(
    choice: Any, parallel: bool | None, tools: list[str], must_call: bool, one_call: bool
) -> None:
    """Law: a demanded call is one unless parallel calls are asked for; an offered one may be many."""
    requirements = OutputRequirements.of(Request(MESSAGES, (ADD, NOTE), choice, parallel))
    assert [tool.name for tool in requirements.tools] == tools
    assert (requirements.must_call, requirements.one_call) == (must_call, one_call)
    assert len(requirements.shown) == (0 if choice == "none" else 2)


@pytest.mark.parametrize("choice", ["none", False, {"type": "none"}])
def test_a_reply_that_may_not_call_is_not_bound(choice: Any) -> None:
    """Law: tools that may not be called leave a reply free to be written step by step."""
    assert not OutputRequirements.of(Request(MESSAGES, (ADD,), choice)).bound
    assert OutputRequirements.of(Request(MESSAGES, (ADD,), {"type": "auto"})).bound


@pytest.mark.parametrize(
    ("form", "schema"),
    [
        (None, None), ({"type": "text"}, None), ({"type": "json_object"}, {}),
        ({"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}, SCHEMA),
        ({"type": "json_schema", "schema": SCHEMA}, SCHEMA), ({"type": "json_object", "schema": SCHEMA}, SCHEMA),
    ],
)  # fmt: skip
def test_every_form_of_a_response_format_is_understood(form: Any, schema: Any) -> None:
    """Law: each way of asking for JSON gives its schema."""
    assert read_format(form) == schema


@pytest.mark.parametrize("form", [{}, {"type": "json"}, {"type": "json_schema"}, {"type": "json_schema", "schema": 3}])
def test_an_unknown_response_format_is_refused(form: Any) -> None:
    """Law: a format that says nothing is an error that shows the forms there are."""
    with pytest.raises(ConfigError, match="json_schema"):
        read_format(form)
