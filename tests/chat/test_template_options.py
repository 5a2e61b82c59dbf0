"""`chat_template_kwargs` are what a template shows, and never how a prompt is made of it."""

import inspect
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

import tiny
from glimp_core import ConfigError
from glimp_core.chat.prompt.renderer import Renderer
from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.context import Context
from glimp_core.types import Request
from glimp_langchain import ChatGlimp
from glimp_llamaindex import GlimpLLM
from pairs import scripted_router

SHOWN = tiny.TURNS + "{{ mood }}{% for d in documents or [] %}{{ d.text }}{% endfor %}"
NAMED = [
    parameter.name
    for parameter in inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters.values()
    if parameter.kind is not parameter.VAR_KEYWORD and parameter.name not in ("self", "documents")
]
MORE = ["messages", "conversations", "bos_token", "eos_token", "pad_token"]


def prompt(options: Any, template: str = SHOWN) -> str:
    tokens = tiny.tokenizer(template)
    request = Request(({"role": "user", "content": "Hi"},), chat_template_kwargs=options)
    ids = Renderer(tokens, Vocabulary(tokens), "tiny").prompt(Context(request, "inline")).token_ids
    return str(tokens.decode(ids))


@pytest.mark.parametrize("name", NAMED + MORE)
def test_how_a_prompt_is_made_cannot_be_changed(name: str) -> None:
    """Whatever apply_chat_template takes itself is refused by its name: at once by the router, and by the renderer."""
    for refusing in (
        lambda: prompt({name: True}),
        lambda: scripted_router().stream("Hi", chat_template_kwargs={name: True}),
        lambda: scripted_router().count_tokens("Hi", chat_template_kwargs={name: True}),
    ):
        with pytest.raises(ConfigError, match=f"cannot hold '{name}'"):
            refusing()


def test_an_argument_that_only_this_tokenizer_has_is_refused() -> None:
    """The rule is the signature of the tokenizer at hand, not a list of names."""

    class Tokens(type(tiny.tokenizer())):  # type: ignore[misc]
        def apply_chat_template(self, conversation: Any, fold: bool = False, **options: Any) -> Any:
            return super().apply_chat_template(conversation, **options)

    tokens = tiny.tokenizer(SHOWN)
    tokens.__class__ = Tokens
    request = Request(({"role": "user", "content": "Hi"},), chat_template_kwargs={"fold": True})
    with pytest.raises(ConfigError, match="cannot hold 'fold'"):
        Renderer(tokens, Vocabulary(tokens), "tiny").prompt(Context(request, "inline"))


def test_options_of_the_template_pass_and_stay_text() -> None:
    """A template's own options and documents are shown; control tokens in them are text."""
    assert prompt({"mood": "calm"}).endswith("calm")
    assert prompt({"documents": [{"text": "Rain."}]}).endswith("Rain.")
    tokens = tiny.tokenizer(SHOWN)
    control = tokens.convert_tokens_to_ids("<|im_end|>")
    held = tokens.encode(prompt({})).count(control)
    for options in ({"mood": "<|im_end|>"}, {"mood": {"<|im_end|>": 1}}, {"documents": [{"text": "<|im_end|>"}]}):
        request = Request(({"role": "user", "content": "Hi"},), chat_template_kwargs=options)
        ids = Renderer(tokens, Vocabulary(tokens), "tiny").prompt(Context(request, "inline")).token_ids
        assert ids.count(control) == held, options


def test_what_is_no_dict_is_refused() -> None:
    """Anything else than a mapping is a configuration error."""
    with pytest.raises(ConfigError, match="must be a dict"):
        scripted_router().stream("Hi", chat_template_kwargs=5)  # type: ignore[arg-type]


def test_both_adapters_refuse_too() -> None:
    """As a field, and for one call."""
    options = {"chat_template": "{{ 1 }}"}
    with pytest.raises(ConfigError, match="cannot hold 'chat_template'"):
        ChatGlimp(router=scripted_router(), chat_template_kwargs=options).invoke("Hi")
    with pytest.raises(ConfigError, match="cannot hold 'chat_template'"):
        ChatGlimp(router=scripted_router()).invoke("Hi", chat_template_kwargs=options)
    with pytest.raises(ConfigError, match="cannot hold 'chat_template'"):
        GlimpLLM(router=scripted_router(), chat_template_kwargs=options).complete("Hi")
    with pytest.raises(ConfigError, match="cannot hold 'chat_template'"):
        GlimpLLM(router=scripted_router()).complete("Hi", chat_template_kwargs=options)


PARTS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% for part in m.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
)


def test_a_template_that_reads_parts_gets_parts() -> None:
    """Multimodal templates may pass over a content that is plain text: the user's words would be lost."""
    assert "Hi" in prompt({}, PARTS)
    tokens = tiny.tokenizer(PARTS)
    request = Request(({"role": "user", "content": "a <|im_end|> b"},))
    ids = Renderer(tokens, Vocabulary(tokens), "tiny").prompt(Context(request, "inline")).token_ids
    assert ids.count(tokens.convert_tokens_to_ids("<|im_end|>")) == 1
