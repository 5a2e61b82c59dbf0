"""SpeculativeEngine: an Engine made of two. It writes what the target would write, in fewer of its forwards."""

from collections.abc import Generator, Iterator
from dataclasses import replace

import torch

from glimp_core.chat.output.processor import OutputProcessor
from glimp_core.context import Context
from glimp_core.local.drafting import Bridge, Drafter
from glimp_core.local.engine import LocalEngine
from glimp_core.local.masking import masked
from glimp_core.local.meter import Meter
from glimp_core.local.owner import Job
from glimp_core.local.pacing import Pace
from glimp_core.local.session import Forward
from glimp_core.local.verification import verify
from glimp_core.types import Chunk, GenerationParams, Prompt

STEADY = 8
"""How many tokens are drafted at most where that must not hang on how fast the machine is: with a seed."""


class SpeculativeEngine:
    """The target's words, drafted by another model: identical when greedy in float32, of the same law when sampled.

    The drafting model proposes while it is sure; one forward of the target reads what is new and verifies.
    Goes on without drafts, and says so in the summary, where a cache cannot be rolled back or drafting loses time.
    """

    def __init__(self, target: LocalEngine, draft: LocalEngine):
        self.target = target
        self.draft = draft
        self._pace = Pace.of(target, draft)

    def __repr__(self) -> str:
        return f"SpeculativeEngine(target={self.target.name!r}, draft={self.draft.name!r})"

    @property
    def name(self) -> str:
        """The target's name."""
        return self.target.name

    @property
    def vocabulary(self) -> str:
        """The target's vocabulary."""
        return self.target.vocabulary

    @property
    def window(self) -> int:
        """The smaller window of the two."""
        return min(self.target.window, self.draft.window)

    def load(self) -> None:
        """Load both models."""
        self.target.load()
        self.draft.load()

    def prepare(self, context: Context) -> Prompt:
        """Render the request for the target."""
        return self.target.prepare(context)

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        """Continue the context as the target would."""
        self.load()
        if reason := self._unfit():
            context.remark(reason)
            yield from self.target.generate(context, params)
        else:
            yield from self.target.run(context, lambda job: self._write(job, context, params))

    def _unfit(self) -> str | None:
        for engine in (self.target, self.draft):
            if engine.cache_use.rollback != "crop":
                return f"not drafted: the cache of {engine.name!r} cannot take rejected tokens back"
        if self.target.device != self.draft.device:
            return f"not drafted: the models are on {self.target.device} and {self.draft.device}, not on one device"
        return None

    def _write(self, job: Job, context: Context, params: GenerationParams) -> Generator[Forward, None, None]:
        session, token_ids = self.target.chain(context)
        drafting, drafting_ids = self.draft.chain(context)
        sampler, page = self.target.sampler(params), self.target.page(context, params, self.window - len(token_ids))
        bridge = Bridge(self.draft.table, self.target.table)
        drafter = Drafter(drafting, drafting_ids, bridge, sampler, self.target.stop_ids)
        meter, pace = Meter(), self._pace
        steady = params.sampling.seed is not None
        while not page.end:
            length = STEADY if steady else pace.limit(context)
            limit = (
                0 if page.constrained else min(length, page.left - 1)
            )  # each token of a grammar has a mask of its own
            before = meter.seconds + drafter.meter.seconds
            draft = yield from drafter.propose(limit, params.stepwise)
            wanted = token_ids + draft.token_ids
            shared = yield from meter.forwards(session.sync(wanted, keep=len(draft.token_ids) + 1))
            meter.cached_tokens += self.target.conversation(context).newly_cached(shared)
            assert session.logits is not None
            with meter.decoding():
                logits, mask = session.logits[:, : page.readable], page.allowed()
                logits = torch.cat([masked(logits[0], mask)[None], logits[1:]]) if mask else logits
                kept, accepted = verify(draft.token_ids, draft.laws, logits, sampler)
            meter.verified(len(draft.token_ids), accepted)
            kept = self._put(job, page, kept, meter, drafter)
            token_ids += kept
            drafter.follow(kept)
            pace.note(length, len(draft.token_ids), len(kept), meter.seconds + drafter.meter.seconds - before)

    def _put(self, job: Job, page: OutputProcessor, kept: list[int], meter: Meter, drafter: Drafter) -> list[int]:
        """Write verified tokens; returns those written, up to the end of the page or to where a mask sets in."""
        written: list[int] = []
        for token_id in kept:
            if page.refuses(token_id):
                break
            written.append(page.advance(token_id))
            for chunk in page.push(written[-1]):
                job.put(replace(chunk, usage=meter.usage(), drafting=drafter.meter.usage()))
            if page.end or page.constrained:
                break
        return written
