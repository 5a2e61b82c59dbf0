"""Spans say what happened, under the caller's span, and no word unless asked to."""

import gc
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.trace import StatusCode

from glimp_core import EngineError, GlimpRouter, SamplingParams, ToolCall
from glimp_core.telemetry import SpanTap
from pairs import scripted_router


class Recorder:
    """A router whose spans are kept."""

    def __init__(self, content: bool = False, **options: Any):
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.router: GlimpRouter = scripted_router(**options)
        self.router.taps.append(SpanTap(self.provider, content))

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def requests(self) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name.startswith("chat ")]

    def steps(self) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name.startswith("step ")]


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_request_is_a_span_with_a_child_for_each_step() -> None:
    """One span a request, one child a step, in order, by writer, inside the request's time."""
    recorder = Recorder()
    done = recorder.router.generate("2+2?")
    (request,) = recorder.requests()
    steps = recorder.steps()
    assert [span.name for span in steps] == [f"step {step.engine}" for step in done.steps]
    assert all(span.parent and span.parent.span_id == request.context.span_id for span in steps)
    assert [told(span)["glimp.step.index"] for span in steps] == list(range(5))
    times = [
        request.start_time or 0,
        *(t or 0 for s in steps for t in (s.start_time, s.end_time)),
        request.end_time or 0,
    ]
    assert times == sorted(times)


def test_the_attributes_are_those_of_the_completion() -> None:
    """Tokens, rates and reasons are the figures of the reply, under the names of the conventions."""
    recorder = Recorder()
    done = recorder.router.generate(
        "2+2?", sampling=SamplingParams(temperature=0.5, seed=3, max_tokens=50, stop=("x",))
    )
    attributes = told(recorder.requests()[0])
    assert attributes["gen_ai.operation.name"] == "chat"
    assert attributes["gen_ai.request.model"] == "scripted-small+scripted-large"
    assert (attributes["gen_ai.request.temperature"], attributes["gen_ai.request.seed"]) == (0.5, 3)
    assert attributes["gen_ai.request.stop_sequences"] == ("x",)
    assert attributes["gen_ai.usage.input_tokens"] == done.usage.prompt_tokens
    assert attributes["gen_ai.usage.output_tokens"] == done.usage.completion_tokens
    assert attributes["gen_ai.usage.reasoning.output_tokens"] == done.usage.reasoning_tokens
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["glimp.intervention_rate"] == done.summary().intervention_rate
    first = told(recorder.steps()[0])
    assert (first["glimp.entropy"], first["glimp.threshold"], first["glimp.intervene"]) == (0.1, 1.0, False)
    assert first["gen_ai.response.model"] == "scripted-small"
    assert sum(told(span)["gen_ai.usage.output_tokens"] for span in recorder.steps()) == done.usage.completion_tokens


def test_every_name_is_in_the_conventions_or_ours() -> None:
    """A `gen_ai.` attribute that the conventions do not know would be a spelling mistake."""
    known = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_")}
    if "gen_ai.provider.name" not in known:
        pytest.skip("these conventions are older than the names that Glimp writes")
    recorder = Recorder(content=True)
    recorder.router.generate("2+2?", sampling=SamplingParams(temperature=1, top_p=0.9, top_k=5, max_tokens=9, seed=1))
    names = {name for span in recorder.spans for name in told(span)}
    assert {name for name in names if not name.startswith("glimp.")} <= known
    assert len(names & known) >= 15


SECRET = "zebra"


def test_words_are_recorded_on_request_only() -> None:
    """Without content=True no attribute, name or status has a word of anyone."""
    script: dict[str, Any] = {"steps": [f"{SECRET}\n\n"], "answer": [ToolCall("1", SECRET, {SECRET: SECRET})]}
    recorder = Recorder(**script)
    recorder.router.generate(SECRET)
    failing = Recorder(error=EngineError(SECRET))
    with pytest.raises(EngineError):
        failing.router.generate(SECRET)
    assert all(SECRET not in span.to_json() for span in recorder.spans + failing.spans)
    open_ = Recorder(content=True, **script)
    open_.router.generate(SECRET)
    assert SECRET in told(open_.requests()[0])["gen_ai.input.messages"]


def test_messages_follow_the_schema() -> None:
    """Roles with parts: text, reasoning, tool calls and their responses."""
    recorder = Recorder(content=True, answer=[ToolCall("2", "add", {"a": 1})])
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    recorder.router.generate(
        [
            {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "more"}]},
            {"role": "assistant", "content": "two", "reasoning_content": "hm", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "3"},
        ]
    )
    attributes = told(recorder.requests()[0])
    user, assistant, tool = json.loads(attributes["gen_ai.input.messages"])
    assert user["parts"] == [{"type": "text", "content": "one"}, {"type": "text", "content": "more"}]
    assert [part["type"] for part in assistant["parts"]] == ["reasoning", "text", "tool_call"]
    assert tool["parts"] == [{"type": "tool_call_response", "id": "1", "response": "3"}]
    (out,) = json.loads(attributes["gen_ai.output.messages"])
    assert out["parts"][-1] == {"type": "tool_call", "id": "2", "name": "add", "arguments": {"a": 1}}
    assert (out["role"], out["finish_reason"]) == ("assistant", "tool_call")


def test_the_callers_span_is_the_parent() -> None:
    """The span that is current when the request is made is its parent, wherever the events are read."""
    recorder = Recorder()
    with recorder.provider.get_tracer("app").start_as_current_span("app") as app:
        stream = recorder.router.stream("?")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(list, stream).result()
    (request,) = recorder.requests()
    assert request.parent is not None
    assert request.parent.span_id == app.get_span_context().span_id


def test_an_error_ends_the_span_with_its_type() -> None:
    """A failing request has the error's type and status, and its finished steps."""
    recorder = Recorder(error=EngineError("out of memory"), error_at=9, steps=["short\n\n", "long enough it is"])
    with pytest.raises(EngineError):
        recorder.router.generate("?")
    (request,) = recorder.requests()
    assert told(request)["error.type"] == "EngineError"
    assert request.status.status_code is StatusCode.ERROR
    assert len(recorder.steps()) == 1


def test_a_reader_who_leaves_ends_the_span() -> None:
    """A stream that is closed half-way is a span of its own kind, no error; after the last event it is whole."""
    recorder = Recorder()
    stream: Any = recorder.router.stream("?")
    next(stream)
    stream.close()
    for event in (whole := recorder.router.stream("?")):
        if type(event).__name__ == "Finish":
            whole.close()
    left, done = recorder.requests()
    assert (told(left)["glimp.closed_early"], left.status.status_code) == (True, StatusCode.UNSET)
    assert told(done)["glimp.closed_early"] is False


def test_a_collection_ends_no_span_under_a_lock() -> None:
    """Law: if the collector closes a stream while this very thread holds the exporter's lock, nothing waits for it; the
    span is exported at the next request, with the time at which it was closed."""
    recorder = Recorder()
    gc.collect()
    gc.disable()
    box: list[Any] = [recorder.router.stream("?")]
    next(box[0])
    box.append(box)
    del box
    with recorder.exporter._lock:  # OpenTelemetry's, which it takes for each span
        gc.collect()
    gc.enable()
    before = time.time_ns()
    assert not recorder.requests()
    recorder.router.generate("?")
    left, _ = recorder.requests()
    assert told(left)["glimp.closed_early"] is True
    assert left.end_time
    assert left.end_time < before


def test_threads_keep_their_spans_apart() -> None:
    """Each step belongs to its own request, whatever runs beside it."""
    recorder = Recorder()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(recorder.router.generate, map(str, range(24))))
    owners = [span.parent.span_id for span in recorder.steps() if span.parent]
    assert sorted(owners) == sorted(r.context.span_id for r in recorder.requests() for _ in range(5))


def test_without_opentelemetry_the_error_says_what_to_install() -> None:
    """Importing Glimp needs no OpenTelemetry; making the tap without it tells the extra."""
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from glimp_core.telemetry import SpanTap\n"
        "try: SpanTap()\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "SpanTap needs OpenTelemetry: pip install 'glimp[otel]'"
