"""Prompts as text, for servers without token ids. Each text is checked: a tokenizer may read other tokens from it."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SpelledPrompt:
    """A prompt as text. `lead` is its end of `left_out` tokens, which is not sent; the server has to write it again.

    `drifts` says that the server reads other tokens from the text.
    """

    text: str
    lead: str = ""
    left_out: int = 0
    drifts: bool = False


class Spelling:
    """Converts ids to a text from which the server's tokenizer reads the same ids. Control tokens are their names.

    A beginning-of-text token is not part of the text, because the server adds one to every text.
    """

    def __init__(self, tokenizer: Any, vocabulary: Vocabulary):
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary

    def spell(self, token_ids: Sequence[int], heals: bool = True) -> SpelledPrompt:
        """Return the text of a prompt. Raises `ConfigError` if the server would read a control token in a message.

        Many tokenizers read the blank end of a step as one token if the model wrote two. With `heals` such a text ends
        before the blank end. The server then writes the blank end itself, as tokens that its model would choose.
        """
        text = self.text(token_ids)
        read = self._read(text)
        if [i for i in read if self._is_control(i)] != [i for i in token_ids if self._is_control(i)]:
            raise ConfigError(
                "the conversation contains text that this server would read as a control token, because it accepts no "
                "token ids: use a server that does (vLLM, SGLang, llama.cpp), or remove the text"
            )
        if read == list(token_ids):
            return SpelledPrompt(self._sent(text, token_ids))
        kept = list(token_ids)
        while kept and (self._vocabulary.token_bytes[kept[-1]] or b"x").isspace():
            kept.pop()
        shorter = self.text(kept)
        if heals and kept and self._read(shorter) == kept:
            return SpelledPrompt(self._sent(shorter, kept), text[len(shorter) :], len(token_ids) - len(kept))
        return SpelledPrompt(self._sent(text, token_ids), drifts=True)

    def _read(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)

    def _sent(self, text: str, token_ids: Sequence[int]) -> str:
        begin = self._tokenizer("").input_ids[:1]
        return text.removeprefix(self._spell(begin[0]).decode()) if begin and list(token_ids[:1]) == begin else text

    def text(self, token_ids: Sequence[int]) -> str:
        """Return the text of ids, with the names of control tokens."""
        return b"".join(self._spell(i) for i in token_ids).decode(errors="replace")

    def _is_control(self, token_id: int) -> bool:
        return self._vocabulary.token_bytes[token_id] is None

    def _spell(self, token_id: int) -> bytes:
        piece = self._vocabulary.token_bytes[token_id]
        name: str = self._tokenizer.convert_ids_to_tokens(token_id) if piece is None else ""
        return name.encode() if piece is None else piece


class OtherLead(Exception):
    """A server did not write the end of its prompt that was not sent."""


async def without_lead(lead: str, lines: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    """Yield the lines of a stream, without the text `lead` at its beginning. Raises `OtherLead` if it is not there."""
    async for line in lines:
        choice = (line.get("choices") or [None])[0] if lead and isinstance(line, dict) else None
        if isinstance(choice, dict):
            text = choice.get("text") or ""
            shared = min(len(lead), len(text))
            if text[:shared] != lead[:shared] or (shared < len(lead) and choice.get("finish_reason")):
                raise OtherLead
            lead, choice["text"] = lead[shared:], text[shared:]
        yield line
