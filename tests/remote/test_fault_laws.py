"""For any schedule of faults the text is that of a quiet day, or a typed error is raised."""

import itertools
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glimp_core import Delta, EngineTimeoutError, GlimpRouter, RandomRate, RemoteEngineError, RouterConfig
from remote.kit import ANSWER, STEPS, pair
from remote.scripts import Served, Trouble

WHOLE = "".join(STEPS)
pytestmark = pytest.mark.usefixtures("no_pauses")
RETRIES = 3


def troubles() -> st.SearchStrategy[Trouble | None]:
    """Anything that can happen to one request."""
    at_byte = st.builds(Trouble, st.sampled_from(["reset", "eof", "short"]), st.integers(0, 6000))
    at_line = st.builds(Trouble, st.sampled_from(["garbage", "number", "half", "error", "abort"]), st.integers(0, 9))
    refused = st.builds(
        Trouble, st.just("status"), status=st.sampled_from([429, 500, 502, 503]), retry_after=st.sampled_from(["", "0"])
    )
    others = st.sampled_from([Trouble("refuse"), Trouble("no_done"), Trouble("delay", seconds=0.005), Trouble("html")])
    return st.one_of(st.none(), at_byte, at_byte, at_line, refused, others)


SCHEDULE = st.lists(troubles(), max_size=8)


def _law(router: GlimpRouter, servers: tuple[Served, Served], schedules: tuple[Any, Any]) -> None:
    for served, schedule in zip(servers, schedules, strict=True):
        served.troubles = [*schedule]
    seen = ""
    try:
        for event in router.stream("What is two and two?"):
            seen += event.text if isinstance(event, Delta) else ""
    except RemoteEngineError:
        assert any(_fatal(schedule) for schedule in schedules), "what can be mended is mended"
    else:
        assert seen == WHOLE + ANSWER
    assert (WHOLE + ANSWER).startswith(seen), "never a repeat or a hole"
    for served in servers:
        served.troubles = []


def _fatal(schedule: list[Trouble | None]) -> bool:
    """Whether a schedule may end a request: a run of failures that is longer than the retries, or nonsense."""
    runs = [len(list(run)) for bad, run in itertools.groupby(schedule, key=bool) if bad]
    return max(runs, default=0) > RETRIES or any(trouble and trouble.kind == "html" for trouble in schedule)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(small=SCHEDULE, large=SCHEDULE)
def test_a_reply_is_whole_or_an_error_is_raised(
    router: GlimpRouter, servers: tuple[Served, Served], small: Any, large: Any
) -> None:
    """For any schedule of faults the text is that of a quiet day, or a typed error is raised after a part of it."""
    _law(router, servers, (small, large))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(small=SCHEDULE, large=SCHEDULE)
def test_a_reply_is_whole_or_an_error_is_raised_500(
    router: GlimpRouter, servers: tuple[Served, Served], small: Any, large: Any
) -> None:
    """The same, on many schedules."""
    _law(router, servers, (small, large))


STALL = st.builds(Trouble, st.just("stall"), st.integers(0, 6000))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(small=st.lists(st.one_of(st.none(), STALL), max_size=3), large=st.lists(st.one_of(st.none(), STALL), max_size=3))
def test_a_silent_server_is_never_waited_for(servers: tuple[Served, Served], small: Any, large: Any) -> None:
    """A server that falls silent anywhere costs its timeout: then the reply goes on, or a typed error is raised."""
    router = pair(*servers, RandomRate(0.5), timeout=0.4)
    router.load()
    servers[0].troubles, servers[1].troubles = [*small], [*large]
    seen, started = "", time.monotonic()
    with suppress(EngineTimeoutError):
        for event in router.stream("What is two and two?"):
            seen += event.text if isinstance(event, Delta) else ""
        assert seen == WHOLE + ANSWER
    assert (WHOLE + ANSWER).startswith(seen), "never a repeat or a hole"
    assert time.monotonic() - started < 15, "stalled servers keep a stream open for 20 seconds"
    for served in servers:
        served.troubles = []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(large=SCHEDULE)
def test_the_small_model_goes_on(router: GlimpRouter, servers: tuple[Served, Served], large: Any) -> None:
    """With on_large_failure="small" nothing that the large model's server does keeps a reply from being whole."""
    servers[1].troubles = [*large]
    made = GlimpRouter(
        router.small, router.large, RandomRate(0.5), RouterConfig(entropy="top20", on_large_failure="small")
    )
    done = made.generate("What is two and two?")
    assert (done.reasoning, done.answer) == (WHOLE, ANSWER)
    servers[1].troubles = []
