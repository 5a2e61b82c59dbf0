"""Sessions of finished and running requests: a new request starts from the one that holds most of its prompt."""

from collections import deque
from collections.abc import Callable, Sequence
from operator import attrgetter

from glimp_core.forking import Lock, renewed_in_children
from glimp_core.local.batch_graph import forget_batch
from glimp_core.local.session import TAIL, KVSession

WORTH_COPYING = 16
"""A shared prefix of fewer tokens is read as quickly as it is copied."""


class SessionPool:
    """Keeps finished sessions, the longest unused ones dropped first, as long as their `size` is at most `most`.

    A session's size is its capacity in tokens, unless another is given. What is given back is put away by the device's
    scheduler between two turns, whom `wake` calls: in the middle of a turn a forward of it may still be ahead.
    """

    def __init__(
        self,
        make: Callable[[], KVSession],
        most: int,
        size: Callable[[KVSession], int] = attrgetter("capacity"),
        wake: Callable[[], None] = lambda: None,
    ):
        self._make = make
        self._most = most
        self._size = size
        self._free: list[KVSession] = []
        self._wake = wake
        self._lent: list[KVSession] = []
        self._returned: deque[KVSession] = deque()
        self._lock = Lock()
        renewed_in_children(self)

    @property
    def free(self) -> tuple[KVSession, ...]:
        """The sessions that wait, the longest unused one first."""
        return tuple(self._free)

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
            held = [*self._free, *self._lent]
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
            self._lent.append(best)
            return best

    @property
    def leased(self) -> tuple[KVSession, ...]:
        """The sessions in use."""
        returned = [*self._returned]
        return tuple(session for session in self._lent if not any(session is one for one in returned))

    @property
    def at_rest(self) -> bool:
        """Whether every session is put away."""
        return not self._lent

    def give_back(self, session: KVSession) -> None:
        """Take a session that is no longer in use; called by finalisers, too, so that no lock may be waited for."""
        self._returned.append(session)
        self._wake()

    def settle(self) -> None:
        """Put away what was given back; called by the scheduler of the model's device, between two turns."""
        if not self._returned:
            return
        with self._lock:
            for session in self._taken_back():
                session.rest()
                self._free.append(session)
            while sum(map(self._size, self._free)) > self._most:
                self._free.pop(0)

    def clear(self) -> None:
        """Drop all sessions that no request holds."""
        with self._lock:
            self._free.clear()
            self._taken_back()

    def renew(self) -> None:
        """Forget what runs in the parent process."""
        self._lent.clear()
        self._returned.clear()

    def _taken_back(self) -> list[KVSession]:
        taken = [self._returned.popleft() for _ in range(len(self._returned))]
        self._lent = [lent for lent in self._lent if not any(lent is one for one in taken)]
        if taken and not self._lent:
            forget_batch(taken[0].model)
        return taken
