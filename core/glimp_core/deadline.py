"""A limit on the time that a request may take."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

from glimp_core.errors import Cancelled, EngineTimeoutError


@contextmanager
def deadline(seconds: float | None, cancelled: threading.Event) -> Iterator[None]:
    """Set `cancelled` after some seconds, and turn the `Cancelled` that follows into an `EngineTimeoutError`."""
    expired = threading.Event()
    over: SimpleQueue[None] = SimpleQueue()  # unlike a threading.Timer, it can be ended by a finaliser

    def expire() -> None:
        try:
            over.get(timeout=seconds)
        except Empty:
            expired.set()
            cancelled.set()

    if seconds is not None:
        threading.Thread(target=expire, name="glimp deadline", daemon=True).start()
    try:
        yield
    except Cancelled as error:
        if expired.is_set():
            raise EngineTimeoutError(
                f"the reply took longer than timeout={seconds!r} seconds: allow more, or lower max_reasoning_tokens"
            ) from error
        raise
    finally:
        over.put(None)
