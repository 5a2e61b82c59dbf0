"""One model's KV cache and the token ids it holds. `sync` is the only method that changes what a session holds."""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from glimp_core.local.cache import (
    GrowLayer,
    RollbackKind,
    Snapshot,
    WindowLayer,
    grown_bytes,
    make_cache,
    own_states,
    rollback_kind,
    state_bytes,
)
from glimp_core.local.cache_growth import CacheGrowth, CacheOwner
from glimp_core.local.forward import ModelForward, clock_of, positions_after
from glimp_core.local.graph import WARM_UP, DecodeGraph, can_record, decode_graph

CHUNK, CPU_CHUNK = 512, 256
"""The chunk size of a long prefill in tokens. A chunk takes seconds on a CPU; other requests run between two chunks."""

SNAPSHOTS = 4
"""The number of kept states of a cache that cannot be cropped."""

TAIL = 16
"""A state is kept this many tokens before the end of a prompt: the template's last tokens ask for a reply, and are not
in the next turn's prompt."""

READ_ANEW = 32
"""If a model can read only single tokens after a state, and more than one in this many is new, all are read again."""

REPLAY = 16
"""Accepted tokens are read again with the next draft, until they are this many; then they are read for good."""

STATE_ONLY = 65_536
"""This many bytes of state count as a token, for a model without attention, whose tokens take no memory."""


@dataclass(frozen=True, slots=True)
class CacheUse:
    """How sessions use a model's cache: how it is shortened, and whether it reads several tokens at once after a state.

    `notes` say what is not used and why, for the summary of each request.
    """

    rollback: RollbackKind
    several: bool = True
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Forward:
    """A forward that a session needs: the `token_ids` to feed, and the number `keep` of last positions with logits."""

    session: "KVSession"
    token_ids: Sequence[int]
    keep: int = 1
    seconds: float = 0.0
    effort: float = 0.0
    """The seconds by the session's `clock`."""
    done: bool = False
    alone: bool = False
    """Whether it must run alone."""

    def part(self, start: int, tokens: int) -> "Forward":
        """Return a part of this forward with some tokens from `start` on. The last part returns the logits."""
        return Forward(
            self.session,
            self.token_ids[start : start + tokens],
            self.keep if start + tokens >= len(self.token_ids) else 1,
            alone=self.alone,
        )

    def run(self) -> None:
        """Run the forward, and measure its seconds."""
        started, began = perf_counter(), self.session.clock()
        self.session.read_back()
        self.session.feed(self.token_ids, self.keep)
        self.seconds, self.done = perf_counter() - started, True
        self.effort = self.session.clock() - began

    def run_in_halves(self) -> None:
        """Run it again after a failure, with half of the tokens at a time if the cache allows that."""
        started, session = perf_counter(), self.session
        session.read_back()
        half = min(len(self.token_ids) // 2, len(self.token_ids) - self.keep) if session.takes_parts else 0
        if half > 0:
            session.feed(self.token_ids[:half])
        session.feed(self.token_ids[max(half, 0) :], self.keep)
        self.seconds, self.done = perf_counter() - started, True
        self.effort = self.seconds


class KVSession:
    """Holds the keys and values of `token_ids`, and float32 `logits` [keep, vocabulary] of the last forward."""

    def __init__(self, model: PreTrainedModel, use: CacheUse | None = None):
        self.model = model
        self.cache = self._empty(model)
        self.token_ids: list[int] = []
        self._held_before: list[int] = []
        """The ids that it held before a failed forward, until they are read again."""
        self.logits: torch.Tensor | None = None
        self._use = use or CacheUse(rollback_kind(model))
        self._snapshots: list[Snapshot] = []
        self._checkpoint: Snapshot | None = None
        self._marks: set[int] = set()
        self.clock = clock_of(model.device)
        self.owner: CacheOwner | None = None
        """Who is asked before the cache grows."""
        self.claimed = 0
        """The bytes that it may take until it rests: a forward that is about to run takes them later."""
        self._graph: DecodeGraph | None = None
        self._decoded = 0
        self._forward = ModelForward.of(model)

    def sync(self, token_ids: Sequence[int], keep: int = 1) -> Generator[Forward, None, int]:
        """Make the cache hold exactly `token_ids`. Returns how many of them it already held.

        Yields the forwards it needs, and none if the wanted logits are kept. The caller runs each of them before it
        requests the next one: alone, or together with those of other sessions.
        """
        self._held_before = []
        shared = common_prefix(self.token_ids, token_ids)
        if shared == len(self.token_ids) == len(token_ids) and self.logits is not None and keep <= len(self.logits):
            self.logits = self.logits[-keep:]
            return shared
        # logits come only from forwards, so the last `keep` tokens are fed again even if the cache holds them
        self.trim(max(0, min(shared, len(token_ids) - keep)))
        if not self._use.several and READ_ANEW * (len(token_ids) - len(self.token_ids)) > len(token_ids):
            self._reset()
        shared = len(self.token_ids)
        # a state can be kept only between two forwards, so a chunk ends at each place where one is wanted
        for mark in sorted(mark for mark in self._marks if shared < mark <= len(token_ids) - keep):
            yield from self._read(token_ids[:mark])
            self.keep_state()
        self._marks = {mark for mark in self._marks if mark > len(token_ids)}
        if keep > 1:  # a draft: some of its tokens may be removed again
            if self.rollback == "snapshot" and len(token_ids) - keep - len(self.token_ids) >= REPLAY:
                yield from self._read(token_ids[:-keep])
            self.checkpoint()
        yield from self._read(token_ids, keep)
        return shared

    def _read(self, token_ids: Sequence[int], keep: int = 1) -> Generator[Forward, None, None]:
        rest = token_ids[len(self.token_ids) :]
        while (size := self._chunk(len(rest), keep)) < len(rest):
            yield Forward(self, rest[:size])
            rest = rest[size:]
        yield Forward(self, rest, keep)

    def plan(self, prompt: Sequence[int], branches: Iterable[int]) -> None:
        """Expect that a later request has this prompt: all of it, or the part up to one of the `branches` (lengths).

        While the prompt is read, a cache that cannot be cropped keeps its state at these places.
        """
        worth = self._use.several or len(prompt) >= READ_ANEW * TAIL  # else it reads single tokens after a state
        if self.keeps_states and worth:
            held = {saved.length for saved in self._snapshots}
            self._marks = {mark for mark in (len(prompt) - TAIL, *branches) if mark >= TAIL} - held

    def reusable(self, token_ids: Sequence[int]) -> tuple[int, int]:
        """Return how many of these ids need not be read again, and the length of the common prefix."""
        shared = common_prefix(self.token_ids, token_ids)
        # tokens after the session's end need no crop, with any cache
        if self._cuts_to(shared) or shared == len(self.token_ids) < len(token_ids):
            return shared, shared
        most = min(shared, len(token_ids) - 1)
        return max((saved.length for saved in self._snapshots if saved.length <= most), default=0), shared

    def checkpoint(self) -> None:
        """Expect that the next tokens are removed again: keep the current state of a cache that cannot be cropped."""
        held = len(self.token_ids)
        if self.rollback == "snapshot" and held and (self._checkpoint is None or self._checkpoint.length != held):
            self._checkpoint = Snapshot(self.cache, held)

    @property
    def takes_parts(self) -> bool:
        """Whether a prompt may be read in several chunks."""
        return self._use.several

    @property
    def rollback(self) -> RollbackKind:
        """How the cache is shortened."""
        return self._use.rollback

    def _chunk(self, wanted: int, keep: int) -> int:
        """Return how many of the `wanted` tokens the next forward takes; the last forward must give `keep` logits."""
        if not self._use.several:  # correct only from an empty cache, and then for any length
            return 1 if self.token_ids else wanted
        chunk = CPU_CHUNK if self.model.device.type == "cpu" else CHUNK
        return chunk if wanted > chunk + keep else wanted

    def keep_state(self) -> None:
        """Keep the current state of a cache that cannot be cropped."""
        if not self.keeps_states:
            return
        kept = [*self._snapshots, Snapshot(self.cache, len(self.token_ids))]
        if len(kept) > SNAPSHOTS:  # drop the one that saves the fewest tokens over the one before it, not the newest
            lengths = [0, *(saved.length for saved in kept)]
            del kept[min(range(len(kept) - 1), key=lambda number: lengths[number + 1] - lengths[number])]
        self._snapshots = kept

    def feed(self, token_ids: Sequence[int], keep: int = 1) -> None:
        """Run one forward over new tokens."""
        if self._graph and self.recorded and len(token_ids) == 1:
            self.took(token_ids, self._graph.decode(token_ids))
            return
        fed = torch.tensor([list(token_ids)], device=self.model.device)
        positions = positions_after(len(self.token_ids), token_ids, fed.device)
        try:
            logits = self._forward(fed, positions, self.cache, keep)
        except BaseException:
            self.repair()
            raise
        self.took(token_ids, logits[0].float())
        if len(token_ids) == 1 and self.keeps_all:
            self._record(token_ids[0])

    def _record(self, token_id: int) -> None:
        """Decode with a CUDA graph from now on, if one can be made and if enough tokens were decoded to pay for it."""
        # a plain forward although there is a graph: the buffers have grown, and the graph is of the old ones
        self._decoded = 0 if self._graph else self._decoded + 1
        self._graph = None
        if self._decoded < WARM_UP or not can_record(self.model):
            return
        assert self.logits is not None
        self._graph, self._decoded = decode_graph(self.model, [self.cache.layers], self.logits, [token_id]), 0
        if self._graph is None:
            self.feed_again()

    def feed_again(self) -> None:
        """Run the forward of the last token again: a failed graph may have left wrong values in the cache."""
        token_id = self.token_ids[-1]
        self.trim(len(self.token_ids) - 1)
        self.feed([token_id])

    @property
    def room(self) -> int:
        """The number of tokens that still fit into the buffers."""
        grown = [layer for layer in self.cache.layers if isinstance(layer, GrowLayer) and layer.buffers]
        return min((layer.capacity - layer.length for layer in grown), default=0)

    @property
    def capacity(self) -> int:
        """The number of tokens that memory is allocated for. A kept state counts as the tokens with the same memory."""
        grown = [layer for layer in self.cache.layers if isinstance(layer, GrowLayer) and layer.buffers]
        tokens = max((layer.capacity for layer in grown), default=0)
        if not tokens:
            return len(self.token_ids) + self.bytes // STATE_ONLY
        keys = grown_bytes(self.cache)
        return tokens + (self.bytes - keys) // max(1, keys // tokens)

    @property
    def bytes(self) -> int:
        """The memory of the cache and of its kept states."""
        return grown_bytes(self.cache) + state_bytes(self.cache) + sum(saved.bytes for saved in self._kept_states)

    def claim(self, tokens: int) -> None:
        """Have room made for so many more tokens. Raises `EngineError` if there is none."""
        if self.owner is not None:
            self.owner.claim(self, tokens)

    def bytes_after(self, tokens: int) -> int:
        """Return the most memory of the cache and its states after so many more tokens."""
        growth = CacheGrowth.of(self.model, self.cache)
        # a state may be kept at a mark, and another one before a draft
        more = 2 * growth.snapshot_bytes(self.cache) if self.keeps_states else 0
        return growth.bytes_after(self.cache, tokens) + sum(saved.bytes for saved in self._kept_states) + more

    @property
    def _kept_states(self) -> list[Snapshot]:
        return [*self._snapshots, *([self._checkpoint] if self._checkpoint else [])]

    @property
    def recorded(self) -> bool:
        """Whether the next token is decoded by a CUDA graph."""
        return self._graph is not None and self._graph.fits

    def rest(self) -> None:
        """Keep the tokens, and free everything that only a running request needs."""
        self.logits = None  # the logits would save only one forward, and only if the same chain were requested again
        self._graph = self._checkpoint = None
        self._marks, self.claimed = set(), 0
        own_states(self.cache)

    def took(self, token_ids: Sequence[int], logits: torch.Tensor) -> None:
        """Note the tokens that a forward has added to the cache, and its logits."""
        CacheGrowth.of(self.model, self.cache)
        self.logits = logits
        self.token_ids.extend(token_ids)

    def fork(self, length: int) -> "KVSession":
        """Return a copy with the first `length` tokens, or with fewer if only an earlier state is kept."""
        made = KVSession(self.model, self._use)
        fitting = [saved for saved in self._snapshots if saved.length <= length]
        if self._cuts_to(length):
            layers: list[Any] = self.cache.layers
            made.cache = Cache(layers=[layer.copy(length) for layer in layers])
            made.token_ids = self.token_ids[:length]
        elif fitting:
            made.cache = fitting[-1].copied(self.cache, made.cache)
            made.token_ids = self.token_ids[: fitting[-1].length]
        else:
            return made
        # both sessions share the snapshots: states are copied from a snapshot and never written to it
        made._snapshots = fitting
        return made

    def trim(self, length: int) -> None:
        """Drop all tokens after the first `length`. A cache that cannot be cropped may drop more."""
        if length >= len(self.token_ids):
            return
        self.logits = None
        self._snapshots = [saved for saved in self._snapshots if saved.length <= length]
        if self._checkpoint and self._checkpoint.length > length:
            self._checkpoint = None
        if self._cuts_to(length):
            del self.token_ids[length:]
            self._even_out()
        else:
            self._go_back()

    def _go_back(self) -> None:
        """Restore the newest kept state, or empty the cache."""
        if not self._kept_states:
            self._reset()
            return
        newest = max(self._kept_states, key=lambda saved: saved.length)
        newest.restore(self.cache)
        del self.token_ids[newest.length :]

    def repair(self) -> None:
        """Make the cache consistent after a failed forward, in which early layers read more tokens than late ones.

        A cache that cannot be cropped restores a kept state. `read_back` then reads the lost tokens again.
        """
        self.logits = None
        self._held_before = list(self.token_ids)
        if self._cuts_to(len(self.token_ids)):
            self._even_out()
        else:
            self._go_back()

    def read_back(self) -> None:
        """Read the tokens again, at once, that a cache that cannot be cropped lost by a failed forward."""
        owed, self._held_before = self._held_before, []
        if len(self.token_ids) >= len(owed):
            return
        try:
            for again in self.sync(owed):
                again.run()
        except BaseException:
            self._held_before = owed
            raise

    def _even_out(self) -> None:
        layers: list[Any] = self.cache.layers
        for layer in layers:
            layer.crop(len(self.token_ids) - layer.get_seq_length())

    def _reset(self) -> None:
        self.cache, self.token_ids, self._snapshots, self._checkpoint = self._empty(self.model), [], [], None

    @staticmethod
    def _empty(model: PreTrainedModel) -> Cache:
        # a graph writes at fixed positions and keeps all tokens; windows that forget are for models without graphs
        return make_cache(model, windows=not can_record(model))

    def _cuts_to(self, length: int) -> bool:
        """Whether the cache can be cropped to this length."""
        layers = self.cache.layers
        return self.rollback == "crop" and all(x.floor <= length for x in layers if isinstance(x, GrowLayer))

    @property
    def keeps_states(self) -> bool:
        """Whether states are kept, because cropping does not restore everything."""
        return self.rollback != "refill" and not self.keeps_all

    @property
    def keeps_all(self) -> bool:
        """Whether the cache holds only the keys of every token, so it can be cropped anywhere and recorded."""
        return self.rollback == "crop" and not any(isinstance(layer, WindowLayer) for layer in self.cache.layers)


def common_prefix(held: Sequence[int], wanted: Sequence[int]) -> int:
    """Return the length of the common prefix of two lists of ids."""
    shared = min(len(held), len(wanted))
    if held[:shared] == wanted[:shared]:  # compared at C speed, scanned only where they differ
        return shared
    return next(i for i, (a, b) in enumerate(zip(held, wanted, strict=False)) if a != b)
