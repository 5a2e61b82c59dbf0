"""What the endpoint adds to the router: to the first token, to each token on its way, and per token in all.

    python examples/benchmarks/serve.py [--repeat 5] [--tokens 100]

A scripted pair writes tokens whose text is the moment at which they were written, so that whoever reads them knows how
long they were under way. The router alone is read by threads of one process; the endpoint runs in a process of its own
and is read over loopback. Both take turns, 1 and 32 streams at a time, and medians are printed: of a paced pair (a
token every 20 ms a stream, as a model would) the time to the first token and the delay of each; of a pair that takes no
time the seconds per token, which are all overhead. Streams begin one after the other, 31 ms apart; with --at-once all
begin in one moment, and the last ones wait for the first ones.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from glimp_core import Context, Delta, GlimpRouter
from glimp_core.testing import ScriptedEngine
from glimp_core.types import Chunk, GenerationParams, ModelUsage

PACE, APART = 0.02, 0.031
STREAMS = (1, 32)
Arrivals = list[tuple[float, float]]
"""Of each token: when it was written, and when it was read."""


class Clock(ScriptedEngine):
    """Writes `tokens` tokens as the answer, one every `pace` seconds; each is the time at which it was written."""

    def __init__(self, tokens: int, pace: float):
        super().__init__(thinking="none")
        self._count, self._pace = tokens, pace

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        """Write the time, again and again."""
        for number in range(self._count):
            if self._pace:
                time.sleep(self._pace)
            yield Chunk(f"{time.perf_counter()} ", (number,), ModelUsage(forwards=number, decode_tokens=number))
        yield Chunk("", (0,), ModelUsage(), "eos")


def router(tokens: int, pace: float) -> GlimpRouter:
    """Both models are clocks; the large one answers."""
    return GlimpRouter(Clock(tokens, pace), Clock(tokens, pace))


def read_router(streams: int, tokens: int, pace: float, apart: float) -> list[Arrivals]:
    """Read replies of the router alone, each in a thread."""
    pair, found = router(tokens, pace), [Arrivals() for _ in range(streams)]

    def read(arrivals: Arrivals) -> None:
        time.sleep(apart * next(turns))
        begun = time.perf_counter()
        arrivals.append((begun, begun))
        for event in pair.stream("What time is it?"):
            if isinstance(event, Delta) and event.text:
                arrivals.append((float(event.text), time.perf_counter()))

    turns = itertools.count()
    threads = [threading.Thread(target=read, args=(arrivals,)) for arrivals in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


async def read_endpoint(port: int, streams: int, apart: float) -> list[Arrivals]:
    """Read streamed replies of an endpoint, each over a connection of its own that is open already."""
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(streams)]
    found = await asyncio.gather(*(_read(apart * turn, *each) for turn, each in enumerate(connections)))
    for _, writer in connections:
        writer.close()
    return list(found)


async def _read(wait: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Arrivals:
    await asyncio.sleep(wait)
    asked = {"model": "glimp", "stream": True, "messages": [{"role": "user", "content": "What time is it?"}]}
    body = json.dumps(asked).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    begun = time.perf_counter()
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    lines: list[tuple[bytes, float]] = []
    while not (line := await reader.readline()).startswith(b"data: [DONE]"):
        lines.append((line, time.perf_counter()))
    arrivals = [(begun, begun)]
    for line, read in lines:
        choices = json.loads(line[6:])["choices"] if line.startswith(b"data: ") else []
        if text := choices[0]["delta"].get("content") if choices else None:
            arrivals.append((float(text), read))
    return arrivals


def first_token(found: list[Arrivals], pace: float) -> float:
    """Median seconds from the request to the first token, without the time that the model takes for it."""
    return statistics.median(arrivals[1][1] - arrivals[0][0] - pace for arrivals in found)


def delay(found: list[Arrivals], pace: float) -> float:
    """Median seconds that a token was under way."""
    return statistics.median(read - written for arrivals in found for written, read in arrivals[1:])


def per_token(found: list[Arrivals], pace: float) -> float:
    """Seconds that all streams together took for each token."""
    begun, ended = min(arrivals[0][0] for arrivals in found), max(arrivals[-1][1] for arrivals in found)
    return (ended - begun) / sum(len(arrivals) - 1 for arrivals in found)


ROWS: list[tuple[str, float, Callable[[list[Arrivals], float], float]]] = [
    ("first token, paced", PACE, first_token),
    ("each token, paced", PACE, delay),
    ("each token, free", 0.0, per_token),
]


def started(tokens: int, pace: float) -> tuple[subprocess.Popen[str], int]:
    """Start an endpoint in a process of its own; returns its port."""
    command = [sys.executable, __file__, "--serve", str(pace), "--tokens", str(tokens)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, int(process.stdout.readline())


def serve(tokens: int, pace: float) -> None:
    """Be that process."""
    from glimp_core.serve import ServedPair, ServiceSettings, listening

    with listening.listen("127.0.0.1", 0) as sock:
        print(sock.getsockname()[1], flush=True)
        listening.run_endpoint([ServedPair("glimp", router(tokens, pace))], ServiceSettings(), sock)


def main() -> None:
    """Measure, and print milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5, help="how often each is run")
    parser.add_argument("--tokens", type=int, default=100, help="tokens of a reply")
    parser.add_argument("--at-once", action="store_true", help="begin all streams in one moment")
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        return serve(given.tokens, given.serve)
    processes = {pace: started(given.tokens, pace) for pace in (PACE, 0.0)}
    try:
        report(given, processes)
    finally:
        for process, _ in processes.values():
            process.terminate()
            process.wait()


def report(given: Any, processes: dict[float, tuple[Any, int]]) -> None:
    """Print a line for each row and number of streams."""
    title = f"milliseconds, median of {given.repeat}"
    print(f"{title:24} {'streams':>8} {'router':>8} {'endpoint':>9} {'added':>7}")
    for streams in STREAMS:
        for pace in (PACE, 0.0):
            port, apart = processes[pace][1], 0.0 if given.at_once or not pace else APART
            asyncio.run(read_endpoint(port, streams, 0.0))  # once for what is made at the first request
            runs = [
                (read_router(streams, given.tokens, pace, apart), asyncio.run(read_endpoint(port, streams, apart)))
                for _ in range(given.repeat)
            ]
            for name, of, measure in ROWS:
                if of == pace:
                    alone, served = (
                        1000 * statistics.median(measure(found, pace) for found in side)
                        for side in zip(*runs, strict=True)
                    )
                    print(f"{name:24} {streams:8} {alone:8.3f} {served:9.3f} {served - alone:7.3f}")


if __name__ == "__main__":
    main()
