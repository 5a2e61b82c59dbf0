"""Who proposes tokens, in the large model's ids: the small model, and the text that is there already."""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch

from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.local.meter import Meter
from glimp_core.local.sampling import Sampler
from glimp_core.local.session import Forward, KVSession

SURE = 0.4
"""Drafting goes on while the drafting model gives its token at least this probability."""

SHORTEST_MATCH, LONGEST_MATCH = 5, 32
"""Fewer repeated tokens than this are chance, and more say nothing new."""

LONGEST_LOOKUP = 15
"""With the token that is verified besides, as many as can be packed with other requests."""

MOST_ROUNDS_OFF = 30
"""So many rounds go without lookup at most, where the text misleads it: repeated keys of JSON do."""

RECENT_MATCHES = 8
"""Of a run that was often there, so many places are looked at."""


Source: TypeAlias = Literal["model", "lookup"]


@dataclass(slots=True)
class Draft:
    """Proposed tokens in the target's ids.

    Each was drawn from a distribution [vocabulary]; None if it was looked up. Greedy drafts are not asked for it.
    """

    token_ids: list[int] = field(default_factory=list[int])
    distributions: list[torch.Tensor | None] = field(default_factory=list[torch.Tensor | None])
    source: Source = "model"


class PromptLookup:
    """Drafts that cost no forward: what followed the same tokens before, in the prompt or in the reply.

    Only this request is looked at, so that nothing leaks and a seed means the same alone and in company.
    """

    def __init__(self) -> None:
        self._token_ids: list[int] = []
        self._ends: dict[tuple[int, ...], list[int]] = {}
        self._resting = self._rest = 0

    def __len__(self) -> int:
        return len(self._token_ids)

    def follow(self, token_ids: Iterable[int]) -> None:
        """Take tokens that now stand."""
        ids = self._token_ids
        for token_id in token_ids:
            if len(ids) >= SHORTEST_MATCH:  # a run is known by its end, once something follows it
                ends = self._ends.setdefault(tuple(ids[-SHORTEST_MATCH:]), [])
                ends.append(len(ids))
                del ends[:-RECENT_MATCHES]
            ids.append(token_id)

    def propose(self, room: int) -> Draft:
        """Return what stood after the longest run that the last tokens repeat, the latest of equals."""
        ids, longest, found = self._token_ids, 0, 0
        if self._resting:
            self._resting -= 1
            return Draft(source="lookup")
        for end in self._ends.get(tuple(ids[-SHORTEST_MATCH:]), ()):
            length = SHORTEST_MATCH
            while length < LONGEST_MATCH and length < end and ids[end - 1 - length] == ids[-1 - length]:
                length += 1
            if length >= longest:
                longest, found = length, end
        proposed = ids[found : found + min(room, LONGEST_LOOKUP)] if found else []
        return Draft(proposed, [None] * len(proposed), "lookup")

    def record(self, proposed: int, accepted: int) -> None:
        """Take how many tokens of the last proposal stood: after bad ones there are none for a few rounds.

        That is counted, not timed, so that it is the same for the same seed.
        """
        self._rest = min(MOST_ROUNDS_OFF, 2 * self._rest + 2) if 2 * accepted < proposed else 0
        self._resting = self._rest


class Bridge:
    """Maps ids between two vocabularies by the bytes they mean; the identity for one and the same vocabulary."""

    def __init__(self, draft: Vocabulary, target: Vocabulary):
        self.target = target
        self.readable = len(draft.token_bytes)
        """Ids of the drafting model from here on are padding of its output, which no tokenizer can read."""
        self._draft = draft
        self._same = draft.key == target.key
        if not self._same:
            meant = {piece: i for i, piece in enumerate(target.token_bytes) if piece}
            self._to_target = [meant.get(piece, -1) if piece else -1 for piece in draft.token_bytes]
            self._to_draft = {i: n for n, i in reversed([*enumerate(self._to_target)]) if i >= 0}
            self._index = torch.tensor(self._to_target)

    def to_target(self, token_id: int) -> int | None:
        """Return the target's id of the same bytes, None if it has none."""
        if self._same:
            return token_id
        mapped = self._to_target[token_id]
        return None if mapped < 0 else mapped

    def to_draft(self, token_ids: Sequence[int]) -> list[int] | None:
        """Return ids that spell the same text for the drafting model, None while a character is not whole."""
        if self._same:
            return list(token_ids)
        if all(i in self._to_draft for i in token_ids):
            return [self._to_draft[i] for i in token_ids]
        try:
            return self._draft.encode(self.target.decode(token_ids).decode())
        except UnicodeDecodeError:
            return None

    def translated(self, distribution: torch.Tensor) -> torch.Tensor:
        """Return a distribution over the drafting model's ids as one over the target's, what has no equal left out."""
        if self._same:
            return distribution
        index = self._index[: len(distribution)].to(distribution.device)
        mapped = distribution.new_zeros(len(self.target.token_bytes)).index_add_(
            0, index.clamp(min=0), distribution * (index >= 0)
        )
        return mapped / mapped.sum().clamp(min=1e-30)


def ends_draft(vocabulary: Vocabulary, stop_ids: frozenset[int], token_id: int, stepwise: bool) -> bool:
    """Whether nothing is to be drafted after a token: the end of a reply, or of a step if it is written by steps."""
    piece = vocabulary.token_bytes[token_id]
    return piece is None or token_id in stop_ids or (stepwise and b"\n\n" in piece)


class Drafter:
    """Follows one chain in the drafting model's ids and proposes what may come next."""

    def __init__(
        self, session: KVSession, token_ids: Sequence[int], bridge: Bridge, sampler: Sampler, stop_ids: frozenset[int]
    ):
        self.meter = Meter()
        self._session = session
        self._token_ids = list(token_ids)
        self._pending: list[int] = []
        self._bridge = bridge
        self._sampler = sampler
        self._stop_ids = stop_ids

    def propose(self, limit: int, stepwise: bool) -> Generator[Forward, None, Draft]:
        """Draft up to `limit` tokens: while it is sure, and not past the end of a step or a reply."""
        draft = Draft()
        if limit < 1 or self._pending:
            return draft
        yield from self.meter.forwards(self._session.sync(self._token_ids))
        self._session.checkpoint()
        while (drawn := self._draw()) is not None:
            token_id, own_id, probability, distribution = drawn
            if probability < SURE and draft.token_ids:
                break
            draft.token_ids.append(token_id)
            draft.distributions.append(distribution)
            over = ends_draft(self._bridge.target, self._stop_ids, token_id, stepwise)
            if over or len(draft.token_ids) >= limit or probability < SURE:
                break
            forward = Forward(self._session, [own_id])
            yield forward
            self.meter.add(forward)
        return draft

    def follow(self, token_ids: Sequence[int]) -> None:
        """Take the tokens that the target kept; the session drops what it drafted beyond them."""
        self._pending += token_ids
        if (own := self._bridge.to_draft(self._pending)) is not None:
            self._token_ids += own
            self._pending.clear()

    def _draw(self) -> tuple[int, int, float, torch.Tensor] | None:
        """Draw a token: id for the target, id here, probability and distribution; None if the target lacks it."""
        assert self._session.logits is not None
        with self.meter.decoding():
            logits = self._session.logits[-1, : self._bridge.readable]
            if self._sampler.rule.temperature == 0:
                own_id = int(logits.argmax())
                probability = float((logits[own_id] - logits.logsumexp(-1)).exp())
                token_id = self._bridge.to_target(own_id)
                return None if token_id is None else (token_id, own_id, probability, logits)
            distribution = self._bridge.translated(self._sampler.full_distribution(logits))
            if float(distribution.sum()) < 0.5:
                return None
            token_id = self._sampler.draw_from(distribution)
            own = self._bridge.to_draft([token_id])
            return None if not own or len(own) != 1 else (token_id, own[0], float(distribution[token_id]), distribution)
