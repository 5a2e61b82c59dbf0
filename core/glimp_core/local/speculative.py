"""SpeculativeEngine: an Engine made of two. It writes what the target would write, in fewer of its forwards."""

from collections.abc import Generator, Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING

import torch

from glimp_core.context import Context
from glimp_core.local.draft_length import DraftLengthController
from glimp_core.local.drafting import Bridge, Draft, Drafter, ends_draft
from glimp_core.local.meter import Meter
from glimp_core.local.scheduler import Task
from glimp_core.local.session import Forward
from glimp_core.local.writer import TokenWriter
from glimp_core.types import Chunk, GenerationParams, Prompt

if TYPE_CHECKING:  # a target makes its own SpeculativeEngine
    from glimp_core.local.local_engine import LocalEngine

STEADY = 8
"""How many tokens are drafted at most where that must not hang on how fast the machine is: with a seed."""


class SpeculativeEngine:
    """The target's words, drafted by another model: identical when greedy in float32, equally distributed when sampled.

    What repeats an earlier passage is drafted from there; else the drafting model proposes while it is sure. One
    forward of the target reads what is new and verifies it, token by token, within a grammar too. Goes on without the
    drafting model, and says so in the summary, if a cache cannot take tokens back or drafting loses time. `lengths`
    decides how much is drafted; all requests of the two models share one, unless it is given.
    """

    def __init__(self, target: "LocalEngine", draft: "LocalEngine", lengths: DraftLengthController | None = None):
        self.target = target
        self.draft = draft
        self.lengths = lengths or DraftLengthController.of(target, draft)

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
        self.target.make_grammars(context, params)
        if reason := _unfit(self.target):
            context.note(reason)
            yield from self.target.generate(context, params)
            return
        apart = self.target.device != self.draft.device
        elsewhere = f"not drafted: the models are on {self.target.device} and {self.draft.device}, not on one device"
        reason = elsewhere if apart else _unfit(self.draft)
        if reason:
            context.note(reason)
        yield from self.target.run(
            context, lambda task: SpeculativeCall(self, task, context, params, drafted=not reason).run()
        )


def _unfit(engine: "LocalEngine") -> str | None:
    """Return why a model's cache does not go with drafts."""
    use = engine.cache_use
    if use.rollback == "refill":
        return f"not drafted: the cache of {engine.name!r} cannot take rejected tokens back"
    if not use.several:
        return f"not drafted: {engine.name!r} reads one token at a time"
    return None


class SpeculativeCall:
    """One call of a speculative engine: the target's session and output, and who drafts.

    Without a `drafter` there are looked-up drafts alone.
    """

    def __init__(
        self, engine: SpeculativeEngine, task: Task, context: Context, params: GenerationParams, drafted: bool
    ):
        target = engine.target
        self._conversation = target.conversation(context)
        self._session, self._token_ids = target.chain(context)
        self._sampler = target.sampler(params)
        self._output = target.output_processor(context, params, target.window - len(self._token_ids))
        self._writer = TokenWriter(task, self._sampler, self._output)
        self._meter = Meter()
        self._lengths = engine.lengths
        self._lookup = self._conversation.lookup(self._token_ids)
        self._stop_ids, self._table = target.stop_ids, target.table
        self._context, self._params = context, params
        self._steady = params.sampling.seed is not None
        self._drafter = self._drafting(engine.draft) if drafted else None

    def run(self) -> Generator[Forward, None, None]:
        """Draft, verify and write until the output ends."""
        while not self._output.end:
            before = self._seconds
            limit = self._limit()
            draft = yield from self._propose(limit)
            wanted = self._token_ids + draft.token_ids
            sync = self._session.sync(wanted, keep=len(draft.token_ids) + 1)
            shared = yield from self._meter.forwards(sync)
            self._meter.cached_tokens += self._conversation.newly_cached(shared)
            assert self._session.logits is not None
            kept = self._write(self._session.logits, draft)
            self._token_ids += kept
            self._lookup.follow(kept)
            if self._drafter:
                self._drafter.follow(kept)
            self._record(limit, draft, kept, self._seconds - before)

    def _drafting(self, engine: "LocalEngine") -> Drafter:
        session, token_ids = engine.chain(self._context)
        return Drafter(session, token_ids, Bridge(engine.table, self._table), self._sampler, self._stop_ids)

    @property
    def _seconds(self) -> float:
        return self._meter.seconds + (self._drafter.meter.seconds if self._drafter else 0.0)

    def _limit(self) -> int:
        """Return how many tokens the drafting model may propose."""
        if not self._drafter:
            return 0
        return STEADY if self._steady else self._lengths.limit(self._context)

    def _propose(self, limit: int) -> Generator[Forward, None, Draft]:
        room = self._output.left - 1  # the target writes a token of its own besides
        if self._steady or self._lengths.looks_up():
            found = self._lookup.propose(room)
            ends = (ends_draft(self._table, self._stop_ids, i, self._params.stepwise) for i in found.token_ids)
            length = next((number + 1 for number, end in enumerate(ends) if end), len(found.token_ids))
            if length:
                return Draft(found.token_ids[:length], found.distributions[:length], "lookup")
        if not self._drafter:
            return Draft()
        return (yield from self._drafter.propose(min(limit, room), self._params.stepwise))

    def _write(self, logits: torch.Tensor, draft: Draft) -> list[int]:
        """Write tokens while the drafted ones stand, and one more; returns them.

        Row by row, since a grammar's next mask, or an end, is known once the token before is written. `logits` are
        [drafted + 1, vocabulary].
        """
        kept: list[int] = []
        self._meter.verified(len(draft.token_ids), 0)
        for row, drafted, distribution in zip_longest(logits, draft.token_ids, draft.distributions):
            with self._meter.decoding():
                token_id = self._writer.draw(row, drafted, distribution)
            kept.append(token_id)
            self._meter.verified(0, int(token_id == drafted))
            self._writer.put(token_id, self._meter.usage(), self._drafter.meter.usage() if self._drafter else None)
            if token_id != drafted or self._output.end:
                break
        return kept

    def _record(self, limit: int, draft: Draft, kept: list[int], seconds: float) -> None:
        if draft.source == "lookup":
            self._lookup.record(len(draft.token_ids), len(kept) - 1)
            self._lengths.record_lookup(len(kept), seconds)
        else:
            self._lengths.record(limit, len(draft.token_ids), len(kept), seconds)
