"""What a scripted server says, line by line, in the manner of each kind of server."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from remote.scripts import Script


class Replies:
    """Words the replies of one script, `merge` tokens a line; `cuts` leaves log-probabilities to what may be drawn."""

    def __init__(
        self,
        script: Script,
        kind: str,
        merge: int,
        shows: int | None,
        tempered: bool,
        cuts: bool,
        cached: int | None,
        structure: Callable[[dict[str, Any]], str | None],
    ):
        self.script, self.kind, self.merge, self.cached, self.structure = script, kind, merge, cached, structure
        self.shows, self.tempered, self.cuts = shows, tempered, cuts

    def _read_text(self, text: str) -> list[int]:
        """The tokenizer of a server without ids: tags are read as control tokens."""
        ids: list[int] = []
        for part in re.split(r"(<think>|</think>|<\|im_start\|>|<\|im_end\|>)", text):
            special = {"<think>": "think", "</think>": "close"}.get(part)
            if special:
                ids.append(self.script.vocabulary.markers[part])
            elif not part.startswith("<|"):
                ids += self.script.vocabulary.encode(part)
        return ids

    def _lines(self, body: dict[str, Any], ids: list[int]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the lines of a reply, each with the number of its tokens."""
        if (forced := self.structure(body)) is None:
            position, script = self.script.rest(ids)
        else:
            position, script = 0, [*self.script.vocabulary.encode(forced), self.script.reply[-1]]
        script = script[: body["max_tokens"]]
        text, sent, count, finish, reason, group = b"", 0, 0, "length", None, list[int]()
        eos = self.script.reply[-1]
        for n, token_id in enumerate(script):
            group.append(token_id)
            count += 1
            text += self.script.vocabulary.token_bytes[token_id] or b""
            if self.kind == "text" and token_id == self.script.vocabulary.markers["</think>"]:
                text += b"</think>"
            stops = [stop for stop in body.get("stop", ()) if stop.encode() in text]
            last = n == len(script) - 1
            if token_id == eos or stops or token_id in body.get("stop_token_ids", ()):
                finish, last = "stop", True
                reason = stops[0] if stops else token_id if token_id != eos else None
            if len(group) < self.merge and not last:
                continue
            whole = text.decode(errors="ignore").encode()  # half a character is held back
            shown = whole[sent:].decode()
            sent = len(whole)
            ends = finish if last and (finish == "stop" or n == body["max_tokens"] - 1) else None
            yield len(group), self._line(body, group, shown, position + n + 1 - len(group), ends, reason)
            group = []
            if last:
                break
        else:
            if not script:
                yield 0, self._line(body, [], "", position, "stop", None)
        yield 0, {"choices": [], "usage": self._usage(len(ids), count)}

    def _usage(self, prompt: int, written: int) -> dict[str, Any]:
        usage: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": written}
        if self.cached is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": min(self.cached, prompt)}
        return usage

    def _line(
        self, body: dict[str, Any], ids: list[int], text: str, position: int, finish: str | None, reason: Any
    ) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
        if self.kind == "vllm":
            choice |= {"stop_reason": reason} | ({"token_ids": ids} if body.get("return_token_ids") else {})
        elif self.kind == "sglang":
            choice |= {"matched_stop": reason} | ({"token_ids": ids} if body.get("return_token_ids") else {})
        if (count := body.get("logprobs")) is not None and self.kind != "text":
            choice["logprobs"] = self._logprobs(body, ids, position, count)
        return {"id": "cmpl-1", "object": "text_completion", "choices": [choice]}

    def _logprobs(self, body: dict[str, Any], ids: list[int], position: int, count: int) -> dict[str, Any] | None:
        temperature = (body.get("temperature", 1.0) or 1.0) if self.tempered else 1.0
        tops = [
            self.script.distribution(position + n, i, temperature)[: self.shows or (count if count >= 0 else None)]
            for n, i in enumerate(ids)
        ]
        if self.cuts and body.get("top_p", 1) < 1:
            tops = [[(i, lp if n == 0 else -9999.0) for n, (i, lp) in enumerate(top)] for top in tops]
        if self.kind == "llamacpp":
            content = [
                {"id": i, "logprob": dict(top)[i], "top_logprobs": [{"id": j, "logprob": lp} for j, lp in top]}
                for i, top in zip(ids, tops, strict=True)
            ]
            return {"content": content} if content else None

        def name(i: int) -> str:
            text = (self.script.vocabulary.token_bytes[i] or b"").decode(errors="replace")
            return f"token_id:{i}" if body.get("return_tokens_as_token_ids") else text

        return {
            "tokens": [name(i) for i in ids],
            "token_logprobs": [dict(top)[i] for i, top in zip(ids, tops, strict=True)],
            "top_logprobs": [{name(j): lp for j, lp in top} for top in tops],
        }
