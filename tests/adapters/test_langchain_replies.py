"""Replies as LangChain messages: whole, streamed, in content blocks and as protocol events."""

import json
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.runnables import RunnableLambda

from adapters.good_model import good_router
from glimp_core import Delta, Event, Finish, GlimpRouter, InvalidToolCall, Start, Step, ToolCall, ToolCallDelta
from glimp_core.testing import ScriptedEngine
from glimp_langchain import ChatGlimp

QUESTIONS = ("Hello", "What is magic function of 3?")


def magic_function(input: int) -> int:
    """Do magic."""
    return input + 2


def model(**options: Any) -> Any:
    """A model that calls its tool when it is spoken of."""
    return ChatGlimp(router=good_router(), **options).bind_tools([magic_function])


def merged(chunks: Sequence[AIMessageChunk]) -> AIMessageChunk:
    first, *others = chunks
    return first + others


def fields(message: Any) -> dict[str, Any]:
    """What a message says, without its class, its id, and how long it took."""
    names = ("content", "additional_kwargs", "tool_calls", "invalid_tool_calls", "usage_metadata", "response_metadata")
    said = json.loads(json.dumps({name: getattr(message, name) for name in names}))
    said["response_metadata"].pop("token_usage", None)
    said["response_metadata"]["glimp"].pop("milliseconds")
    return said


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("version", ["v0", "v1"])
async def test_all_four_ways_say_the_same(question: str, version: str) -> None:
    """invoke, ainvoke, stream and astream give one and the same message, tool calls and metadata included."""
    llm = model(output_version=version)
    said = fields(llm.invoke(question))
    assert fields(await llm.ainvoke(question)) == said
    streamed = merged(list(llm.stream(question)))
    assert fields(merged([chunk async for chunk in llm.astream(question)])) == fields(streamed)
    assert kinds(streamed) == kinds(llm.invoke(question))
    if version == "v0":
        assert fields(streamed) == said


def kinds(message: Any) -> list[tuple[str, Any]]:
    """The blocks of a message without the numbers that streaming gave them."""
    return [(block["type"], {k: v for k, v in block.items() if k != "index"}) for block in message.content_blocks]


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_chunk_holds_one_kind_and_the_last_none(question: str) -> None:
    """Reasoning, text and pieces of calls never share a chunk; the last one has usage and metadata and nothing else."""
    *chunks, last = model().stream(question)
    for chunk in chunks:
        parts = (chunk.content, chunk.additional_kwargs.get("reasoning_content"), chunk.tool_call_chunks)
        assert sum(map(bool, parts)) == 1 or list(chunk.additional_kwargs) == ["glimp"]
        assert not chunk.response_metadata
        assert not chunk.usage_metadata
        assert not chunk.chunk_position
    assert last.chunk_position == "last"
    assert not last.content
    assert not last.additional_kwargs
    assert not last.tool_call_chunks
    assert last.response_metadata["model_provider"] == "glimp"
    assert last.response_metadata["finish_reason"] == ("tool_calls" if "magic" in question else "stop")


@pytest.mark.parametrize(
    ("question", "limit", "word"), [("Hello", 99, "stop"), ("Hello", 1, "length"), (QUESTIONS[1], 99, "tool_call")]
)
def test_why_a_reply_ended_is_said_in_the_installed_langchains_words(question: str, limit: int, word: str) -> None:
    """Since 1.8.4 langchain-core reads a reason that is the same for all providers; before, it is not there."""
    reads = find_spec("langchain_core.language_models._finish_reason") is not None
    llm = model(max_tokens=limit)
    for message in (llm.invoke(question), merged(list(llm.stream(question)))):
        assert message.response_metadata.get("normalized_finish_reason") == (word if reads else None)


@pytest.mark.parametrize("question", QUESTIONS)
def test_usage_counts_every_token(question: str) -> None:
    """Input is the prompt, output is thinking and answer, and no detail exceeds its total."""
    message = model().invoke(question)
    usage, summary = message.usage_metadata, message.response_metadata["glimp"]
    assert usage["output_tokens"] == summary["small_tokens"] + summary["large_tokens"]
    assert 0 < usage["output_token_details"]["reasoning"] < usage["output_tokens"]
    assert sum(usage["input_token_details"].values()) == usage["input_tokens"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_the_first_chunk_of_a_step_says_who_writes_it() -> None:
    """Every step is traced once, on its first chunk, with its writer and the entropy that decided."""
    chunks = list(model().stream("Hello"))
    steps = [step for chunk in chunks for step in chunk.additional_kwargs.get("glimp", {}).get("steps", [])]
    assert [(step["step"], step["model"], step["entropy"]) for step in steps] == [
        (0, "small", 0.1),
        (1, "large", 2.0),
        (2, "small", 0.5),
        (3, "large", None),
    ]
    assert merged(chunks).additional_kwargs["glimp"]["steps"] == steps


def test_the_summary_counts_steps_and_switches() -> None:
    """The summary agrees with the trace: four steps, of which three were routed, and a switch at each border."""
    summary = model().invoke("Hello").response_metadata["glimp"]
    assert (summary["steps"], summary["routed_steps"], summary["interventions"], summary["switches"]) == (4, 3, 1, 3)


@pytest.mark.parametrize("question", QUESTIONS)
async def test_protocol_events_carry_the_same_reply(question: str) -> None:
    """The message that v3 events end with is the one of invoke, the trace of its steps included."""
    llm = model()
    said = llm.invoke(question)
    streams = [llm.stream_events(question, version="v3"), await llm.astream_events(question, version="v3")]
    for message in (streams[0].output, await streams[1]):
        assert kinds(message) == kinds(said)
        assert message.additional_kwargs["glimp"] == said.additional_kwargs["glimp"]
        assert message.usage_metadata == said.usage_metadata
        assert message.tool_calls == said.tool_calls
        assert not message.invalid_tool_calls


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_events_carry_every_chunk(question: str, version: Any) -> None:
    """The chunks in the events of versions 1 and 2 are those of a stream, and add up to the reply."""
    llm = model()
    chunks = [
        event["data"]["chunk"]
        async for event in llm.astream_events(question, version=version)
        if event["event"] == "on_chat_model_stream"
    ]
    assert len(chunks) == len(list(llm.stream(question)))
    assert fields(merged(chunks)) == fields(llm.invoke(question))


class Counter(AsyncCallbackHandler):
    """Counts the chunks that it is told of."""

    def __init__(self) -> None:
        self.count = 0

    async def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        self.count += 1


class SyncCounter(BaseCallbackHandler):
    """Counts the chunks that it is told of."""

    def __init__(self) -> None:
        self.count = 0

    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        self.count += 1


async def test_every_chunk_is_reported_once() -> None:
    """Every way of streaming reports as many tokens as there are chunks."""
    llm = ChatGlimp(router=good_router())
    chunks = len(list(llm.stream("Hello")))
    one, two = SyncCounter(), SyncCounter()
    list(llm.stream("Hello", {"callbacks": [one]}))
    list(llm.stream_events("Hello", {"callbacks": [two]}, version="v3"))
    three, four, five = Counter(), Counter(), Counter()
    _ = [chunk async for chunk in llm.astream("Hello", {"callbacks": [three]})]
    _ = [event async for event in llm.astream_events("Hello", {"callbacks": [four]}, version="v2")]
    await (await llm.astream_events("Hello", {"callbacks": [five]}, version="v3"))
    assert [counter.count for counter in (one, two, three, four, five)] == [chunks] * 5


STEPS = [("small", 0.1), ("large", 2.0), ("small", 0.5)]


async def test_decisions_are_custom_events_where_wanted() -> None:
    """With `step_events` the run around the model is told of each decision, also where it only invokes; else not."""
    for wanted, expected in ((True, STEPS), (False, [])):
        llm = ChatGlimp(router=good_router(), step_events=wanted)
        assert llm.invoke("Hello").content == "You said: Hello"  # no run around it, no event, no error
        for runnable in (RunnableLambda(llm.invoke), RunnableLambda(llm.ainvoke)):
            events = [event async for event in runnable.astream_events("Hello", version="v2")]
            told = [event["data"] for event in events if event["event"] == "on_custom_event"]
            assert [(step["model"], step["entropy"]) for step in told] == expected
            assert [step["step"] for step in told] == list(range(len(expected)))


class Canned(GlimpRouter):
    """A router whose reply is given: texts and pieces of calls."""

    def __init__(self, *parts: str | ToolCallDelta):
        super().__init__(ScriptedEngine(), ScriptedEngine())
        self.parts = parts

    def stream(self, messages: Any, **options: Any) -> Iterator[Event]:
        yield Start("off", 5)
        for part in self.parts:
            yield Delta(0, "answer", "large", part, (1,)) if isinstance(part, str) else part
        yield Step(0, "answer", "large", "", len(self.parts), 0.1, "eos")
        yield Finish("tool_calls", None, 0.1)


def call(index: int, arguments: str, done: ToolCall | InvalidToolCall) -> list[ToolCallDelta]:
    """The pieces of a call, a character each."""
    pieces = [ToolCallDelta(index, arguments=character) for character in arguments]
    return [ToolCallDelta(index, done.id, done.name), *pieces, ToolCallDelta(index, call=done)]


async def test_blocks_of_a_v1_stream_stay_apart() -> None:
    """Text before, between and after calls merges with no call, and no call with another."""
    one, two = ToolCall("a", "f", {"x": 1}), ToolCall("b", "g", {})
    parts = ("I ", "call.", *call(0, '{"x": 1}', one), "And", *call(1, "{}", two), *call(2, "{}", two), "Done.")
    llm = ChatGlimp(router=Canned(*parts), output_version="v1")
    expected = ["text", "tool_call", "text", "tool_call", "tool_call", "text"]
    for message in (merged(list(llm.stream("?"))), merged([chunk async for chunk in llm.astream("?")])):
        assert [block["type"] for block in message.content_blocks] == expected
        assert [call["name"] for call in message.tool_calls] == ["f", "g", "g"]
        assert [call["args"] for call in message.tool_calls] == [{"x": 1}, {}, {}]


ARGUMENTS = st.dictionaries(
    st.text(max_size=3),
    st.recursive(
        st.integers() | st.text(alphabet='\\"{}[]ab\n', max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
        max_leaves=4,
    ),
    max_size=2,
)


@settings(deadline=None)
@given(ARGUMENTS, st.integers(min_value=0), st.booleans(), st.booleans())
def test_a_broken_call_never_runs(arguments: dict[str, Any], cut: int, pretty: bool, streamed: bool) -> None:
    """A call that the core found invalid is invalid on every path, wherever its JSON broke off."""
    text = json.dumps(arguments, indent=2 if pretty else None)
    text = text[: cut % (len(text) + 1)]
    broken = InvalidToolCall("a", "f", text, "cut off")
    pieces = call(0, text, broken)
    llm = ChatGlimp(router=Canned(*(pieces if streamed else (pieces[0], pieces[-1]))))
    messages = [llm.invoke("?"), merged(list(llm.stream("?"))), llm.stream_events("?", version="v3").output]
    for message in messages:
        assert not message.tool_calls
        (invalid,) = message.invalid_tool_calls
        assert (invalid["name"], invalid["id"]) == ("f", "a")
        assert invalid["args"].startswith(text)
    assert messages[0].invalid_tool_calls[0]["error"] == "cut off"


def test_notes_of_the_router_are_reported() -> None:
    """A note of the router is in the summary: a pair that cannot think says so."""
    llm = ChatGlimp(router=good_router(thinking="none"))
    assert "does not think" in llm.invoke("Hello").response_metadata["glimp"]["notes"][0]


def test_a_cut_answer_says_so() -> None:
    """An answer that ran out of tokens has the finish reason "length"."""
    message = ChatGlimp(router=good_router(), max_tokens=3).invoke("Hello")
    assert (message.content, message.response_metadata["finish_reason"]) == ("You", "length")


def test_stop_strings_of_model_and_call_add_up() -> None:
    """The answer ends before any of them, whether set on the model or in the call, and thinking is left alone."""
    llm = ChatGlimp(router=good_router(), stop=["z"])
    assert llm.invoke("abcz").content == "You said: abc"
    message = llm.invoke("abcz", stop=["b", "know"])
    assert message.content == "You said: a"
    assert "I know" in message.additional_kwargs["reasoning_content"]


def test_generate_adds_tokens_up() -> None:
    """The usage of several replies is their sum."""
    llm = ChatGlimp(router=good_router())
    result = llm.generate([[HumanMessage("Hello")], [HumanMessage("Goodbye")]])
    counts = [reply[0].message.usage_metadata["total_tokens"] for reply in result.generations]
    assert result.llm_output["token_usage"]["total_tokens"] == sum(counts)


def test_logprobs_are_of_the_answer() -> None:
    """With `logprobs` the answer's tokens come with their log-probability, whole and streamed alike; else not."""
    llm = ChatGlimp(router=good_router(), logprobs=True)
    content = llm.invoke("Hello").response_metadata["logprobs"]["content"]
    assert "".join(token["token"] for token in content) == "You said: Hello"
    assert {token["logprob"] for token in content} == {0.0}
    assert merged(list(llm.stream("Hello"))).response_metadata["logprobs"]["content"] == content
    assert "logprobs" not in llm.invoke("Hello", logprobs=False).response_metadata
