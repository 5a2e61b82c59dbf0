"""One call of an endpoint: the core's event stream, folded or shown piece by piece, sync or async."""

import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any, TypeVar

from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent

from glimp_core import Completion, Event, GlimpRouter, Step
from glimp_core.aio import stream_in_thread
from glimp_core.chat.formats.template import VerbatimPrompt
from glimp_core.deadline import deadline
from glimp_llamaindex._replies import ReplyStream, Shape
from glimp_llamaindex._requests import Demands

T = TypeVar("T")
Messages = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked, of whom, and what the reply is to look like. Nothing runs before the first event is asked for."""

    router: Callable[[], GlimpRouter]
    messages: Messages
    demands: Demands
    shape: Shape
    report_steps: bool = False

    def run(self, build: Callable[[Completion, Shape], T]) -> T:
        """Return the response to the whole reply."""
        with closing(self._events()) as events:
            completion = Completion.fold(events)
        return self._built(completion, build)

    async def arun(self, build: Callable[[Completion, Shape], T]) -> T:
        """Return the response to the whole reply; the event loop is woken once, when it is there."""

        def completions(cancelled: threading.Event) -> Iterator[Completion]:
            yield Completion.fold(self._events(cancelled))

        async with aclosing(stream_in_thread(completions)) as stream:
            completion = await anext(stream)
        return self._built(completion, build)

    def stream(self, show: Callable[[ReplyStream, Event], T | None]) -> Generator[T, None, None]:
        """Yield what `show` makes of each event; closing the generator stops the models."""
        reply = ReplyStream(self.shape)
        with closing(self._events()) as events:
            for event in events:
                if (chunk := self._shown(reply, event, show)) is not None:
                    yield chunk

    async def astream(self, show: Callable[[ReplyStream, Event], T | None]) -> AsyncGenerator[T, None]:
        """Yield what `show` makes of each event; leaving the loop in any way stops the models."""
        reply = ReplyStream(self.shape)
        async with aclosing(stream_in_thread(self._events)) as events:
            async for event in events:
                if (chunk := self._shown(reply, event, show)) is not None:
                    yield chunk

    def _events(self, cancelled: threading.Event | None = None) -> Generator[Event, None, None]:
        router, cancelled = self.router(), cancelled or threading.Event()
        with deadline(self.demands.timeout, cancelled):
            yield from router.stream(self.messages, cancelled=cancelled, **self.demands.options_for(router))

    def _shown(self, reply: ReplyStream, event: Event, show: Callable[[ReplyStream, Event], T | None]) -> T | None:
        if self.report_steps and isinstance(event, Step):
            dispatch(event)
        return show(reply, event)

    def _built(self, completion: Completion, build: Callable[[Completion, Shape], T]) -> T:
        if self.report_steps:
            for step in completion.steps:
                dispatch(step)
        return build(completion, self.shape)


def verbatim(prompt: str) -> tuple[Messages, dict[str, Any]]:
    """Return messages and template arguments that send a prompt as it is, control tokens included.

    The prompt becomes the template's own text: text that a template is given as a message is made inert.
    """
    return [{"role": "user", "content": prompt}], {"chat_template": VerbatimPrompt(prompt)}


dispatcher = get_dispatcher(__name__)


class GlimpStepEvent(BaseEvent):
    """One finished step: which model wrote it (`engine`), and its first token's entropy in nats where it was routed."""

    index: int
    phase: str
    engine: str
    entropy: float | None
    tokens: int
    seconds: float
    end: str

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the event."""
        return "GlimpStepEvent"


def dispatch(step: Step) -> None:
    """Send a step to whoever listens."""
    dispatcher.event(
        GlimpStepEvent(
            index=step.index,
            phase=step.phase,
            engine=step.engine,
            entropy=step.entropy,
            tokens=step.tokens,
            seconds=step.seconds,
            end=step.end,
        )
    )
