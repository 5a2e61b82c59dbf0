"""The tap that converts events to spans."""

import gc
import json
import threading
from collections import deque
from collections.abc import Generator
from contextlib import suppress
from time import time_ns
from typing import TYPE_CHECKING, Any

from glimp_core.completion import Completion
from glimp_core.errors import ConfigError
from glimp_core.events import Delta, Event, Finish, Routed, Start
from glimp_core.tap import Asked
from glimp_core.telemetry import conventions
from glimp_core.types import Step

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider


class _Collections(threading.local):
    """Whether this thread collects garbage. Finalisers must then not wait for locks of other libraries."""

    running = False

    def note(self, phase: str, told: dict[str, int]) -> None:
        """Note that a collection begins or ends; a callback of the collector's."""
        self.running = phase == "start"


_collections = _Collections()
gc.callbacks.append(_collections.note)


class SpanTap:
    """A tap that reports every request and step to OpenTelemetry.

        router = GlimpRouter.from_pretrained(small, large, taps=[SpanTap()])

    A request is a span "chat SMALL+LARGE" under the current span of the caller. Every step is a child span, named
    "step small" or "step large". `provider` is a TracerProvider, by default the global one. Text is recorded only with
    `content=True`. Raises `ConfigError` if opentelemetry-api is not installed.
    """

    def __init__(self, provider: "TracerProvider | None" = None, content: bool = False):
        try:
            from opentelemetry import trace
        except ImportError as error:
            raise ConfigError("SpanTap needs OpenTelemetry: pip install 'glimp[otel]'") from error
        self._tracer = trace.get_tracer(conventions.PROVIDER, tracer_provider=provider)
        self._content = content
        self._left: deque[tuple[Span, int]] = deque()
        """Spans of streams that garbage collection closed. They are ended later: an exporter may hold a lock now."""

    def __call__(self, asked: Asked, events: Generator[Event, None, None]) -> Generator[Event, None, None]:
        """Begin the request's span under the current one, and pass the events on."""
        self._end_left()
        name, attributes = f"chat {asked.small}+{asked.large}", conventions.request(asked)
        return self._follow(_RequestSpans(self._tracer, self._content, asked, name, attributes), events)

    def _follow(self, request: "_RequestSpans", events: Generator[Event, None, None]) -> Generator[Event, None, None]:
        finished = False
        try:
            for event in events:
                request.see(event)
                finished = isinstance(event, Finish)
                yield event
        except GeneratorExit:
            request.span.set_attribute("glimp.closed_early", not finished)
            raise
        except BaseException as error:
            request.fail(error)
            raise
        finally:
            self._left.append((request.span, time_ns()))
            self._end_left()
            if close := getattr(events, "close", None):
                close()

    def _end_left(self) -> None:
        """End spans, but for a call in the middle of a collection: the next request ends them."""
        while self._left and not _collections.running:
            with suppress(IndexError):  # another thread was quicker
                span, ended = self._left.popleft()
                span.end(ended)


class _RequestSpans:
    """The spans of one request. No context is attached: the reader may change threads between two events."""

    def __init__(self, tracer: Any, content: bool, asked: Asked, name: str, attributes: dict[str, Any]):
        from opentelemetry.trace import SpanKind, set_span_in_context

        self._tracer, self._content, self._asked = tracer, content, asked
        self._events: list[Event] = []
        self._routed: Routed | None = None
        self._first_word = False
        self._started = self._begun = time_ns()
        self.span: Span = tracer.start_span(
            name, kind=SpanKind.INTERNAL, attributes=attributes, start_time=self._started
        )
        self._context = set_span_in_context(self.span)
        if content:
            messages = conventions.input_messages(asked.request.messages)
            self.span.set_attribute("gen_ai.input.messages", json.dumps(messages, default=str))

    def see(self, event: Event) -> None:
        """Take the next event."""
        self._events.append(event)
        if isinstance(event, Start):
            self._begun = time_ns()  # loading is no part of the first step
        elif isinstance(event, Routed):
            self._routed = event
        elif isinstance(event, Delta) and not self._first_word:
            self._first_word = True
            self.span.set_attribute("gen_ai.response.time_to_first_chunk", (time_ns() - self._started) / 1e9)
        elif isinstance(event, Step):
            self._step(event)
        elif isinstance(event, Finish):
            self._finish(Completion.fold(self._events))

    def fail(self, error: BaseException) -> None:
        """Say that an error ended the request; its message may quote a user, and counts as content."""
        from opentelemetry.trace import Status, StatusCode

        self.span.set_attribute("error.type", type(error).__qualname__)
        self.span.set_status(Status(StatusCode.ERROR, str(error) if self._content else None))

    def _step(self, step: Step) -> None:
        model = self._asked.small if step.engine == "small" else self._asked.large
        attributes = conventions.step(step, model, self._routed)
        if self._content:
            attributes["glimp.step.text"] = step.text
        span = self._tracer.start_span(
            f"step {step.engine}", self._context, attributes=attributes, start_time=self._begun
        )
        span.end()
        self._begun, self._routed = time_ns(), None

    def _finish(self, done: Completion) -> None:
        self.span.set_attributes(conventions.reply(self._asked, done))
        if self._content:
            self.span.set_attribute("gen_ai.output.messages", json.dumps(conventions.output_messages(done)))
