"""Taps: functions that see the events of every request of a router. Traces and telemetry are taps."""

import logging
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

from glimp_core.config import RouterConfig
from glimp_core.events import Event
from glimp_core.policy import Policy
from glimp_core.types import Request

log = logging.getLogger("glimp.taps")
_warned: set[tuple[type[object], type[Exception]]] = set()


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for a tap: the models, the policy, the settings and the messages. `id` is unique."""

    id: str
    small: str
    large: str
    policy: Policy
    config: RouterConfig
    request: Request

    @property
    def question(self) -> str:
        """The text of the last message of the user, "" if there is none."""
        asked = [message.get("content") for message in self.request.messages if message["role"] == "user"]
        content = asked[-1] if asked else None
        parts = content if isinstance(content, list) else [content]
        return "".join(text for part in parts if isinstance(text := _text(part), str))


class Tap(Protocol):
    """A function that receives the events of one request and yields them unchanged. It closes the stream at its end."""

    def __call__(self, asked: Asked, events: Generator[Event, None, None]) -> Generator[Event, None, None]:
        """Return the events. It is called once for each request, in the thread of the request."""
        ...


def tapped(tap: Tap, asked: Asked, events: Generator[Event, None, None]) -> Generator[Event, None, None]:
    """Return the events that a tap yields. If the tap fails, the rest of the request continues without it.

    A failed trace or measurement must not stop the reply. The failure is logged once for each type of tap and error.
    """
    source = _TappedStream(events)
    try:
        passed = tap(asked, source.shown())
    except Exception as error:
        _warn(tap, error)
        return events
    return _passed(tap, source, passed)


class _TappedStream:
    """The events for one tap. `taken` are those that it has not yielded yet, `failure` is the request's error."""

    def __init__(self, events: Generator[Event, None, None]):
        self.events = events
        self.taken: deque[Event] = deque()
        self.failure: Exception | None = None

    def shown(self) -> Generator[Event, None, None]:
        """Yield the events. A failed tap closes this stream, but not that of the models."""
        while True:
            try:
                event = next(self.events)
            except StopIteration:
                return
            except Exception as error:
                self.failure = error
                raise
            self.taken.append(event)
            yield event


def _passed(tap: Tap, source: _TappedStream, passed: Generator[Event, None, None]) -> Generator[Event, None, None]:
    try:
        try:
            for event in passed:
                if source.taken:
                    source.taken.popleft()
                yield event
            return
        except Exception as error:
            if source.failure is not None:
                raise source.failure from source.failure.__cause__
            _warn(tap, error)
        while source.taken:
            yield source.taken.popleft()
        yield from source.events
    finally:
        try:
            _close(tap, passed)
        finally:
            source.events.close()


def _close(tap: Tap, passed: Generator[Event, None, None]) -> None:
    try:
        if close := getattr(passed, "close", None):  # a tap may return any iterator
            close()
    except Exception as error:
        _warn(tap, error)


def _warn(tap: Tap, error: Exception) -> None:
    kind = (type(tap), type(error))
    if kind not in _warned:
        _warned.add(kind)
        log.warning("%r failed and is left out of the rest of its request: %s: %s", tap, kind[1].__name__, error)


def _text(part: object) -> object:
    return part.get("text") if isinstance(part, dict) else part
