"""Sessions of finished and running requests. A new request starts from the session with most of its prompt."""

from collections import deque
from collections.abc import Callable, Sequence
from operator import attrgetter

from glimp_core.errors import EngineError
from glimp_core.forking import Lock, renewed_in_children
from glimp_core.local.batch_graph import forget_batch
from glimp_core.local.session import TAIL, KVSession

WORTH_COPYING = 16
"""Reading a shared prefix of fewer tokens is as fast as copying it."""


class SessionPool:
    """Keeps finished sessions up to a total size of `most`. The least recently used sessions are dropped first.

    The `size` of a session is its capacity in tokens by default. The device's scheduler, which `wake` wakes, puts
    returned sessions into the pool between two turns, because during a turn a forward of the session may still run.
    With a `bound`, all sessions together, those in use included, take at most so many bytes.
    """

    def __init__(
        self,
        make: Callable[[], KVSession],
        most: int,
        size: Callable[[KVSession], int] = attrgetter("capacity"),
        wake: Callable[[], None] = lambda: None,
        bound: int | None = None,
    ):
        self._make = make
        self._most = most
        self._size = size
        self._bound = bound
        self._free: list[KVSession] = []
        self._wake = wake
        self._lent: list[KVSession] = []
        self._returned: deque[KVSession] = deque()
        self._lock = Lock()
        renewed_in_children(self)

    @property
    def free(self) -> tuple[KVSession, ...]:
        """The unused sessions, the least recently used first."""
        return tuple(self._free)

    def take(
        self, token_ids: Sequence[int], prompt: int | None = None, opening: Callable[[], int] = lambda: 0
    ) -> KVSession:
        """Return the session with the longest prefix of `token_ids`. The scheduler of the model's device calls this.

        The first `prompt` of them are the request's prompt (all by default). `opening` is how many of those other
        requests probably share. An unused session is reused if most of it is needed. If a session is in use, or if
        less than half of it is needed, the useful part of it (a system prompt, a document) is copied.
        """
        with self._lock:
            held = [*self._free, *self._lent]
            known = {session: session.reusable(token_ids) for session in held}
            best = max(held, key=known.__getitem__, default=None)
            branch = max((shared for _, shared in known.values()), default=0)
            if best in self._free and 2 * known[best][1] >= max(1, len(best.token_ids)):
                self._free.remove(best)
            elif best is not None and known[best][0] >= WORTH_COPYING and self._fits(best.bytes):
                best = best.fork(known[best][0])
            else:
                best = self._make()
            if self._bound is not None:
                best.owner = self
            if best.keeps_states:
                end = len(token_ids) if prompt is None else prompt
                best.plan(token_ids[:end], [length for length in (branch, opening()) if length < end - TAIL])
            self._lent.append(best)
            return best

    def claim(self, session: KVSession, tokens: int) -> None:
        """Make room for so many more tokens in a session in use: sessions that wait are dropped for it.

        Raises `EngineError` if those in use leave no room.
        """
        assert self._bound is not None
        with self._lock:
            wanted = session.bytes_after(tokens)
            others = sum(max(other.bytes, other.claimed) for other in self._lent if other is not session)
            while self._free and others + wanted + sum(waiting.bytes for waiting in self._free) > self._bound:
                self._free.pop(0)
            session.claimed = wanted if others + wanted <= self._bound else 0
        if others + wanted > self._bound:
            raise EngineError(
                f"max_memory_bytes leaves {self._bound:,} bytes for caches: {len(session.token_ids) + tokens} tokens "
                f"of this request take {wanted:,}, and other requests that run hold {others:,}. Raise it, or lower "
                "max_batch, the prompt's length or max_tokens"
            )

    def _fits(self, more: int) -> bool:
        held = sum(max(one.bytes, one.claimed) for one in (*self._free, *self._lent))
        return self._bound is None or more + held <= self._bound

    @property
    def leased(self) -> tuple[KVSession, ...]:
        """The sessions in use."""
        returned = [*self._returned]
        return tuple(session for session in self._lent if not any(session is one for one in returned))

    @property
    def at_rest(self) -> bool:
        """Whether no session is in use, and all that were returned are in the pool."""
        with self._lock:  # `settle` empties the one list before it fills the other
            return not self._lent

    def give_back(self, session: KVSession) -> None:
        """Give back a session that is no longer used. Finalisers call this too, so it must not wait for a lock."""
        self._returned.append(session)
        self._wake()

    def settle(self) -> None:
        """Put returned sessions into the pool. The scheduler of the model's device calls this between two turns."""
        if not self._returned:
            return
        with self._lock:
            for session in self._taken_back():
                session.rest()
                self._free.append(session)
            while sum(map(self._size, self._free)) > self._most:
                self._free.pop(0)

    def clear(self) -> None:
        """Drop all unused sessions."""
        with self._lock:
            self._free.clear()
            self._taken_back()

    def renew(self) -> None:
        """Forget the sessions in use by the parent process."""
        self._lent.clear()
        self._returned.clear()

    def _taken_back(self) -> list[KVSession]:
        taken = [self._returned.popleft() for _ in range(len(self._returned))]
        self._lent = [lent for lent in self._lent if not any(lent is one for one in taken)]
        if taken and not self._lent:
            forget_batch(taken[0].model)
        return taken
