"""What a scripted server is told to say, how it goes wrong, and what it has seen."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from glimp_core.chat.tokens.vocabulary import Vocabulary


@dataclass(frozen=True)
class Trouble:
    """What goes wrong with one request. `at` is a byte of the stream's body, or the number of a line.

    `kind`: "status" (`status`, `retry_after`), "reset" or "eof" or "stall" at a byte, "garbage", "half" (a line of
    broken UTF-8), "error" (an error in the stream) or "abort" at a line, "no_done", "delay" (`seconds`), "refuse"
    (the connection is reset before an answer), "html". "leave" at a byte is what vLLM does on SIGTERM: it takes no new
    connections, and its streams stay open and silent; after `seconds`, if any, it takes connections again. "pause" is
    a silence of `seconds` at a byte, "freeze" one of the whole server, which answers nothing else either. After
    "vanish" at a byte its host is gone: streams are silent, and no connection comes about.
    """

    kind: str
    at: int = 0
    status: int = 500
    retry_after: str = ""
    seconds: float = 0.0


@dataclass
class Script:
    """What the served model says: `reply` after its think tag as ids, and how sure it is of the token at a position."""

    vocabulary: Vocabulary
    reply: list[int]
    open_id: int
    sure: Callable[[int], float] = lambda position: 0.9
    size: int = 280

    def rest(self, prompt: Sequence[int]) -> tuple[int, list[int]]:
        """Return the position that a prompt has come to, and what follows."""
        if self.open_id not in prompt:  # not a chain: a question of the probe, to be answered with numbers
            return 0, self.vocabulary.encode(" 8, 9, 10, 11, 12, 13, 14, 15")
        opened = len(prompt) - 1 - list(reversed(prompt)).index(self.open_id)
        written = list(prompt[opened + 2 :])  # the tag and a newline
        assert written == self.reply[: len(written)], f"{self.vocabulary.decode(written)!r} is not of the script"
        return len(written), self.reply[len(written) :]

    def __post_init__(self) -> None:
        self.distribution = lru_cache(maxsize=None)(self._distribution)

    def _distribution(self, position: int, token_id: int, temperature: float = 1.0) -> list[tuple[int, float]]:
        """Return all log-probabilities at a position, likeliest first."""
        p = self.sure(position)
        others = [i for i in range(self.size) if i != token_id]
        weights = [0.8**n for n in range(len(others))]
        raw = [(token_id, math.log(p))] + [
            (i, math.log((1 - p) * w / sum(weights))) for i, w in zip(others, weights, strict=True)
        ]
        heated = [(i, lp / temperature) for i, lp in raw]
        total = math.log(sum(math.exp(lp) for _, lp in heated))
        return sorted(((i, lp - total) for i, lp in heated), key=lambda entry: -entry[1])


@dataclass
class Served:
    """What was asked of a server, and what became of it."""

    url: str
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """The requests for completions, without those of the probe."""
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    probes: int = 0
    connections: int = 0
    running: int = 0
    closed_by_client: int = 0
    written: int = 0
    seconds: float = 0.0
    """The time the server itself took for completions, from the request's last byte to the reply's last one."""
    troubles: list[Trouble | None] = field(default_factory=list[Any])
    """What goes wrong with the next requests, first to last."""
