"""Where a reasoning step ends, decided on bytes.

A step ends with the first token whose bytes complete a paragraph break after some visible byte of the
step. The break may lie inside a token or between two, and the whole token belongs to the step.
"""

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
