"""The decode loop: one step or one answer, token by token, out of a session's logits."""

from collections.abc import Generator
from dataclasses import replace

import torch

from glimp_core.chat.output.processor import OutputProcessor
from glimp_core.entropy import TokenMeasure
from glimp_core.local.masking import masked
from glimp_core.local.meter import Meter
from glimp_core.local.owner import Job
from glimp_core.local.sampling import Sampler, measured
from glimp_core.local.session import Forward, KVSession


def write(
    job: Job, session: KVSession, sampler: Sampler, page: OutputProcessor, meter: Meter
) -> Generator[Forward, None, None]:
    """Draw and feed tokens until the page ends; puts a Chunk for every whole piece of text.

    The last token is left for the next sync to feed: whoever looks at what follows needs that forward
    anyway, so a glimpse after this model's own step costs none.
    """
    measure: TokenMeasure | None = None
    while True:
        assert session.logits is not None
        with meter.decoding():
            logits = session.logits[-1, : page.readable]
            drawn = _draw(sampler, logits, page)
            token_id = page.advance(_draw(sampler, logits, page) if page.refuses(drawn) else drawn)
            if page.measured:
                measure = (measure or TokenMeasure()) + measured(logits, token_id)
        for chunk in page.push(token_id):
            job.put(replace(chunk, usage=meter.usage(), measure=measure))
            measure = None
        if page.end:
            break
        forward = Forward(session, [token_id])
        yield forward
        meter.add(forward)


def _draw(sampler: Sampler, logits: torch.Tensor, page: OutputProcessor) -> int:
    mask = page.allowed()
    return sampler.draw(masked(logits, mask) if mask else logits)
