"""Replicas of an endpoint behind a balancer: nothing is shared between them, and nothing has to be."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from glimp_core import GlimpRouter
from glimp_core.testing import ScriptedEngine
from serve.conftest import Served, Serving

EXAMPLE = Path(__file__).parents[2] / "examples" / "round_robin.py"
STEPS = ["Two and two.\n\n", "Four.</think>"]


def replica(answer: str) -> GlimpRouter:
    return GlimpRouter(ScriptedEngine(STEPS), ScriptedEngine(STEPS, answer=answer))


@contextmanager
def balanced(*replicas: Served) -> Iterator[str]:
    """The example's balancer in front of replicas: its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ports = [int(each.url.rpartition(":")[2]) for each in replicas]
    command = [sys.executable, str(EXAMPLE), *map(str, (port, *ports))]
    with subprocess.Popen(command) as balancer:
        try:
            while _refuses(port):
                assert balancer.poll() is None
                time.sleep(0.01)
            yield f"http://127.0.0.1:{port}/v1/chat/completions"
        finally:
            balancer.kill()


def _refuses(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) != 0


def test_two_replicas_behind_a_round_robin(serving: Serving) -> None:
    """Each turn of a conversation goes to the next replica, whole or streamed; if one is gone, to the other."""
    with ExitStack() as stack:
        one, gone = stack.enter_context(serving(replica("one"))), ExitStack()
        two = stack.enter_context(gone).enter_context(serving(replica("two")))
        url = stack.enter_context(balanced(one, two))
        conversation = [{"role": "user", "content": "Hello"}]
        for _ in range(4):
            body = {"model": "glimp", "messages": conversation}
            said = httpx.post(url, json=body).json()["choices"][0]["message"]
            conversation += [{"role": "assistant", "content": said["content"]}, {"role": "user", "content": "And?"}]
        streamed = httpx.post(url, json={"model": "glimp", "messages": conversation, "stream": True}).text
        said_by = [turn["content"] for turn in conversation if turn["role"] == "assistant"]
        assert said_by in (["one", "two"] * 2, ["two", "one"] * 2)
        assert streamed.endswith("data: [DONE]\n\n")
        gone.close()
        alone = [httpx.post(url, json=body).json()["choices"][0]["message"]["content"] for _ in range(3)]
    assert alone == ["one"] * 3
