"""Sessions of finished and running requests: whoever comes next starts from the one that knows most of its prompt."""

import threading
from collections.abc import Callable, Sequence
from operator import attrgetter

from glimp_core.local.batch_graph import forget_batch
from glimp_core.local.session import TAIL, KVSession

WORTH_COPYING = 16
"""A shared prefix of fewer tokens is read as quickly as it is copied."""


class SessionPool:
    """Keeps finished sessions, the longest unused ones dropped first, as long as their `size` is at most `most`.

    A session's size is its capacity in tokens, unless another is given.
    """

    def __init__(
        self, make: Callable[[], KVSession], most: int, size: Callable[[KVSession], int] = attrgetter("capacity")
    ):
        self._make = make
        self._most = most
        self._size = size
        self._free: list[KVSession] = []
        self._leased: list[KVSession] = []
        self._lock = threading.Lock()

    @property
    def free(self) -> tuple[KVSession, ...]:
        """The sessions that wait, the longest unused one first."""
        return tuple(self._free)

    @property
    def leased(self) -> tuple[KVSession, ...]:
        """The sessions in use."""
        return tuple(self._leased)

    def take(
        self, token_ids: Sequence[int], prompt: int | None = None, opening: Callable[[], int] = lambda: 0
    ) -> KVSession:
        """Return a session that knows as much of `token_ids` as any; called by the scheduler of the model's device.

        The first `prompt` of them are the request's prompt, all unless it is given; `opening` tells how many of those
        other requests are likely to share. A waiting session goes on where most of it is wanted. One that is in use,
        or of which less than half is wanted, keeps what it has: what can be used of it (a system prompt, a document)
        is copied.
        """
        with self._lock:
            held = [*self._free, *self._leased]
            known = {session: session.reusable(token_ids) for session in held}
            best = max(held, key=known.__getitem__, default=None)
            branch = max((shared for _, shared in known.values()), default=0)
            if best in self._free and 2 * known[best][1] >= max(1, len(best.token_ids)):
                self._free.remove(best)
            elif best is not None and known[best][0] >= WORTH_COPYING:
                best = best.fork(known[best][0])
            else:
                best = self._make()
            if best.keeps_states:
                end = len(token_ids) if prompt is None else prompt
                best.plan(token_ids[:end], [length for length in (branch, opening()) if length < end - TAIL])
            self._leased.append(best)
            return best

    def give_back(self, session: KVSession) -> None:
        """Take a session that is no longer in use."""
        with self._lock:
            session.rest()
            self._leased = [leased for leased in self._leased if leased is not session]
            self._free.append(session)
            if not self._leased:
                forget_batch(session.model)
            while sum(map(self._size, self._free)) > self._most:
                self._free.pop(0)

    def clear(self) -> None:
        """Drop all sessions that wait."""
        with self._lock:
            self._free.clear()
