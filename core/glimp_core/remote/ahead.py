"""A server reads a chain before it is its model's turn: a request for one token, for which nobody waits."""

from contextlib import suppress

from glimp_core.errors import Cancelled, EngineError
from glimp_core.remote.feed import Feed
from glimp_core.remote.meter import Meter
from glimp_core.remote.wire import Piece
from glimp_core.types import ModelUsage


class ReadAhead:
    """Such a request, under way."""

    def __init__(self, feed: Feed[Piece], meter: Meter):
        self._feed = feed
        self._meter = meter

    @property
    def running(self) -> bool:
        """Whether the server may still be reading."""
        return self._feed.running

    def end(self) -> ModelUsage:
        """Stop it, unless it is over, and return what it took. Why it failed the next request will meet, too."""
        if not self.running:
            with suppress(EngineError, Cancelled):
                for piece in self._feed:
                    self._meter.take(piece)
        self._feed.close()
        return self._meter.usage()
