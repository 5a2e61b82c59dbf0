"""Answers that no server should give: each costs one clear error or nothing at all, never a hang or another error."""

import json
import random
import resource
import time
from collections import Counter
from functools import cache
from typing import Any

import pytest

import tiny
from glimp_core import GlimpError, GlimpRouter, RandomRate, RemoteEngineError
from glimp_core.local import LocalEngine
from glimp_core.remote.wire import CompletionChunk, ProtocolError, Reader
from remote.kit import TABLE, TOP20, engine, glimpser
from remote.mutations import KINDS, BrokenServer, broken

pytestmark = pytest.mark.usefixtures("no_pauses")

LONGEST_MESSAGE = 1500
PATIENCE = 30.0
"""Seconds that a reply may take beside whatever else runs here; its timeouts are a second each."""

LINE = {
    "choices": [{
        "index": 0, "text": "ab", "token_ids": TABLE.encode("ab"), "finish_reason": None, "stop_reason": None,
        "logprobs": {"tokens": ["token_id:5"], "top_logprobs": [{"token_id:5": -1.5, "token_id:7": -0.5}]},
    }],
    "usage": {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}},
}  # fmt: skip
CONTENT = {
    "choices": [{"text": "a", "logprobs": {"content": [{"id": 5, "top_logprobs": [{"id": 5, "logprob": -1.0}]}]}}]
}


def test_a_broken_line_is_read_or_refused() -> None:
    """Law: of 2,000 broken lines each is a chunk of the right types, or one of two errors with a short message."""
    reader, counts, longest = Reader(TABLE), Counter[str](), 0
    for seed in range(2000):
        draws = random.Random(seed)
        try:
            line = json.loads(broken(json.dumps(draws.choice([LINE, CONTENT])), draws))
        except (ValueError, RecursionError):
            continue
        try:
            piece = reader.read(line)
        except (ProtocolError, RemoteEngineError) as error:
            counts["refused"] += 1
            longest = max(longest, len(str(error)))
        else:
            counts["read"] += 1
            _check_types(piece)
    assert min(counts["refused"], counts["read"]) > 200, counts
    assert longest < LONGEST_MESSAGE


def _check_types(piece: CompletionChunk) -> None:
    assert all(type(i) is int and 0 <= i < len(TABLE.token_bytes) for i in piece.token_ids)
    assert isinstance(piece.text, str)
    assert isinstance(piece.finish, str | None)
    assert isinstance(piece.stop_reason, str | int | None)
    assert all(isinstance(count, int | None) for count in (piece.prompt_tokens, piece.cached_tokens))
    assert all(isinstance(key, int | str) and value <= 1 for key, value in piece.top)


def peak_memory() -> int:
    """The most bytes that this process has had, as Linux counts them."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@cache
def local() -> LocalEngine:
    """The small model beside a server that cannot glimpse."""
    return tiny.engine(seed=3)


def _answered(seed: int) -> str:
    """Make one request of a pair whose server breaks some of its answers; returns what became of it."""
    draws = random.Random(seed)
    kind, first, goes_on = draws.choice(KINDS), draws.randrange(draws.choice([4, 30, 120])), draws.random() < 0.5
    options: dict[str, Any] = {"timeout": 1.0, "retries": 1}
    started = time.monotonic()
    with BrokenServer(draws, first, goes_on, kind) as served:
        small = local() if kind == "text" else glimpser(served, **options)
        router = GlimpRouter(small, engine(served, **options), RandomRate(0.5), TOP20)
        try:
            router.generate("What is two and two?")
            told, message = "answered", ""
        except GlimpError as error:
            told, message = type(error).__name__, str(error)
    assert len(message) < LONGEST_MESSAGE, seed
    assert "\n" not in message, seed
    assert time.monotonic() - started < PATIENCE, seed
    return told


def test_a_broken_answer_costs_one_clear_error_at_most() -> None:
    """Law: whatever one server answers, the request ends soon, with a reply or with an error of Glimp's own."""
    counts = Counter(_answered(seed) for seed in range(6))
    assert 0 < counts["answered"] < 6


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_2000_broken_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """The same 2,000 times, and memory does not grow with what the servers send."""
    counts, before = Counter(_answered(seed) for seed in range(100)), peak_memory()
    counts += Counter(_answered(seed) for seed in range(100, 2000))
    with capsys.disabled():
        print(f"\n2000 broken answers: {dict(counts)}, {(peak_memory() - before) >> 20} MB more at the peak")
    assert counts["answered"] > 200
    assert peak_memory() - before < 2**29
