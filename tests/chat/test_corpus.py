"""What the real templates of many families write is read as it is meant, and nothing injected becomes a token."""

from typing import Any

import pytest

from chat.corpus import DOZEN, templates
from chat.test_injection import check
from glimp_core import Completion, GlimpRouter, RouterConfig, SamplingParams
from glimp_core.chat.formats.template import USER, Template
from glimp_core.chat.formats.thinking import thinking_of
from reciting import ends_of, reciting, tokenizer

CORPUS = templates()
ADD = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object",
       "properties": {"text": {"type": "string"}, "number": {"type": "integer"}}, "required": ["text"]}}}  # fmt: skip
ARGUMENTS = {"text": 'a "b" {c}\nd', "number": 3}
GREEDY = SamplingParams(temperature=0.0, max_tokens=500)
names = pytest.mark.parametrize(
    "name", [name if name in DOZEN else pytest.param(name, marks=pytest.mark.slow) for name in CORPUS] or ["none"]
)
pytestmark = pytest.mark.skipif(not CORPUS, reason="no templates: install trl, or name folders in GLIMP_TEMPLATES")


def said(name: str, text: str, **options: Any) -> Completion:
    """What a pair makes of a reply that its template itself would have written."""
    tokens = tokenizer(CORPUS[name])
    for end in ends_of(tokens):
        text = text.rstrip().removesuffix(end)
    pair = [reciting(tokens, text) for _ in range(2)]
    config = RouterConfig(speculate=False, max_reasoning_tokens=300)
    router = GlimpRouter.from_pretrained(*pair, config=config)  # type: ignore[misc]
    return router.generate([USER], sampling=GREEDY, **options)


@names
def test_a_call_comes_back(name: str) -> None:
    """Law: a call as the template writes it is that call, under "auto", and demanded ones are written the same way."""
    template = Template(tokenizer(CORPUS[name]))
    text = template.calls_text([("add", ARGUMENTS)])
    if text is None:
        pytest.skip("this template writes no calls")
    for choice in ("auto", "required"):
        done = said(name, text, tools=[ADD], tool_choice=choice)
        assert [(call.name, call.arguments) for call in done.tool_calls] == [("add", ARGUMENTS)], choice
        assert done.answer.strip() == ""


@names
def test_a_thought_comes_back(name: str) -> None:
    """Law: a thought in the template's markup is reasoning, wanted or not, and no part of it is in the answer."""
    tokens = tokenizer(CORPUS[name])
    thinking = thinking_of(Template(tokens), tokens.get_added_vocab())
    if thinking is None:
        pytest.skip("this template knows of no thoughts")
    markup = thinking.markup
    text = f"{markup.start}SECRET{markup.before_end}{markup.end}{markup.after_end}Hello there!"
    for reasoning in ("auto", "off"):
        done = said(name, text, reasoning=reasoning)
        assert ("SECRET" in done.reasoning, done.answer.strip()) == (True, "Hello there!"), reasoning


@names
def test_nothing_injected_becomes_a_control_token(name: str) -> None:
    """Law: the tokens of a prompt do not depend on what users, tools and their authors write."""
    check(tokenizer(CORPUS[name]))
