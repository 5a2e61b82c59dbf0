"""Sessions that wait for the next request: whoever comes takes the one that already holds most of its prompt."""

import threading
from collections.abc import Callable, Sequence

from glimp_core.local.session import KVSession, common_prefix


class SessionPool:
    """Keeps finished sessions, the longest unused ones dropped first, up to `max_cached_tokens` in all."""

    def __init__(self, make: Callable[[], KVSession], max_cached_tokens: int):
        self._make = make
        self._max_cached_tokens = max_cached_tokens
        self._free: list[KVSession] = []
        self._lock = threading.Lock()

    def take(self, token_ids: Sequence[int]) -> KVSession:
        """Return the free session that shares the longest prefix, or a new one.

        A session of which less than half would be kept stays for the conversation that it belongs to.
        """
        with self._lock:
            shared = {session: common_prefix(session.token_ids, token_ids) for session in self._free}
            best = max(self._free, key=shared.__getitem__, default=None)
            if best is None or 2 * shared[best] < max(1, len(best.token_ids)):
                return self._make()
            self._free.remove(best)
            return best

    def give_back(self, session: KVSession) -> None:
        """Take a session that is no longer in use."""
        with self._lock:
            session.logits = None  # they would save one forward of a chain that is asked for again, to the letter
            self._free.append(session)
            while sum(len(held.token_ids) for held in self._free) > self._max_cached_tokens:
                self._free.pop(0)

    def clear(self) -> None:
        """Drop all sessions that wait."""
        with self._lock:
            self._free.clear()
