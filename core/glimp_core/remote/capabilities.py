"""How one server behaves, and which behaviour makes it slow."""

from dataclasses import dataclass
from typing import Literal

LogprobScale = Literal["raw", "tempered"]


@dataclass(frozen=True, slots=True)
class ServerCapabilities:
    """How a server behaves.

    - `ids`: it accepts and returns token ids. If not, text is sent and tokenised here.
    - `keeps_stop`: it stops at a stop string and returns the string. If not, its streams are closed instead.
    - `in_one_piece`: it, or a proxy in front of it, sends a reply only when it is complete.
    - `scale`: its log-probabilities are raw, or of the distribution at the requested temperature; None if not tested.
    - `by_id`: it names the likeliest tokens by id. If not, tokens with the same text cannot be distinguished.
    - `chats`: it accepts only messages, and continues the last one.
    - `aborts`: it stops writing when a stream is closed; None if it has no metrics that show this.
    """

    ids: bool
    keeps_stop: bool
    in_one_piece: bool
    scale: LogprobScale | None = None
    by_id: bool = True
    aborts: bool | None = None
    chats: bool = False

    def __str__(self) -> str:
        said = [
            "uses token ids" if self.ids else "uses only messages" if self.chats else "uses only text",
            "keeps stop strings" if self.keeps_stop else "removes stop strings",
            "streams" if not self.in_one_piece else "sends replies in one piece",
        ]
        if self.scale:
            said.append(f"{self.scale} log-probabilities by {'id' if self.by_id else 'text'}")
        if self.aborts is not None:
            said.append("aborts closed streams" if self.aborts else "continues after a stream is closed")
        return ", ".join(said)

    @property
    def costs(self) -> tuple[str, ...]:
        """Which behaviour makes the server slow, and what to change; for the log and the summary."""
        told = []
        if self.in_one_piece:
            told.append(
                "sends a reply only when it is complete, so glimpses are slow and nothing streams: switch buffering "
                "off in the proxy in front of it (nginx: proxy_buffering off)"
            )
        if self.aborts is False:
            told.append(
                "continues to write after its stream is closed, so each step of the large model costs it a step too: "
                "let the proxy in front of it close the connection (nginx: proxy_ignore_client_abort off)"
            )
        return tuple(told)
