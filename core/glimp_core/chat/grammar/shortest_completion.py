"""The shortest way to end a reply that a grammar binds, found by looking ahead byte by byte."""

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from time import thread_time
from typing import Any, NamedTuple, TypeAlias

from llguidance import LLMatcher

from glimp_core.chat.grammar.json_state import ESCAPE, STRING, STRUCTURE, JsonState
from glimp_core.errors import Cancelled, UnsupportedSchemaError

MAX_STATES = 5_000
"""How many states a search may look at before it gives up."""

FREE = 100
"""A state that allows more bytes than this is in the middle of free text."""

Path: TypeAlias = tuple[int, ...]
"""Bytes, and marks from 257 on."""


class Hints(NamedTuple):
    """What helps to search in a grammar.

    `names` are those that any of its objects requires; `texts` are strings, without their opening quote, worth
    trying where a value may follow one of several rules: free text hides what it could have been instead. `ends` are
    what ends text that is written as it is.
    """

    names: frozenset[bytes] = frozenset()
    texts: tuple[Path, ...] = ()
    ends: tuple[Path, ...] = ()


_NO_HINTS = Hints()
_QUOTE, _NEWLINE = 0x22, 0x0A
_FILLERS = b"a0 A-"


def _bits(ids: Iterable[int]) -> int:
    return sum(1 << i for i in ids)


_SPACE, _CLOSE = _bits(b" \t\r\n"), _bits(b"]}")
_ASCII = (1 << 128) - 1
_AFTER_VALUE = _SPACE | _CLOSE | _bits(b",<") | 1 << 256


def never() -> bool:
    """Say that nothing is cancelled."""
    return False


class Budget:
    """The time that something may take of a thread that others may hold up."""

    def __init__(self, seconds: float, cancelled: Callable[[], bool] = never):
        self._seconds, self._cancelled = seconds, cancelled
        self._end = thread_time() + seconds

    def spend(self) -> None:
        """Raise `UnsupportedSchemaError` where the time is over, `Cancelled` where the request is."""
        if self._cancelled():
            raise Cancelled("the request was cancelled")
        if thread_time() > self._end:
            raise UnsupportedSchemaError(
                f"the schema takes longer than {self._seconds:g} s to make a grammar of: make it smaller, or loosen "
                "its patterns and counts"
            )


def shortest_completion(
    matcher: LLMatcher, outline: JsonState, hints: Hints = _NO_HINTS, budget: Budget | None = None
) -> Path | None:
    """Return the fewest bytes that end the reply whole; None where there is no end, or none was found.

    An object that cannot be closed yet lacks a required name, so that other names are tried only where that leads
    nowhere.
    """
    if hints.names and (path := _search(matcher, outline, hints, budget)) is not None:
        return path
    return _search(matcher, outline, hints._replace(names=frozenset()), budget)


def advanced(state: JsonState, path: Iterable[int], hints: Hints = _NO_HINTS) -> JsonState:
    """Return the state at the end of a path."""
    for byte in path:
        state = state.after(byte, hints.ends)
    return state


def _search(matcher: LLMatcher, outline: JsonState, hints: Hints, budget: Budget | None) -> Path | None:
    """Dijkstra's search over the states of a byte-wise matcher.

    States are told apart by what they allow next and by their outline; the length of what is being written
    counts only while it cannot end yet.
    """
    order = count()
    heap: list[Any] = [(0, next(order), matcher, outline, None)]
    seen: set[Any] = set()
    while heap and len(seen) < MAX_STATES:
        if budget:
            budget.spend()
        cost, _, state, outline, link = heapq.heappop(heap)
        if state.is_accepting():
            return _unlinked(link)
        # where the grammar leaves no choice it tells all that follows at once: no state to look at in between
        moves: Iterable[Path] = (tuple(state.compute_ff_tokens()),)
        if moves == ((),):
            allowed = int.from_bytes(state.compute_bitmask(), "little")
            # a matcher shows no identity of its states: two that allow the same at the same place are taken for one
            if (key := _signature(allowed, outline, hints)) in seen:
                continue
            seen.add(key)
            moves = _moves(allowed, outline, hints)
        # whether a move of this state has ended the text that is written as it is
        left = False
        for move in moves:
            if left and move not in hints.ends:
                break  # the text can end here, so that it need not grow
            after = state.deep_copy()
            if after.try_consume_tokens(list(move)) == len(move):
                left = left or (len(move) > 1 and bool(hints.ends) and not _is_raw(after))
                reached = advanced(outline, move, hints)
                heapq.heappush(heap, (cost + len(move), next(order), after, reached, (link, move)))
    return None


def _signature(allowed: int, outline: JsonState, hints: Hints) -> tuple[int, JsonState]:
    # how much of an end is written tells states apart only inside text that such an end closes
    raw = hints.ends and allowed >> _NEWLINE & 1 and allowed.bit_count() > FREE
    tail = tuple(_begun(outline.tail, end) for end in hints.ends) if raw else ()
    # while a string is too short to end, its length is the progress that must not be merged away
    ends = allowed >> _QUOTE & 1 if outline.mode == STRING else outline.mode == STRUCTURE and allowed & _AFTER_VALUE
    return allowed, outline._replace(tail=tail, length=0 if ends else outline.length)


def _is_raw(state: LLMatcher) -> bool:
    allowed = int.from_bytes(state.compute_bitmask(), "little")
    return bool(allowed >> _NEWLINE & 1) and allowed.bit_count() > FREE


def _moves(allowed: int, outline: JsonState, hints: Hints) -> Iterator[Path]:
    """The bytes worth trying: all where few are allowed; in free text its end, or a filler."""
    ends = outline.mode == STRING and allowed >> _QUOTE & 1
    if hints.ends and allowed >> _NEWLINE & 1 and allowed.bit_count() > FREE:  # JSON strings have no line breaks
        yield from (end[_begun(outline.tail, end) :] for end in hints.ends)
    if outline.mode == STRING and outline.length == 0 and outline.key is None:
        yield from hints.texts
    if allowed.bit_count() > FREE:
        # free text: its end if it may end, else one filler; which filler makes no difference to what follows
        in_string = allowed >> _QUOTE & 1 and not allowed >> _NEWLINE & 1 and bool(hints.ends)
        yield (
            (_QUOTE,)
            if ends or in_string
            else (next((byte for byte in _FILLERS if allowed >> byte & 1), _first(allowed)),)
        )
        return
    if outline.mode >= ESCAPE or (allowed & _ASCII == 0 and allowed.bit_count() > 16):
        yield (_first(allowed),)  # the rest of an escape, or of a character, that the model has begun
        return
    if outline.mode == STRUCTURE and outline.stack:
        # an open container: close it if that is allowed, or write something, and blanks only if nothing else is
        allowed = allowed & _CLOSE or allowed & ~_SPACE or allowed
    elif ends and outline.key is not None and hints.names and outline.key not in hints.names:
        # a name that no object requires brings the end no nearer: let it not end here
        allowed &= ~(1 << _QUOTE)
    while allowed:
        yield (_first(allowed),)
        allowed &= allowed - 1


def _begun(tail: Path, end: Path) -> int:
    """Count how much of an end has been written already."""
    return next(n for n in range(min(len(end) - 1, len(tail)), -1, -1) if n == 0 or tail[-n:] == end[:n])


def _first(bits: int) -> int:
    return (bits & -bits).bit_length() - 1


def _unlinked(link: Any) -> Path:
    moves: list[Path] = []
    while link:
        link, move = link
        moves.append(move)
    return tuple(byte for move in reversed(moves) for byte in move)
