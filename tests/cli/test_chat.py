"""`glimp chat`: a conversation, here through a pipe."""

import json
import re
from typing import Any

import pytest

from glimp_core import EngineError, Request
from glimp_core.cli.chat import COMMANDS


def roles(request: Request) -> list[str]:
    return [message["role"] for message in request.messages]


def test_the_conversation_is_remembered(glimp: Any) -> None:
    """Each question comes after the earlier ones with their answers and their reasoning."""
    assert glimp("chat", "--system", "Be short.", stdin="one\n\ntwo\n/quit\nthree\n").code == 0
    first, second = glimp.asked
    assert roles(first) == ["system", "user"]
    assert roles(second) == ["system", "user", "assistant", "user"]
    assert second.messages[2]["content"] == "It is 4."
    assert second.messages[2]["reasoning_content"].startswith("Two and two.")
    assert second.messages[3]["content"] == "two"


def test_new_starts_over(glimp: Any) -> None:
    """/new forgets all but the system message."""
    glimp("chat", "--system", "Be short.", stdin="one\n/new\ntwo\n")
    assert roles(glimp.asked[1]) == ["system", "user"]


def test_json_is_one_document_a_reply(glimp: Any) -> None:
    """With --json every reply is one line of stdout, and nothing else is there."""
    lines = glimp("chat", "--json", stdin="one\ntwo\n").out.splitlines()
    assert [json.loads(line)["answer"] for line in lines] == ["It is 4.", "It is 4."]


def test_the_end_of_input_ends_the_chat(glimp: Any) -> None:
    """Ctrl-D, or the end of a pipe, leaves with code 0."""
    assert glimp("chat", stdin="").code == 0


def test_notes_are_said_once_a_chat(glimp: Any) -> None:
    """A note that each reply would repeat is said once."""
    glimp.script["thinking"] = "none"
    assert glimp("chat", "--small", "a", "--large", "b", stdin="one\ntwo\n").err.count("does not think") == 1


def test_a_failure_in_a_pipe_ends_it(glimp: Any) -> None:
    """Where nobody types, an error is not passed over."""
    glimp.script["error"] = EngineError("out of memory")
    assert glimp("chat", stdin="one\ntwo\n").code == 1


def replies(ran: Any) -> list[dict[str, Any]]:
    assert ran.code == 0, ran.err
    return [json.loads(line) for line in ran.out.splitlines()]


def writers(reply: dict[str, Any]) -> set[str]:
    return {step["engine"] for step in reply["steps"] if step["phase"] == "thinking"}


def test_a_threshold_holds_from_the_next_question_on(glimp: Any) -> None:
    """/threshold sets it, and says it; without a number it says it alone."""
    ran = glimp("chat", "--json", stdin="/threshold 9\none\n/threshold 0\n/threshold\ntwo\n")
    assert [writers(reply) for reply in replies(ran)] == [{"small"}, {"large"}]
    assert ran.err.count("EntropyThreshold(threshold=0.0") == 2


def test_one_model_may_be_asked_alone(glimp: Any) -> None:
    """/model small and /model large have one model write all, the answer too; /model pair goes back."""
    typed = "/model large\none\n/model small\ntwo\n/model pair\n/threshold 1\nthree\n"
    large, small, pair = replies(glimp("chat", "--json", stdin=typed))
    assert {step["engine"] for step in large["steps"]} == {"large"}
    assert {step["engine"] for step in small["steps"]} == {"small"}
    assert writers(pair) == {"small", "large"}
    assert len(glimp.asked[-1].messages) == 5, "the conversation goes on across the models"


def test_the_last_reply_is_shown_step_by_step(glimp: Any) -> None:
    """/trace shows what `glimp trace` would of the last reply."""
    ran = glimp("chat", "--threshold", "1", stdin="one\n/trace\n")
    assert ran.code == 0
    assert "intervention rate 50% (2 of 4 routed steps)" in ran.out
    assert glimp("chat", stdin="/trace\n").code == 2


def test_help_lists_every_command(glimp: Any) -> None:
    """What /help lists can be typed."""
    listed = re.findall(r"^/(\w+)", glimp("chat", stdin="/help\n").out, re.MULTILINE)
    assert listed == [*COMMANDS, "quit"]
    assert glimp("chat", stdin="/model\n/new\n/help\n/threshold\n/quit\n").code == 0


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("/treshold 1", "there is no command /treshold: did you mean /threshold?"),
        ("/zz", "/help lists them"),
        ("/threshold high", "'high' is no number"),
        ("/threshold -1", "threshold=-1.0"),
        ("/model both", "'both' is none of small, large and pair"),
    ],
)
def test_a_command_that_cannot_be_done_ends_a_pipe(glimp: Any, typed: str, told: str) -> None:
    """Nothing that begins as a command goes to the models by mistake."""
    ran = glimp("chat", stdin=f"{typed}\n")
    assert ran.code == 2
    assert told in ran.err
    assert not glimp.asked


def test_a_path_is_a_question(glimp: Any) -> None:
    """Only a word of letters behind the slash is a command."""
    assert glimp("chat", stdin="/etc/passwd, what is that?\n").code == 0
    assert len(glimp.asked) == 1
