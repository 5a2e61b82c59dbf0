"""One request inside one engine: its ids in this model's vocabulary, and the session that serves it."""

from collections import deque
from dataclasses import replace
from functools import cached_property

from glimp_core.chat.prompt.renderer import Renderer, TokenizedRequest
from glimp_core.context import Context
from glimp_core.local.drafting import PromptLookup
from glimp_core.local.meter import Meter
from glimp_core.local.pool import SessionPool
from glimp_core.local.scheduler import Task
from glimp_core.local.session import KVSession, common_prefix


class Conversation(TokenizedRequest):
    """A tokenized request with a lease on a session."""

    def __init__(self, context: Context, renderer: Renderer):
        super().__init__(context, renderer)
        self._read = False
        self._leased: deque[tuple[SessionPool, KVSession]] = deque(maxlen=1)
        self._lookup = PromptLookup()
        self._reading: Task | None = None
        self.meter = Meter()
        """The usage of prefills before a step; the next call that writes adds to it."""

    def newly_cached(self, shared: int) -> int:
        """Return how many tokens of the prompt the cache had at the first call, and 0 at later calls."""
        first, self._read = not self._read, True
        return min(shared, len(self.prompt.token_ids)) if first else 0

    @property
    def reads(self) -> bool:
        """Whether a prefill of the chain is running."""
        return self._reading is not None and not self._reading.ended

    def read_ahead(self, reading: Task) -> None:
        """Keep the task of a prefill, after the one before it has ended. Raises the error of that one."""
        self.finish_reading()
        self._reading = reading
        self._context.on_close(reading.close)

    def finish_reading(self) -> None:
        """Wait for the task of the prefill. Raises its error."""
        reading, self._reading = self._reading, None
        for _ in reading.results() if reading else ():
            pass

    def take_meter(self) -> Meter:
        """Return the meter of a call that writes."""
        meter, self.meter = self.meter, Meter()
        return meter

    def session(self, pool: SessionPool) -> KVSession:
        """Return the session of this request, leased from the pool until the context closes or `give_back`."""
        for _, session in tuple(self._leased):
            return session
        session = pool.take(self._token_ids, len(self.prompt.token_ids), lambda: self.opening)
        self._leased.append((pool, session))
        self._context.on_close(self.give_back)
        return session

    def give_back(self) -> None:
        """Return the session to its pool, if one is leased. The next task takes one again."""
        try:
            pool, session = self._leased.pop()
        except IndexError:  # none, or another thread has returned it
            return
        pool.give_back(session)

    def lookup(self, token_ids: list[int]) -> PromptLookup:
        """Return the lookup of this request's text, with all of these ids of its prompt and chain."""
        self._lookup.follow(token_ids[len(self._lookup) :])
        return self._lookup

    @cached_property
    def opening(self) -> int:
        """The number of prompt ids before the user's first message: the system message and the tools."""
        mine, request = self._context, self._context.request
        first = next((n for n, message in enumerate(request.messages) if message.get("role") == "user"), 0)
        if not first and not request.tools:
            return 0
        other = replace(request, messages=(*request.messages[:first], {"role": "user", "content": "~"}))
        context = Context(other, mine.reasoning, mine.cancelled, mine.reasoning_effort)
        context.thinking_wanted = mine.thinking_wanted
        return common_prefix(self._renderer.prompt(context).token_ids, self.prompt.token_ids)
