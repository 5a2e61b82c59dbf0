"""The shortest completion of a reply that a grammar constrains, found by a search over bytes."""

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from time import thread_time
from typing import Any, NamedTuple, TypeAlias

from llguidance import LLMatcher

from glimp_core.chat.grammar.json_state import ESCAPE, STRING, STRUCTURE, JsonState
from glimp_core.errors import Cancelled, UnsupportedSchemaError

MAX_STATES = 5_000
"""The number of states after which a search gives up."""

FREE = 100
"""A state that allows more bytes than this is inside free text."""

Path: TypeAlias = tuple[int, ...]
"""Bytes, and marks from 257 on."""


class Hints(NamedTuple):
    """Hints for the search in a grammar.

    `names` are the property names that its objects require. `texts` are strings, without their opening quote, to try if
    a value may follow one of several rules: a rule for free text allows every byte, and hides the other rules. `ends`
    are the markup that ends raw text.
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
        """Raise `UnsupportedSchemaError` after the time limit, and `Cancelled` if the request is cancelled."""
        if self._cancelled():
            raise Cancelled("the request was cancelled")
        if thread_time() > self._end:
            raise UnsupportedSchemaError(
                f"the schema takes longer than {self._seconds:g} s to make a grammar of: make it smaller, or loosen "
                "its patterns and counts"
            )


def shortest_completion(
    matcher: LLMatcher, json_state: JsonState, hints: Hints = _NO_HINTS, budget: Budget | None = None
) -> Path | None:
    """Return the shortest bytes that complete the reply; None if there are none, or none were found.

    An object that cannot be closed lacks a required name. So other names are tried only if required names lead to no
    end.
    """
    if hints.names and (path := _search(matcher, json_state, hints, budget)) is not None:
        return path
    return _search(matcher, json_state, hints._replace(names=frozenset()), budget)


def advanced(state: JsonState, path: Iterable[int], hints: Hints = _NO_HINTS) -> JsonState:
    """Return the state at the end of a path."""
    for byte in path:
        state = state.after(byte, hints.ends)
    return state


def _search(matcher: LLMatcher, json_state: JsonState, hints: Hints, budget: Budget | None) -> Path | None:
    """Dijkstra's search over the states of a matcher over bytes.

    Two states are different if they allow other next bytes, or have another JSON state. The length of the string that
    is being written counts only while the string cannot end.
    """
    order = count()
    heap: list[Any] = [(0, next(order), matcher, json_state, None)]
    seen: set[Any] = set()
    while heap and len(seen) < MAX_STATES:
        if budget:
            budget.spend()
        cost, _, state, json_state, link = heapq.heappop(heap)
        if state.is_accepting():
            return _unlinked(link)
        # if the grammar allows only one continuation, it returns all of it, and no state between is needed
        moves: Iterable[Path] = (tuple(state.compute_ff_tokens()),)
        if moves == ((),):
            allowed = int.from_bytes(state.compute_bitmask(), "little")
            # matchers have no identity: two states that allow the same bytes at the same place count as one
            if (key := _signature(allowed, json_state, hints)) in seen:
                continue
            seen.add(key)
            moves = _moves(allowed, json_state, hints)
        # whether a move of this state has ended the text that is written as it is
        left = False
        for move in moves:
            if left and move not in hints.ends:
                break  # the text can end here, so it need not become longer
            after = state.deep_copy()
            if after.try_consume_tokens(list(move)) == len(move):
                left = left or (len(move) > 1 and bool(hints.ends) and not _is_raw(after))
                reached = advanced(json_state, move, hints)
                heapq.heappush(heap, (cost + len(move), next(order), after, reached, (link, move)))
    return None


def _signature(allowed: int, json_state: JsonState, hints: Hints) -> tuple[int, JsonState]:
    # the written part of an end marker matters only inside text that this marker closes
    raw = hints.ends and allowed >> _NEWLINE & 1 and allowed.bit_count() > FREE
    tail = tuple(_begun(json_state.tail, end) for end in hints.ends) if raw else ()
    # while a string is too short to end, states of different lengths must not be merged
    ends = (
        allowed >> _QUOTE & 1 if json_state.mode == STRING else json_state.mode == STRUCTURE and allowed & _AFTER_VALUE
    )
    return allowed, json_state._replace(tail=tail, length=0 if ends else json_state.length)


def _is_raw(state: LLMatcher) -> bool:
    allowed = int.from_bytes(state.compute_bitmask(), "little")
    return bool(allowed >> _NEWLINE & 1) and allowed.bit_count() > FREE


def _moves(allowed: int, json_state: JsonState, hints: Hints) -> Iterator[Path]:
    """Return the bytes to try: all if few are allowed; in free text its end, or one filler byte."""
    ends = json_state.mode == STRING and allowed >> _QUOTE & 1
    if hints.ends and allowed >> _NEWLINE & 1 and allowed.bit_count() > FREE:  # JSON strings have no line breaks
        yield from (end[_begun(json_state.tail, end) :] for end in hints.ends)
    if json_state.mode == STRING and json_state.length == 0 and json_state.key is None:
        yield from hints.texts
    if allowed.bit_count() > FREE:
        # free text: its end if it may end, else one filler byte; the choice of the filler changes nothing after it
        in_string = allowed >> _QUOTE & 1 and not allowed >> _NEWLINE & 1 and bool(hints.ends)
        yield (
            (_QUOTE,)
            if ends or in_string
            else (next((byte for byte in _FILLERS if allowed >> byte & 1), _first(allowed)),)
        )
        return
    if json_state.mode >= ESCAPE or (allowed & _ASCII == 0 and allowed.bit_count() > 16):
        yield (_first(allowed),)  # the rest of an escape or of a character that has begun
        return
    if json_state.mode == STRUCTURE and json_state.stack:
        # an open container: close it if this is allowed, or write a value, or blank space if nothing else is allowed
        allowed = allowed & _CLOSE or allowed & ~_SPACE or allowed
    elif ends and json_state.key is not None and hints.names and json_state.key not in hints.names:
        # a name that no object requires does not help to reach the end, so it is not ended here
        allowed &= ~(1 << _QUOTE)
    while allowed:
        yield (_first(allowed),)
        allowed &= allowed - 1


def _begun(tail: Path, end: Path) -> int:
    """Return how many characters of an end marker are written."""
    return next(n for n in range(min(len(end) - 1, len(tail)), -1, -1) if n == 0 or tail[-n:] == end[:n])


def _first(bits: int) -> int:
    return (bits & -bits).bit_length() - 1


def _unlinked(link: Any) -> Path:
    moves: list[Path] = []
    while link:
        link, move = link
        moves.append(move)
    return tuple(byte for move in reversed(moves) for byte in move)
