"""Grammars over a vocabulary, compiled twice by llguidance: over the model's tokens, and over bytes to look ahead."""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, TimeoutError
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

from glimp_core.chat.grammar.json_state import JsonState
from glimp_core.chat.grammar.lark import Grammar, write_lark
from glimp_core.chat.grammar.shortest_completion import Budget, Hints, Path, never, shortest_completion
from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.errors import Cancelled, UnsupportedSchemaError
from glimp_core.forking import Lock

BYTES = 256
"""In the grammar over bytes, ids below this are bytes. Then follow the end of a reply, and the markers."""

CACHED = 256

SECONDS = 2.0
"""The longest time to compile one grammar, in seconds. llguidance limits its own part by the size of the grammar."""

MOST_TEXTS = 50
"""Of more kinds of string that meet in unions, only so many are tried where a value may follow several."""


_compilers: "WeakValueDictionary[tuple[object, ...], GrammarCompiler]" = WeakValueDictionary()


class GrammarCompiler:
    """The compiler of grammars over one model's tokens. Added tokens are markers: a grammar has to name them."""

    def __init__(self, vocabulary: Vocabulary, added: dict[str, int], stop_ids: Iterable[int]):
        self.vocabulary = vocabulary
        self.stop_ids = sorted(i for i in stop_ids if i < len(vocabulary.token_bytes))
        self._markers = [i for i in added.values() if i < len(vocabulary.token_bytes)]
        self._byte_ids = {token_id: BYTES + 1 + n for n, token_id in enumerate(self._markers)}
        self._token_ids = {byte_id: token_id for token_id, byte_id in self._byte_ids.items()}
        self._compiled: dict[Grammar, _Making] = {}
        self._lock = Lock()

    @classmethod
    def of(cls, vocabulary: Vocabulary, added: dict[str, int], stop_ids: Iterable[int]) -> "GrammarCompiler":
        """Return the compiler of a vocabulary. Models with an equal vocabulary share it and its grammars."""
        key = vocabulary.key, tuple(sorted(added.items())), tuple(sorted(stop_ids))
        if (compiler := _compilers.get(key)) is None:
            compiler = _compilers[key] = cls(vocabulary, added, stop_ids)
        return compiler

    def compile(self, grammar: Grammar, cancelled: Callable[[], bool] = never) -> "Compiled":
        """Return a compiled grammar. It is kept for the next request, and so is a failure.

        A thread waits only for a grammar that it needs itself and that another thread compiles. Raises
        `UnsupportedSchemaError` for a grammar that llguidance cannot enforce, for one without an end and for one that
        takes longer than `SECONDS`, and `Cancelled` if `cancelled` returns True.
        """
        while True:
            with self._lock:
                known = self._compiled.pop(grammar, None)
                mine = known is None or known.lost
                made = _Making() if known is None or known.lost else known
                self._compiled[grammar] = made  # the most recently used one is dropped last
                while len(self._compiled) > CACHED:
                    del self._compiled[next(iter(self._compiled))]
            if mine:
                return self._make(grammar, made, cancelled)
            if (compiled := _waited(made, cancelled)) is not None:
                return compiled

    def _make(self, grammar: Grammar, made: "_Making", cancelled: Callable[[], bool]) -> "Compiled":
        try:
            compiled = self._compile(grammar, Budget(SECONDS, cancelled))
        except BaseException as error:
            if not isinstance(error, UnsupportedSchemaError):  # threads that wait for it try again
                with self._lock:
                    self._compiled.pop(grammar, None)
            made.set_exception(error)
            raise
        made.set_result(compiled)
        return compiled

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return len(self.vocabulary.token_bytes)

    def as_bytes(self, token_id: int) -> list[int]:
        """Return what a token is in the byte-wise view."""
        if token_id in self._byte_ids:
            return [self._byte_ids[token_id]]
        return list(self.vocabulary.token_bytes[token_id] or b"")

    def markup_bytes(self, text: str) -> list[int]:
        """Return what a markup is in the byte-wise view."""
        parts = (
            list(part.encode()) if isinstance(part, str) else self.as_bytes(part)
            for part in self.vocabulary.split_markup(text)
        )
        return [byte for part in parts for byte in part]

    def spell(self, path: Sequence[int]) -> list[int]:
        """Return the tokens of a path of the byte-wise view."""
        token_ids: list[int] = []
        start = 0
        for at, byte_id in enumerate([*path, BYTES + 1]):
            if byte_id > BYTES:
                token_ids += self.tokens.tokenize_bytes(bytes(path[start:at])) if at > start else []
                token_ids += [self._token_ids[byte_id]] if at < len(path) else []
                start = at + 1
        return token_ids

    @cached_property
    def tokens(self) -> LLTokenizer:
        """The model's own tokens; takes half a second to build for a large vocabulary."""
        pieces = self.vocabulary.token_bytes
        special = {i for i, piece in enumerate(pieces) if piece is None} | set(self._byte_ids) | set(self.stop_ids)
        table = [b"<%d>" % i if i in special else piece or b"" for i, piece in enumerate(pieces)]
        return LLTokenizer(TokenizerWrapper(_Table(table, special, self.vocabulary)), eos_token=self.stop_ids)

    @cached_property
    def bytes(self) -> LLTokenizer:
        """One token a byte, and the markers."""
        table = [bytes([i]) for i in range(BYTES)] + [b"<%d>" % i for i in range(1 + len(self._markers))]
        return LLTokenizer(TokenizerWrapper(_Table(table, set(range(BYTES, len(table))), None)), eos_token=BYTES)

    def _compile(self, grammar: Grammar, budget: Budget) -> "Compiled":
        by_token = LLMatcher(self.tokens, write_lark(grammar.node, self.vocabulary.lark))
        budget.spend()
        by_byte = LLMatcher(self.bytes, write_lark(grammar.node, self._in_bytes))
        if error := by_token.get_error() or by_byte.get_error():
            raise UnsupportedSchemaError(f"the schema cannot be enforced: {_plain(error)}")
        hints = self._hints(grammar, budget)
        completion = self._short_alone(grammar, by_byte, budget)
        completion = completion or shortest_completion(by_byte, JsonState(), hints, budget)
        if completion is None:
            raise UnsupportedSchemaError("the schema cannot be enforced: no short value that follows it was found")
        return Compiled(by_token, by_byte, hints, completion)

    def _short_alone(self, grammar: Grammar, by_byte: LLMatcher, budget: Budget) -> Path | None:
        """Return the shortest reply of the first tool alone that has one; None where there is no such tool."""
        for part in map(Grammar, grammar.alone):
            matcher = LLMatcher(self.bytes, write_lark(part.node, self._in_bytes))
            hints = self._hints(part, budget)
            path = None if matcher.get_error() else shortest_completion(matcher, JsonState(), hints, budget)
            whole = by_byte.deep_copy()
            if path and whole.try_consume_tokens(list(path)) == len(path) and whole.is_accepting():
                return path
        return None

    def _hints(self, grammar: Grammar, budget: Budget) -> Hints:
        ends = tuple(tuple(self.markup_bytes(end)) for end in grammar.ends())
        return Hints(grammar.required(), tuple(self._shortest_texts(grammar, budget)), ends)

    def _shortest_texts(self, grammar: Grammar, budget: Budget) -> Iterator[Path]:
        for text in grammar.texts()[:MOST_TEXTS]:
            matcher = LLMatcher(self.bytes, write_lark(text, json.dumps))
            if path := shortest_completion(matcher, JsonState(), budget=budget):
                yield path[1:]

    def _in_bytes(self, text: str) -> str:
        """Write a markup in Lark for the byte-wise view, in which markers have ids of their own."""
        parts = self.vocabulary.split_markup(text)
        return " ".join(f"<[{self._byte_ids[p]}]>" if isinstance(p, int) else json.dumps(p) for p in parts)


class _Making(Future["Compiled"]):
    """A grammar that a thread of this process makes, or has made."""

    def __init__(self) -> None:
        super().__init__()
        self._process = os.getpid()

    @property
    def lost(self) -> bool:
        """Whether the thread that makes it stayed behind in a fork."""
        return not self.done() and self._process != os.getpid()


def _waited(made: "_Making", cancelled: Callable[[], bool]) -> "Compiled | None":
    """Wait for what another thread makes; None if that was cancelled."""
    while True:
        if cancelled():
            raise Cancelled("the request was cancelled")
        try:
            return made.result(timeout=0.05)
        except TimeoutError:
            continue
        except UnsupportedSchemaError:
            raise
        except Exception:
            return None


def _plain(error: str) -> str:
    """Return what llguidance says in one line, without the grammar that it says it of."""
    said = re.split(r"\n\s*\d+ \| ", error)[0]
    said = re.sub(r"^at \d+\(\d+\): (failed to compile JSON schema: )?", "", " ".join(said.split()))
    return said[:300]


@dataclass(frozen=True, slots=True)
class Compiled:
    """Matchers of a grammar at its start, to be copied, and the shortest reply that it allows."""

    by_token: LLMatcher
    by_byte: LLMatcher
    hints: Hints
    completion: Path


class _Table:
    """What llguidance wants to know of a tokenizer."""

    bos_token_id = None

    def __init__(self, tokens: list[bytes], special: set[int], vocabulary: Vocabulary | None):
        self.tokens = tokens
        self.special_token_ids = sorted(special)
        self.eos_token_id = self.special_token_ids[0]
        self._vocabulary = vocabulary

    def __call__(self, text: Any) -> list[int]:
        if self._vocabulary is None:
            return list(text)
        return self._vocabulary.encode(text.decode("utf-8", errors="replace"))


def accepts(grammar: Grammar, text: str) -> bool:
    """Tell whether a text follows a grammar, control tokens written out; False for what cannot be a grammar."""
    table = [bytes([i]) for i in range(BYTES)] + [b"<eos>"]
    tokens = LLTokenizer(TokenizerWrapper(_Table(table, {BYTES}, None)), eos_token=BYTES)
    matcher = LLMatcher(tokens, write_lark(grammar.node, json.dumps))
    if matcher.get_error():
        return False
    return bool(matcher.try_consume_tokens(list(text.encode())) == len(text.encode()) and matcher.is_accepting())
