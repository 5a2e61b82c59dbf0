"""`glimp run`: what is printed where, and with which exit code it ends."""

import json
from typing import Any

import pytest

from glimp_core import EngineError, EntropyThreshold, RouterConfig, SamplingParams
from glimp_core.cli.settings import BUNDLED_THRESHOLD


def test_a_question_is_answered_in_plain_text(glimp: Any) -> None:
    """Without a terminal: exit code 0, plain text, each step after its entropy and its writer in words."""
    ran = glimp("run", "2+2?", "--threshold", "1")
    assert ran.code == 0
    assert "\x1b" not in ran.out + ran.err
    for line in ("H  0.10  small ▏Two and two.", "H  2.00  large ▏So it is four.", "answer   large ▏It is 4."):
        assert line in ran.out.splitlines()


def test_the_table_adds_up(glimp: Any) -> None:
    """Under the reply stand steps and tokens by model with their sums, the rate, and an estimate called one."""
    ran = glimp("run", "2+2?", "--threshold", "1")
    rows = {row[:14].strip(): row[14:].split() for row in ran.out.splitlines()}
    assert [int(n) for n in rows["steps"]] == [2, 3, 5]
    small, large, together = map(int, rows["tokens written"])
    assert small + large == together > 0
    assert "intervention rate 50% (2 of 4 routed steps)" in ran.out
    assert "(estimate)" in ran.out


def test_json_is_the_last_line_of_stdout(glimp: Any) -> None:
    """With --json stdout holds one line, the document of the reply, and nothing else."""
    ran = glimp("run", "2+2?", "--json", "--threshold", "1")
    (line,) = ran.out.splitlines()
    document = json.loads(line)
    assert document["answer"] == "It is 4."
    assert [step["engine"] for step in document["steps"]] == ["small", "large", "small", "large", "large"]
    assert sum(step["tokens"] for step in document["steps"]) == document["usage"]["completion_tokens"]


def test_a_question_may_come_from_stdin(glimp: Any) -> None:
    """`-` reads the question from stdin, to the letter."""
    assert glimp("run", "-", stdin="two\nlines\n").code == 0
    assert glimp.asked[0].messages == ({"role": "user", "content": "two\nlines\n"},)


def test_options_reach_the_router(glimp: Any) -> None:
    """Every shared option arrives where it belongs."""
    line = (
        "run x --small a --large b --threshold 2.5 --reasoning inline --answer-by small --max-reasoning-tokens 99 "
        "--temperature 0.5 --top-p 0.9 --top-k 7 --max-tokens 50 --seed 3 --stop END --stop FIN --system Short. "
        "--dtype float32 --device cpu"
    )
    assert glimp(*line.split()).code == 0
    config = RouterConfig(reasoning="inline", answer_by="small", max_reasoning_tokens=99)
    sampling = SamplingParams(temperature=0.5, top_p=0.9, top_k=7, max_tokens=50, stop=("END", "FIN"), seed=3)
    settings = ("a", "b", EntropyThreshold(2.5), config, sampling)
    assert glimp.made == [(settings, {"dtype": "float32", "device": "cpu"})]


def test_the_system_message_comes_first(glimp: Any) -> None:
    """--system is a message before the question."""
    glimp("run", "x", "--system", "Be short.")
    assert [message["role"] for message in glimp.asked[0].messages] == ["system", "user"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (["run", ""], "question is empty"),
        (["run", " \n"], "question is empty"),
        (["run", "-"], "question is empty"),
        (["run"], "question"),
        (["run", "x", "--threshold", "-1"], "threshold=-1.0"),
        (["run", "x", "--threshold", "nan"], "threshold=nan"),
        (["run", "x", "--threshold", "high"], "--threshold"),
        (["run", "x", "--thresold", "1"], "--threshold"),
        (["run", "x", "--reasoning", "inlin"], "did you mean 'inline'"),
        (["run", "x", "--answer-by", "nobody"], "nobody"),
        (["run", "x", "--temperature", "-1"], "temperature=-1.0"),
        (["run", "x", "--max-tokens", "0"], "max_tokens=0"),
        (["run", "x", "--max-reasoning-tokens", "0"], "max_reasoning_tokens=0"),
        (["run", "x", "--small", "a"], "--large"),
        (["run", "x", "--large", "a"], "--small"),
        (["run", "x", "y"], "y"),
        (["rum", "x"], "run"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(glimp: Any, line: list[str], told: str) -> None:
    """Bad input ends with code 2 and one line on stderr that says what to do; nothing is printed on stdout."""
    ran = glimp(*line)
    assert (ran.code, ran.out) == (2, "")
    (only,) = ran.err.splitlines()
    assert only.startswith("glimp: error: ")
    assert told.lower() in only.lower()  # versions of typer differ in QUESTION and question


def test_a_prompt_over_the_window_is_bad_input(glimp: Any) -> None:
    """A prompt that does not fit is refused with code 2 before anything is written."""
    glimp.script["window"] = 40
    ran = glimp("run", "a question that leaves no room", "--small", "a", "--large", "b")
    assert ran.code == 2
    assert "window 40" in ran.err.splitlines()[-1]
    assert "▏" not in ran.out


def test_an_engine_that_fails_is_exit_code_1_with_what_it_had_written(glimp: Any) -> None:
    """A failure while writing is one line and code 1; the traceback comes with --debug alone."""
    glimp.script |= {"error": EngineError("out of\nmemory"), "error_at": 3}
    ran = glimp("run", "x")
    assert ran.code == 1
    assert ran.err.splitlines()[-1] == "glimp: error: out of memory"
    assert "Traceback" not in ran.err
    assert ran.out.endswith("▏Two\n")
    assert "Traceback" in glimp("run", "x", "--debug").err


def test_notes_are_said_once_on_stderr(glimp: Any) -> None:
    """What the user should know of the pair is one note on stderr, not part of the reply."""
    glimp.script["thinking"] = "none"
    ran = glimp("run", "x", "--small", "a", "--large", "b")
    assert [line[:12] for line in ran.err.splitlines()] == ["glimp: note:"]
    assert "does not think" in ran.err
    assert "note" not in ran.out


def test_control_characters_of_a_model_are_shown_and_not_obeyed(glimp: Any) -> None:
    """An escape sequence in a reply does not reach the terminal."""
    glimp.script["answer"] = "\x1b[2J\x07four\x9b1m\r"
    out = glimp("run", "x").out
    assert not set("\x1b\x07\x9b\r") & set(out)
    assert "four" in out


def test_a_cut_answer_says_so(glimp: Any) -> None:
    """An answer that hit its limit says that it was cut, and by what."""
    assert "--max-tokens" in glimp("run", "x", "--max-tokens", "3").out


def test_the_bundled_pair_is_the_default_with_its_own_threshold(glimp: Any) -> None:
    """Without models the bundled pair answers, and a note says what it is good for."""
    ran = glimp("run", "x")
    small, large, policy, *_ = glimp.made[0][0]
    assert (small, large) == ("glimp-tiny-small", "glimp-tiny-large")
    assert policy == EntropyThreshold(BUNDLED_THRESHOLD)
    assert "bundled pair" in ran.err


def test_glimp_alone_prints_its_help_and_version(glimp: Any) -> None:
    """`glimp`, `--help` and `--version` end well."""
    alone, asked = glimp(), glimp("--help")
    assert (alone.code, asked.code) == (0, 0)
    for command in ("demo", "run", "chat"):
        assert command in alone.out
        assert command in asked.out
    assert glimp("--version").out.startswith("glimp ")
