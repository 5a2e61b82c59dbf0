"""Prompts as text: what a server reads is what was written, or it is said that it may not be."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimp_core import AlwaysLarge, RemoteEngineError
from glimp_core.remote.spelling import Spelling
from remote.kit import ANSWER, STEPS, TABLE, TOKENS, engine, pair, run, script, step
from remote.scripts import Script
from remote.served import ScriptedServer

SPELLING = Spelling(TOKENS, TABLE)
NEWLINE, BLANK = TABLE.encode("\n"), TABLE.encode("\n\n")
APART = [*TABLE.encode("One."), *NEWLINE, *NEWLINE]
"""A step whose end the model wrote as two tokens, and which reads as one."""


@given(st.lists(st.integers(0, 259), min_size=1, max_size=30).map(tuple), st.booleans())
def test_what_is_sent_reads_back_or_is_said(token_ids: tuple[int, ...], heals: bool) -> None:
    """Whatever the ids: a text without a remark is read as the ids that it stands for, together with its lead."""
    spelled = SPELLING.spell(token_ids, heals)
    kept = list(token_ids[: len(token_ids) - spelled.left_out])
    assert spelled.drifts or TOKENS(spelled.text, add_special_tokens=False).input_ids == kept
    assert not (spelled.left_out and (spelled.drifts or not heals))
    whole = b"".join(TABLE.token_bytes[i] or b"" for i in token_ids)
    assert (spelled.text + spelled.lead).encode() == whole.decode(errors="replace").encode()
    assert spelled.lead == "" or spelled.lead.isspace()


def test_the_blank_end_of_a_step_is_left_to_the_server() -> None:
    """Two line ends that would be read as one token are left out, and asked for again."""
    assert len(BLANK) == 1
    assert SPELLING.spell(APART) == SPELLING.spell(APART, True)
    spelled = SPELLING.spell(APART)
    assert (spelled.text, spelled.lead, spelled.left_out, spelled.drifts) == ("One.", "\n\n", 2, False)
    assert SPELLING.spell(APART, heals=False).drifts


def _apart(steps: int) -> Script:
    """A script whose steps end in two tokens."""
    plain = script((), ANSWER)
    return replace(plain, reply=[*APART * steps, *plain.reply])


class TextScript(Script):
    """A server that goes on after a text, whatever the ids that it reads."""

    def rest(self, prompt: list[int]) -> tuple[int, list[int]]:  # type: ignore[override]
        if self.open_id not in prompt:
            return super().rest(prompt)
        opened = len(prompt) - 1 - list(reversed(prompt)).index(self.open_id)
        written = self.vocabulary.decode(list(prompt[opened + 2 :]))
        at = next(n for n in range(len(self.reply)) if self.vocabulary.decode(self.reply[:n]) == written)
        return at, self.reply[at:]


class Forgetful(TextScript):
    """One that does not write the blank end of a step again."""

    def rest(self, prompt: list[int]) -> tuple[int, list[int]]:  # type: ignore[override]
        at, _ = super().rest(prompt)
        while at and self.reply[at] in NEWLINE:
            at += 1
        return at, self.reply[at:]


def _served_as(kind: type[Script], steps: int) -> Script:
    plain = _apart(steps)
    return kind(plain.vocabulary, plain.reply, plain.open_id, plain.sure, plain.size)


@pytest.mark.parametrize(("kind", "sent"), [(TextScript, ["", "One."]), (Forgetful, ["", "One.", "One.\n\n"])])
def test_a_step_goes_on_as_in_one_stream(kind: type[Script], sent: list[str]) -> None:
    """The server is asked for the blank end again; one that goes on otherwise is sent it."""
    with ScriptedServer(_apart(1)) as small, ScriptedServer(_served_as(kind, 1), "text") as large:
        done, _ = run(pair(small, large, AlwaysLarge()))
        prompts = [body["prompt"].rpartition("<think>\n")[2] for body in large.asked]
    assert (done.reasoning, done.answer) == ("One.\n\n", ANSWER)
    assert prompts[: len(sent)] == sent


def test_what_cannot_be_read_back_is_said() -> None:
    """A blank end in the middle of a prompt is read as it is, and the summary says what that may change."""
    with ScriptedServer(_apart(2)) as small, ScriptedServer(_served_as(TextScript, 2), "text") as large:
        done, _ = run(pair(small, large, AlwaysLarge()))
    assert (done.reasoning, done.answer) == ("One.\n\nOne.\n\n", ANSWER)
    (note,) = [note for note in done.summary().notes if "accepts only text" in note]
    assert "reads other tokens from it than were written" in note


@pytest.mark.parametrize("status", [400, 422, 500])
def test_a_gateway_that_fails_on_ids_is_sent_text(status: int, no_pauses: None) -> None:
    """Also one that answers with a fault of its own, as LiteLLM does."""
    with ScriptedServer(script(), "text", about_ids=status) as served:
        remote = engine(served)
        assert not remote.findings.ids
        assert step(remote) == STEPS[0]


def test_a_server_that_fails_on_everything_is_an_error(no_pauses: None) -> None:
    """A fault on ids and on text is told as it is."""
    with ScriptedServer(script(), "vllm", only_chat=True) as served, pytest.raises(RemoteEngineError, match="404"):
        engine(served).load()
