"""The usage of one engine call: forwards, tokens, seconds."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TypeVar

from glimp_core.local.session import Forward
from glimp_core.types import ModelUsage

T = TypeVar("T")


class Meter:
    """Counts the usage of one engine call. A forward of one token is decoding, a forward of several is prefill.

    `effort` is the seconds by a session's clock, in forwards and, by `clock`, with their logits.
    """

    def __init__(self, glimpses: int = 0, clock: Callable[[], float] = perf_counter) -> None:
        self.effort = 0.0
        self._clock = clock
        self.cached_tokens = 0
        self._glimpses = glimpses
        self._forwards = self._prefill_tokens = self._decode_tokens = 0
        self._drafted_tokens = self._accepted_tokens = 0
        self._prefill_seconds = self._decode_seconds = 0.0

    @property
    def fed(self) -> int:
        """How many tokens the forwards have read."""
        return self._prefill_tokens + self._decode_tokens

    def forwards(self, needed: Generator[Forward, None, T]) -> Generator[Forward, None, T]:
        """Yield forwards to the code that runs them, and count them."""
        try:
            while True:
                forward = next(needed)
                yield forward
                self.add(forward)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            needed.close()

    def add(self, forward: Forward) -> None:
        """Count one forward that was run."""
        self._forwards += 1
        self.effort += forward.effort
        if len(forward.token_ids) == 1:
            self._decode_tokens += 1
            self._decode_seconds += forward.seconds
        else:
            self._prefill_tokens += len(forward.token_ids)
            self._prefill_seconds += forward.seconds

    def verified(self, drafted: int, accepted: int) -> None:
        """Count drafted tokens, and the accepted ones."""
        self._drafted_tokens += drafted
        self._accepted_tokens += accepted

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """Count the time of work with logits. On a GPU this includes the wait for the forward."""
        started, began = perf_counter(), self._clock()
        yield
        self._decode_seconds += perf_counter() - started
        self.effort += self._clock() - began

    def usage(self) -> ModelUsage:
        """Return the counts so far."""
        return ModelUsage(
            forwards=self._forwards,
            glimpses=self._glimpses,
            cached_tokens=self.cached_tokens,
            prefill_tokens=self._prefill_tokens,
            decode_tokens=self._decode_tokens,
            drafted_tokens=self._drafted_tokens,
            accepted_tokens=self._accepted_tokens,
            prefill_seconds=self._prefill_seconds,
            decode_seconds=self._decode_seconds,
        )
