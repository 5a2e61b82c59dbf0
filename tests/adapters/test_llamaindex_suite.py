"""The conformance suite can fail: each defect of `llamaindex_defects` fails the check that is there for it."""

import asyncio
import inspect
from typing import Any

import pytest

from adapters import llamaindex_defects as defects
from adapters.llamaindex_conformance import LLMConformance
from adapters.llamaindex_defects import changing
from adapters.llamaindex_glimp import GlimpHooks
from glimp_llamaindex import GlimpLLM

FOUND: list[tuple[type[GlimpLLM], str, tuple[Any, ...]]] = [
    (changing(defects.put_an_object_into_raw), "test_events_are_json", ("chat",)),
    (changing(defects.drop_usage), "test_token_counts", ("astream_complete",)),
    (changing(defects.drop_finish_reason), "test_finish_reason", ()),
    (changing(defects.leak_reasoning), "test_reasoning_is_apart", ()),
    (changing(defects.leak_reasoning), "test_text_program", ()),
    (changing(defects.leak_reasoning), "test_react_agent", ()),
    (changing(defects.leak_reasoning), "test_rerankers", ()),
    (changing(defects.say_none), "test_reasoning_is_shown_while_it_is_written", ()),
    (changing(defects.show_the_delta_alone), "test_chat_streams", ()),
    (changing(defects.hide_thinking_delta), "test_agent_streams", ()),
    (changing(defects.show_calls_as_blocks_alone), "test_function_program", ()),
    (changing(defects.split_the_text), "test_one_text_block", ()),
    (defects.FakeAsync, "test_loop_stays_free", ()),
    (defects.FakeAsync, "test_cancelled_task", ()),
    (defects.Nested, "test_events", ("chat",)),
    (defects.Nested, "test_token_counts", ("chat",)),
    (defects.Wrapped, "test_events", ("chat",)),
    (defects.NoCoroutine, "test_streams_are_generators", ()),
    (defects.Deaf, "test_arguments_of_a_call_win", ("max_tokens",)),
    (defects.Detached, "test_closed_stream", ()),
    (defects.Detached, "test_dropped_stream", ()),
    (defects.Detached, "test_failing_model", ()),
    (defects.Eager, "test_nothing_runs_before_it_is_asked_for", ()),
    (defects.StoredLock, "test_many_loops", ()),
    (defects.Cloned, "test_deepcopy_shares_the_weights", ()),
    (defects.WrittenDownWrong, "test_dict_round_trip", ()),
    (defects.WrittenDownWrong, "test_metadata_extractors", ()),
    (defects.Replaying, "test_old_reasoning_is_not_sent_back", ()),
    (defects.Blind, "test_images_are_refused", ()),
    (defects.Truncating, "test_too_long_a_prompt", ()),
    (defects.Appending, "test_history_stays_as_it_is", ()),
    (defects.Appending, "test_tool_required", ()),
    (defects.ManyCalls, "test_one_call_at_a_time", ()),
    (defects.ShownNames, "test_names_come_back", ()),
    (defects.Forgetful, "test_system_prompt", ()),
]


def run(llm_class: type[GlimpLLM], check: str, arguments: tuple[Any, ...]) -> None:
    """Run one check on one class."""
    suite = type("Suite", (GlimpHooks, LLMConformance), {"llm_class": llm_class})()
    result = getattr(suite, check)(*arguments)
    if inspect.isawaitable(result):
        asyncio.run(_awaited(result))


async def _awaited(result: Any) -> None:
    await result


@pytest.mark.parametrize(("defect", "check", "arguments"), FOUND, ids=lambda value: getattr(value, "__name__", None))
def test_defect_is_found(defect: type[GlimpLLM], check: str, arguments: tuple[Any, ...]) -> None:
    """A planted defect fails a check that passes without it; skipped is not failed."""
    run(GlimpLLM, check, arguments)
    with pytest.raises((AssertionError, Exception, pytest.fail.Exception)):
        run(defect, check, arguments)
