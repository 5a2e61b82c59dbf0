"""One request as the engines see it: what was asked, and the chain that has been written so far."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from glimp_core.types import Request

Reasoning = Literal["auto", "inline", "off"]
ReasoningEffort = Literal["none", "low", "medium", "high", "xhigh"]
"""How much a pair is to think: not at all, or up to a part of the budget, which the template is told where it asks."""


@dataclass(frozen=True, slots=True)
class Span:
    """Text that a model wrote into the chain, with its ids in that model's `vocabulary`.

    The ids hold neither an end-of-sequence token nor the closing think tag.
    """

    text: str
    token_ids: tuple[int, ...]
    vocabulary: str


@dataclass(frozen=True, slots=True)
class ThinkingClosed:
    """The end of the thinking in a chain: `written` by a model, or set by the router."""

    written: bool


class Context:
    """A request and its growing chain; used by one thread at a time and closed when the request is over.

    `engine_state` is the engines' private memory of the request (rendered prompt, cache lease), one entry an
    engine; `notes` is what the user should read of it in the summary. `cancelled` may be set from any
    thread and stops the engines within a token.
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
        """Thinking is to be switched on where a template leaves it off."""
        self.cancelled = cancelled or threading.Event()
        self.counted = False
        """The prompt is to be counted and not answered, and may be longer than the window."""
        self.spans: list[Span | ThinkingClosed] = []
        self.engine_state: dict[object, Any] = {}
        self.notes: list[str] = []
        self.large_lost = False
        """The large model failed, and the small one writes what is left of this request."""
        self._on_close: deque[Callable[[], None]] = deque()
        self._closed = False
        self._begun: list[tuple[object, Callable[[], None]]] = []

    @property
    def text(self) -> str:
        """The whole chain as it was written, reasoning and answer."""
        return "".join(link.text for link in self.spans if isinstance(link, Span))

    def append(self, link: Span | ThinkingClosed) -> None:
        """Make the chain one link longer."""
        self.spans.append(link)

    def switch_thinking_on(self, *engines: object) -> None:
        """Have engines whose templates leave the thinking off render the request anew, with it switched on."""
        self.thinking_wanted = True
        for engine in engines:
            self.engine_state.pop(engine, None)

    def note(self, text: str) -> None:
        """Add a note for the summary, once."""
        if text not in self.notes:
            self.notes.append(text)

    def begin(self, engine: object, withdraw: Callable[[], None]) -> None:
        """Note that `engine` has begun to write the next step unasked; `withdraw` stops it."""
        self._begun.append((engine, withdraw))

    def hand_to(self, engine: object) -> None:
        """Let `engine` write the next step: what others have begun is withdrawn."""
        begun, self._begun = self._begun, []
        for beginner, withdraw in begun:
            if beginner is not engine:
                withdraw()

    def lose_large(self, error: Exception) -> None:
        """Do without the large model for the rest of the request, and say so in the summary."""
        self.large_lost = True
        self.note(f"the large model failed and the small one wrote the rest: {error}")

    def on_close(self, release: Callable[[], None]) -> None:
        """Have `release` called when the request is over, however it ends; at once where it is.

        It may be called by a finaliser, in any thread and in the middle of anything, so it must not wait for a lock.
        """
        self._on_close.append(release)
        if self._closed:
            self._release()

    def _release(self) -> None:
        """Call what waits for the end, last come first; no lock, since each is taken by one `pop`."""
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
