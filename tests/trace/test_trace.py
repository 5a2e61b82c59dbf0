"""A trace holds all that the events hold, from any number of writers, and no word where none is wanted."""

import json
import math
import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glimp_core import (
    Asked,
    Completion,
    ConfigError,
    ContextOverflowError,
    EngineError,
    EntropyThreshold,
    Event,
    Finish,
    GlimpRouter,
    InvalidToolCall,
    RandomRate,
    Request,
    RouterConfig,
    Start,
    Step,
    ToolCall,
    ToolCallDelta,
)
from glimp_core.trace import SCHEMA, TraceFile, load
from glimp_core.trace.schema import line_adapter
from pairs import ENTROPIES, STEPS, scripted_router

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
STEP = TEXT.map(lambda text: text.replace("</think>", "") + "\n\n")
ARGUMENTS = st.dictionaries(TEXT, st.none() | st.booleans() | st.integers() | TEXT | st.lists(TEXT, max_size=2))
CALLS = st.lists(st.builds(ToolCall, TEXT, TEXT, ARGUMENTS), min_size=1, max_size=3)


def traced(path: Path, redact: bool = False, **options: Any) -> GlimpRouter:
    router = scripted_router(**options)
    router.taps.append(TraceFile(path, redact))
    return router


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    steps=st.lists(STEP, max_size=5), answer=TEXT | CALLS,
    entropies=st.lists(st.floats(0, allow_infinity=True), min_size=1, max_size=4),
    threshold=st.floats(0, 3) | st.just(math.inf), question=TEXT,
)  # fmt: skip
def test_the_fold_of_a_trace_is_the_fold_of_the_events(
    tmp_path: Path, steps: list[str], answer: Any, entropies: list[float], threshold: float, question: str
) -> None:
    """fold(load(dump(events))) == fold(events), to the last bit, whatever was written."""
    path = tmp_path / "t.jsonl"
    path.unlink(missing_ok=True)
    router = traced(path, steps=steps, answer=answer, entropies=entropies, policy=EntropyThreshold(threshold))
    done = router.generate(question)
    (run,) = load(path)
    assert run.completion == Completion.fold(run.events) == done
    assert (run.head.question, run.broken) == (question, None)


def test_invalid_tool_calls_come_back(tmp_path: Path) -> None:
    """A call that cannot be one is kept as it was."""
    wrong = InvalidToolCall("1", "add", "{", "not JSON")
    asked = Asked("1", "s", "l", RandomRate(0.5), RouterConfig(), Request(({"role": "user", "content": "?"},)))
    start, *rest = scripted_router().stream("?")
    events: list[Event] = [start, ToolCallDelta(0, "1", "add"), ToolCallDelta(0, call=wrong), *rest]
    list(TraceFile(tmp_path / "t.jsonl")(asked, iter(events)))
    assert load(tmp_path / "t.jsonl")[0].completion.invalid_tool_calls == (wrong,)


def test_a_trace_says_who_and_by_which_rules(tmp_path: Path) -> None:
    """The head names the models, the policy with its state, the entropy and the tie rule."""
    config = RouterConfig.paper_code()
    traced(tmp_path / "t", config=config, policy=EntropyThreshold.of(0.7, config)).generate("2+2?")
    head = load(tmp_path / "t")[0].head
    assert (head.small, head.large, head.entropy, head.on_tie) == ("scripted-small", "scripted-large", "top20", True)
    assert head.policy == "EntropyThreshold(threshold=0.7, entropy='top20', on_tie=True)"
    assert load(tmp_path / "t")[0].completion.routed[0].decision.threshold == 0.7


def test_requests_are_appended(tmp_path: Path) -> None:
    """A second router goes on in the same file; the requests come back in order."""
    for question in ("one", "two", "three"):
        traced(tmp_path / "t").generate(question)
    assert [run.head.question for run in load(tmp_path / "t")] == ["one", "two", "three"]


def test_threads_may_write_to_one_file(tmp_path: Path) -> None:
    """Lines of concurrent requests interleave, and each request comes back whole."""
    router = traced(
        tmp_path / "t", policy=RandomRate(0.5), answer=lambda request: f"to {request.messages[0]['content']}"
    )
    with ThreadPoolExecutor(8) as pool:
        done = {str(n): d for n, d in enumerate(pool.map(router.generate, map(str, range(40))))}
    runs = load(tmp_path / "t")
    assert {run.head.question: run.completion for run in runs} == done


def _write(path: str, name: str, barrier: Any) -> None:
    asked = Asked(name, "s", "l", RandomRate(0.5), RouterConfig(), Request(({"role": "user", "content": name},)))
    steps = [Step(n, "thinking", "small", f"{name}{n}" * 9000, 1, 0.1, "break") for n in range(200)]
    barrier.wait()
    list(TraceFile(path)(asked, iter([Start("thinking", 1), *steps, Finish("stop", "close", 1.0)])))


def test_processes_may_write_to_one_file(tmp_path: Path) -> None:
    """Long lines of several processes never run into each other."""
    spawn = multiprocessing.get_context("fork")
    barrier = spawn.Barrier(3)
    writers = [spawn.Process(target=_write, args=(str(tmp_path / "t"), name, barrier)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    runs = load(tmp_path / "t")
    for run in runs:
        assert [step.text for step in run.completion.steps] == [f"{run.head.run}{n}" * 9000 for n in range(200)]
    assert {run.head.run for run in runs} == set("abc")


SECRET = "zebra"


def test_a_redacted_trace_has_no_word_of_anyone(tmp_path: Path) -> None:
    """With redact=True nothing of the question, the chain, the answer, a call or an error is in the file."""
    calls = [ToolCall("1", f"find_{SECRET}", {f"{SECRET}": SECRET})]
    script: dict[str, Any] = {"steps": [f"{SECRET}\n\n"], "entropies": [0.3]}
    traced(tmp_path / "t", True, answer=calls, **script).generate(f"{SECRET}?")
    with pytest.raises(EngineError):
        traced(tmp_path / "t", True, error=EngineError(SECRET), **script).generate(f"{SECRET}?")
    wrong = ToolCallDelta(0, call=InvalidToolCall("1", SECRET, SECRET, SECRET))
    asked = Asked("1", "s", "l", RandomRate(0.5), RouterConfig(), Request(({"role": "user", "content": SECRET},)))
    list(TraceFile(tmp_path / "t", redact=True)(asked, iter([next(iter(scripted_router().stream("?"))), wrong])))
    assert SECRET not in (tmp_path / "t").read_text()


def test_redaction_leaves_the_figures(tmp_path: Path) -> None:
    """The summary and the usage of a redacted trace are those of the reply."""
    done = traced(tmp_path / "t", redact=True).generate("2+2?")
    redacted = load(tmp_path / "t")[0].completion
    assert (redacted.summary(), redacted.usage) == (done.summary(), done.usage)
    assert (redacted.reasoning, redacted.answer) == ("", "")


def test_a_request_that_failed_says_how(tmp_path: Path) -> None:
    """An error is in the trace, after what was written before it, and reaches the caller."""
    with pytest.raises(EngineError, match="out of memory"):
        traced(
            tmp_path / "t", steps=["ok\n\n", "long enough"], error=EngineError("out of memory"), error_at=5
        ).generate("?")
    (run,) = load(tmp_path / "t")
    assert run.broken is not None
    assert (run.finished, run.broken.error, run.broken.message) == (False, "EngineError", "out of memory")
    assert [step.text for step in run.completion.steps] == ["ok\n\n"]
    assert run.completion.summary().routed_steps == 2


def test_a_reader_who_leaves_is_told_apart(tmp_path: Path) -> None:
    """Leaving a stream half-way is "closed"; leaving it after its last event is no break."""
    for taken in (9, None):
        events: Any = traced(tmp_path / "t").stream("?")
        for number, _event in enumerate(events):
            if number == taken or type(_event).__name__ == "Finish":
                break
        events.close()
    left, whole = load(tmp_path / "t")
    assert left.broken is not None
    assert left.broken.error == "closed"
    assert (whole.broken, whole.finished) == (None, True)


def test_lines_are_written_before_the_caller_sees_the_event(tmp_path: Path) -> None:
    """A crash of the caller loses nothing that the caller saw."""
    for event in traced(tmp_path / "t").stream("?"):
        if type(event).__name__ in ("Step", "Finish"):
            last = json.loads((tmp_path / "t").read_text().splitlines()[-1])
            assert last["kind"] == type(event).__name__.lower()


def test_a_line_that_a_crash_cut_short_is_passed_over(tmp_path: Path) -> None:
    """What was whole is read."""
    traced(tmp_path / "t").generate("?")
    text = (tmp_path / "t").read_text()
    (tmp_path / "t").write_text(text[: len(text) - 20])
    (run,) = load(tmp_path / "t")
    assert not run.finished
    assert len(run.completion.steps) == len(STEPS) + 1


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "is empty"),
        ("{}", "cut short"),
        ("hello\n", "line 1 is no line of a trace"),
        ('{"kind":"step"}\n', "line 1 is no line of a trace"),
        ('{"glimp":2,"run":"1","kind":"chapter"}\n', "schema 2"),
        ('{"glimp":1,"run":"1","kind":"broken","error":"x"}\n', "start of request 1 is not in this file"),
    ],
)
def test_what_is_no_trace_is_refused(tmp_path: Path, text: str, what: str) -> None:
    """The error names the file, the line and the reason."""
    (tmp_path / "t.jsonl").write_text(text)
    with pytest.raises(ConfigError, match=what) as refused:
        load(tmp_path / "t.jsonl")
    assert "t.jsonl" in str(refused.value)


def test_files_that_cannot_be_are_told_before_anything_runs(tmp_path: Path) -> None:
    """A trace in no folder, and a trace that is not there, are ConfigErrors."""
    with pytest.raises(ConfigError, match="cannot be written"):
        TraceFile(tmp_path / "none" / "t")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "t")
    (tmp_path / "b").write_bytes(b"\xff\xfe\x00\n")
    with pytest.raises(ConfigError, match="line 1 is no line of a trace"):
        load(tmp_path / "b")


def test_a_trace_of_schema_1_is_read_for_ever() -> None:
    """The stored trace, written by the first version, still gives its reply."""
    run, broken = load(Path(__file__).with_name("schema_1.jsonl"))
    done = run.completion
    assert (done.reasoning, done.answer) == ("".join(STEPS).removesuffix("</think>"), "It is 4.")
    assert tuple(routed.glimpse.entropy for routed in done.routed) == ENTROPIES
    assert [routed.decision.intervene for routed in done.routed] == [False, True, False, True]
    assert broken.broken is not None
    assert broken.broken.message == "out of memory"
    assert SCHEMA == 1


def test_fields_of_a_later_version_are_passed_over() -> None:
    """A line with unknown fields, on any level, is read."""
    first = Path(__file__).with_name("schema_1.jsonl").read_text().splitlines()[0]
    line = json.loads(first)
    line["new"] = line["start"]["new"] = 1
    assert line_adapter.validate_python(json.loads(json.dumps(line))) == line_adapter.validate_json(first)


def test_half_a_character_in_a_question_breaks_nothing(tmp_path: Path) -> None:
    """Text that cannot be encoded is replaced in the trace; the request goes on."""
    assert traced(tmp_path / "t").generate("2+\ud800?").answer == "It is 4."
    assert load(tmp_path / "t")[0].head.question == "2+??"


@pytest.mark.parametrize(
    "spoil", ["cut early", "cut in its name", "cut", "cut and glued", "bytes", "nonsense inside", "deep"]
)
def test_a_broken_line_costs_its_own_request_alone(tmp_path: Path, spoil: str) -> None:
    """Law: whatever happens to one line of a trace, the other requests are read, and what is left out is said."""
    path = tmp_path / "t"
    for question in "abc":
        traced(path).generate(question)
    whole = load(path)
    written = path.read_bytes().split(b"\n")
    at = len(written) // 2
    match spoil:
        case "cut early" | "cut in its name" | "cut":
            written[at] = written[at][: {"cut early": 12, "cut in its name": 40, "cut": 90}[spoil]]
        case "cut and glued":  # the next line of another process came behind half of one
            written[at : at + 1] = [written[at][:90] + written[0].replace(b'"run": "', b'"run": "other')]
        case "bytes":
            written[at] = written[at].replace(b'"kind"', b'"ki\xff\xfed"')
        case "nonsense inside":
            written[at] = (
                written[at].replace(b'"step": {', b'"step": 5, "x": {').replace(b'"routed": {', b'"routed": {"')
            )
        case "deep":
            written[at] += b"[" * 100_000
    path.write_bytes(b"\n".join(written))
    problems: list[str] = []
    runs = load(path, problems)
    left = [run for run in runs if not run.head.run.startswith("other")]
    assert [run.completion for run in left] == [whole[0].completion, whole[2].completion]
    assert len(runs) - len(left) == (spoil == "cut and glued")
    (problem,) = problems
    assert f"line {at + 1}" in problem
    assert whole[1].head.run in problem or spoil == "cut early"


def test_a_request_that_is_refused_leaves_no_line(tmp_path: Path) -> None:
    """Law: what fails before its first event is not in the trace, and spoils nothing."""
    traced(tmp_path / "t", window=4000).generate("?")
    with pytest.raises(ContextOverflowError):
        traced(tmp_path / "t", window=4000).generate("x" * 9000)
    assert len(load(tmp_path / "t")) == 1


def test_a_full_disk_costs_the_trace_of_one_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: where only a part of a line fits, the reply is whole, and later requests are traced as ever."""
    path, write = tmp_path / "t", os.write
    router = traced(path)
    expected = router.generate("one")
    for room in (0, 1, 40):
        lines: list[bytes] = []

        def short(file: int, written: bytes, room: int = room, lines: list[bytes] = lines) -> int:
            lines.append(written)
            if len(lines) < 3:
                return write(file, written)
            if not room:
                raise OSError(28, "No space left on device")
            return write(file, written[:room])

        monkeypatch.setattr(os, "write", short)
        done = router.generate("two")
        assert (done.reasoning, done.answer) == (expected.reasoning, expected.answer)
        assert len(lines) == 3, "what has failed once is left alone for this request"
        monkeypatch.setattr(os, "write", write)
        router.generate("three")
    assert [run.head.question for run in load(path) if run.finished] == ["one", "three", "three", "three"]
