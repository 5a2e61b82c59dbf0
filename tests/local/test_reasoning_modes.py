"""Where thinking lives: what the rendered prompt says decides what is routed."""

from typing import Any

import pytest

import tiny
from glimp_core import AlwaysLarge, AlwaysSmall, ConfigError, Delta, RouterConfig, SamplingParams, Start
from glimp_core.chat.prompt.renderer import Renderer
from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.context import Context, Reasoning, Span, ThinkingClosed
from glimp_core.types import Request
from hooks import after_forwards, local_engines

LIMITS: dict[str, Any] = {"max_step_tokens": 8, "max_reasoning_tokens": 24, "max_answer_tokens": 16}


def tail(template: str, reasoning: Reasoning = "auto", **kwargs: Any) -> tuple[str, bytes]:
    """How a prompt ends: its style, and its last bytes with the tags spelled."""
    tokens = tiny.tokenizer(template)
    vocabulary = Vocabulary(tokens)
    request = Request(({"role": "user", "content": "Hi"},), chat_template_kwargs=kwargs)
    prompt = Renderer(tokens, vocabulary, "tiny").prompt(Context(request, reasoning))
    spelled = tokens.decode(prompt.token_ids).encode()
    return prompt.thinking, spelled.split(b"assistant\n")[1]


@pytest.mark.parametrize(
    ("template", "reasoning", "style", "end"),
    [
        (tiny.THINKING, "auto", "open", b"<think>\n"),
        (tiny.HYBRID, "auto", "open", b"<think>\n"),
        (tiny.PLAIN, "auto", "none", b""),
        (tiny.THINKING, "off", "closed", b"<think>\n\n</think>\n\n"),
        (tiny.HYBRID, "off", "closed", b"<think>\n\n</think>\n\n"),
        (tiny.PLAIN, "off", "none", b""),
        (tiny.THINKING, "inline", "closed", b"<think>\n\n</think>\n\n"),
        (tiny.PLAIN, "inline", "none", b""),
        (tiny.OPENS, "off", "closed", b"<think>\n\n</think>\n\n"),
    ],
)
def test_the_tail_decides(template: str, reasoning: Reasoning, style: str, end: bytes) -> None:
    """Templates that open, leave open or lack the tag; no tag is put where the model knows none."""
    assert tail(template, reasoning) == (style, end)


def test_switching_thinking_off_by_the_template() -> None:
    """`enable_thinking=False` for the template closes the thinking as `reasoning="off"` does."""
    assert tail(tiny.HYBRID, enable_thinking=False)[0] == "closed"


@pytest.mark.parametrize(("reasoning", "mode"), [("auto", "thinking"), ("off", "off"), ("inline", "inline")])
def test_a_pair_that_thinks(reasoning: Any, mode: str) -> None:
    """Steps are routed inside the thinking, in the visible reply, or not at all."""
    events = list(tiny.router(AlwaysSmall(), RouterConfig(reasoning=reasoning, **LIMITS)).stream("Hi"))
    phases = {event.phase for event in events if isinstance(event, Delta)}
    assert isinstance(events[0], Start)
    assert events[0].mode == mode
    expected = {"thinking": {"thinking", "answer"}, "off": {"answer"}, "inline": {"inline"}}[mode]
    assert phases - {"answer"} == expected - {"answer"}


def test_a_pair_that_does_not_think() -> None:
    """The large model writes all, and one note says so."""
    plain = tiny.tokenizer(tiny.PLAIN)
    done = tiny.router(AlwaysSmall(), RouterConfig(**LIMITS), small=plain, large=plain).generate("Hi")
    assert done.summary().mode == "large_only"
    assert [step.engine for step in done.steps] == ["large"]
    assert len(done.start.notes) == 1


def test_a_pair_of_which_one_thinks_is_refused() -> None:
    """The error says which one does."""
    router = tiny.router(AlwaysSmall(), small=tiny.tokenizer(tiny.PLAIN))
    with pytest.raises(ConfigError, match="only the large model thinks"):
        router.generate("Hi")


@pytest.mark.parametrize(
    ("chain", "spelled"),
    [
        ([Span("Two.\n\n", (), ""), ThinkingClosed(written=False)], "Two.\n\n</think>\n\n"),
        ([Span("Two", (), ""), ThinkingClosed(written=False)], "Two\n</think>\n\n"),
        ([Span("Two.\n", (), ""), ThinkingClosed(written=True)], "Two.\n</think>"),
    ],
)
def test_closing_the_thinking(chain: list[Any], spelled: str) -> None:
    """A tag that a model wrote stands as it is; one that the router sets comes on its own line."""
    tokens = tiny.tokenizer()
    renderer = Renderer(tokens, Vocabulary(tokens), "tiny")
    ids, before = [], ""
    for link in chain:
        ids += renderer.link(link, before)
        before = link.text if isinstance(link, Span) else before
    assert tokens.decode(ids) == spelled


@pytest.mark.parametrize("answer", [1, 2, 3, 20])
def test_thinking_that_fills_the_window_leaves_room_for_its_end(answer: int) -> None:
    """However little an answer may have, a chain that is cut by the window is closed, and the answer comes."""
    router = tiny.router(AlwaysSmall(), RouterConfig(), max_position_embeddings=96)
    done = router.generate("Hi", sampling=SamplingParams(temperature=0, max_tokens=answer))
    assert done.summary().thinking_end == "budget"
    assert sum(step.tokens for step in done.steps if step.phase == "answer") == answer


@pytest.mark.parametrize("writer", ["small", "large"])
@pytest.mark.parametrize("reasoning", ["auto", "inline"])
def test_tokens_that_are_more_in_the_other_vocabulary_fill_its_window_no_further(writer: str, reasoning: Any) -> None:
    """Law: a chain stays within both windows however its tokens are counted, and the answer comes."""
    long = tiny.tokenizer(merges=["\n\n", "he", "ehe", "hehe"])
    tokens = {"small": tiny.tokenizer(), "large": tiny.tokenizer(), writer: long}
    router = tiny.router(
        AlwaysSmall() if writer == "small" else AlwaysLarge(),
        RouterConfig(reasoning=reasoning, speculate=False),
        **tokens,
        max_position_embeddings=128,
    )

    def insist(arguments: Any, output: Any) -> None:
        output.logits[..., long.convert_tokens_to_ids("hehe")] += 1e4

    engine = local_engines(router)[0 if writer == "small" else 1]
    with after_forwards([engine.loaded[0]], insist):
        done = router.generate("Hi", sampling=SamplingParams(temperature=0, max_tokens=20))
    other = local_engines(router)[1 if writer == "small" else 0]
    assert done.answer
    reads = done.reasoning + done.answer * (other is not router.small or reasoning == "inline")
    assert 32 < len(other.encode(reads)) < 128
