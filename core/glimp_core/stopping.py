"""Stop strings over a stream of text: found across the borders of tokens, never emitted."""

from collections.abc import Sequence


class StopMatcher:
    """Holds text back while it may still become a stop string, and cuts at the first one to be complete.

    >>> matcher = StopMatcher(["END"])
    >>> [matcher.push(text) for text in ("a E", "NO", " EN", "D b")], matcher.matched
    (['a ', 'ENO', ' ', ''], 'END')
    """

    def __init__(self, stop: Sequence[str]):
        self._stop = tuple(stop)
        self._held = ""
        self.matched: str | None = None

    def push(self, text: str) -> str:
        """Take the next text and return what may go out now."""
        self._held += text
        found = [(at + len(stop), at, stop) for stop in self._stop if (at := self._held.find(stop)) >= 0]
        if found:
            _, at, self.matched = min(found)
            return self._release(at, drop=True)
        return self._release(len(self._held) - self._pending())

    def flush(self) -> str:
        """Return what was held back, at the end of the text."""
        return self._release(len(self._held))

    def _pending(self) -> int:
        """Length of the longest tail that begins some stop string."""
        lengths = (n for stop in self._stop for n in range(len(stop) - 1, 0, -1) if self._held.endswith(stop[:n]))
        return max(lengths, default=0)

    def _release(self, count: int, drop: bool = False) -> str:
        out, rest = self._held[:count], self._held[count:]
        self._held = "" if drop else rest
        return out
