"""Messages of every shape, rendered by templates of every kind."""

import copy
from typing import Any

import pytest

import tiny
from chat.templates import DEEPSEEK, HERMES, LLAMA, MISTRAL, PLAIN, STRICT, TEMPLATES, rendered, renderer
from glimp_core.chat.prompt.renderer import Renderer, TokenizedRequest
from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.context import Context
from glimp_core.errors import ConfigError
from glimp_core.types import Request

TOOL = {"name": "get_weather", "description": "W.", "parameters": {"properties": {"city": {"type": "string"}}}}
CALL = {"id": "call_0", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Zürich"}'}}
LOOP: list[dict[str, Any]] = [
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_0", "content": "sunny"},
]


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def turns(text: str) -> list[str]:
    """The turns of a prompt, each as role and content."""
    return [turn.removesuffix("<|im_end|>\n") for turn in text.split("<|im_start|>")[1:]]


@pytest.mark.parametrize(("name", "template"), TEMPLATES.items())
def test_the_format_is_known_from_the_template(name: str, template: str) -> None:
    """Law: how a model writes calls is told by what its template writes."""
    assert renderer(template).format.calls.name == {"xml": "qwen xml", "generic": "hermes"}.get(name, name)


@pytest.mark.parametrize("template", TEMPLATES.values())
def test_an_agents_conversation_is_rendered_by_every_template(template: str) -> None:
    """Law: tools, calls and results reach the prompt of every family, also of one whose template has none."""
    text = rendered(template, LOOP, tools=(TOOL,))
    for part in ("get_weather", "Zürich", "sunny", "Weather?"):
        assert part in text
    assert text.index("Zürich") < text.index("sunny")


def test_where_a_template_has_no_tools_they_are_explained_in_words() -> None:
    """Law: the generic format is what its documentation says: signatures, markup, calls and results as text."""
    system, question, call, result, _ = turns(rendered(PLAIN, LOOP, tools=(TOOL,)))
    assert system.startswith("system\n# Tools\n")
    assert '{"name": <function-name>, "arguments": <args-json-object>}' in system
    assert question == "user\nWeather?"
    assert call == 'assistant\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich"}}\n</tool_call>'
    assert result == "user\n<tool_response>\nsunny\n</tool_response>"


def test_the_callers_messages_stay_as_they_are() -> None:
    """Law: nothing that is passed in is changed."""
    before = copy.deepcopy(LOOP)
    for template in TEMPLATES.values():
        rendered(template, LOOP, tools=(TOOL,))
    assert before == LOOP


def test_turns_of_one_role_become_one() -> None:
    """Law: templates that insist on alternation get it."""
    messages = [user("a"), user("b"), {"role": "assistant", "content": "c"}, {"role": "assistant", "content": "d"}]
    assert turns(rendered(STRICT, [*messages, user("e")]))[:3] == ["user\na\n\nb", "assistant\nc\n\nd", "user\ne"]


def test_system_messages_stand_where_the_template_takes_them() -> None:
    """Law: at the front they are one, later they stay in place or, where that is refused, speak as the user."""
    front = [{"role": "system", "content": "x"}, {"role": "developer", "content": "y"}, user("a")]
    late = {"role": "system", "content": "z"}
    assert turns(rendered(PLAIN, [*front, late]))[:3] == ["system\nx\n\ny", "user\na", "system\nz"]
    assert turns(rendered(STRICT, [*front, late]))[:1] == ["user\nx\n\ny\n\na\n\nz"]


@pytest.mark.parametrize(
    "content",
    ["Hi there", ["Hi ", "there"], [{"type": "text", "text": "Hi "}, {"type": "input_text", "text": "there"}],
     [{"type": "text", "text": "Hi ", "cache_control": {"type": "ephemeral"}}, "there", {"type": "cachePoint"}]],
)  # fmt: skip
def test_contents_become_text(content: Any) -> None:
    """Law: text and lists of text parts mean the same; parts follow each other as they are."""
    assert turns(rendered(PLAIN, [user(content)]))[0] == "user\nHi there"


@pytest.mark.parametrize("kind", ["image_url", "image", "input_audio", "file"])
def test_what_is_no_text_is_refused_by_name(kind: str) -> None:
    """Law: a part that these models cannot read is an error that says which."""
    with pytest.raises(ConfigError, match=kind):
        rendered(PLAIN, [user([{"type": kind, "data": "..."}])])


def test_an_unknown_role_is_an_error() -> None:
    """Law: a role that no template could know is refused, with the nearest one."""
    with pytest.raises(ConfigError, match="did you mean 'user'"):
        rendered(PLAIN, [{"role": "usr", "content": "a"}])


def test_a_refusal_names_the_roles() -> None:
    """Law: where a template refuses a conversation, the error shows the sequence of roles."""
    with pytest.raises(ConfigError, match=r"\[assistant, user\].*must alternate"):
        rendered(STRICT, [{"role": "assistant", "content": "a"}, user("b")])


def test_results_are_named_after_their_calls() -> None:
    """Law: a result without a name gets that of its call; one without an id answers the next open call."""
    calls = [{**CALL, "id": "a"}, {"id": "b", "function": {"name": "other", "arguments": {}}}]
    messages = [user("x"), {"role": "assistant", "tool_calls": calls}]
    results = [{"role": "tool", "tool_call_id": "b", "content": "2"}, {"role": "tool", "content": "1"}]
    text = rendered(HERMES.replace("(m.content or '')", "(m.name or '') + ':' + (m.content or '')"),
                    [*messages, *results], tools=(TOOL,))  # fmt: skip
    assert "other:2" in text
    assert "get_weather:1" in text


def test_several_calls_are_told_one_by_one_where_the_template_takes_one() -> None:
    """Law: for Llama's templates each call has a message of its own, and its result follows; nothing is lost."""
    calls = [CALL, {"id": "b", "function": {"name": "other", "arguments": {}}}]
    asked = [user("x"), {"role": "assistant", "content": "Both.", "reasoning_content": "hm", "tool_calls": calls}]
    results = [{"role": "tool", "tool_call_id": call_id, "content": text} for call_id, text in
               (("b", "2"), ("call_0", "1"), ("lost", "3"))]  # fmt: skip
    first, second = '{"name": "get_weather", "parameters": {"city": "Zürich"}}', '{"name": "other", "parameters": {}}'
    told = turns(rendered(LLAMA, [*asked, *results, user("y")], tools=(TOOL,)))
    assert told[1:6] == [f"assistant\nBoth.{first}", "tool\n1", f"assistant\n{second}", "tool\n2", "tool\n3"]
    together = turns(rendered(HERMES, [*asked, *results, user("y")], tools=(TOOL,)))
    assert [turn.partition("\n")[0] for turn in together[1:5]] == ["assistant", "tool", "tool", "tool"]


def test_a_failed_result_says_so() -> None:
    """Law: the status of a result that went wrong is part of what the model reads, once."""
    failed = {**LOOP[2], "status": "error"}
    assert "Error: sunny" in rendered(HERMES, [*LOOP[:2], failed], tools=(TOOL,))
    assert "Error: error" not in rendered(HERMES, [*LOOP[:2], {**failed, "content": "error: no"}], tools=(TOOL,))


def test_results_that_are_no_text_are_written_as_json() -> None:
    """Law: a tool may return any JSON value."""
    assert '{"degrees": 21, "näme": null}' in rendered(
        HERMES, [*LOOP[:2], {**LOOP[2], "content": {"degrees": 21, "näme": None}}], tools=(TOOL,)
    )


def test_ids_get_the_shape_that_a_template_insists_on() -> None:
    """Law: any id becomes nine letters and digits for Mistral, the same for a call and its result."""
    text = rendered(MISTRAL, LOOP, tools=(TOOL,))
    assert "call_0" not in text
    assert "call_0" not in rendered(MISTRAL, [*LOOP[:1], {**LOOP[1], "content": "x"}, LOOP[2]], tools=(TOOL,))


def test_arguments_are_text_where_the_template_adds_them_to_text() -> None:
    """Law: DeepSeek's templates get JSON text, the others a dict."""
    assert '\n```json\n{"city": "Zürich"}\n```' in rendered(DEEPSEEK, LOOP, tools=(TOOL,))


def test_earlier_thinking_goes_to_the_template_apart_from_the_answer() -> None:
    """Law: thinking in tags, in parts or in its own field never stays in the content."""
    template = PLAIN.replace("(m.content or '')", "(m.reasoning_content or '') + '|' + (m.content or '')")
    shapes: list[dict[str, Any]] = [
        {"content": "<think>\nhm\n</think>\n\nYes."},
        {"content": "Yes.", "reasoning_content": "hm"},
        {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Yes."}]},
    ]
    for shape in shapes:
        text = rendered(template, [user("a"), {"role": "assistant", **shape}, user("b")])
        assert turns(text)[1] == "assistant\nhm|Yes."


@pytest.mark.parametrize(
    ("requirements", "words"),
    [
        ({"response_format": {"type": "json_object"}}, "Answer with one JSON object"),
        ({"response_format": {"type": "json_schema", "schema": {"type": "integer"}}}, '{"type": "integer"}'),
        ({"response_format": {"type": "json_object"}, "tools": (TOOL,)}, "Unless you call a function, answer"),
    ],
)
def test_the_model_is_told_what_json_it_is_to_write(requirements: Any, words: str) -> None:
    """Law: a demanded format is in the prompt, after the user's own system message."""
    system = turns(rendered(PLAIN, [{"role": "system", "content": "Be brief."}, user("a")], **requirements))[0]
    assert system.startswith("system\nBe brief.\n\n")
    assert words in system


def test_tools_that_may_not_be_called_are_not_shown() -> None:
    """Law: with tool_choice "none" the prompt holds no tools; with a named one it holds them all."""
    tools = (TOOL, {**TOOL, "name": "other"})
    assert "get_weather" not in rendered(HERMES, [user("a")], tools=tools, tool_choice="none")
    assert "other" in rendered(HERMES, [user("a")], tools=tools, tool_choice="get_weather")


UNREADABLE = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% for c in m.tool_calls or [] %}{% for k, v in c.function.arguments.items() %}{{ (v | string) ~ ' is ' ~ k }}"
    "{% endfor %}{{ ' for ' + c.function.name }}{% endfor %}{{ (m.content or '') + '<|im_end|>\\n' }}{% endfor %}"
)


def test_a_format_that_does_not_read_back_is_not_used_and_that_is_said() -> None:
    """Law: if what a template writes for a call is no format, tools and calls go in words, and a note says so."""
    tokens = tiny.tokenizer(UNREADABLE)
    made = Renderer(tokens, Vocabulary(tokens), "tiny")
    assert not made.format.native
    context = Context(Request(tuple(LOOP), (TOOL,)), "inline")
    request = TokenizedRequest(context, made)
    assert any("Hermes" in note for note in context.notes)
    prompt = str(tokens.decode(request.prompt.token_ids))
    assert "<tools>" in prompt
    assert '<tool_call>\n{"name": "get_weather"' in prompt
    quiet = Context(Request(tuple(LOOP[:1])), "inline")
    TokenizedRequest(quiet, made)
    assert quiet.notes == []


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "reasoning"])
def test_thoughts_of_a_tool_turn_reach_the_template_by_its_own_key(key: str) -> None:
    """Law: thoughts in front of a call are in the prompt, whatever the template calls them, and so is the result."""
    shows = "{% if m.KEY %}{{ '<think>' + m.KEY + '</think>' }}{% endif %}".replace("KEY", key)
    turns_of = "{{ '<|im_start|>' + m.role + '\\n'"
    template = TEMPLATES["hermes"].replace(turns_of + " +", turns_of + " }}" + shows + "{{")
    turn = [LOOP[0], {**LOOP[1], "reasoning_content": "Look it up."}, LOOP[2]]
    prompt = rendered(template, turn, tools=(TOOL,))
    assert "<think>Look it up.</think>" in prompt
    assert "<|im_start|>tool\nsunny" in prompt
