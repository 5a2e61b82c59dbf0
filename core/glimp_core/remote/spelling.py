"""Prompts as text, for servers that take no token ids; checked, since text can be read as control tokens."""

from collections.abc import Sequence
from typing import Any

from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.errors import ConfigError


class Spelling:
    """Spells ids as the text that a server's own tokenizer reads back, control tokens by their names.

    A beginning-of-text token is left to the server, which puts one before every text. Raises `ConfigError` where
    content would be read as a control token.
    """

    def __init__(self, tokenizer: Any, vocabulary: Vocabulary):
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary

    def __call__(self, token_ids: Sequence[int]) -> str:
        """Return the text of a prompt."""
        meant = [i for i in token_ids if self._is_control(i)]
        text = b"".join(self._spell(i) for i in token_ids).decode(errors="replace")
        read = [i for i in self._tokenizer(text, add_special_tokens=False).input_ids if self._is_control(i)]
        if read != meant:
            raise ConfigError(
                "the conversation holds text that this server would read as a control token, and it takes no token "
                "ids, in which the two differ: use a server that does (vLLM, SGLang, llama.cpp), or remove the text"
            )
        begin = self._tokenizer("").input_ids[:1]
        return text.removeprefix(self._spell(begin[0]).decode()) if begin and meant[:1] == begin else text

    def _is_control(self, token_id: int) -> bool:
        return self._vocabulary.token_bytes[token_id] is None

    def _spell(self, token_id: int) -> bytes:
        piece = self._vocabulary.token_bytes[token_id]
        name: str = self._tokenizer.convert_ids_to_tokens(token_id) if piece is None else ""
        return name.encode() if piece is None else piece
