"""SpeculativeEngine: an engine made of two. It has the output of the target, with fewer forwards of the target."""

from collections.abc import Generator, Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING

import torch

from glimp_core.context import Context
from glimp_core.local.draft_length import SEEN, DraftLengthController, Place
from glimp_core.local.drafting import Bridge, Draft, Drafter, ends_draft
from glimp_core.local.forward import ModelForward
from glimp_core.local.meter import Meter
from glimp_core.local.scheduler import Task
from glimp_core.local.session import Forward
from glimp_core.local.writer import TokenWriter
from glimp_core.types import Chunk, GenerationParams, Prompt

if TYPE_CHECKING:  # a target makes its own SpeculativeEngine
    from glimp_core.local.local_engine import LocalEngine

STEADY, SURE = 8, 0.4
"""With a seed drafts must not depend on the speed of the machine: at most `STEADY` tokens are drafted. Drafting goes
on while the drafting model gives its token at least the probability `SURE`."""

TOO_SHORT = "not drafted: what was written was too short to pay for drafts, or for a trial of them"

COMPARED = 32
"""When the drafting model reads text that was written without it, this many tokens are compared with its own."""


class SpeculativeEngine:
    """The target's output with drafts of another model: equal tokens if greedy in float32, else the same distribution.

    Text that repeats an earlier passage is drafted from there; else the drafting model proposes. One forward of the
    target reads the new tokens and verifies them one by one, also inside a grammar. If a cache cannot remove tokens, or
    if drafting takes more time than it saves, the engine continues without the drafting model, and the summary reports
    it. `lengths` decides how many tokens are drafted; by default all requests of the two models share one. With a seed
    nothing depends on time.
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
        self.lengths.small.share = _parameters(self.draft) / _parameters(self.target)
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


def _parameters(engine: "LocalEngine") -> int:
    model, _ = engine.loaded
    return ModelForward.of(model).parameters


def _unfit(engine: "LocalEngine") -> str | None:
    """Return why drafts cannot be used with a model's cache."""
    use = engine.cache_use
    if use.rollback == "refill":
        return f"not drafted: the cache of {engine.name!r} cannot take rejected tokens back"
    if not use.several:
        return f"not drafted: {engine.name!r} reads one token at a time"
    return None


class SpeculativeCall:
    """One call of a speculative engine: the target's session and output, and the drafter.

    Without a `drafter` only looked-up drafts are used.
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
        self._meter = Meter(clock=self._session.clock)
        self._lengths = engine.lengths
        self._lookup = self._conversation.lookup(self._token_ids)
        self._stop_ids, self._table = target.stop_ids, target.table
        self._context, self._params = context, params
        self._steady = params.sampling.seed is not None
        self._drafter = self._drafting(engine.draft) if drafted else None
        self._kind = (self._conversation.requirements.bound and params.phase != "thinking", params.stepwise)
        self._written = 0

    def run(self) -> Generator[Forward, None, None]:
        """Draft, verify and write until the output ends."""
        while not self._output.end:
            place, before = self._place(), self._effort
            found = self._looked_up()
            draft = found.cut(self._lookup_length(found, place.unread))
            asked = not draft and self._drafter is not None and self._asks(place)
            if asked:
                found, draft = yield from self._propose(place)
            kept = yield from self._verify(draft)
            self._note_chances(found, kept)
            if not self._steady:
                self._lengths.record(place, asked, len(kept), self._effort - before)
        self._lengths.ended(self._kind, self._written)
        if self._drafter and not self._steady:
            self._say_why()

    def _say_why(self) -> None:
        why = self._lengths.why(self._kind)
        if why or not self._meter.usage().drafted_tokens:
            self._context.note(why or TOO_SHORT)

    def _drafting(self, engine: "LocalEngine") -> Drafter:
        session, token_ids = engine.chain(self._context)
        return Drafter(session, token_ids, Bridge(engine.table, self._table), self._sampler, self._stop_ids)

    @property
    def _effort(self) -> float:
        return self._meter.effort + (self._drafter.meter.effort if self._drafter else 0.0)

    @property
    def _room(self) -> int:
        """How many tokens may be drafted: the target writes one of its own besides."""
        return self._output.left - 1

    def _place(self) -> Place:
        unread = max(1, len(self._token_ids) - self._session.reusable(self._token_ids)[0])
        return Place(unread, self._drafter.unread if self._drafter else 0, self._written, self._output.left, self._kind)

    def _looked_up(self) -> Draft:
        if self._steady and self._lookup.rests():
            return Draft(source="lookup")
        found = self._lookup.propose(self._room)
        ends = (ends_draft(self._table, self._stop_ids, i, self._params.stepwise) for i in found.token_ids)
        return found.cut(next((number + 1 for number, end in enumerate(ends) if end), len(found)))

    def _lookup_length(self, found: Draft, unread: int) -> int:
        return len(found) if self._steady else self._lengths.lookup_length(found.sure, unread)

    def _asks(self, place: Place) -> bool:
        assert self._drafter is not None
        if not self._drafter.ready or self._room < 1:
            return False
        return self._steady or self._lengths.asks(place)

    def _propose(self, place: Place) -> Generator[Forward, None, tuple[Draft, Draft]]:
        """Have the drafting model read what it lacks, and draft; returns its draft, and what of it is to be verified.

        Nothing is drafted if what it would have drafted until here says that it would not pay.
        """
        drafter, lengths = self._drafter, self._lengths
        assert drafter is not None
        costs = lengths.small
        if self._steady:
            yield from drafter.read(costs)
            draft = yield from drafter.propose(
                min(STEADY, self._room), self._params.stepwise, lambda sure: sure[-1] >= SURE, costs
            )
            unsure = len(draft) > 1 and draft.sure[-1] < SURE
            return draft, draft.cut(len(draft) - unsure)
        yield from drafter.read(costs, COMPARED if place.unread_by_small > SEEN else 0)
        if drafter.compared[0]:
            lengths.compare(self._kind, *drafter.compared)
            if not lengths.pays(self._kind):
                return Draft(), Draft()
        draft = yield from drafter.propose(self._room, self._params.stepwise, lengths.goes_on, costs)
        return draft, draft.cut(lengths.verified_length(draft.sure, place.unread))

    def _verify(self, draft: Draft) -> Generator[Forward, None, list[int]]:
        """Let the target read the new tokens together with a draft, and write the accepted tokens and one more."""
        fed, seconds = self._meter.fed, self._meter.effort
        sync = self._session.sync(self._token_ids + draft.token_ids, keep=len(draft) + 1)
        shared = yield from self._meter.forwards(sync)
        self._meter.cached_tokens += self._conversation.newly_cached(shared)
        assert self._session.logits is not None
        kept = self._write(self._session.logits, draft)
        if self._meter.fed > fed:
            self._lengths.large.add(self._meter.fed - fed, self._meter.effort - seconds)
        self._token_ids += kept
        self._written += len(kept)
        self._lookup.follow(kept)
        if self._drafter:
            self._drafter.follow(kept)
        if self._steady and draft.source == "lookup":
            self._lookup.record(len(draft), len(kept) - 1)
        return kept

    def _note_chances(self, proposed: Draft, kept: list[int]) -> None:
        """Have it counted which of the proposed tokens stand, be they verified or written without it."""
        chances = self._lengths.looked_up if proposed.source == "lookup" else self._lengths.drafted
        for sure, token_id, written in zip(proposed.sure, proposed.token_ids, kept, strict=False):
            chances.add(sure, token_id == written)
            if token_id != written:
                break

    def _write(self, logits: torch.Tensor, draft: Draft) -> list[int]:
        """Write the accepted drafted tokens and one more, and return them.

        This is done row by row, because a grammar's next mask, or an end, is known only after the token before is
        written. `logits` are [drafted + 1, vocabulary].
        """
        kept: list[int] = []
        self._meter.verified(len(draft), 0)
        for row, drafted, distribution in zip_longest(logits, draft.token_ids, draft.distributions):
            with self._meter.decoding():
                token_id = self._writer.draw(row, drafted, distribution)
            kept.append(token_id)
            self._meter.verified(0, int(token_id == drafted))
            self._writer.put(token_id, self._meter.usage(), self._drafter.meter.usage() if self._drafter else None)
            if token_id != drafted or self._output.end:
                break
        return kept
