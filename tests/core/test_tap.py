"""A tap sees the events of every request and changes none."""

from collections.abc import Iterator
from typing import Any

import pytest

from glimp_core import Asked, Completion, EngineError, Event, Finish, GlimpRouter, RandomRate, RouterConfig, Start
from glimp_core.testing import ScriptedEngine
from pairs import scripted_router


class Listener:
    """Remembers what passes, and whether its streams were closed."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.events: list[Event] = []
        self.closed = 0

    def __call__(self, asked: Asked, events: Iterator[Event]) -> Iterator[Event]:
        self.asked.append(asked)
        return self._listen(events)

    def _listen(self, events: Iterator[Event]) -> Iterator[Event]:
        try:
            for event in events:
                self.events.append(event)
                yield event
        finally:
            self.closed += 1


def tapped(*taps: Any, **options: Any) -> GlimpRouter:
    router = scripted_router(**options)
    router.taps.extend(taps)
    return router


def test_a_tap_sees_what_the_caller_gets() -> None:
    """The events of a tap are those of the stream, in order, for generate() too."""
    listener = Listener()
    streamed = list(tapped(listener).stream("2+2?"))
    assert listener.events == streamed
    assert (type(streamed[0]), type(streamed[-1])) == (Start, Finish)
    other = Listener()
    done = tapped(other).generate("2+2?")
    assert Completion.fold(other.events) == done


def test_a_tap_knows_who_was_asked_what_and_how() -> None:
    """Names, policy, settings of the call and the question are told; ids differ."""
    listener, policy = Listener(), RandomRate(0.5)
    router = tapped(listener, config=RouterConfig(max_answer_tokens=9))
    router.generate(
        [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], policy=policy, reasoning="off"
    )
    router.generate("c")
    first, second = listener.asked
    assert (first.small, first.large, first.policy, first.question) == ("scripted-small", "scripted-large", policy, "b")
    assert (first.config.reasoning, first.config.max_answer_tokens) == ("off", 9)
    assert second.policy == router.policy
    assert first.id != second.id


def test_the_question_is_found_in_parts() -> None:
    """A content of parts is the text of its parts."""
    listener = Listener()
    parts = [{"type": "text", "text": "one"}, "two"]
    tapped(listener).generate([{"role": "user", "content": parts}, {"role": "assistant", "content": "no"}])
    tapped(listener).generate([{"role": "system", "content": "no"}])
    assert [asked.question for asked in listener.asked] == ["onetwo", ""]


def test_taps_stand_one_after_the_other() -> None:
    """Every tap gets the events, whether given to the router or added later."""
    one, other = Listener(), Listener()
    router = GlimpRouter(ScriptedEngine(), ScriptedEngine(), taps=[one])
    router.taps.append(other)
    router.generate("?")
    assert one.events == other.events != []


def test_closing_the_stream_closes_the_taps() -> None:
    """A caller who stops reading closes every tap, and an error passes through them."""
    one, other = Listener(), Listener()
    stream: Any = tapped(one, other).stream("?")
    next(stream)
    stream.close()
    assert (one.closed, other.closed) == (1, 1)
    failing = tapped(one, other, error=EngineError("out of memory"))
    try:
        failing.generate("?")
    except EngineError:
        assert (one.closed, other.closed) == (2, 2)


class Failing:
    """A tap that fails when it sees event number `at`, or when it is called (-1)."""

    def __init__(self, at: int):
        self.at = at

    def __call__(self, asked: Asked, events: Iterator[Event]) -> Iterator[Event]:
        if self.at < 0:
            raise OSError("no space left")
        return self._listen(events)

    def _listen(self, events: Any) -> Iterator[Event]:
        try:
            for number, event in enumerate(events):
                if number == self.at:
                    raise OSError("no space left")
                yield event
        finally:
            events.close()


@pytest.mark.parametrize("at", [-1, 0, 3, 10_000])
def test_a_tap_that_fails_is_left_out(at: int, caplog: pytest.LogCaptureFixture) -> None:
    """Law: whenever a tap fails, the reply and what other taps see are what they are without it; it is said once."""
    plain = Completion.fold(tapped().stream("2+2?"))
    monkey, before, after = type(f"FailingAt{at}", (Failing,), {})(at), Listener(), Listener()
    for _ in range(2):
        done = tapped(before, monkey, after).generate("2+2?")
        assert (done.reasoning, done.answer) == (plain.reasoning, plain.answer)
        assert [type(event) for event in before.events] == [type(event) for event in after.events]
    assert len([record for record in caplog.records if "left out" in record.message]) == (at < 10_000)


def test_a_failing_tap_hides_no_failure_of_the_models() -> None:
    """Law: what ended the request reaches the caller, also through a tap that fails at that very moment."""

    class Worse:
        def __call__(self, asked: Asked, events: Iterator[Event]) -> Iterator[Event]:
            try:
                yield from events
            except EngineError:
                raise OSError("no space left") from None

    with pytest.raises(EngineError, match="out of memory"):
        tapped(Worse(), error=EngineError("out of memory")).generate("?")
