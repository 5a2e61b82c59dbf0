"""Whatever a caller sends: a reply, or one of Glimp's errors in a few lines."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat.any_message import grown, messages, options
from glimp_core import ConfigError, GlimpError, GlimpRouter, SamplingParams
from glimp_core.testing import ScriptedEngine
from pairs import scripted_router

CALM = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
LONGEST = 2_000
ANY = st.tuples(messages(), st.just({})) | st.tuples(st.just("hi"), options())


def answered_or_refused(router: GlimpRouter, asked: tuple[Any, dict[str, Any]]) -> None:
    said, how = grown(asked[0]), grown(asked[1])
    refused = ""
    try:
        router.generate(said, **how)
    except GlimpError as error:
        refused = str(error)
    assert len(refused) <= LONGEST


def scripted() -> GlimpRouter:
    return GlimpRouter(ScriptedEngine(["Hm.</think>"]), ScriptedEngine(["Hm.</think>"], answer="{}"))


@given(asked=ANY)
@settings(deadline=None, max_examples=150, derandomize=True, suppress_health_check=CALM)
def test_any_request_is_answered_or_refused(asked: tuple[Any, dict[str, Any]]) -> None:
    """Law: messages and options of any shape raise nothing but Glimp's errors. The slow test draws new ones."""
    answered_or_refused(scripted(), asked)


@pytest.mark.slow
@given(asked=ANY)
@settings(deadline=None, max_examples=3_000, suppress_health_check=CALM)
def test_any_request_is_answered_or_refused_at_length(asked: tuple[Any, dict[str, Any]]) -> None:
    """Law: the same, for twenty times as many."""
    answered_or_refused(scripted(), asked)


@pytest.mark.slow
@given(asked=ANY)
@settings(deadline=None, max_examples=300, suppress_health_check=CALM)
def test_any_request_is_answered_or_refused_by_a_real_pair(asked: tuple[Any, dict[str, Any]]) -> None:
    """Law: the same with a template, a tokenizer and grammars."""
    answered_or_refused(tiny(), asked)


def tiny() -> GlimpRouter:
    return GlimpRouter.from_pretrained(
        "glimp-tiny-small", "glimp-tiny-large", sampling=SamplingParams(max_completion_tokens=4)
    )


def test_what_contains_itself_is_refused() -> None:
    """Law: a value without an end costs a moment, wherever it stands."""
    endless: list[Any] = []
    endless += [endless, endless]
    for said, how in (
        (endless, {}), ("hi", {"tools": endless}), ([{"role": "tool", "content": endless}], {}),
        ("hi", {"response_format": {"type": "json_object", "schema": {"enum": endless}}}),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=r"levels deep|too many"):
            scripted_router().generate(said, **how)  # type: ignore[arg-type, typeddict-item]
