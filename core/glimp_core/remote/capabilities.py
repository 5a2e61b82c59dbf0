"""How one server behaves, and what that costs."""

from dataclasses import dataclass
from typing import Literal

Scale = Literal["raw", "tempered"]


@dataclass(frozen=True, slots=True)
class ServerCapabilities:
    """How a server behaves.

    - `ids`: it takes and gives token ids; where it does not, text is sent and read.
    - `keeps_stop`: it ends at a stop string and shows it; where it does not, its streams are closed instead.
    - `in_one_piece`: it, or a proxy before it, holds replies back until they are whole.
    - `scale`: its log-probabilities are raw, or of the distribution at the temperature asked for; None: not looked at.
    - `by_id`: it names the likeliest tokens by id; else those with the same text are one.
    - `chats`: it takes messages alone, and goes on with the last one.
    - `aborts`: it stops to write when a stream is closed; None if it does not show what it is doing.
    """

    ids: bool
    keeps_stop: bool
    in_one_piece: bool
    scale: Scale | None = None
    by_id: bool = True
    aborts: bool | None = None
    chats: bool = False

    def __str__(self) -> str:
        said = [
            "speaks token ids" if self.ids else "speaks in messages only" if self.chats else "speaks text only",
            "keeps stop strings" if self.keeps_stop else "cuts stop strings",
            "streams" if not self.in_one_piece else "sends replies in one piece",
        ]
        if self.scale:
            said.append(f"{self.scale} log-probabilities by {'id' if self.by_id else 'text'}")
        if self.aborts is not None:
            said.append("aborts closed streams" if self.aborts else "goes on after a stream is closed")
        return ", ".join(said)

    @property
    def costs(self) -> tuple[str, ...]:
        """What this behaviour costs, and what to set against it; for the log and the summary."""
        told = []
        if self.in_one_piece:
            told.append(
                "holds replies back until they are whole, so that glimpses are slow and nothing streams: turn "
                "buffering off in what stands before it (nginx: proxy_buffering off)"
            )
        if self.aborts is False:
            told.append(
                "writes on after its stream is closed, so that steps of the large model cost it a step as well: have "
                "what stands before it pass closed connections on (nginx: proxy_ignore_client_abort off)"
            )
        return tuple(told)
