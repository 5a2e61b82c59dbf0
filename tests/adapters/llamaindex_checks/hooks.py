"""What a class must give to be checked, and what the checks share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms.llm import LLM
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.event_handlers import BaseEventHandler
from pydantic import Field

QUESTION = [ChatMessage("What is two and two?", role="user")]


@dataclass(frozen=True)
class Reply:
    """One scripted reply: a text, or calls of tools as (name, arguments)."""

    text: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()


class Hooks:
    """Override these; a check is skipped where its hook is missing."""

    def llm(self) -> LLM:
        """Return an LLM that answers every question with some text, always the same one to the same question."""
        raise NotImplementedError

    def scripted(self, *replies: Reply | str, thinking: str = "") -> LLM:
        """Return an LLM that gives these replies in turn, the last one again and again, each after `thinking`."""
        pytest.skip("this LLM's replies cannot be scripted")

    def slow(self) -> tuple[LLM, Callable[[], int]]:
        """Return an LLM whose replies take half a second or more, and the count of tokens it has written so far."""
        pytest.skip("no slow LLM was given")

    def failing(self) -> LLM:
        """Return an LLM of which the model raises RuntimeError("boom") in the middle of a reply."""
        pytest.skip("no failing LLM was given")

    def weights(self, llm: LLM) -> Any:
        """Return the object that copies of an LLM must share."""
        pytest.skip("no hook for the weights")


class Recorder(BaseEventHandler):
    """Keeps every event, and what could not be written as JSON."""

    events: list[BaseEvent] = Field(default_factory=list)
    unwritable: list[str] = Field(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "Recorder"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        self.events.append(event)
        try:
            event.model_dump_json()
        except Exception as error:
            self.unwritable.append(f"{type(event).__name__}: {error}")

    @property
    def names(self) -> list[str]:
        """The classes of the events in order, runs of equal ones counted once."""
        names = [type(event).__name__ for event in self.events]
        return [name for at, name in enumerate(names) if at == 0 or name != names[at - 1]]

    def of(self, name: str) -> list[Any]:
        """Return the events of one class."""
        return [event for event in self.events if type(event).__name__ == name]


@contextmanager
def recorded() -> Iterator[Recorder]:
    """Record every event of the instrumentation."""
    dispatcher, recorder = get_dispatcher(), Recorder()
    dispatcher.add_event_handler(recorder)
    try:
        yield recorder
    finally:
        dispatcher.event_handlers = [handler for handler in dispatcher.event_handlers if handler is not recorder]


@dataclass
class Stream:
    """A whole stream that was read, and what holds for every one."""

    chunks: list[Any] = field(default_factory=list)

    @property
    def last(self) -> Any:
        """The last chunk."""
        assert self.chunks, "a stream has at least one chunk"
        return self.chunks[-1]

    def text(self, chunk: Any) -> str:
        """The text of a chunk, of a chat or of a completion."""
        return (chunk.message.content if isinstance(chunk, ChatResponse) else chunk.text) or ""

    def check(self) -> str:
        """Check the law of cumulative texts and incremental deltas; returns the text."""
        text = ""
        for chunk in self.chunks:
            assert chunk.delta is not None, "a delta is a text, never None"
            text += chunk.delta
            assert self.text(chunk) == text, "a chunk's text is the sum of the deltas so far"
        assert self.text(self.last) == text
        return text


async def read(stream: Any) -> Stream:
    """Read a stream of either kind to its end."""
    if hasattr(stream, "__aiter__"):
        return Stream([chunk async for chunk in stream])
    return Stream(list(stream))


def usage(response: Any) -> dict[str, int]:
    """Return the token counts of a response, as LlamaIndex's own counter reads them."""
    assert isinstance(response.raw, dict), "token counts belong into raw['usage']"
    assert response.raw.get("usage"), "token counts belong into raw['usage']"
    counts: dict[str, int] = response.raw["usage"]
    return counts
