"""`glimp trace`: from a file to the terminal, to a page, to a document."""

import json
from pathlib import Path
from typing import Any

import pytest

from dom import parse
from glimp_core import EntropyThreshold, RandomRate
from glimp_core.trace import TraceFile
from pairs import scripted_router


@pytest.fixture
def one(tmp_path: Path) -> str:
    """A trace of one request."""
    return written(tmp_path / "one.jsonl", "2+2?")


@pytest.fixture
def three(tmp_path: Path) -> str:
    """A trace of three requests."""
    return written(tmp_path / "three.jsonl", "first", "second", "third")


def written(path: Path, *questions: str) -> str:
    for number, question in enumerate(questions):
        router = scripted_router(policy=RandomRate(0.5, number) if number else EntropyThreshold(1.0))
        router.taps.append(TraceFile(path))
        router.generate(question)
    return str(path)


def test_one_request_is_its_steps(glimp: Any, one: str) -> None:
    """The terminal shows the question and every step."""
    ran = glimp("trace", one)
    assert ran.code == 0
    assert ran.out.startswith("2+2?\n")
    assert all(text in ran.out for text in ("Two and two.", "So it is four.", "Check it.", "It is 4."))


def test_many_requests_are_a_table_and_one_can_be_chosen(glimp: Any, three: str) -> None:
    """Without --run the requests are listed, with it one is shown."""
    ran = glimp("trace", three)
    assert all(question in ran.out for question in ("first", "second", "third", "3 requests"))
    assert glimp("trace", three, "--run", "2").out.startswith("second\n")


def test_html_is_one_page(glimp: Any, three: str, tmp_path: Path) -> None:
    """--html writes the page, says so on stderr, and leaves stdout alone."""
    ran = glimp("trace", three, "--html", str(tmp_path / "t.html"), "--replay-threshold", "0.3")
    assert (ran.code, ran.out) == (0, "")
    assert "t.html" in ran.err
    dom = parse((tmp_path / "t.html").read_text())
    assert len(dom.find("details", "run")) == 3
    assert len(dom.find("table", "replays")) == 1


def test_json_is_one_document(glimp: Any, one: str) -> None:
    """The last line of stdout holds the requests, what they add up to, and the replays."""
    document = json.loads(glimp("trace", one, "--json", "--replay-threshold", "1,0.3").out.splitlines()[-1])
    (run,) = document["runs"]
    assert (run["question"], run["answer"], run["finished"], run["broken"]) == ("2+2?", "It is 4.", True, None)
    assert [decision["intervene"] for decision in run["decisions"]] == [False, True, False, True]
    assert document["overview"]["intervention_rate"] == 0.5
    recorded, same, other = document["replays"]
    assert (recorded["threshold"], recorded["exact"], same["exact"]) == ("recorded", True, True)
    assert (other["threshold"], other["exact"], other["intervention_rate"], other["bounds"]) == (
        0.3,
        False,
        0.75,
        [0.5, 0.75],
    )


def test_replays_are_shown(glimp: Any, one: str) -> None:
    """The terminal labels what is exact and what is an estimate."""
    out = glimp("trace", one, "--replay-threshold", "1,0.3").out
    assert "exact" in out
    assert "estimate" in out
    assert "50% and 75%" in out


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["none.jsonl"], "cannot be read"),
        (["{three}", "--run", "4"], "has 3 requests"),
        (["{three}", "--run", "0"], "has 3 requests"),
        (["{three}", "--replay-threshold", "high"], "for example 0.5,1,1.5"),
        (["{three}", "--replay-threshold", "-1"], "threshold=-1.0"),
        (["{three}", "--html", "/nowhere/t.html"], "cannot be written"),
        ([], "Missing argument 'file'"),
    ],
)
def test_bad_input_is_code_2_and_one_line(glimp: Any, three: str, arguments: list[str], what: str) -> None:
    """What cannot work is told in one line on stderr."""
    ran = glimp("trace", *(argument.format(three=three) for argument in arguments))
    assert ran.code == 2
    assert ran.out == ""
    assert what.lower() in ran.err.lower()  # versions of typer differ in FILE and file
    assert len(ran.err.splitlines()) == 1


def test_a_file_of_something_else_is_refused(glimp: Any, tmp_path: Path) -> None:
    """A text that is no trace is bad input."""
    (tmp_path / "x").write_text("hello\n")
    assert glimp("trace", str(tmp_path / "x")).code == 2
