"""How many tokens to draft at most: what was measured to be quickest here, and none while drafting loses time."""

import math
from weakref import WeakKeyDictionary

from glimp_core.context import Context

LENGTHS = (4, 8, 2, 15)
"""In the order of their trials. A CPU verifies three tokens in the time of one, and nine in the time of three; a GPU
all in the time of one. With the token that is verified besides, 15 can be packed with other requests."""


class DraftLengthController:
    """Compares seconds a token: rounds with drafts of each of `LENGTHS` at most, with looked-up drafts, and without.

    A few rounds without drafts come first, to compare with. Then each length is tried, and again after a while. Drafts
    of the small model and looked-up ones are measured, and given up for a while, each by itself.
    """

    PLAIN, TRIAL, PAUSE = 3, 8, 200

    @classmethod
    def of(cls, target: object, draft: object) -> "DraftLengthController":
        """Return the one of two models: what one request has found out serves the next."""
        return _known.setdefault(target, WeakKeyDictionary()).setdefault(draft, cls())

    def __init__(self) -> None:
        self._plain = _Mean()
        self._drafted = {length: _Mean() for length in LENGTHS}
        self._looked_up = _Mean()
        self._until_trial = self.PAUSE
        self._resting = self._lookup_resting = 0
        self._why = ""

    def looks_up(self) -> bool:
        """Whether a draft that was found in the text is to be used in the next round."""
        if self._lookup_resting:
            self._lookup_resting -= 1
            return False
        # measured against the best of all other ways, each once it has been used often enough to be believed
        others = [mean.value for mean in (self._plain, *self._drafted.values()) if mean.rounds >= self.PLAIN]
        if self._looked_up.rounds < self.TRIAL or not others or self._looked_up.value <= min(others):
            return True
        self._lookup_resting, self._looked_up = self.PAUSE, _Mean()
        return False

    def limit(self, context: Context) -> int:
        """Return how many tokens to draft at most in the next round, 0 for none."""
        # nothing can be said to lose time before the plain way is timed on this machine, in this load
        if self._plain.rounds < self.PLAIN:
            return 0
        if self._resting:
            self._resting -= 1
            context.note(self._why)
            return 0
        if untried := [length for length, mean in self._drafted.items() if mean.rounds < self.TRIAL]:
            return untried[0]
        quickest = min(LENGTHS, key=lambda length: self._drafted[length].value)
        if self._drafted[quickest].value > self._plain.value:
            self._rest(self._drafted[quickest].value)
            return self.limit(context)
        self._until_trial -= 1
        if not self._until_trial:
            self._forget(*(length for length in LENGTHS if length != quickest))
        return quickest

    def record(self, limit: int, drafted: int, written: int, seconds: float) -> None:
        """Take the measure of one round, in which the small model was to draft `limit` tokens at most."""
        # a round in which nothing was drafted took the plain way, whatever was allowed
        (self._drafted[limit] if drafted and limit in self._drafted else self._plain).add(seconds, written)

    def record_lookup(self, written: int, seconds: float) -> None:
        """Take the measure of one round with a looked-up draft."""
        self._looked_up.add(seconds, written)

    def _rest(self, seconds: float) -> None:
        self._why = (
            f"not drafted for a while: {1000 * seconds:.1f} ms a token with drafts, "
            f"{1000 * self._plain.value:.1f} ms without"
        )
        self._resting = self.PAUSE
        self._forget(*LENGTHS)

    def _forget(self, *lengths: int) -> None:
        self._drafted |= {length: _Mean() for length in lengths}
        self._until_trial = self.PAUSE


class _Mean:
    """Seconds a token, recent rounds counting more."""

    def __init__(self) -> None:
        self.rounds = 0
        self._seconds = self._tokens = 0.0

    @property
    def value(self) -> float:
        return self._seconds / self._tokens if self._tokens else math.inf

    def add(self, seconds: float, tokens: int) -> None:
        self.rounds += 1
        # about the last 20 rounds count: other text, and other requests beside it, change what is quickest
        self._seconds = 0.95 * self._seconds + seconds
        self._tokens = 0.95 * self._tokens + tokens


_known: WeakKeyDictionary[object, WeakKeyDictionary[object, DraftLengthController]] = WeakKeyDictionary()
