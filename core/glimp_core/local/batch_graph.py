"""Several sessions decode with one CUDA graph, so the weights are read once for all of them."""

from collections.abc import Iterable, Sequence
from time import perf_counter
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel

from glimp_core.local.graph import WARM_UP, DecodeGraph, can_record, decode_graph
from glimp_core.local.session import Forward, KVSession

RECENT = 64
"""A session that has not decoded for this many turns counts as finished."""


class BatchGraph:
    """The graph of the sessions of one model that decode at the same time.

    It can run any of them, also if others do something else. It is made again if it has not been useful for `WARM_UP`
    turns, because sessions are new or most of its sessions have finished.
    """

    def __init__(self) -> None:
        self._graph: DecodeGraph | None = None
        self._sessions: list[KVSession] = []
        self._seen: dict[KVSession, int] = {}
        self._turn = self._turns_without = 0

    @classmethod
    def of(cls, model: PreTrainedModel) -> "BatchGraph | None":
        """Return the object of a model, None if the device has no graphs."""
        return _batches.setdefault(model, cls()) if can_record(model) else None

    def run(self, forwards: Sequence[Forward]) -> None:
        """Run the forwards of one token each that the graph can run together."""
        self._turn += 1
        self._seen |= {forward.session: self._turn for forward in forwards}
        self._seen = {session: turn for session, turn in self._seen.items() if turn > self._turn - RECENT}
        mine = {forward.session: forward for forward in forwards if forward.session in self._sessions}
        self._turns_without += 1
        # a single session is faster with its own graph
        if self._graph is None or len(mine) < 2 or not self._graph.fits:
            return
        # rows without a token are computed too, so the graph is not used if more than half of them have none
        if len(mine) == len(forwards) and 2 * len(self._seen) >= len(self._sessions):
            self._turns_without = 0
        started = perf_counter()
        logits = torch.split(self._graph.decode(self._token_ids(mine.values())), 1)
        share = (perf_counter() - started) / len(mine)
        for session, own in zip(self._sessions, logits, strict=True):
            if session in mine:
                session.took(mine[session].token_ids, own)
                mine[session].seconds, mine[session].done = share, True
                mine[session].effort = share

    def record(self, forwards: Sequence[Forward]) -> None:
        """Make a graph if it is needed, directly after forwards of one token each."""
        if self._turns_without < WARM_UP:
            return
        fed = {forward.session for forward in forwards}
        # if the buffers of a session are full, its next token would make the graph useless
        self._sessions = [session for session in self._seen if session in fed or session.room]
        self._turns_without = 0
        rows = [session.cache.layers for session in self._sessions]
        logits = [session.logits for session in self._sessions if session in fed and session.logits is not None]
        token_ids = self._token_ids(forwards)
        self._graph = decode_graph(forwards[0].session.model, rows, torch.cat(logits), token_ids)
        if self._graph is None:
            for forward in forwards:
                forward.session.feed_again()
            self._sessions = []

    def _token_ids(self, forwards: Iterable[Forward]) -> list[int | None]:
        """Return the token for each session."""
        fed = {forward.session: forward.token_ids[0] for forward in forwards}
        return [fed.get(session) for session in self._sessions]


def has_batch(model: PreTrainedModel) -> bool:
    """Whether there is a graph of this model, or a count of turns until one is made."""
    return model in _batches


def forget_batch(model: PreTrainedModel) -> None:
    """Free a model's graph, and the memory of its sessions."""
    _batches.pop(model, None)


_batches: WeakKeyDictionary[PreTrainedModel, BatchGraph] = WeakKeyDictionary()
