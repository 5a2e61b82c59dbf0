"""A limit on the time that a request may take."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from glimp_core.errors import Cancelled, EngineTimeoutError


@contextmanager
def deadline(seconds: float | None, cancelled: threading.Event) -> Iterator[None]:
    """Set `cancelled` after some seconds, and turn the `Cancelled` that follows into an `EngineTimeoutError`."""
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        cancelled.set()

    timer = threading.Timer(seconds or 0, expire)
    timer.daemon = True
    if seconds is not None:
        timer.start()
    try:
        yield
    except Cancelled as error:
        if expired.is_set():
            raise EngineTimeoutError(
                f"the reply took longer than timeout={seconds!r} seconds: allow more, or lower max_reasoning_tokens"
            ) from error
        raise
    finally:
        timer.cancel()
