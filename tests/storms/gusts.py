"""What befalls the requests of a storm: each gust makes one request, disturbs it, and says what became of it."""

import asyncio
import random
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

from glimp_core import Cancelled, Completion, EngineTimeoutError, Event
from glimp_core.aio import stream_in_thread
from glimp_core.deadline import deadline
from glimp_core.policy import Policy
from glimp_core.tap import Asked
from glimp_core.types import Decision, Glimpse
from storms.crowd import Crowd, Question, words


class PolicyError(Exception):
    """What a policy of a user raises."""


class HookError(Exception):
    """What a hook of a user raises."""


class Failing:
    """A policy that decides a few times and raises then."""

    entropy = "full"

    def __init__(self, after: int):
        self._left = after

    def decide(self, glimpse: Glimpse, history: Any) -> Decision:
        """Send steps to the small model, as long as it goes well."""
        self._left -= 1
        if self._left < 0:
            raise PolicyError("a policy failed")
        return Decision(False, "", None)


class Gusts:
    """The ways to disturb a request; `held` are streams that nobody reads on."""

    def __init__(self, crowd: Crowd):
        self._crowd = crowd
        self.held: list[Any] = []

    def kinds(self) -> dict[str, Callable[[Question, random.Random], Completion | str]]:
        """Return the ways of threads by name; a completion is held against the reply alone."""
        return {
            "whole": self.whole, "closed": self.closed, "cancelled": self.cancelled, "raised": self.raised,
            "abandoned": self.abandoned, "cycle": self.cycle, "unread": self.unread, "forgotten": self.forgotten,
            "nested": self.nested, "late": self.late, "policy": self.policy, "hook": self.hook,
        }  # fmt: skip

    def whole(self, one: Question, draws: random.Random) -> Completion | str:
        """Nothing befalls it."""
        return one.router.generate(one.text, **one.options)

    def closed(self, one: Question, draws: random.Random) -> Completion | str:
        """The reader closes the stream."""
        stream = one.router.stream(one.text, **one.options)
        done = _read(stream, draws.randrange(30))
        stream.close()
        return done

    def cancelled(self, one: Question, draws: random.Random) -> Completion | str:
        """Another thread cancels it."""
        event = threading.Event()
        timer = threading.Timer(draws.random() * 0.2, event.set)
        timer.start()
        try:
            return Completion.fold(one.router.stream(one.text, cancelled=event, **one.options))
        except Cancelled:
            return "cancelled"
        finally:
            timer.cancel()

    def raised(self, one: Question, draws: random.Random) -> Completion | str:
        """The reader's own code fails in the middle, and its traceback keeps the stream for a while."""
        events, last = [], draws.randrange(30)
        try:
            for event in one.router.stream(one.text, **one.options):
                events.append(event)
                if len(events) > last:
                    raise KeyError("the reader failed")
        except KeyError:
            return "raised"
        return Completion.fold(events)

    def abandoned(self, one: Question, draws: random.Random) -> Completion | str:
        """The reader forgets the stream."""
        return _read(one.router.stream(one.text, **one.options), draws.randrange(30))

    def cycle(self, one: Question, draws: random.Random) -> Completion | str:
        """The reader forgets the stream in a cycle, which the collector finds wherever it runs."""
        box: list[Any] = [one.router.stream(one.text, **one.options)]
        box.append(box)
        return _read(box[0], draws.randrange(30))

    def unread(self, one: Question, draws: random.Random) -> Completion | str:
        """The reader stops reading and keeps the stream."""
        stream = one.router.stream(one.text, **one.options)
        self.held.append(stream)
        return _read(stream, draws.randrange(6))

    def forgotten(self, one: Question, draws: random.Random) -> Completion | str:
        """The caches are dropped before it."""
        for engine in self._crowd.engines:
            engine.forget()
        return one.router.generate(one.text, **one.options)

    def nested(self, one: Question, draws: random.Random) -> Completion | str:
        """The reader asks something else in the middle."""
        events, at = [], draws.randrange(10)
        for event in one.router.stream(one.text, **one.options):
            events.append(event)
            if len(events) == at:
                inner = draws.randrange(len(self._crowd.questions))
                other = self._crowd.questions[inner]
                assert words(other.router.generate(other.text, **other.options)) == self._crowd.alone[inner]
        return Completion.fold(events)

    def late(self, one: Question, draws: random.Random) -> Completion | str:
        """It takes longer than it may."""
        event = threading.Event()
        try:
            with deadline(draws.random() * 0.2, event):
                return Completion.fold(one.router.stream(one.text, cancelled=event, **one.options))
        except EngineTimeoutError:
            return "late"

    def policy(self, one: Question, draws: random.Random) -> Completion | str:
        """Its policy raises; the caller gets that very error, unless it was not asked so often."""
        policy: Policy = Failing(draws.randrange(3))
        try:
            one.router.generate(one.text, policy=policy, **one.options)
        except PolicyError:
            return "policy"
        return "policy not asked"

    def hook(self, one: Question, draws: random.Random) -> Completion | str:
        """A tap fails in the middle, which is no fault of the reply."""
        fails_at = draws.randrange(20)

        def tap(asked: Asked, events: Generator[Event, None, None]) -> Generator[Event, None, None]:
            for number, event in enumerate(events):
                if number == fails_at:
                    raise HookError("a hook failed")
                yield event

        stream = type(one.router)(
            one.router.small, one.router.large, one.router.policy, one.router.config, taps=[tap]
        ).stream(one.text, **one.options)
        return Completion.fold(stream)

    async def asynchronously(self, one: Question, draws: random.Random) -> Completion | str:
        """It is read in an event loop, and whole, or left in one of four ways."""
        how, last = draws.choice(["whole", "whole", "cancel", "wait_for", "break", "aclose"]), draws.randrange(30)
        reading = _read_async(one, how, last)
        if how == "cancel":
            task = asyncio.ensure_future(reading)
            await asyncio.sleep(draws.random() * 0.3)
            task.cancel()
            reading = task  # type: ignore[assignment]
        try:
            return await asyncio.wait_for(reading, draws.random() * 0.5 if how == "wait_for" else None)
        except (asyncio.CancelledError, TimeoutError):
            return f"async {how}"


async def _read_async(one: Question, how: str, last: int) -> Completion | str:
    events: list[Event] = []
    stream: AsyncGenerator[Event, None] = stream_in_thread(
        lambda cancelled: one.router.stream(one.text, cancelled=cancelled, **one.options)
    )
    async for event in stream:
        events.append(event)
        if len(events) > last and how == "break":
            return "async break"
        if len(events) > last and how == "aclose":
            await stream.aclose()
            return "async aclose"
    return Completion.fold(events)


def _read(stream: Generator[Event, None, None], last: int) -> Completion | str:
    """Read some events; a reply that came to its end by then is whole."""
    events = []
    for event in stream:
        events.append(event)
        if len(events) > last:
            return "left"
    return Completion.fold(events)
