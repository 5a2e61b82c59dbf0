"""One request for the engines: the request itself, and the chain that has been written so far."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from glimp_core.types import Request

Reasoning = Literal["auto", "inline", "off"]
ReasoningEffort = Literal["none", "low", "medium", "high", "xhigh"]
"""The amount of thinking: none, or up to a part of the budget. It is passed to templates that have such levels."""


@dataclass(frozen=True, slots=True)
class Span:
    """Text that a model wrote, with its ids in that model's `vocabulary`.

    The ids do not include an end-of-sequence token or the closing think tag.
    """

    text: str
    token_ids: tuple[int, ...]
    vocabulary: str


@dataclass(frozen=True, slots=True)
class ThinkingClosed:
    """The end of the thinking in a chain: `written` by a model, or set by the router."""

    written: bool


class Context:
    """A request and its growing chain. One thread uses it at a time. It is closed at the end of the request.

    `engine_state` has the private data of each engine for this request (rendered prompt, cache lease). `notes` are
    messages for the user in the summary. `cancelled` may be set from any thread and stops the engines within one token.
    """

    def __init__(
        self,
        request: Request,
        reasoning: Reasoning = "auto",
        cancelled: threading.Event | None = None,
        reasoning_effort: ReasoningEffort | None = None,
    ):
        self.request = request
        self.reasoning: Reasoning = reasoning
        self.reasoning_effort = reasoning_effort
        self.thinking_wanted = reasoning_effort not in (None, "none")
        """Whether to switch thinking on in a template that leaves it off by default."""
        self.cancelled = cancelled or threading.Event()
        self.counted = False
        """Whether the prompt is only counted, not answered. It may then be longer than the window."""
        self.spans: list[Span | ThinkingClosed] = []
        self.engine_state: dict[object, Any] = {}
        self.notes: list[str] = []
        self.large_lost = False
        """Whether the large model has failed, so that the small model writes the rest of this request."""
        self._on_close: deque[Callable[[], None]] = deque()
        self._closed = False
        self._begun: list[tuple[object, Callable[[], None]]] = []

    @property
    def text(self) -> str:
        """The text of the whole chain, reasoning and answer."""
        return "".join(link.text for link in self.spans if isinstance(link, Span))

    def append(self, link: Span | ThinkingClosed) -> None:
        """Append to the chain."""
        self.spans.append(link)

    def switch_thinking_on(self, *engines: object) -> None:
        """Switch thinking on, and make these engines render the request again."""
        self.thinking_wanted = True
        for engine in engines:
            self.engine_state.pop(engine, None)

    def note(self, text: str) -> None:
        """Add a note to the summary, unless it is there."""
        if text not in self.notes:
            self.notes.append(text)

    def begin(self, engine: object, withdraw: Callable[[], None]) -> None:
        """Note that `engine` already writes the next step, before the decision; `withdraw` stops it."""
        self._begun.append((engine, withdraw))

    def hand_to(self, engine: object) -> None:
        """Give the next step to `engine`, and stop other engines that already write it."""
        begun, self._begun = self._begun, []
        for beginner, withdraw in begun:
            if beginner is not engine:
                withdraw()

    def lose_large(self, error: Exception) -> None:
        """Continue without the large model, and report it in the summary."""
        self.large_lost = True
        self.note(f"the large model failed and the small one wrote the rest: {error}")

    def on_close(self, release: Callable[[], None]) -> None:
        """Call `release` when the request ends in any way, or at once if it has ended.

        A finaliser may call it, in any thread and at any time, so it must not wait for a lock.
        """
        self._on_close.append(release)
        if self._closed:
            self._release()

    def _release(self) -> None:
        """Call the registered functions, the latest first. No lock is needed: `pop` gives each to one thread only."""
        while self._on_close:
            try:
                release = self._on_close.pop()
            except IndexError:  # another thread was quicker
                return
            release()

    def __enter__(self) -> "Context":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.hand_to(None)
        finally:
            self._closed = True
            self._release()
            self.engine_state.clear()
