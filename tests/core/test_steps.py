"""Where a step ends, and when a chain goes in circles."""

from hypothesis import given
from hypothesis import strategies as st

from glimp_core.stopping import StepBoundary, in_circles

PIECES = st.lists(st.binary(max_size=4).map(lambda raw: bytes(b"a\n "[byte % 3] for byte in raw)), max_size=10)


def complete(text: bytes) -> bool:
    """The definition: a paragraph break that comes after some visible byte."""
    return b"\n\n" in text.lstrip()


@given(PIECES)
def test_a_step_ends_with_the_token_that_completes_a_break(pieces: list[bytes]) -> None:
    """However the bytes are cut, the end is the first token that completes a break after a visible byte."""
    boundary, text = StepBoundary(), b""
    for piece in pieces:
        text += piece
        assert boundary.push(piece) == complete(text)
        if complete(text):
            return


def test_an_empty_piece_ends_nothing() -> None:
    """A token without bytes (a control token) leaves the boundary as it was."""
    boundary = StepBoundary()
    assert [boundary.push(piece) for piece in (b"a\n", b"", b"\n")] == [False, False, True]


def test_bytes_of_other_scripts_are_visible() -> None:
    """A break counts after any visible text, not only after ASCII, even between halves of a character."""
    boundary = StepBoundary()
    assert [boundary.push(piece) for piece in ("四".encode()[:2], "四".encode()[2:], b"\n\n")] == [False, False, True]


@given(st.lists(st.sampled_from("ab"), max_size=6))
def test_in_circles_is_a_repeated_last_step_or_pair(texts: list[str]) -> None:
    """A chain goes in circles when its last step, or its last two steps, have just been said."""
    again = len(texts) >= 2 and texts[-1] == texts[-2]
    pair = len(texts) >= 4 and texts[-4:-2] == texts[-2:]
    assert in_circles(texts) == (again or pair)


def test_white_space_does_not_hide_a_repetition() -> None:
    """The same words with another delimiter are the same step."""
    assert in_circles(["Check it.\n\n", "Check it. \n\n\n"])
