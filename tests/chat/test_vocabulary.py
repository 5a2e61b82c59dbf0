"""The table from ids to bytes."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

import tiny
from glimp_core import ModelLoadError
from glimp_core.chat.tokens.vocabulary import Vocabulary, _spell_byte_level

BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
ALPHABET = set(pre_tokenizers.ByteLevel.alphabet())


@given(st.text(min_size=1))
@example("".join(map(chr, range(0x180))))
def test_what_byte_level_writes_is_read(text: str) -> None:
    """Law: the characters that stand for a text's bytes are read as these bytes."""
    token = "".join(piece for piece, _ in BYTE_LEVEL.pre_tokenize_str(text))
    assert _spell_byte_level(token) == text.encode()


@given(st.text(), st.characters(exclude_characters=ALPHABET, codec="utf-8"), st.text())
@example("", " ", "")
@example("a", "\xad", "é")
def test_a_token_with_a_character_that_stands_for_no_byte_is_text(before: str, other: str, after: str) -> None:
    """Law: such a token was added as it is."""
    token = before + other + after
    assert _spell_byte_level(token) == token.encode()


def test_models_with_one_tokenizer_share_its_table() -> None:
    """It is read once, while somebody needs it; another tokenizer has another table."""
    one, same, other = tiny.tokenizer(), tiny.tokenizer(), tiny.tokenizer(merges=["th"])
    table = Vocabulary.of(one)
    assert Vocabulary.of(same) is table
    assert Vocabulary.of(other) is not table
    assert Vocabulary.of(other).key != table.key == Vocabulary(one).key


def test_a_tokenizer_without_a_backend_is_refused() -> None:
    """The reason is said."""
    with pytest.raises(ModelLoadError, match="object has no fast tokenizer behind it"):
        Vocabulary.of(object())


def test_half_a_character_has_tokens() -> None:
    """Texts of any origin can be counted."""
    table = Vocabulary.of(tiny.tokenizer())
    assert table.encode("a\ud83d") == table.encode("a\ufffd")
