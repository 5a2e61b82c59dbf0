"""The lines of a trace, made while a reply is written, for a client that requests them."""

from collections.abc import Generator
from typing import Any

from glimp_core.errors import GlimpError
from glimp_core.events import Event, Start
from glimp_core.tap import Asked
from glimp_core.trace.file import lines
from glimp_core.trace.schema import Broken


class LineTap:
    """A tap for one request. It does not change the events, and returns the lines of a trace for each event."""

    def __init__(self) -> None:
        self._asked: Asked | None = None
        self._begun = False

    def __call__(self, asked: Asked, events: Generator[Event, None, None]) -> Generator[Event, None, None]:
        """Remember the request."""
        self._asked = asked
        return events

    def lines(self, event: Event) -> list[dict[str, Any]]:
        """Return the lines of an event, none or one."""
        assert self._asked, "a tap is called before its events"
        self._begun = self._begun or isinstance(event, Start)
        return [line.document() for line in lines(self._asked, event)]

    def broken(self, error: BaseException) -> list[dict[str, Any]]:
        """Return the line of a request that failed, as a list; the list is empty before the first event.

        Only the messages of Glimp's own errors are included.
        """
        if self._asked is None or not self._begun:
            return []
        message = str(error) if isinstance(error, GlimpError) else ""
        return [Broken(run=self._asked.id, error=type(error).__name__, message=message).document()]
