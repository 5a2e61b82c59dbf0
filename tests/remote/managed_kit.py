"""A `vllm` without models in a folder of its own, and the script that it follows."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from glimp_core import AlwaysLarge, Completion, GlimpRouter, SamplingParams
from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.remote import Vllm
from glimp_core.remote.managed import stop_servers
from glimp_core.source import ModelSource, load_tokenizer
from glimp_core.testing import ScriptedEngine
from remote.kit import ANSWER, STEPS

SMALL, LARGE = "glimp-tiny-small", "glimp-tiny-large"
GREEDY = SamplingParams(temperature=0)
PROGRAM = Path(__file__).with_name("fake_vllm.py")


@dataclass
class FakeVllm:
    """A folder with a `vllm` in it, and what became of its starts."""

    folder: Path

    def vllm(self, options: dict[str, Any] | None = None, **trouble: Any) -> Vllm:
        """How it is to be run, and what goes wrong."""
        environment = {"FAKE_FOLDER": str(self.folder), "FAKE_TROUBLE": json.dumps(trouble)}
        return Vllm(python=str(self.folder / "vllm"), environment=environment, **options or {})

    @property
    def starts(self) -> list[dict[str, Any]]:
        """The starts so far, first to last."""
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("start-*"))]

    @property
    def requests(self) -> list[tuple[str, list[int]]]:
        """The prompts of completions, with the model that was asked."""
        return [tuple(json.loads(path.read_text())) for path in sorted(self.folder.glob("request-*"))]

    @property
    def alive(self) -> set[int]:
        """The processes that are there of all that were started."""
        return {start[kind] for start in self.starts for kind in ("pid", "child") if _alive(start[kind])}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def eventually(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.01)
    return true()


@contextmanager
def fake_vllm(tmp_path: Path) -> Iterator[FakeVllm]:
    """A fake vLLM with the script of the other tests, in the bundled pair's tokens."""
    (tmp_path / "script.json").write_text(_script())
    (tmp_path / "vllm").write_text(f'#!/bin/sh\nexec {sys.executable} -S {PROGRAM} "$@"\n')
    (tmp_path / "vllm").chmod(0o755)
    made = FakeVllm(tmp_path)
    yield made
    stop_servers()
    assert eventually(lambda: not made.alive, 1)


@cache
def _script() -> str:
    table = Vocabulary.of(load_tokenizer(ModelSource.of(SMALL)))
    reply = [
        *(i for step in STEPS for i in table.encode(step)), table.markers["</think>"],
        *table.encode("\n\n" + ANSWER), table.markers["<|im_end|>"],
    ]  # fmt: skip
    return json.dumps({
        "reply": reply,
        "probe": table.encode(" 8, 9, 10, 11, 12, 13, 14, 15"),
        "bytes": [(piece or b"").hex() for piece in table.token_bytes],
        "open": table.markers["<think>"],
    })  # fmt: skip


def ask(router: GlimpRouter, sampling: SamplingParams = GREEDY) -> Completion:
    return router.generate("What is two and two?", sampling=sampling)


def pair(large: Vllm) -> GlimpRouter:
    """A small model without weights, and a large one at a server."""
    small = ScriptedEngine(STEPS, answer="It is here.")
    return GlimpRouter.from_pretrained(small, LARGE, AlwaysLarge(), engine=large)


def said(done: Completion) -> str:
    return done.reasoning + done.answer


WHOLE = "".join(STEPS) + ANSWER
