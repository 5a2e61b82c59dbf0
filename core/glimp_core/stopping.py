"""Where a reasoning step ends, decided on bytes, and where a reply ends, at a stop string.

A step ends with the first token whose bytes complete a paragraph break after some visible byte of the
step. The break may lie inside a token or between two, and the whole token belongs to the step. Stop strings are found
across the borders of tokens and never emitted.
"""

from collections import deque
from collections.abc import Sequence

BREAK = b"\n\n"


class StepBoundary:
    r"""Finds the end of one step; O(1) a token. Make a new one for each step.

    >>> boundary = StepBoundary()
    >>> [boundary.push(piece) for piece in (b"\n\n", b"Add 2", b".\n", b"\n")]
    [False, False, False, True]
    """

    def __init__(self) -> None:
        self._visible = False
        self._after_newline = False

    def push(self, piece: bytes) -> bool:
        """Take the bytes of the next token; True when they complete the step."""
        if not piece:
            return False
        broken = BREAK in piece or (self._after_newline and piece.startswith(b"\n"))
        ended = broken and (self._visible or self._visible_before_break(piece))
        self._visible = self._visible or bool(piece.strip())
        self._after_newline = piece.endswith(b"\n")
        return ended

    @staticmethod
    def _visible_before_break(piece: bytes) -> bool:
        return bool(piece[: piece.rfind(BREAK)].strip()) if BREAK in piece else False


def in_circles(texts: Sequence[str]) -> bool:
    """Tell whether the last steps repeat: A A, or A B A B.

    >>> in_circles(["a", "b", "a", "b"]), in_circles(["a", "a"]), in_circles(["a", "b", "a"])
    (True, True, False)
    """
    tail = [text.strip() for text in texts[-4:]]
    return (len(tail) > 1 and tail[-2] == tail[-1]) or (len(tail) == 4 and tail[:2] == tail[2:])


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
