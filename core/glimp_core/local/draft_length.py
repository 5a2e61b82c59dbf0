"""Whether to draft, and how much: what is expected to save time, by costs and chances that were measured here.

A forward that verifies drafts takes longer than one of a single token, by a factor that depends on the machine. The
small model has to read the prompt before its first draft. How often it is right depends on the text. So all three are
measured, and a draft is made or verified only if it is expected to take less time than the tokens that it saves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

from glimp_core.local.forward_costs import ForwardCosts

LONGEST_DRAFT = 15
"""With the token that is verified besides, as many as can be packed with other requests."""

LIKELY = 0.7
"""How likely the small model is taken to be right before anything is known."""

BELIEF = 4.0
"""A source's own word for its chances counts as so many tokens that were seen."""

SEEN = 8
"""A trial waits for so many tokens of the large model, on which the small one is compared with it first."""

STEADY_STATE = 16
"""A model that lacks more tokens than this is read up to the chain, which is no part of a usual round."""

MARGIN = 0.9
"""A draft is made if it pays with this share of what it seems to save: what a busy machine measures is off by some
percent."""

STEADIER = 0.95
"""About the last twenty rounds count: how many tokens of a draft stand differs from round to round."""

FIRST_TRIAL, LATER_TRIAL = 0.1, 0.05
"""What a trial may cost: this share of the expected time of the first request, and of the time since the last trial."""

MOST_PATIENCE = 8.0
"""Each trial in vain makes the next one wait twice as long, up to so many times."""


class Chances:
    """How often proposed tokens stood, by how sure their source was of them."""

    EDGES = (0.5, 0.7, 0.85, 0.95, 0.99)
    REMEMBERED = 0.97

    def __init__(self) -> None:
        self._stood = [0.0] * (len(self.EDGES) + 1)
        self._seen = [0.0] * (len(self.EDGES) + 1)

    @property
    def mean(self) -> float:
        """The chance of a token of which nothing is known yet."""
        return (sum(self._stood) + BELIEF * LIKELY) / (sum(self._seen) + BELIEF)

    def of(self, sure: float) -> float:
        """Return the chance of a token that its source gives the probability `sure`."""
        place = self._place(sure)
        return (self._stood[place] + BELIEF * sure) / (self._seen[place] + BELIEF)

    def add(self, sure: float, stood: bool) -> None:
        """Take whether a proposed token stood."""
        place = self._place(sure)
        self._stood[place] = self.REMEMBERED * self._stood[place] + stood
        self._seen[place] = self.REMEMBERED * self._seen[place] + 1

    def _place(self, sure: float) -> int:
        return sum(sure >= edge for edge in self.EDGES)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call stands: tokens that each model has yet to read, tokens that were written, and that may be.

    `kind` tells apart calls in which drafts fare differently: under a grammar, in steps.
    """

    unread: int
    unread_by_small: int
    written: int
    left: int
    kind: Any = None


class DraftLengthController:
    """Weighs what drafts save against what they cost, for all requests of two models.

    Looked-up drafts cost their verification alone, and their chances are measured whether they are used or not. The
    small model is asked if that has been quicker in calls of this kind, and its reading is paid back by the tokens
    that are likely to follow. Trials show whether it is quicker: the small model reads up to the chain, and
    what it would have drafted of the tokens that the large one has written meanwhile says what drafts would save. A
    trial costs little of the time since the last one, so that drafts which do not pay cost next to nothing.
    """

    @classmethod
    def of(cls, target: object, draft: object) -> "DraftLengthController":
        """Return the controller of two models. All their requests share it, with its measurements."""
        return _known.setdefault(target, WeakKeyDictionary()).setdefault(draft, cls())

    def __init__(self) -> None:
        self.large = ForwardCosts()
        self.small = ForwardCosts(self.large)
        self.looked_up, self.drafted = Chances(), Chances()
        self._kinds: dict[Any, _Kind] = {}
        self._pace = _Mean()

    def lookup_length(self, sure: Sequence[float], unread: int) -> int:
        """Return how many looked-up tokens to verify, of which the source is so sure."""
        return self._worth_verifying([self.looked_up.of(one) for one in sure], unread)

    def asks(self, place: Place) -> bool:
        """Whether the small model is to draft in the next round."""
        if not self.large.knows(1) or place.left < 2:
            return False
        kind, plain = self._kind(place.kind), self.large.seconds(1)
        reading = self.small.seconds(max(2, place.unread_by_small))
        rest = min(place.left, max(kind.usual - place.written, place.written, 1.0))
        if rest * (MARGIN * plain - self._pace_with_drafts(kind)) > reading - self.small.seconds(2):
            return True
        price, time = reading + 2 * self.small.seconds(1), kind.idle
        share = LATER_TRIAL / kind.patience
        if not kind.tried:
            time, share = time + rest * plain, FIRST_TRIAL
        # a long reading is worth it only if there is something to compare by then; after a short one drafts tell
        blind = place.written < SEEN and place.unread_by_small > STEADY_STATE
        if blind or price > share * time:
            return False
        kind.idle, kind.tried, kind.patience = 0.0, True, min(MOST_PATIENCE, 2 * kind.patience)
        kind.drafting = _Mean()
        return True

    def goes_on(self, sure: Sequence[float]) -> bool:
        """Whether to draft one more token after some, of which the small model is so sure."""
        drafted = len(sure)
        if drafted >= LONGEST_DRAFT:
            return False
        reach = prod(self.drafted.of(one) for one in sure)
        longer = self.large.seconds(drafted + 2) - self.large.seconds(drafted + 1)
        return reach * self.drafted.mean * self._value > self.small.seconds(1) + max(0.0, longer)

    def verified_length(self, sure: Sequence[float], unread: int) -> int:
        """Return how many tokens of a draft to verify, of which the small model is so sure; it may be none."""
        return self._worth_verifying([self.drafted.of(one) for one in sure], unread)

    def compare(self, kind: Any, sure: Sequence[float], agreed: Sequence[bool]) -> None:
        """Take how sure the small model would have been of tokens that were written without it, and if rightly."""
        for one, right in zip(sure, agreed, strict=True):
            self.drafted.add(one, right)
        seconds, tokens = self._replayed(sure, agreed)
        if tokens:
            self._kind(kind).drafting.add(seconds, tokens)

    def pays(self, kind: Any) -> bool:
        """Whether drafts of the small model are quicker in calls of a kind, once it has read up to the chain."""
        return self._pace_with_drafts(self._kind(kind)) < MARGIN * self.large.seconds(1)

    def record(self, place: Place, drafted: bool, written: int, seconds: float) -> None:
        """Take the measure of one round, in which the small model was asked to draft or not."""
        kind = self._kind(place.kind)
        usual = place.unread <= STEADY_STATE and place.unread_by_small <= STEADY_STATE
        if usual:
            self._pace.add(seconds, written)
        if not drafted:
            kind.idle += seconds
        elif usual:
            kind.drafting.add(seconds, written)
            if kind.drafting.value < self.large.seconds(1):
                kind.patience = 1.0

    def ended(self, kind: Any, written: int) -> None:
        """Take how long a reply or step became."""
        known = self._kind(kind)
        known.usual += 0.3 * (written - known.usual)

    def why(self, kind: Any) -> str | None:
        """Say in words why the small model is not asked in calls of a kind, None if it is or was not tried."""
        known, plain = self._kind(kind), self.large.seconds(1)
        if not known.tried or not known.drafting or known.drafting.value <= plain:
            return None
        return (
            f"not drafted for a while: {1000 * known.drafting.value:.1f} ms a token with drafts, "
            f"{1000 * plain:.1f} ms without"
        )

    @property
    def _value(self) -> float:
        """What a token that is saved is worth in seconds."""
        return MARGIN * min(self.large.seconds(1), self._pace.value if self._pace else self.large.seconds(1))

    def _kind(self, kind: Any) -> "_Kind":
        return self._kinds.setdefault(kind, _Kind())

    def _worth_verifying(self, chances: Sequence[float], unread: int) -> int:
        """Return how many tokens with these chances are best verified, besides `unread` tokens that are read anyway."""
        if not self.large.knows(1):
            return 0
        value, without = self._value, self.large.seconds(unread)
        length, best, reach, saved = 0, 0.0, 1.0, 0.0
        for number, chance in enumerate(chances[:LONGEST_DRAFT], 1):
            reach *= chance
            saved += reach * value
            won = saved - (self.large.seconds(unread + number) - without)
            if won > best:
                length, best = number, won
        return length

    def _pace_with_drafts(self, kind: "_Kind") -> float:
        """Return the seconds a token that drafts of the small model take: as measured, else by the chance of each."""
        if kind.drafting:
            return kind.drafting.value
        paces, tokens, reach, seconds = [], 1.0, 1.0, self.small.seconds(2)
        for length in range(1, LONGEST_DRAFT + 1):
            reach *= self.drafted.mean
            tokens += reach
            paces.append((seconds + self.large.seconds(length + 1)) / tokens)
            seconds += self.small.seconds(1)
        return min(paces)

    def _replayed(self, sure: Sequence[float], agreed: Sequence[bool]) -> tuple[float, int]:
        """Return how long drafts would have taken over tokens that were written without them, and how many they write.

        The last one ends where what is known ends.
        """
        start, seconds = 0, 0.0
        while start < len(sure):
            end, took = start + 1, self.small.seconds(2)
            while end < len(sure) and self.goes_on(sure[start:end]):
                end, took = end + 1, took + self.small.seconds(1)
            length = self.verified_length(sure[start:end], 1)
            right = next((n for n, stood in enumerate(agreed[start : start + length]) if not stood), length)
            seconds, start = seconds + took + self.large.seconds(1 + length), start + right + 1
        return seconds, start


class _Mean:
    """Seconds a token, recent ones counting more; false while nothing is known."""

    def __init__(self) -> None:
        self._seconds = self._tokens = 0.0

    def __bool__(self) -> bool:
        return self._tokens > 0

    @property
    def value(self) -> float:
        return self._seconds / self._tokens

    def add(self, seconds: float, tokens: int) -> None:
        self._seconds, self._tokens = STEADIER * self._seconds + seconds, STEADIER * self._tokens + tokens


class _Kind:
    """What is known of calls of one kind."""

    def __init__(self) -> None:
        self.drafting = _Mean()
        self.usual = 32.0
        """How many tokens such a call writes."""
        self.idle = 0.0
        """Seconds since the small model was last asked."""
        self.tried, self.patience = False, 1.0


_known: WeakKeyDictionary[object, WeakKeyDictionary[object, DraftLengthController]] = WeakKeyDictionary()
