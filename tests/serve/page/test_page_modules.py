"""The page's modules, run by Node: their figures are the summary's, and streams and files are read whole."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from glimp_core import ModelUsage, ToolCall
from glimp_core.events import Finish, Routed
from glimp_core.trace import Run
from glimp_core.trace.schema import SCHEMA, Called, Finished, Glimpsed, Line, Written
from glimp_core.types import Step, ToolCallDelta
from glimp_core.views.columns import picture
from recordings import recorded

PAGE = Path(__file__).parents[3] / "core" / "glimp_core" / "serve" / "page"
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="there is no Node on this machine")


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's modules beside the program that asks them, marked as modules for Node."""
    folder = tmp_path_factory.mktemp("modules")
    for file in [*PAGE.glob("*.js"), Path(__file__).with_name("fold.mjs")]:
        shutil.copy(file, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    return folder


def answer(modules: Path, **asked: Any) -> Any:
    command = [str(NODE), "--no-warnings", str(modules / "fold.mjs")]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def written(run: Run) -> list[dict[str, Any]]:
    """The lines of a run, as a trace has them."""

    def line_of(event: Any) -> Line | None:
        match event:
            case Routed():
                return Glimpsed(run=run.head.run, routed=event)
            case Step():
                return Written(run=run.head.run, step=event)
            case ToolCallDelta(index=index, call=call) if call is not None:
                return Called(run=run.head.run, index=index, call=call)
            case Finish():
                return Finished(run=run.head.run, finish=event)
            case _:
                return None

    lines = [run.head, *filter(None, map(line_of, run.events)), *([run.broken] if run.broken else [])]
    return [
        {"glimp": SCHEMA, "run": line.run, "kind": line.kind, **line.model_dump(mode="json", exclude_defaults=True)}
        for line in lines
    ]


def busy(run: Run, prefill: int, drafted: float) -> Run:
    """The run, in which the large model also read tokens, and the small one drafted for it."""
    reading = ModelUsage(prefill_tokens=prefill, prefill_seconds=0.1 * prefill)
    drafting = ModelUsage(drafted_tokens=1, decode_seconds=drafted)

    def more(event: Any) -> Any:
        if isinstance(event, Routed):
            usage = event.glimpse.usage + ModelUsage(decode_seconds=drafted / 3)
            return replace(event, glimpse=replace(event.glimpse, usage=usage))
        if not isinstance(event, Step) or event.engine == "small":
            return event
        seconds = event.seconds + reading.seconds + drafted
        return replace(event, seconds=seconds, usage=event.usage + reading, drafting=drafting)

    return Run(run.head, [more(event) for event in run.events], run.broken)


TEXT = st.text(max_size=12).map(lambda text: text.encode(errors="ignore").decode() + "\n\n")
RUNS = st.builds(
    lambda steps, prefill, drafted, **named: busy(recorded(*steps, **named), prefill, drafted),
    st.lists(st.tuples(st.floats(0, 8), TEXT), max_size=6),
    st.integers(0, 9),
    st.floats(0, 2),
    answer=TEXT,
    threshold=st.none() | st.floats(0, 4),
    pace=st.floats(1e-4, 2),
    broken=st.sampled_from(["", "", "closed", "EngineError"]),
    calls=st.sampled_from([(), (ToolCall("1", "add", {"a": 2}),)]),
)
ONCE = settings(max_examples=2, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))


@needs_node
@ONCE
@given(st.lists(RUNS, min_size=12, max_size=12))
def test_the_figures_of_the_page_are_those_of_the_summary(modules: Path, runs: list[Run]) -> None:
    """Folded from its lines, live or replayed, a reply has the texts, rates, tokens, seconds and estimate of Python."""
    told = answer(modules, task="fold", traces=[written(run) for run in runs])
    for run, (direct, replayed) in zip(runs, told, strict=True):
        assert replayed == direct
        done = run.completion
        summary, drawn = done.summary(), picture(done)
        assert (direct["thoughts"], direct["answer"]) == (done.reasoning, done.answer)
        assert (direct["calls"], direct["notes"]) == (len(done.tool_calls), list(summary.notes))
        assert direct["routed"] == summary.routed_steps
        assert direct["interventions"] == pytest.approx(summary.intervention_rate * summary.routed_steps)
        assert sum(direct["tokens"].values()) == done.usage.completion_tokens
        assert direct["tokens"]["large"] == pytest.approx(summary.large_token_share * done.usage.completion_tokens)
        assert direct["total"] == pytest.approx(summary.seconds)
        assert direct["largeAlone"] == pytest.approx(summary.large_alone_seconds)
        if drawn.columns:
            last = drawn.columns[-1]
            parts = [getattr(last, name) / 100 * drawn.most_seconds for name in ("small", "large")]
            assert [direct["seconds"][name] for name in ("small", "large")] == pytest.approx(
                parts, abs=1e-4 * drawn.most_seconds
            )


EVENTS = st.lists(
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n"), max_size=9), max_size=4
)


@needs_node
@ONCE
@given(st.data())
def test_a_stream_is_read_however_it_is_cut(modules: Path, data: st.DataObject) -> None:
    """Line ends of any kind, comments between events, and cuts inside a character or a line end change nothing."""
    expected, streams = [], []
    for end in ("\n", "\r\n", "\r") * 6:
        events = data.draw(EVENTS)
        raw = "".join(f": ping{end}{end}data: {event}{end}{end}" for event in events).encode()
        cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
        streams.append([list(raw[start:stop]) for start, stop in zip([0, *cuts], [*cuts, len(raw)], strict=True)])
        expected.append(events)
    assert answer(modules, task="events", streams=streams) == expected


def spoilt(text: str, number: int) -> str:
    """The trace with one line whose content is of a wrong type."""
    lines = text.splitlines(keepends=True)
    line = json.loads(lines[number])
    lines[number] = json.dumps(line | {line["kind"]: [line["run"]]}) + "\n"
    return "".join(lines)


@needs_node
def test_a_trace_is_read_as_python_reads_it(modules: Path) -> None:
    """Requests may interleave and the last line may be cut; what is no trace or of another schema is said so.

    A line that is none costs its own request alone.
    """
    lines = written(recorded((0.1, "a\n\n"), id="1")), written(recorded((2.0, "b\n\n"), (0.1, "c\n\n"), id="2"))
    mixed = [line for pair in zip(*lines, strict=False) for line in pair] + lines[1][len(lines[0]) :]
    text = "".join(json.dumps(line) + "\n" for line in mixed)
    later = json.dumps({"glimp": 2, "run": "1", "kind": "start"})
    headless = "".join(json.dumps(line) + "\n" for line in lines[0][1:])
    files = [text, text + '{"glimp": 1, "run": "1", "ki', later, headless, "", "hello", "[1]\nnull\n3"]
    whole, cut, newer, *none = answer(modules, task="requests", files=files)
    wrong = [spoilt(text, number) for number in range(len(mixed))]
    assert [len(left) for left in answer(modules, task="requests", files=wrong)] == [1] * len(mixed)
    assert whole == cut == [len(part) for part in lines]
    assert newer == "a.jsonl is a trace of schema 2; this page reads 1."
    assert none == ["a.jsonl is no trace of Glimp: no request in it can be read."] * 4


MARKS = ["a", "b c", " ", "\n", "\n\n", "```", "```py\n", "~~~", "`", "**", "## ", "*", "1. "]
MARKUP = st.lists(st.sampled_from(MARKS), max_size=14).map("".join)


@needs_node
@ONCE
@given(st.lists(MARKUP, min_size=80, max_size=80))
def test_no_word_of_an_answer_is_lost(modules: Path, texts: list[str]) -> None:
    """Blocks and spans hold every word in its order, but for the language behind a fence.

    What is code stays code in a text that is cut into steps.
    """

    def words_of(blocks: list[dict[str, Any]]) -> list[tuple[str, bool]]:
        return [(word, block["code"]) for block in blocks for word in re.findall(r"\w", block["text"])]

    for text, (told, stepwise) in zip(texts, answer(modules, task="blocks", texts=texts), strict=True):
        assert words_of(stepwise) == words_of(told)
        shown = "".join("".join(span["text"] for span in block["spans"]) or block["text"] for block in told)
        words, left = re.findall(r"\w", text), iter(re.findall(r"\w", text))
        assert all(word in left for word in re.findall(r"\w", shown))
        languages = "".join(re.findall(r"(?m)^ *(?:`{3,}|~{3,}) *(\S*)\s*$", text))
        assert len(words) - len(re.findall(r"\w", shown)) <= len(re.findall(r"\w", languages))


@needs_node
def test_code_and_bold_words_are_seen(modules: Path) -> None:
    """Fences, ticks, bold words and headings; a power is none, nor is a star alone."""
    text = "# Sum\n**43** is `a*b` and 2**3**4 * 5\n```py\nx = 1\n\ny\n```\nend **open\n~~~\nz"
    ((told, _),) = answer(modules, task="blocks", texts=[text])
    assert [(block["text"], block["code"]) for block in told if block["code"]] == [("x = 1\n\ny", True), ("z", True)]
    marked = [(span["tag"], span["text"]) for block in told for span in block["spans"] if span["tag"]]
    assert marked == [("strong", "Sum"), ("strong", "43"), ("code", "a*b")]
    assert told[0]["spans"][-1]["text"] == " and 2**3**4 * 5"
