"""Scripted engines and pairs for tests of the logic; no torch."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from glimp_core import GlimpRouter, ModelUsage, Request, RouterConfig
from glimp_core.context import Context, Span
from glimp_core.policy import Policy
from glimp_core.testing import Reply, ScriptedEngine
from glimp_core.types import Chunk, GenerationParams, StepEnd

STEPS = ("Two and two.\n\n", "So it is four.\n\n", "Check it.\n\n", "Four.</think>")
ENTROPIES = (0.1, 2.0, 0.5, 1.5)


def scripted_router(
    steps: Sequence[str] = STEPS,
    entropies: Sequence[float] = ENTROPIES,
    answer: Reply | Callable[[Request], Reply] = "It is 4.",
    policy: Policy | None = None,
    config: RouterConfig | None = None,
    **options: Any,
) -> GlimpRouter:
    """A router whose two models follow one script."""
    small = ScriptedEngine(steps, answer, entropies, name="scripted-small", **options)
    large = ScriptedEngine(steps, answer, name="scripted-large", **options)
    return GlimpRouter(small, large, policy, config)


class ChunkEngine(ScriptedEngine):
    """Writes given chunks: one list of (text, end) a call, in turn; a piece of text is one token."""

    def __init__(self, *calls: Sequence[tuple[str, StepEnd | None]], **options: Any):
        super().__init__(**options)
        self.calls = calls
        self.written = 0
        self.closed = 0

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        """Write the chunks of the call that the chain has come to."""
        index = sum(isinstance(link, Span) for link in context.spans)
        try:
            for number, (text, end) in enumerate(self.calls[index], 1):
                self.written += 1
                yield Chunk(text, (number,), ModelUsage(forwards=number, decode_tokens=number), end)
        finally:
            self.closed += 1


def pieces(text: str, end: StepEnd, size: int = 1) -> list[tuple[str, StepEnd | None]]:
    """Cut a text into the chunks of one call, `size` characters each, the end apart."""
    return [(text[at : at + size], None) for at in range(0, len(text), size)] + [("", end)]


def commands_make(patch: pytest.MonkeyPatch, make: Callable[..., GlimpRouter]) -> None:
    """Have the commands, which know their pair by its names only, make it in this way."""
    patch.setattr(GlimpRouter, "from_pretrained", make)
