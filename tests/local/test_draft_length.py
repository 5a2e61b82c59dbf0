"""Drafts are made where measured costs and chances say that they pay, and cost next to nothing elsewhere."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from glimp_core.local.draft_length import LONGEST_DRAFT, SEEN, DraftLengthController, Place
from glimp_core.local.forward_costs import ForwardCosts

REPLY = 40


@dataclass
class World:
    """A machine and a pair: what forwards take, and how often drafts stand."""

    row: float = 0.1
    """What each further token of a forward takes, in forwards of one token of the large model."""
    several: float = 1.0
    """What it takes besides to read more than one."""
    small: float = 0.3
    """The cost of the small model, as a share of the large one's."""
    agrees: float = 0.8
    boasts: bool = False
    """The small model is sure of all that it drafts."""
    repeats: float = 0.0
    """The chance that a looked-up token stands; none is found for 0."""
    prompt: int = 100

    def large_seconds(self, tokens: int) -> float:
        return 1 + self.several * (tokens > 1) + self.row * (tokens - 1)

    def small_seconds(self, tokens: int) -> float:
        return self.small * self.large_seconds(tokens)

    @property
    def plain_seconds(self) -> Callable[[int], float]:
        """The time of a reply without drafts."""
        return lambda reply: self.large_seconds(self.prompt) + (reply - 1) * self.large_seconds(1)


class Call:
    """One call as the engine makes it, by a clock that runs as the world says."""

    def __init__(self, world: World, lengths: DraftLengthController, reply: int, random: Random):
        self.world, self.lengths, self.reply, self.random = world, lengths, reply, random
        self.seconds = 0.0
        self.asked = 0
        self._written, self._unread, self._unread_by_small = 0, world.prompt, world.prompt

    def run(self) -> float:
        """Write the reply; returns what it took."""
        while self._written < self.reply:
            self._round()
        self.lengths.ended(None, self._written)
        return self.seconds

    def _round(self) -> None:
        lengths, before = self.lengths, self.seconds
        left = self.reply - self._written
        place = Place(self._unread, self._unread_by_small, self._written, left)
        found = [0.9] * (LONGEST_DRAFT if self.world.repeats else 0)
        proposed = [(sure, self.random.random() < self.world.repeats) for sure in found]
        draft = proposed[: lengths.lookup_length(found, self._unread)]
        chances = lengths.looked_up
        asked = not draft and lengths.asks(place)
        if asked:
            self.asked += 1
            proposed, chances = self._drafted(place), lengths.drafted
            draft = proposed[: lengths.verified_length([sure for sure, _ in proposed], self._unread)]
        draft = draft[: left - 1]
        fed = self._unread + len(draft)
        self._take(lengths.large, fed, self.world.large_seconds(fed))
        kept = next((n for n, (_, stands) in enumerate(draft) if not stands), len(draft)) + 1
        for sure, stands in islice(proposed, kept):
            chances.add(sure, stands)
            if not stands:
                break
        self._unread = 1
        self._unread_by_small += kept
        self._written += kept
        lengths.record(place, asked, kept, self.seconds - before)

    def _drafted(self, place: Place) -> list[tuple[float, bool]]:
        self._take(self.lengths.small, self._unread_by_small, self.world.small_seconds(self._unread_by_small))
        new = min(32, self._written, self._unread_by_small - 1) if place.unread_by_small > SEEN else 0
        self._unread_by_small = 0
        if new:
            seen = list(islice(self._tokens(), new))
            self.lengths.compare(None, [sure for sure, _ in seen], [stands for _, stands in seen])
            if not self.lengths.pays(None):
                return []
        drafted = []
        for token in self._tokens():
            drafted.append(token)
            if len(drafted) >= place.left or not self.lengths.goes_on([sure for sure, _ in drafted]):
                return drafted
            self._take(self.lengths.small, 1, self.world.small_seconds(1))
        raise AssertionError

    def _tokens(self) -> Iterator[tuple[float, bool]]:
        while True:
            sure = 0.99 if self.world.boasts else self.random.uniform(0.8, 1.0) * self.world.agrees
            yield sure, self.random.random() < self.world.agrees

    def _take(self, costs: ForwardCosts, tokens: int, seconds: float) -> None:
        costs.add(tokens, seconds)
        self.seconds += seconds


def ratio(world: World, requests: int, reply: int = REPLY, lengths: DraftLengthController | None = None) -> float:
    """The time of some requests with drafts, divided by the time without."""
    lengths, random = lengths or DraftLengthController(), Random(0)
    took = sum(Call(world, lengths, reply, random).run() for _ in range(requests))
    return took / (requests * world.plain_seconds(reply))


worlds = st.builds(
    World,
    row=st.sampled_from([0.0, 0.05, 0.1, 0.3, 1.0]),
    several=st.sampled_from([0.0, 0.5, 1.0]),
    small=st.sampled_from([0.1, 0.3, 0.6, 1.0]),
    agrees=st.sampled_from([0.0, 0.3, 0.6, 0.8, 0.9, 1.0]),
    boasts=st.booleans(),
    repeats=st.sampled_from([0.0, 0.01, 0.3, 0.6, 0.95]),
    prompt=st.sampled_from([2, 20, 100, 400, 3000]),
)


def check_law(world: World, reply: int, requests: int) -> None:
    """Requests take at most a fifth longer with drafts when the pair is new, and a tenth over many."""
    alone = world.plain_seconds(reply)
    assert Call(world, DraftLengthController(), reply, Random(1)).run() <= 1.2 * alone + 4
    assert ratio(world, requests, reply) <= 1.1 + 4 / (requests * alone)


@settings(max_examples=12, deadline=None)
@given(worlds, st.sampled_from([1, 5, 12, 27]))
@example(World(agrees=0.0, boasts=True), 27)
@example(World(repeats=0.01), 27)
def test_drafts_lose_next_to_nothing(world: World, reply: int) -> None:
    """Law: whatever the machine, the chance of a draft, and the lengths of prompt and reply."""
    check_law(world, reply, 4)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(worlds, st.sampled_from([1, 5, 12, 27, 60, 200]))
@example(World(agrees=0.0, boasts=True, prompt=3000), 12)
def test_drafts_lose_next_to_nothing_over_many_requests(world: World, reply: int) -> None:
    """Law: the same over thirty requests."""
    check_law(world, reply, 30)


def test_right_drafts_are_found_out_and_used() -> None:
    """Where several tokens cost hardly more than one, and drafts stand, requests take half the time."""
    assert ratio(World(row=0.01, several=0.0, agrees=1.0), 10) < 0.55


def test_repeated_text_needs_no_trial() -> None:
    """Looked-up drafts save time in the first request, and the small model reads nothing for them."""
    world = World(repeats=0.95, agrees=0.0)
    call = Call(world, DraftLengthController(), 60, Random(0))
    assert call.run() < 0.6 * world.plain_seconds(60)
    assert not call.asked


def test_a_short_reply_does_not_pay_for_a_long_prompt() -> None:
    """A small model that is always right is not asked where reading the prompt takes longer than it saves."""
    lengths = DraftLengthController()
    assert ratio(World(row=0.01, several=0.0, agrees=1.0, prompt=20), 10, REPLY, lengths) < 0.6
    long = World(row=0.1, several=0.0, agrees=1.0, prompt=3000)
    assert not [
        asked for call in [Call(long, lengths, REPLY, Random(0))] for _ in [call.run()] if (asked := call.asked)
    ]


def test_a_change_is_found_out() -> None:
    """A pair that was given up is tried again after a while."""
    lengths = DraftLengthController()
    never, always = World(several=0.0, row=0.01, agrees=0.0), World(several=0.0, row=0.01, agrees=1.0)
    assert ratio(never, 10, REPLY, lengths) > 0.99
    ratio(always, 30, REPLY, lengths)
    assert ratio(always, 5, REPLY, lengths) < 0.6


def test_costs_lie_between_those_that_were_measured() -> None:
    """Sizes in between are on a line, larger ones in proportion, and another model's are scaled."""
    large = ForwardCosts()
    assert large.seconds(5) == 0.0
    for tokens, seconds in ((1, 1.0), (4, 2.0), (200, 40.0)):
        large.add(tokens, seconds)
    assert [large.seconds(tokens) for tokens in (1, 2, 4, 400)] == pytest.approx([1.0, 4 / 3, 2.0, 80.0])
    small = ForwardCosts(large, 0.25)
    assert small.seconds(4) == pytest.approx(0.5)
    small.add(1, 0.5)
    assert [small.seconds(tokens) for tokens in (1, 4)] == pytest.approx([0.5, 1.0])
