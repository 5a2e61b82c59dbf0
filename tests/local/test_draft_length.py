"""Drafts are as long as pays on the machine at hand."""

from collections.abc import Callable

import pytest

from glimp_core.context import Context
from glimp_core.local.draft_length import LENGTHS, DraftLengthController
from glimp_core.types import Request


class Model:
    """Anything that is itself alone."""


def rounds(
    pace: DraftLengthController, cost: Callable[[int], float], count: int, written: Callable[[int], int]
) -> list[int]:
    """The lengths that were chosen while a round of each takes `cost` seconds and writes so many tokens."""
    chosen = []
    context = Context(Request(({"role": "user", "content": "?"},)))
    for _ in range(count):
        limit = pace.limit(context)
        pace.record(limit, limit, written(limit), cost(limit))
        chosen.append(limit)
    return chosen


@pytest.mark.parametrize("best", LENGTHS)
def test_the_quickest_length_is_kept(best: int) -> None:
    """After a trial of each the length with the fewest seconds a token is used, whichever it is."""
    chosen = rounds(
        DraftLengthController(), lambda n: 1.0 if n == best else 2.0, 150, lambda n: n + 1 if n in (0, best) else 2
    )
    assert set(chosen[40:]) == {best}
    assert set(chosen[:40]) == {0, *LENGTHS}


def test_no_drafts_where_none_pays() -> None:
    """Where every length loses against none there are no drafts for a while, and then another trial."""
    chosen = rounds(DraftLengthController(), lambda n: 1.0 + n, 300, lambda n: 1)
    assert set(chosen[40:200]) == {0}
    assert set(chosen[200:]) == {0, *LENGTHS}


def test_every_request_is_told_why_there_are_no_drafts() -> None:
    """What one request has found out holds for the next: the same pace, and its note."""
    models = Model(), Model(), Model()
    pace = DraftLengthController.of(*models[:2])
    rounds(pace, lambda n: 1.0 + n, 60, lambda n: 1)
    later = Context(Request(({"role": "user", "content": "?"},)))
    assert DraftLengthController.of(*models[:2]).limit(later) == 0
    assert [note.partition(":")[0] for note in later.notes] == ["not drafted for a while"]
    assert DraftLengthController.of(models[0], models[2]) is not pace


def test_another_length_is_found_when_things_change() -> None:
    """A length that has become the better one is found at the next trial."""
    pace = DraftLengthController()
    assert rounds(pace, lambda n: 1.0, 100, lambda n: 3 if n == 2 else 1)[-1] == 2
    assert rounds(pace, lambda n: 1.0, 300, lambda n: 2 if n == 2 else 1 + n)[-1] == max(LENGTHS)


def test_rounds_without_drafts_count_as_such() -> None:
    """A round in which the small model dared nothing says what plain writing takes."""
    pace = DraftLengthController()
    for _ in range(3):
        pace.record(8, 0, 1, 1.0)
    assert pace.limit(Context(Request(({"role": "user", "content": "?"},)))) == LENGTHS[0]


def test_rounds_that_write_nothing_are_slow_ones() -> None:
    """A round whose only token was refused has taken time and written nothing: no error, and no reason to go on so."""
    chosen = rounds(DraftLengthController(), lambda n: 1.0, 100, lambda n: 1 if n == 0 else 0)
    assert set(chosen[40:]) == {0}
