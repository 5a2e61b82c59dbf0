"""`glimp chat`: a conversation, here through a pipe."""

import json
from typing import Any

from glimp_core import EngineError, Request


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
