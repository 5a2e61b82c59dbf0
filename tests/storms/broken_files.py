"""Models of which a file is broken: as a download that broke off, a disk that failed, or a stranger leaves it."""

import json
import os
import random
import resource
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from glimp_core import GlimpError, GlimpRouter, RouterConfig, SamplingParams

CPU_SECONDS = 60
"""What a case may take of the processor: a good one takes less than one second."""

BYTES_MORE = 4 << 30
"""What a case may take of memory, beside what its parent has."""

HEAD = 50_000
"""Before this byte a GGUF file of the small bundled model says what it holds; the rest is weights."""

NUMBERS = (0, 1, 2, 7, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1)
VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 3, 2**31, 10**12, 10**30, -0.5, 0.0, 1.5, 1e30, "", "x", "5", "\u0000", "é" * 300, [],
    [None], [-1], [[]], ["x"], {}, {"x": 1}, {"type": "x"}, "../../etc/passwd", "a" * 100_000,
)  # fmt: skip


def break_gguf(file: Path, draws: random.Random) -> str:
    """Break a GGUF file, mostly in what stands before its weights; returns how."""
    raw = bytearray(file.read_bytes())
    ways = ["bytes", "bytes", "number", "number", "number", "cut", "cut in the head", "twice", "shift", "weights"]
    how, at = draws.choice(ways), draws.randrange(draws.choice([24, 600, HEAD]))
    match how:
        case "bytes":
            for _ in range(draws.randrange(1, 20)):
                raw[at + draws.randrange(200)] = draws.randrange(256)
        case "number":
            size = draws.choice("IQ")
            struct.pack_into("<" + size, raw, at, draws.choice(NUMBERS) % (1 << (32 if size == "I" else 64)))
        case "cut":
            del raw[draws.randrange(len(raw)) :]
        case "cut in the head":
            del raw[at:]
        case "twice":
            raw[at:at] = raw[at : at + draws.randrange(1, 200)]
        case "shift":
            del raw[at : at + draws.randrange(1, 50)]
        case "weights":
            for _ in range(200):
                raw[draws.randrange(len(raw) // 2, len(raw) - 4)] = draws.choice([0x7F, 0xFF, 0x00])
    file.write_bytes(raw)
    return f"{how} at {at}"


def break_folder(folder: Path, draws: random.Random) -> str:
    """Break one of the files beside the weights; returns how."""
    name = draws.choice(["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"])
    file = folder / name
    if draws.random() < 0.25:
        raw = bytearray(file.read_bytes())
        at = draws.randrange(len(raw))
        raw[at : at + draws.randrange(3)] = draws.choice([b"", b"\xff", b"{", b'"', b"\0", b"]]", b"NaN"])
        file.write_bytes(raw[: draws.choice([len(raw), at])])
        return f"{name}: bytes at {at}"
    document = json.loads(file.read_text())
    holder, key = draws.choice(_places(document))
    if draws.random() < 0.2:
        del holder[key]
        told = "gone"
    else:
        told = holder[key] = draws.choice(VALUES)
    file.write_text(json.dumps(document))
    return f"{name}: {key!s:.40} {told!s:.40}"


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Every place in a document, those near its top as often as all others together."""
    near: list[tuple[Any, Any]] = []
    far: list[tuple[Any, Any]] = []

    def walk(value: Any, depth: int) -> None:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            (near if depth < 2 else far).append((value, key))
            if isinstance(inner, dict | list):
                walk(inner, depth + 1)

    walk(document, 0)
    return near * max(1, len(far) // len(near)) + far


def answered(model: Path) -> str:
    """Ask a model in a child process for a few words; returns "answered", the error of Glimp's, or what else came."""
    return in_limits(lambda: _asked(model))


def _asked(model: Path) -> str:
    try:
        config = RouterConfig(max_reasoning_tokens=3)
        router = GlimpRouter.from_pretrained(model, "glimp-tiny-large", config=config, dtype="float32")
        router.generate("hi", sampling=SamplingParams(max_tokens=3))
    except GlimpError as error:
        return f"{type(error).__name__}: {error}"
    return "answered"


def in_limits(work: Callable[[], str]) -> str:
    """Return what a child says that has a limit of time and of memory."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            _limit()
            said = work()
        except BaseException as error:
            said = f"RAW {type(error).__name__}: {error}"
        with os.fdopen(writer, "w", errors="replace") as pipe:
            pipe.write(said[:3000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    return said or f"RAW ended with {os.waitstatus_to_exitcode(status)}"


def _limit() -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + BYTES_MORE,) * 2)


def copied(source: Path, place: Path) -> Path:
    """Copy a model's folder or file, to be broken."""
    if place.is_dir():
        shutil.rmtree(place)
    return Path(shutil.copytree(source, place) if source.is_dir() else shutil.copy(source, place))
