"""Stop strings over a stream of text: found across the borders of tokens, never emitted."""

from collections import deque
from collections.abc import Sequence


class StopMatcher:
    """Holds text back while it may still become a stop string, and cuts at the first one to be complete.

    Each character costs the same, however many stop strings there are and however long they are (Aho and Corasick's
    automaton: a node for each beginning of a stop string).

    >>> matcher = StopMatcher(["END"])
    >>> [matcher.push(text) for text in ("a E", "NO", " EN", "D b")], matcher.matched
    (['a ', 'ENO', ' ', ''], 'END')
    """

    def __init__(self, stop: Sequence[str]):
        self._stop = tuple(stop)
        self._next: dict[tuple[int, str], int] = {}
        self._depth = [0]
        self._ends: list[str | None] = [None]
        for text in self._stop:
            self._add(text)
        self._shorter = self._shorter_beginnings()
        self._node = 0
        self._held = ""
        self.matched: str | None = None

    def push(self, text: str) -> str:
        """Take the next text and return what may go out now."""
        if not self._stop:
            return text
        before = len(self._held)
        self._held += text
        for at, character in enumerate(text, before + 1):
            self._node = self._step(self._node, character)
            if (found := self._ends[self._node]) is not None:
                self.matched = found
                return self._release(at - len(found), drop=True)
        return self._release(len(self._held) - self._depth[self._node])

    def flush(self) -> str:
        """Return what was held back, at the end of the text."""
        return self._release(len(self._held))

    def _add(self, text: str) -> None:
        node = 0
        for depth, character in enumerate(text, 1):
            child = self._next.get((node, character))
            if child is None:
                child = self._next[node, character] = len(self._depth)
                self._depth.append(depth)
                self._ends.append(None)
            node = child
        self._ends[node] = text

    def _shorter_beginnings(self) -> list[int]:
        """Return for every node the longest other beginning that its text ends with, shallow nodes first."""
        shorter = [0] * len(self._depth)
        children: list[list[tuple[str, int]]] = [[] for _ in self._depth]
        for (node, character), child in self._next.items():
            children[node].append((character, child))
        nodes = deque(child for _, child in children[0])
        self._shorter = shorter
        while nodes:
            node = nodes.popleft()
            # a stop string that is whole within another's beginning has been found by the time it ends
            self._ends[node] = self._ends[node] or self._ends[shorter[node]]
            for character, child in children[node]:
                shorter[child] = self._step(shorter[node], character)
                nodes.append(child)
        return shorter

    def _step(self, node: int, character: str) -> int:
        while (child := self._next.get((node, character))) is None and node:
            node = self._shorter[node]
        return child or 0

    def _release(self, count: int, drop: bool = False) -> str:
        out, rest = self._held[:count], self._held[count:]
        self._held = "" if drop else rest
        if drop or not rest:
            self._node = 0
        return out
