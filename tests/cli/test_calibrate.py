"""`glimp calibrate`, and the profile and the trace in the other commands."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from glimp_core import EntropyThreshold
from glimp_core.bundled.problems import HELD_OUT, make_problem
from glimp_core.profile import read_profile
from glimp_core.trace import load

DRAWN = random.Random(0)
SCRIPT: dict[str, Any] = {
    "steps": [f"{n:02}\n\n" for n in range(39)],
    "entropies": [round(DRAWN.random(), 3) for _ in range(40)],
}


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Profiles and traces are written here."""
    monkeypatch.chdir(tmp_path)


def test_the_document_has_the_published_keys(glimp: Any) -> None:
    """--json prints the profile that is written, whose threshold gives the rate that was asked for."""
    glimp.script |= SCRIPT
    ran = glimp("calibrate", "--target-rate", "0.3", "--n", "6", "--json", "--out", "p.json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out.splitlines()[-1])
    assert {"threshold", "interval", "target_rate", "measured_rate", "entropy", "pair", "n"} <= document.keys()
    assert document == json.loads(Path("p.json").read_text())
    over = sum(entropy > document["threshold"] for entropy in SCRIPT["entropies"])
    assert over / 40 == document["measured_rate"] == 0.3
    assert (document["n"], document["entropy"], len(document["pair"])) == (6, "full", 2)


def test_the_terminal_shows_threshold_and_curve(glimp: Any) -> None:
    """Without --json the threshold, its interval, what was measured and the curve are shown."""
    glimp.script |= SCRIPT
    out = glimp("calibrate", "--n", "6").out
    assert "95 % interval" in out
    assert "asked for rate 25.0%; measured on 2 other prompts: 25.0% of the steps" in out
    assert "large tokens" in out
    assert read_profile("glimp-profile.json").target_rate == 0.25


def test_prompts_come_from_a_file_with_the_system_message(glimp: Any) -> None:
    """The file's prompts are asked, each after the system message."""
    glimp.script |= SCRIPT
    Path("q.jsonl").write_text("\n".join(json.dumps(f"q{n}") for n in range(6)))
    assert glimp("calibrate", "--prompts", "q.jsonl", "--n", "5", "--system", "Be short.").code == 0
    asked = {(request.messages[0]["content"], request.messages[1]["content"]) for request in glimp.asked}
    assert asked == {("Be short.", f"q{n}") for n in range(5)}


def test_another_pair_is_told_that_its_own_prompts_are_better(glimp: Any) -> None:
    """Calibrating models of one's own on the bundled puzzles is possible, and remarked."""
    glimp.script |= SCRIPT
    assert "--prompts FILE" in glimp("calibrate", "--small", "a", "--large", "b", "--n", "4").err
    assert "--prompts FILE" not in glimp("calibrate", "--n", "4").err


def test_a_profile_sets_the_threshold_of_the_other_commands(glimp: Any) -> None:
    """run, demo and chat with --profile decide by its threshold, on its pair only."""
    glimp.script |= SCRIPT
    glimp("calibrate", "--small", "a", "--large", "b", "--n", "6", "--out", "p.json")
    for command in (["run", "?"], ["demo"], ["chat"]):
        ran = glimp(*command, "--small", "a", "--large", "b", "--profile", "p.json")
        assert ran.code == 0, ran.err
        assert glimp.made[-1][0][2].threshold == read_profile("p.json").threshold
    ran = glimp("run", "?", "--small", "a", "--large", "c", "--profile", "p.json")
    assert ran.code == 2
    assert "calibrated on a + b" in ran.err


@pytest.mark.parametrize("command", [["run", "2+2?"], ["demo", "--seed", "3"], ["chat"]])
def test_trace_writes_what_happens(glimp: Any, command: list[str]) -> None:
    """run, demo and chat append their requests to the file that --trace names."""
    glimp(*command, "--trace", "t.jsonl", stdin="2+2?\n")
    glimp(*command, "--trace", "t.jsonl", stdin="2+2?\n")
    question = make_problem(HELD_OUT + 3).question if command[0] == "demo" else "2+2?"
    runs = load("t.jsonl")
    assert [run.head.question for run in runs] == [question] * 2
    assert all(run.finished and run.completion.answer == "It is 4." for run in runs)


def test_redact_keeps_words_out(glimp: Any) -> None:
    """--redact writes figures only."""
    assert glimp("run", "zebra?", "--trace", "t.jsonl", "--redact").code == 0
    text = Path("t.jsonl").read_text()
    assert "zebra" not in text
    assert "It is" not in text
    assert load("t.jsonl")[0].completion.summary().routed_steps == 4


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["calibrate", "--target-rate", "0.2", "--target-share", "0.3"], "one target"),
        (["calibrate", "--target-rate", "1.2"], "rate=1.2"),
        (["calibrate", "--target-seconds", "0"], "seconds=0.0"),
        (["calibrate", "--n", "3"], "too few"),
        (["calibrate", "--n", "0"], "--n 0"),
        (["calibrate", "--prompts", "none.jsonl"], "cannot be read"),
        (["calibrate", "--threshold", "1"], "leave out --threshold"),
        (["calibrate", "--profile", "p.json"], "leave out --threshold and --profile"),
        (["calibrate", "--n", "6", "--out", "no/p.json"], "cannot be written"),
        (["run", "?", "--profile", "none.json"], "No such file"),
        (["run", "?", "--profile", "none.json", "--threshold", "1"], "one of them"),
        (["run", "?", "--redact"], "--trace"),
        (["run", "?", "--trace", "no/t.jsonl"], "cannot be written"),
    ],
)
def test_bad_input_is_code_2(glimp: Any, arguments: list[str], what: str) -> None:
    """What cannot work is told in one line, before any model runs."""
    glimp.script |= SCRIPT
    ran = glimp(*arguments)
    assert ran.code == 2
    assert what in ran.err.splitlines()[-1]
    assert ran.out == ""


def test_a_path_that_cannot_be_written_is_told_before_the_work(glimp: Any) -> None:
    """Nobody waits for a calibration that cannot be kept."""
    glimp.script |= SCRIPT
    glimp("calibrate", "--n", "6", "--out", "no/p.json")
    assert glimp.asked == []


def test_the_default_policy_is_as_before(glimp: Any) -> None:
    """Without a profile the threshold is the given one."""
    glimp("run", "?", "--threshold", "0.5")
    assert glimp.made[-1][0][2] == EntropyThreshold(0.5)
