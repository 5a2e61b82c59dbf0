"""What the tests of the remote engine share: one tokenizer, one script, and engines on scripted servers."""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import pytest

import tiny
from glimp_core import Completion, Delta, GlimpRouter, RandomRate, RouterConfig
from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.context import Context
from glimp_core.remote import RemoteEngine, RemoteGlimpser
from glimp_core.types import GenerationParams, Request, SamplingParams
from remote.scripts import Script, Served

TOKENS = tiny.tokenizer()
TABLE = Vocabulary(TOKENS)
STEPS = ("Two and two.\n\n", "So it is füür 😀.\n\n", "Check it.\n\n", "Four.\n")
ANSWER = "It is 4.\n\nReally."
TOP20 = RouterConfig(entropy="top20")
QUICK = {"timeout": 60.0, "retries": 3}


def script(
    steps: Sequence[str] = STEPS,
    answer: str = ANSWER,
    sure: Callable[[int], float] = lambda position: 0.9,
    tokens: Any = TOKENS,
) -> Script:
    """What a server says: some steps, the end of the thinking, an answer, the end."""
    table = Vocabulary(tokens)
    reply = [
        *(i for step in steps for i in table.encode(step)),
        table.markers["</think>"],
        *table.encode("\n\n" + answer),
        tokens.eos_token_id,
    ]
    return Script(table, reply, table.markers["<think>"], sure, len(table.token_bytes))


def glimpser(served: Served, **options: Any) -> RemoteGlimpser:
    """The small model at a server."""
    return RemoteGlimpser(served.url, "scripted", **{"tokenizer": TOKENS, **QUICK, **options})


def engine(served: Served, **options: Any) -> RemoteEngine:
    """The large model at a server."""
    return RemoteEngine(served.url, "scripted", **{"tokenizer": TOKENS, **QUICK, **options})


def pair(small: Served, large: Served, policy: Any = None, config: RouterConfig = TOP20, **options: Any) -> GlimpRouter:
    """A router on two servers."""
    return GlimpRouter(glimpser(small, **options), engine(large, **options), policy or RandomRate(0.5), config)


def run(router: GlimpRouter, **options: Any) -> tuple[Completion, list[int]]:
    """A reply, and its ids in the order they came."""
    events = list(router.stream("What is two and two?", **options))
    return Completion.fold(events), [i for event in events if isinstance(event, Delta) for i in event.token_ids]


def step(remote: RemoteEngine) -> str:
    """The first step, written by one engine."""
    params = GenerationParams("thinking", 100, sampling=SamplingParams(temperature=0))
    with Context(Request(({"role": "user", "content": "?"},))) as context:
        chunks = remote.generate(context, params)
        with closing(chunks):  # type: ignore[type-var]
            return "".join(chunk.text for chunk in chunks)


LIMITS = {"FIRST_WAIT": "server", "ASK_AFTER": "liveness", "ANSWER_WITHIN": "client", "LARGEST": "client"}
"""The seconds and sizes that no user sets, and the modules of remote/ they stand in."""


def limited(patch: pytest.MonkeyPatch, **limits: float) -> None:
    """Make limits small enough for a test to meet them."""
    for name, limit in limits.items():
        patch.setattr(f"glimp_core.remote.{LIMITS[name]}.{name}", limit)
