"""GlimpRouter: what it refuses, what it streams, and that requests do not touch each other."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from glimp_core import (
    Cancelled,
    Completion,
    ConfigError,
    Delta,
    EngineError,
    EntropyThreshold,
    Event,
    Finish,
    GlimpRouter,
    RandomRate,
    Request,
    Routed,
    RouterConfig,
    SamplingParams,
    Start,
    Step,
)
from glimp_core.testing import ScriptedEngine
from glimp_core.types import Role
from pairs import ChunkEngine, pieces, scripted_router


def timeless(done: Completion) -> Completion:
    """A completion without its seconds."""
    steps = tuple(replace(step, seconds=0.0) for step in done.steps)
    return replace(done, steps=steps, finish=replace(done.finish, seconds=0.0))


def test_joined_deltas_are_reasoning_and_answer() -> None:
    """The deltas joined are the reasoning and the answer to the letter, and each step is its own deltas."""
    events = list(scripted_router().stream("2+2?"))
    done = Completion.fold(events)
    deltas = [event for event in events if isinstance(event, Delta)]
    assert "".join(delta.text for delta in deltas) == done.reasoning + done.answer
    for step in done.steps:
        assert "".join(delta.text for delta in deltas if delta.index == step.index) == step.text


def test_events_come_in_the_documented_order() -> None:
    """One Start, then Routed, Deltas, Step for each step (no Routed for the answer), one Finish."""
    events = list(scripted_router(["A.\n\n", "B.</think>"], [0.0], "C").stream("?"))
    kinds: list[type[Event]] = []
    for event in events:
        if not kinds or kinds[-1] is not type(event):
            kinds.append(type(event))
    assert kinds == [Start, Routed, Delta, Step, Routed, Delta, Step, Delta, Step, Finish]


def test_generate_is_the_fold_of_stream() -> None:
    """`generate` returns what folding the streamed events returns."""
    router = scripted_router()
    assert timeless(router.generate("?")) == timeless(Completion.fold(router.stream("?")))


def test_a_string_is_one_user_message() -> None:
    """A plain string asks the same as one message of the user."""
    router = scripted_router(answer=lambda request: str(request.messages))
    assert router.generate("2+2?").answer == router.generate([{"role": "user", "content": "2+2?"}]).answer


def test_blank_lines_between_thinking_and_answer_belong_to_neither() -> None:
    """Newlines that part the answer from the thinking are not shown; those inside it are."""
    assert scripted_router(answer="\n\nIt is\n\n4.").generate("?").answer == "It is\n\n4."


@pytest.mark.parametrize("taken", [1, 2, 5, 9, 40])
def test_a_closed_stream_leaves_the_next_request_unchanged(taken: int) -> None:
    """Closing a stream stops the writing model and the next request is as if it had been the first."""
    router = scripted_router()
    first = timeless(router.generate("?"))
    stream = router.stream("?")
    for _ in range(taken):
        next(stream)
    stream.close()
    assert timeless(router.generate("?")) == first


def test_closing_a_stream_stops_the_engine() -> None:
    """After the close the engine's own generator is closed and writes no more."""
    engine = ChunkEngine(pieces("A long thought", "close"), pieces("4", "eos"))
    stream = GlimpRouter(engine, engine).stream("?")
    for _ in range(4):
        next(stream)
    written = engine.written
    stream.close()
    assert (engine.closed, engine.written) == (1, written)


def test_cancelled_from_another_thread_stops_within_a_token() -> None:
    """Setting `cancelled` raises Cancelled at the next token."""
    cancelled = threading.Event()
    stream = scripted_router().stream("?", cancelled=cancelled)
    for event in stream:
        if isinstance(event, Delta):
            break
    cancelled.set()
    with pytest.raises(Cancelled):
        next(stream)


@pytest.mark.parametrize("at", [0, 3])
def test_an_engines_error_reaches_the_caller(at: int) -> None:
    """A failing model raises its own error out of the stream, after the text it had written."""
    large = ScriptedEngine(answer="It is 4.", error=EngineError("out of memory"), error_at=at)
    shown = ""
    with pytest.raises(EngineError, match="out of memory"):
        for event in GlimpRouter(ScriptedEngine(["A</think>"]), large).stream("?"):
            shown += event.text if isinstance(event, Delta) else ""
    assert shown == "A" + "It is 4."[:at]


def test_after_an_error_the_next_request_works() -> None:
    """A request that failed in the middle leaves nothing behind in the router."""

    def answer(request: Request) -> str:
        if request.messages[0]["content"] == "bad":
            raise EngineError("out of memory")
        return "It is 4."

    router = scripted_router(answer=answer)
    first = timeless(router.generate("good"))
    with pytest.raises(EngineError):
        router.generate("bad")
    assert timeless(router.generate("good")) == first


def test_an_engine_that_breaks_off_is_an_error() -> None:
    """Chunks that stop without an end are an EngineError that names the engine."""
    engine = ChunkEngine([("half", None)], name="broken")
    with pytest.raises(EngineError, match=r"'broken' broke off"):
        GlimpRouter(engine, engine).generate("?")


def test_threads_get_what_they_would_get_in_sequence() -> None:
    """Many threads on one router get the same replies as one after the other."""
    router = scripted_router(
        policy=RandomRate(0.5, seed=3), answer=lambda request: f"to {request.messages[0]['content']}"
    )
    questions = [f"question {n}" for n in range(24)]
    alone = [timeless(router.generate(question)) for question in questions]
    with ThreadPoolExecutor(8) as pool:
        assert [timeless(done) for done in pool.map(router.generate, questions)] == alone


def test_a_model_that_cannot_glimpse_cannot_be_the_small_one() -> None:
    """The small model must be a Glimpser; the error says what it lacks."""

    class Plain:
        name, vocabulary, window = "plain", "characters", 100
        load = prepare = generate = None

    with pytest.raises(ConfigError, match="no glimpse"):
        GlimpRouter(Plain(), ScriptedEngine())  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"policy": EntropyThreshold(1.0, entropy="top20")}])
def test_a_threshold_on_another_entropy_is_refused(options: dict[str, Any]) -> None:
    """A threshold belongs to one definition of entropy: mixing raises when the router is made or called."""
    with pytest.raises(ConfigError, match="top20"):
        scripted_router(**options)
    with pytest.raises(ConfigError, match="top20"):
        scripted_router().stream("?", **options)


def test_bad_requests_are_refused_before_any_model_runs() -> None:
    """No messages, or messages without a role, are a ConfigError at the call."""
    router = scripted_router()
    bad: tuple[Any, ...] = ([], [{"content": "x"}], ["text"], [{"role": 3, "content": "x"}])
    for messages in bad:
        with pytest.raises(ConfigError):
            router.stream(messages)
    assert router.small.history == []  # type: ignore[attr-defined]


def test_sampling_of_a_call_goes_over_that_of_the_router() -> None:
    """Unset fields of a call come from the router, set ones stay."""
    seen: list[Request] = []
    pair = [ScriptedEngine(answer=lambda request: seen.append(request) or "4") for _ in range(2)]  # type: ignore[func-returns-value]
    router = GlimpRouter(*pair, sampling=SamplingParams(temperature=0.5, top_p=0.9, seed=1))
    router.generate("?", sampling=SamplingParams(temperature=0.0))
    assert seen[0].sampling == SamplingParams(temperature=0.0, top_p=0.9, seed=1)


def test_window_is_the_smaller_one() -> None:
    """A pair can hold what the smaller of its two windows holds."""
    assert GlimpRouter(ScriptedEngine(window=100), ScriptedEngine(window=200)).window == 100


def test_count_tokens_is_the_prompt_of_the_large_model() -> None:
    """count_tokens equals the prompt_tokens that the request will report."""
    router = scripted_router()
    assert router.count_tokens("four") == router.generate("four").usage.prompt_tokens == 4


def test_reasoning_off_answers_at_once() -> None:
    """reasoning="off" skips the thinking: no glimpse, one answer."""
    done = scripted_router(config=RouterConfig(reasoning="off")).generate("?")
    assert (done.reasoning, done.answer, len(done.routed), done.start.mode) == ("", "It is 4.", 0, "off")


def test_a_pair_that_does_not_think_lets_the_large_model_write_all() -> None:
    """Without think tags the large model writes the reply, and one note says so."""
    done = scripted_router(thinking="none").generate("?")
    assert (done.start.mode, [step.engine for step in done.steps], len(done.start.notes)) == (
        "large_only",
        ["large"],
        1,
    )
    assert done.summary().notes == done.start.notes


def test_a_measured_request_says_how_sure_each_token_was() -> None:
    """Deltas carry a measure where the request asks for one, and none otherwise."""
    for logprobs in (True, False):
        deltas = [event for event in scripted_router().stream("?", logprobs=logprobs) if isinstance(event, Delta)]
        assert all((delta.measure is not None) == logprobs for delta in deltas if delta.text)


@pytest.mark.parametrize("role", ["small", "large"])
def test_one_model_alone_writes_every_step(role: Role) -> None:
    """With `alone` nothing is glimpsed, the other model writes nothing, and the words are those of the script."""
    router = scripted_router()
    done = router.generate("2+2?", alone=role)
    assert {step.engine for step in done.steps} == {role}
    assert done.routed == ()
    assert (done.reasoning, done.answer) == (router.generate("2+2?").reasoning, "It is 4.")
    with pytest.raises(ConfigError, match="unknown alone 'lrge': did you mean 'large'"):
        router.stream("2+2?", alone="lrge")  # type: ignore[arg-type]
