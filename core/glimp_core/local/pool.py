"""Sessions of finished and running requests: whoever comes next starts from the one that knows most of its prompt."""

import threading
from collections.abc import Callable, Sequence

from glimp_core.local.batch_graph import forget_batch
from glimp_core.local.session import KVSession, common_prefix

WORTH_COPYING = 16
"""A shared prefix of fewer tokens is read as quickly as it is copied."""


class SessionPool:
    """Keeps finished sessions, the longest unused ones dropped first, up to room for `max_cached_tokens`."""

    def __init__(self, make: Callable[[], KVSession], max_cached_tokens: int):
        self._make = make
        self._max_cached_tokens = max_cached_tokens
        self._free: list[KVSession] = []
        self._leased: list[KVSession] = []
        self._lock = threading.Lock()

    def take(self, token_ids: Sequence[int]) -> KVSession:
        """Return a session that knows as much of `token_ids` as any; called by the owner of the model's device.

        A waiting session goes on where most of it is wanted. One that is in use, or of which less than half is
        wanted, keeps what it has: the shared prefix (a system prompt, a document) is copied out of it.
        """
        with self._lock:
            held = [*self._free, *self._leased]
            shared = {session: common_prefix(session.token_ids, token_ids) for session in held}
            best = max(held, key=shared.__getitem__, default=None)
            if best in self._free and 2 * shared[best] >= max(1, len(best.token_ids)):
                self._free.remove(best)
            elif best is not None and shared[best] >= WORTH_COPYING:
                best = best.fork(shared[best])
            else:
                best = self._make()
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
            while sum(held.capacity for held in self._free) > self._max_cached_tokens:
                self._free.pop(0)

    def clear(self) -> None:
        """Drop all sessions that wait."""
        with self._lock:
            self._free.clear()
