"""The decode loop: it writes one step or one answer, token by token, from a session's logits."""

from collections.abc import Generator
from dataclasses import replace

import numpy as np
import torch

from glimp_core.chat.output.processor import OutputProcessor
from glimp_core.entropy import TokenMeasure
from glimp_core.local.meter import Meter
from glimp_core.local.sampling import Sampler, token_measure
from glimp_core.local.scheduler import Task
from glimp_core.local.session import Forward, KVSession
from glimp_core.local.verification import verify
from glimp_core.types import ModelUsage


def write(
    task: Task, session: KVSession, sampler: Sampler, output: OutputProcessor, meter: Meter
) -> Generator[Forward, None, None]:
    """Draw and feed tokens until the output ends, and put a Chunk for every complete piece of text.

    The last token is fed by the next sync, because a glimpse or a step after it needs that forward anyway. So a glimpse
    after this model's own step needs no extra forward.
    """
    writer = TokenWriter(task, sampler, output)
    while True:
        assert session.logits is not None
        with meter.decoding():
            token_id = writer.draw(session.logits[-1])
        writer.put(token_id, meter.usage())
        if output.end:
            break
        forward = Forward(session, [token_id])
        yield forward
        meter.add(forward)


class TokenWriter:
    """Draws tokens that the output processor allows, and puts the completed chunks into the results of a task."""

    def __init__(self, task: Task, sampler: Sampler, output: OutputProcessor):
        self._task = task
        self._sampler = sampler
        self._output = output
        self._measure: TokenMeasure | None = None

    def draw(
        self, logits: torch.Tensor, drafted: int | None = None, draft_distribution: torch.Tensor | None = None
    ) -> int:
        """Return the token to write, from logits [vocabulary]: the `drafted` one if it is accepted, else another."""
        output, logits = self._output, logits[: self._output.readable]
        if drafted is None:
            drawn = self._sampler.draw(self._masked(logits))
        else:
            drawn = verify(self._masked(logits), drafted, draft_distribution, self._sampler)
        if output.refuses(drawn):
            drawn = self._sampler.draw(self._masked(logits))
        token_id = output.advance(drawn)
        if output.logprobs:
            self._measure = (self._measure or TokenMeasure()) + token_measure(logits, token_id)
        return token_id

    def put(self, token_id: int, usage: ModelUsage, drafting: ModelUsage | None = None) -> None:
        """Write a token; `usage` and `drafting` are the usages of the two models so far."""
        for chunk in self._output.push(token_id):
            self._task.put(replace(chunk, usage=usage, drafting=drafting or ModelUsage(), measure=self._measure))
            self._measure = None

    def _masked(self, logits: torch.Tensor) -> torch.Tensor:
        mask = self._output.allowed()
        return masked(logits, mask) if mask else logits


def masked(logits: torch.Tensor, mask: bytes) -> torch.Tensor:
    """Return logits [vocabulary] with every token at -inf whose bit in `mask`, lowest bit first, is not set."""
    bits = np.unpackbits(np.frombuffer(mask, np.uint8), count=logits.shape[-1], bitorder="little")
    allowed = torch.from_numpy(bits).view(torch.bool).to(logits.device)
    return torch.where(allowed, logits, float("-inf"))
