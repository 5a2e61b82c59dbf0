"""A tokenizer as a table from token ids to bytes. Steps, streams and the exchange of text between models need it.

A detokenizer turns the bytes of a stream into text, without ever showing half a character.
"""

import codecs
import hashlib
import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

from glimp_core.errors import ModelLoadError
from glimp_core.forking import Lock
from glimp_core.json_values import mended

THOUGHT_TAG = re.compile(r"</?(\w+:)?think(ing)?(:\w+)?>|\[/?THINK\]|◁/?think▷")
"""Added tokens that are structure, also where the tokenizer calls them text."""


class Vocabulary:
    """The ids of one tokenizer as bytes. `token_bytes[id]` is None for a control token, which has no text.

    Takes a transformers tokenizer with a `tokenizers` backend. Raises `ModelLoadError` for any other.
    """

    def __init__(self, tokenizer: Any):
        backend = _backend(tokenizer)
        spec = json.loads(backend.to_str())
        self.token_bytes = _pieces(spec, backend.get_vocab(with_added_tokens=True))
        added = {token.content: i for i, token in backend.get_added_tokens_decoder().items()}
        self.markers: dict[str, int] = {text: i for text, i in added.items() if not text.isspace()}
        """The ids of added tokens by their texts: what templates and markup are written with."""
        for text, i in self.markers.items():
            if THOUGHT_TAG.fullmatch(text):
                self.token_bytes[i] = None
        self._marker_texts = {i: text for text, i in self.markers.items()}
        longest_first = sorted(self.markers, key=len, reverse=True)
        self._marker = re.compile(f"({'|'.join(map(re.escape, longest_first)) or '(?!)'})")
        self._encoder = _plain_encoder(type(backend), spec)
        self._lead = self._leading_ids()

    @classmethod
    def of(cls, tokenizer: Any) -> "Vocabulary":
        """Return the one of a tokenizer. Reading it takes seconds, so the models of a pair share it where they can."""
        key = hashlib.sha256(_backend(tokenizer).to_str().encode()).digest()
        with _lock:
            if (known := _known.get(key)) is None:
                known = _known[key] = cls(tokenizer)
        return known

    @cached_property
    def key(self) -> str:
        """The identity of the table. It is equal for tokenizers whose ids have the same bytes."""
        digest = hashlib.sha256()
        for piece in self.token_bytes:
            digest.update(b"\xff" if piece is None else len(piece).to_bytes(4, "big") + piece)
        return digest.hexdigest()[:16]

    @cached_property
    def words(self) -> bytes:
        """A bit for every token that begins a word, after blanks at most, lowest bit first."""
        mask = bytearray(len(self.token_bytes) // 8 + 1)
        for token_id, piece in enumerate(self.token_bytes):
            start = (piece or b"").lstrip()[:1]
            if start.isalnum() or start > b"\x7f":
                mask[token_id // 8] |= 1 << token_id % 8
        return bytes(mask)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text. No part of it becomes a control token."""
        ids: list[int] = self._encoder.encode(self._prefix + mended(text), add_special_tokens=False).ids
        return ids[len(self._lead) :]

    def decode(self, token_ids: Sequence[int]) -> bytes:
        """Return the bytes that some ids spell, control tokens left out."""
        return b"".join(self.token_bytes[i] or b"" for i in token_ids)

    def split_markup(self, text: str) -> list[str | int]:
        """Cut a markup into the ids of its markers and the texts between them."""
        parts: list[str] = [part for part in self._marker.split(text) if part]
        return [self.markers.get(part, part) for part in parts]

    def encode_markup(self, text: str) -> list[int]:
        """Return the ids of a markup, its markers as the tokens they are. Never for what users and tools write."""
        parts = (self.encode(part) if isinstance(part, str) else [part] for part in self.split_markup(text))
        return [token_id for part in parts for token_id in part]

    def lark(self, text: str) -> str:
        """Write a markup in Lark: its markers by their ids, the rest in quotes."""
        parts = self.split_markup(text)
        return " ".join(f"<[{p}]>" if isinstance(p, int) else json.dumps(p, ensure_ascii=False) for p in parts)

    def control_text(self, token_id: int) -> str:
        """Return the text of a control token, "" for any other token."""
        return self._marker_texts.get(token_id, "") if self.token_bytes[token_id] is None else ""

    def markup(self, token_ids: Sequence[int]) -> str:
        """Return the text of ids with the control tokens among them written out."""
        spelled = (self.token_bytes[i] or self.control_text(i).encode() for i in token_ids)
        return b"".join(spelled).decode(errors="replace")

    def _leading_ids(self) -> list[int]:
        """Ids to cut from every encoding: tokenizers that put a space before a text get a newline to put it before."""
        self._prefix, self._lead = "", []
        if self.decode(self.encode("So")) == b"So":
            return []
        lead = self.encode("\n")
        self._prefix = "\n"
        return lead


def _backend(tokenizer: Any) -> Any:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelLoadError(f"{type(tokenizer).__name__} has no fast tokenizer behind it, which Glimp needs")
    return backend


def _plain_encoder(kind: Any, spec: dict[str, Any]) -> Any:
    """A copy of the backend without added tokens, so that content can never become one."""
    model = spec["model"]
    kept = [token for token in spec["added_tokens"] if token["content"] == model.get("unk_token")]
    return kind.from_str(json.dumps({**spec, "added_tokens": kept, "post_processor": None, "truncation": None}))


def _pieces(spec: dict[str, Any], vocab: dict[str, int]) -> list[bytes | None]:
    decoder = json.dumps(spec.get("decoder"))
    if "ByteFallback" in decoder or "Metaspace" in decoder:
        spell = _spell_sentencepiece
    elif "ByteLevel" in decoder:
        spell = _spell_byte_level
    else:
        raise ModelLoadError(f"this tokenizer's decoder is not one Glimp can read bytes from: {decoder[:200]}")
    table: list[bytes | None] = [b""] * (max(vocab.values()) + 1)
    for token, token_id in vocab.items():
        table[token_id] = spell(token)
    for token in spec["added_tokens"]:
        text = token["content"].replace("\u2581", " ") if spell is _spell_sentencepiece else token["content"]
        table[token["id"]] = None if token["special"] else text.encode()
    return table


def _spell_sentencepiece(token: str) -> bytes:
    byte = re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", token)
    return bytes([int(byte[1], 16)]) if byte else token.replace("\u2581", " ").encode()


def _spell_byte_level(token: str) -> bytes:
    try:
        return token.translate(_LATIN).encode("latin-1")
    except UnicodeEncodeError:  # a character that stands for no byte
        return token.encode()


def _byte_level_alphabet() -> dict[int, str]:
    """GPT-2's alphabet, to Latin-1: printable bytes stand for themselves, the others for the characters from U+0100 on.

    A character below U+0100 that is not of the alphabet goes to one that Latin-1 lacks.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: "\ufffd" for byte in others} | {256 + n: chr(byte) for n, byte in enumerate(others)}


_LATIN = _byte_level_alphabet()
_known: WeakValueDictionary[bytes, Vocabulary] = WeakValueDictionary()
_lock = Lock()


class Detokenizer:
    """Converts the bytes of tokens to text. A token waits until all its characters are complete.

    >>> stream = Detokenizer()
    >>> stream.push(1, "é".encode()[:1]), stream.push(2, "é".encode()[1:])
    (None, ('é', (1, 2)))
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._token_ids: list[int] = []

    def push(self, token_id: int, piece: bytes) -> tuple[str, tuple[int, ...]] | None:
        """Add one token. Return the complete text with its ids, None if the text is not complete."""
        self._token_ids.append(token_id)
        self._text += self._decoder.decode(piece)
        unfinished, _ = self._decoder.getstate()
        return None if unfinished else self._release()

    @property
    def waiting(self) -> bool:
        """Whether a token waits for the rest of a character."""
        return bool(self._token_ids)

    def flush(self) -> tuple[str, tuple[int, ...]]:
        """Return what still waits, a broken character shown as U+FFFD; for the end of a text."""
        self._text += self._decoder.decode(b"", final=True)
        return self._release()

    def _release(self) -> tuple[str, tuple[int, ...]]:
        whole = self._text, tuple(self._token_ids)
        self._text, self._token_ids = "", []
        return whole
