"""A tap stands in the stream of a router's events and looks at what passes: traces and telemetry are taps."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

from glimp_core.config import RouterConfig
from glimp_core.events import Event
from glimp_core.policy import Policy
from glimp_core.types import Request


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
        """The text of the last message of the user, "" where there is none."""
        asked = [message.get("content") for message in self.request.messages if message["role"] == "user"]
        content = asked[-1] if asked else None
        parts = content if isinstance(content, list) else [content]
        return "".join(text for part in parts if isinstance(text := _text(part), str))


class Tap(Protocol):
    """Passes the events of one request on, all and unchanged, and closes the stream that it was given."""

    def __call__(self, asked: Asked, events: Generator[Event, None, None]) -> Generator[Event, None, None]:
        """Return the events again. Called in the thread that makes the request, once a request."""
        ...


def _text(part: object) -> object:
    return part.get("text") if isinstance(part, dict) else part
