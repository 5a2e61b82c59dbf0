"""A tap stands in the stream of a router's events and looks at what passes: traces and telemetry are taps."""

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
    """One request as a tap sees it: who was asked what, and by which rules. `id` is unique."""

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
    """Passes the events of one request on, all and unchanged, and closes the stream that it was given."""

    def __call__(self, asked: Asked, events: Generator[Event, None, None]) -> Generator[Event, None, None]:
        """Return the events again. Called in the thread that makes the request, once a request."""
        ...


def tapped(tap: Tap, asked: Asked, events: Generator[Event, None, None]) -> Generator[Event, None, None]:
    """Return the events as a tap passes them on; if the tap fails, it is left out of the rest of this request.

    A trace or a measurement is never worth the reply: the failure is logged, once a tap and kind of error.
    """
    source = _Source(events)
    try:
        passed = tap(asked, source.shown())
    except Exception as error:
        _warn(tap, error)
        return events
    return _passed(tap, source, passed)


class _Source:
    """The events for one tap. `taken` are those that it has not passed on yet, `failure` is what they ended with."""

    def __init__(self, events: Generator[Event, None, None]):
        self.events = events
        self.taken: deque[Event] = deque()
        self.failure: Exception | None = None

    def shown(self) -> Generator[Event, None, None]:
        """Yield the events; closing this stream, as a tap that fails does, closes no model's."""
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


def _passed(tap: Tap, source: _Source, passed: Generator[Event, None, None]) -> Generator[Event, None, None]:
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
