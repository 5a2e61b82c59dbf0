"""One model's KV cache and the token ids it holds. `sync` is the only way in, and the whole cache story."""

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
from glimp_core.local.forward import ModelForward, positions_after
from glimp_core.local.graph import WARM_UP, DecodeGraph, can_record, decode_graph

CHUNK, CPU_CHUNK = 512, 256
"""A long prefill is fed in pieces of so many tokens, which take seconds on a CPU, so that others get their turn."""

SNAPSHOTS = 4
"""How many states of a cache that cannot be cut are kept to go back to."""

TAIL = 16
"""A state is kept so many tokens before the end of a prompt: what follows there asks the model to speak, and is not
in the next turn's prompt."""

READ_ANEW = 32
"""If tokens follow a state one by one only, and are more than one in so many, all is read anew in one forward."""

REPLAY = 16
"""Tokens that stood are read again together with the next draft, until there are so many; then once and for all."""

STATE_ONLY = 65_536
"""So many bytes of state count as a token where a model has no attention, and a token takes no memory."""


@dataclass(frozen=True, slots=True)
class CacheUse:
    """How sessions use a model's cache: how it goes back, whether it takes several tokens onto a state at once.

    `notes` say what is not used and why; they belong into the summary of each request.
    """

    rollback: RollbackKind
    several: bool = True
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Forward:
    """A forward that a session needs: `token_ids` to feed, logits of the last `keep` positions wanted."""

    session: "KVSession"
    token_ids: Sequence[int]
    keep: int = 1
    seconds: float = 0.0
    done: bool = False
    alone: bool = False
    """Not to be run together with others."""

    def part(self, start: int, tokens: int) -> "Forward":
        """Return so many tokens of it from `start` on, as a forward of their own; the last part gives its logits."""
        return Forward(
            self.session,
            self.token_ids[start : start + tokens],
            self.keep if start + tokens >= len(self.token_ids) else 1,
            alone=self.alone,
        )

    def run(self) -> None:
        """Do it, and note how long it took."""
        started = perf_counter()
        self.session.read_back()
        self.session.feed(self.token_ids, self.keep)
        self.seconds, self.done = perf_counter() - started, True

    def run_in_halves(self) -> None:
        """Do it after it broke off, half of the tokens at a time if the cache takes them so."""
        started, session = perf_counter(), self.session
        session.read_back()
        half = min(len(self.token_ids) // 2, len(self.token_ids) - self.keep) if session.takes_parts else 0
        if half > 0:
            session.feed(self.token_ids[:half])
        session.feed(self.token_ids[max(half, 0) :], self.keep)
        self.seconds, self.done = perf_counter() - started, True


class KVSession:
    """Holds the keys and values of `token_ids`, and float32 `logits` [keep, vocabulary] of the last forward."""

    def __init__(self, model: PreTrainedModel, use: CacheUse | None = None):
        self.model = model
        self.cache = self._empty(model)
        self.token_ids: list[int] = []
        self._held_before: list[int] = []
        """What it held before a forward broke off, until that is read back."""
        self.logits: torch.Tensor | None = None
        self._use = use or CacheUse(rollback_kind(model))
        self._snapshots: list[Snapshot] = []
        self._checkpoint: Snapshot | None = None
        self._marks: set[int] = set()
        self._graph: DecodeGraph | None = None
        self._decoded = 0
        self._forward = ModelForward.of(model)

    def sync(self, token_ids: Sequence[int], keep: int = 1) -> Generator[Forward, None, int]:
        """Make the cache hold exactly `token_ids`; returns how many of them it held already.

        Yields the forwards it needs, none where the logits wanted are still there. The caller runs
        them before it asks for the next one: at once, or together with those of other sessions.
        """
        self._held_before = []
        shared = common_prefix(self.token_ids, token_ids)
        if shared == len(self.token_ids) == len(token_ids) and self.logits is not None and keep <= len(self.logits):
            self.logits = self.logits[-keep:]
            return shared
        # logits come out of forwards only: the last `keep` tokens are fed again even if they are held
        self.trim(max(0, min(shared, len(token_ids) - keep)))
        if not self._use.several and READ_ANEW * (len(token_ids) - len(self.token_ids)) > len(token_ids):
            self._reset()
        shared = len(self.token_ids)
        # a state can be kept between two forwards only, so that reading stops at each mark
        for mark in sorted(mark for mark in self._marks if shared < mark <= len(token_ids) - keep):
            yield from self._read(token_ids[:mark])
            self.keep_state()
        self._marks = {mark for mark in self._marks if mark > len(token_ids)}
        if keep > 1:  # a draft: some of it will be taken back
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
        """Foresee that a prompt is asked for again: gone on with, or up to one of the `branches`, lengths of it.

        A cache that cannot be cut keeps its state there while it is read.
        """
        worth = self._use.several or len(prompt) >= READ_ANEW * TAIL  # what follows a state there is read one by one
        if self.keeps_states and worth:
            held = {saved.length for saved in self._snapshots}
            self._marks = {mark for mark in (len(prompt) - TAIL, *branches) if mark >= TAIL} - held

    def reusable(self, token_ids: Sequence[int]) -> tuple[int, int]:
        """Return how many of these ids need not be read again, and how many of them the session shares."""
        shared = common_prefix(self.token_ids, token_ids)
        # what goes on where the session stands needs no cut, whatever its cache can do
        if self._cuts_to(shared) or shared == len(self.token_ids) < len(token_ids):
            return shared, shared
        most = min(shared, len(token_ids) - 1)
        return max((saved.length for saved in self._snapshots if saved.length <= most), default=0), shared

    def checkpoint(self) -> None:
        """Foresee that what is fed next is taken back: keep the present state of a cache that cannot be cut."""
        held = len(self.token_ids)
        if self.rollback == "snapshot" and held and (self._checkpoint is None or self._checkpoint.length != held):
            self._checkpoint = Snapshot(self.cache, held)

    @property
    def takes_parts(self) -> bool:
        """Whether a prompt may be read in parts."""
        return self._use.several

    @property
    def rollback(self) -> RollbackKind:
        """How the cache is made shorter."""
        return self._use.rollback

    def _chunk(self, wanted: int, keep: int) -> int:
        """Return how many of the `wanted` tokens the next forward takes; the last forward must give `keep` logits."""
        if not self._use.several:  # right from an empty cache only, and then whatever the length
            return 1 if self.token_ids else wanted
        chunk = CPU_CHUNK if self.model.device.type == "cpu" else CHUNK
        return chunk if wanted > chunk + keep else wanted

    def keep_state(self) -> None:
        """Keep the present state of a cache that cannot be cut, to come back to."""
        if not self.keeps_states:
            return
        kept = [*self._snapshots, Snapshot(self.cache, len(self.token_ids))]
        if len(kept) > SNAPSHOTS:  # the one goes that saves the fewest tokens over the one before it, never the newest
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
        """Decode with a graph from here on, if one can be made and has come to pay."""
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
        """Run the forward of the last token anew: what a graph that failed has left in the cache is not trusted."""
        token_id = self.token_ids[-1]
        self.trim(len(self.token_ids) - 1)
        self.feed([token_id])

    @property
    def room(self) -> int:
        """How many more tokens fit into the buffers as they are."""
        grown = [layer for layer in self.cache.layers if isinstance(layer, GrowLayer) and layer.buffers]
        return min((layer.capacity - layer.length for layer in grown), default=0)

    @property
    def capacity(self) -> int:
        """For how many tokens memory is taken; a kept state counts as the tokens whose keys would take as much."""
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

    @property
    def _kept_states(self) -> list[Snapshot]:
        return [*self._snapshots, *([self._checkpoint] if self._checkpoint else [])]

    @property
    def recorded(self) -> bool:
        """Whether the next token is decoded by a graph."""
        return self._graph is not None and self._graph.fits

    def rest(self) -> None:
        """Keep the tokens, and let go of what only a running request needs."""
        self.logits = None  # they would save one forward if the very same chain were asked for again
        self._graph = self._checkpoint = None
        self._marks = set()
        own_states(self.cache)

    def took(self, token_ids: Sequence[int], logits: torch.Tensor) -> None:
        """Note tokens that a forward has put into the cache, and its logits."""
        self.logits = logits
        self.token_ids.extend(token_ids)

    def fork(self, length: int) -> "KVSession":
        """Return another session that holds the first `length` tokens, or as many of them as there is a state of."""
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
        # shared by both: states are copied out of a snapshot, and never written into it
        made._snapshots = fitting
        return made

    def trim(self, length: int) -> None:
        """Forget all after the first `length` tokens; a cache that cannot be cut may forget more."""
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
        """Restore the newest kept state, or begin anew."""
        if not self._kept_states:
            self._reset()
            return
        newest = max(self._kept_states, key=lambda saved: saved.length)
        newest.restore(self.cache)
        del self.token_ids[newest.length :]

    def repair(self) -> None:
        """Make the cache whole after a forward that broke off, in which early layers took more than late ones.

        A cache that cannot be cut goes back to a kept state; `read_back` brings it up to where it was.
        """
        self.logits = None
        self._held_before = list(self.token_ids)
        if self._cuts_to(len(self.token_ids)):
            self._even_out()
        else:
            self._go_back()

    def read_back(self) -> None:
        """Read anew, at once, what a forward that broke off has cost a cache that cannot be cut."""
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
        # a graph writes at positions, and keeps all; forgetting is for models that are not recorded
        return make_cache(model, windows=not can_record(model))

    def _cuts_to(self, length: int) -> bool:
        """Whether the cache can be cut to so many tokens."""
        layers = self.cache.layers
        return self.rollback == "crop" and all(x.floor <= length for x in layers if isinstance(x, GrowLayer))

    @property
    def keeps_states(self) -> bool:
        """Whether states are kept to go back to, since a cut does not bring everything back."""
        return self.rollback != "refill" and not self.keeps_all

    @property
    def keeps_all(self) -> bool:
        """Whether the cache holds the keys of every token, and nothing else: it can be cut anywhere, and recorded."""
        return self.rollback == "crop" and not any(isinstance(layer, WindowLayer) for layer in self.cache.layers)


def common_prefix(held: Sequence[int], wanted: Sequence[int]) -> int:
    """Return how many ids two lists share at their start."""
    shared = min(len(held), len(wanted))
    if held[:shared] == wanted[:shared]:  # compared at C speed, scanned only where they differ
        return shared
    return next(i for i, (a, b) in enumerate(zip(held, wanted, strict=False)) if a != b)
