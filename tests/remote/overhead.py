"""The wall time that a remote engine adds to a step, over the server's own: the loopback server in another process.

    python tests/remote/overhead.py [STEPS [TOKENS_A_STEP [SECONDS_A_TOKEN [REPLIES]]]]

The server's time runs from the last byte of a request to the last one of its reply; everything else is ours, the
network's and the client's. `cpu_ms_a_step` is the processor time of this process, reading every token included, and
depends less on what else the machine does; `least_ms_a_step` is of the quickest reply. Prints one JSON document.
"""

import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "core")]

from glimp_core import AlwaysLarge, AlwaysSmall, RouterConfig  # noqa: E402
from remote.kit import pair, script  # noqa: E402
from remote.served import ScriptedServer, Served  # noqa: E402


def _script(steps: int, tokens: int) -> Any:
    letters = "abcdefghijklmnopqrstuvwxyz"
    texts = ["".join(letters[(n * 7 + i * i) % 26] for i in range(tokens - 1)) + "\n\n" for n in range(steps)]
    return script(texts, "Done.")


def serve(steps: int, tokens: int, pace: float) -> None:
    """Serve until the standard input closes."""
    with ScriptedServer(_script(steps, tokens), pace=pace) as served:
        print(served.url, flush=True)
        for _ in sys.stdin:
            print(json.dumps([served.seconds, len(served.asked)]), flush=True)


class Server:
    """A scripted server in a process of its own."""

    def __init__(self, *arguments: Any):
        command = [sys.executable, __file__, "serve", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.served = Served(self._line())

    def seconds(self) -> tuple[float, int]:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        seconds, requests = json.loads(self._line())
        return seconds, requests

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()


def main(steps: int = 40, tokens: int = 20, pace: float = 0.002, replies: int = 5) -> None:
    small, large = Server(steps, tokens, pace), Server(steps, tokens, pace)
    rows = []
    for policy in (AlwaysSmall(), AlwaysLarge()):
        router = pair(small.served, large.served, policy, RouterConfig(entropy="top20"))
        router.generate("warm up")
        added, busy = [], time.process_time()
        for _ in range(replies):
            before = [server.seconds() for server in (small, large)]
            started = time.perf_counter()
            done = router.generate("What is it?")
            wall = time.perf_counter() - started
            after = [server.seconds() for server in (small, large)]
            own = sum(b[0] - a[0] for a, b in zip(before, after, strict=True))
            asked = sum(b[1] - a[1] for a, b in zip(before, after, strict=True))
            added.append((wall - own) / len(done.steps) * 1e3)
        busy = (time.process_time() - busy) / len(added)
        row = {"policy": type(policy).__name__, "steps": len(done.steps), "requests": asked}
        row |= {
            "least_ms_a_step": min(added),
            "added_ms_a_step": statistics.median(added),
            "cpu_ms_a_step": busy / len(done.steps) * 1e3,
        }
        rows.append(row | {"step_ms": wall / len(done.steps) * 1e3})
    text = json.dumps({"steps": steps, "tokens": tokens, "pace": pace, "rows": rows})
    print(re.sub(r"(\d+\.\d\d)\d+", r"\1", text))


if __name__ == "__main__":
    run = serve if sys.argv[1:2] == ["serve"] else main
    values = sys.argv[2:] if run is serve else sys.argv[1:]
    run(*(kind(value) for kind, value in zip((int, int, float, int), values, strict=False)))
