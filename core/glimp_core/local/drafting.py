"""The sources of drafts, in the large model's ids: the small model, and earlier text of the same request."""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch

from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.local.draft_length import LONGEST_DRAFT
from glimp_core.local.forward_costs import ForwardCosts
from glimp_core.local.meter import Meter
from glimp_core.local.sampling import Sampler
from glimp_core.local.session import Forward, KVSession

SHORTEST_MATCH, LONGEST_MATCH = 5, 32
"""The length of a repeated passage: shorter repetitions are chance, and longer ones predict no better."""

MOST_ROUNDS_OFF = 30
"""The most rounds without lookup after rejected proposals: repeated keys of JSON, for example, mislead it."""

RECENT_MATCHES = 8
"""The number of places to use of a passage that occurs often."""


Source: TypeAlias = Literal["model", "lookup"]


@dataclass(slots=True)
class Draft:
    """Proposed tokens in the target's ids.

    Each was drawn from a distribution [vocabulary]; None if it was looked up. Greedy drafts do not need it.
    `sure` is the probability that their source gives them.
    """

    token_ids: list[int] = field(default_factory=list[int])
    distributions: list[torch.Tensor | None] = field(default_factory=list[torch.Tensor | None])
    sure: list[float] = field(default_factory=list[float])
    source: Source = "model"

    def cut(self, length: int) -> "Draft":
        """Return its first tokens."""
        return Draft(self.token_ids[:length], self.distributions[:length], self.sure[:length], self.source)

    def __len__(self) -> int:
        return len(self.token_ids)


class PromptLookup:
    """Drafts without a forward: the tokens that followed the same passage before, in the prompt or in the reply.

    Only text of this request is used. So no text reaches another request, and a seed gives the same reply alone and
    together with other requests.
    """

    def __init__(self) -> None:
        self._token_ids: list[int] = []
        self._ends: dict[tuple[int, ...], list[int]] = {}
        self._resting = self._rest = 0

    def __len__(self) -> int:
        return len(self._token_ids)

    def follow(self, token_ids: Iterable[int]) -> None:
        """Add tokens that are now part of the text."""
        ids = self._token_ids
        for token_id in token_ids:
            if len(ids) >= SHORTEST_MATCH:  # a passage is stored by its last tokens, when a token follows it
                ends = self._ends.setdefault(tuple(ids[-SHORTEST_MATCH:]), [])
                ends.append(len(ids))
                del ends[:-RECENT_MATCHES]
            ids.append(token_id)

    def propose(self, room: int) -> Draft:
        """Return the tokens after the longest passage that the last tokens repeat, and no more than it has."""
        ids, longest, found = self._token_ids, 0, 0
        for end in self._ends.get(tuple(ids[-SHORTEST_MATCH:]), ()):
            length = SHORTEST_MATCH
            while length < LONGEST_MATCH and length < end and ids[end - 1 - length] == ids[-1 - length]:
                length += 1
            if length >= longest:
                longest, found = length, end
        proposed = ids[found : found + min(room, longest, LONGEST_DRAFT)] if found else []
        # Laplace's rule of succession, for the tokens that the run has beyond the shortest, which may be chance
        beyond = range(longest - SHORTEST_MATCH + 1, longest - SHORTEST_MATCH + 1 + len(proposed))
        sure = [(number + 1) / (number + 2) for number in beyond]
        return Draft(proposed, [None] * len(proposed), sure, "lookup")

    def rests(self) -> bool:
        """Whether the next round is to go without, since a proposal was bad; asked once a round."""
        resting = self._resting > 0
        self._resting -= resting
        return resting

    def record(self, proposed: int, accepted: int) -> None:
        """Take how many tokens of the last proposal stood: after a bad one a few rounds go without.

        This uses counts, not times, so that it is the same for the same seed.
        """
        self._rest = min(MOST_ROUNDS_OFF, 2 * self._rest + 2) if 2 * accepted < proposed else 0
        self._resting = self._rest


class Bridge:
    """Maps ids between two vocabularies by their bytes. For equal vocabularies it is the identity."""

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
        """Return the drafting model's ids of the same text, None while a character is incomplete."""
        if self._same:
            return list(token_ids)
        if all(i in self._to_draft for i in token_ids):
            return [self._to_draft[i] for i in token_ids]
        try:
            return self._draft.encode(self.target.decode(token_ids).decode())
        except UnicodeDecodeError:
            return None

    def translated(self, distribution: torch.Tensor) -> torch.Tensor:
        """Convert a distribution over the drafting model's ids to the target's ids, dropping ids without an equal."""
        if self._same:
            return distribution
        index = self._index[: len(distribution)].to(distribution.device)
        mapped = distribution.new_zeros(len(self.target.token_bytes)).index_add_(
            0, index.clamp(min=0), distribution * (index >= 0)
        )
        return mapped / mapped.sum().clamp(min=1e-30)


def ends_draft(vocabulary: Vocabulary, stop_ids: frozenset[int], token_id: int, stepwise: bool) -> bool:
    """Return whether a draft ends after a token: at the end of a reply, or of a step if it is written by steps."""
    piece = vocabulary.token_bytes[token_id]
    return piece is None or token_id in stop_ids or (stepwise and b"\n\n" in piece)


class Drafter:
    """Follows one chain in the drafting model's ids, and proposes its next tokens."""

    def __init__(
        self, session: KVSession, token_ids: Sequence[int], bridge: Bridge, sampler: Sampler, stop_ids: frozenset[int]
    ):
        self.meter = Meter(clock=session.clock)
        self.compared: tuple[list[float], list[bool]] = [], []
        """How sure the model was of tokens that were written without it, and if rightly, when it last read them."""
        self._session = session
        self._token_ids = list(token_ids)
        self._start = len(token_ids)
        self._pending: list[int] = []
        self._bridge = bridge
        self._sampler = sampler
        self._stop_ids = stop_ids

    @property
    def ready(self) -> bool:
        """Whether the drafting model can read the target's text: its last character is complete."""
        return not self._pending

    @property
    def unread(self) -> int:
        """How many tokens of the chain are to be read before the first draft."""
        return len(self._token_ids) - self._session.reusable(self._token_ids)[0]

    def read(self, costs: ForwardCosts, compare: int = 0) -> Generator[Forward, None, None]:
        """Read up to the chain; `compare` up to so many tokens that are new in it with what would have been drafted.

        What it takes goes to the `costs`.
        """
        new = max(0, min(compare, self.unread - 1, len(self._token_ids) - self._start))
        fed, seconds = self.meter.fed, self.meter.effort
        yield from self.meter.forwards(self._session.sync(self._token_ids, keep=new + 1))
        self.compared = self._comparison(new) if new else ([], [])
        with self.meter.decoding():
            assert self._session.logits is not None
            float(self._session.logits[-1, 0])  # wait for the GPU here, so that the time is not part of the first draft
        if self.meter.fed > fed:
            costs.add(self.meter.fed - fed, self.meter.effort - seconds)

    def _comparison(self, new: int) -> tuple[list[float], list[bool]]:
        assert self._session.logits is not None
        with self.meter.decoding():
            logits = self._session.logits[-1 - new : -1, : self._bridge.readable]
            best, chosen = logits.max(-1)
            written = torch.tensor(self._token_ids[-new:], device=chosen.device)
            sure = (best - logits.logsumexp(-1)).exp().tolist()
            return sure, (chosen == written).tolist()

    def propose(
        self, limit: int, stepwise: bool, goes_on: Callable[[Sequence[float]], bool], costs: ForwardCosts
    ) -> Generator[Forward, None, Draft]:
        """Draft up to `limit` tokens while it `goes_on`, given how sure it is of them; not past the end of a step.

        The chain has been read. What each forward takes goes to the `costs`.
        """
        draft, seconds = Draft(), None
        self._session.checkpoint()
        while True:
            drawn = self._draw()
            if seconds is not None:
                costs.add(1, self.meter.effort - seconds)
            if drawn is None:
                return draft
            token_id, own_id, probability, distribution = drawn
            draft.token_ids.append(token_id)
            draft.distributions.append(distribution)
            draft.sure.append(probability)
            over = ends_draft(self._bridge.target, self._stop_ids, token_id, stepwise)
            if over or len(draft) >= limit or not goes_on(draft.sure):
                return draft
            seconds = self.meter.effort
            forward = Forward(self._session, [own_id])
            yield forward
            self.meter.add(forward)

    def follow(self, token_ids: Sequence[int]) -> None:
        """Add the tokens that the target accepted. The session drops the drafted tokens after them."""
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
