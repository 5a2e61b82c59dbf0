"""Other processes: a forked child asks by itself, memory that is short, and a process that is ending."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import tiny
from glimp_core import EngineError, GlimpRouter, RandomRate, RouterConfig
from glimp_core.local.scheduler import Scheduler, Task
from glimp_core.local.session import Forward
from hooks import before_forwards, models_of

CONFIG = RouterConfig(max_reasoning_tokens=16, max_answer_tokens=8, max_step_tokens=6)
PATIENCE = 60.0

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def in_child(work: Callable[[], str]) -> str:
    """Return what a forked child says, which is given up after a while."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            said = work()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)  # the one way out of a child that runs nothing of its parent's
    os.close(writer)
    deadline = time.monotonic() + PATIENCE
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.01)
    with os.fdopen(reader) as pipe:
        return pipe.read()


@needs_fork
def test_a_forked_child_answers_as_its_parent_does() -> None:
    """Law: right after a request, with others running and a stream held open, a child and its parent both answer."""
    router = tiny.router(RandomRate(0.5, seed=1), CONFIG)
    expected, over = router.generate("And this?").reasoning, threading.Event()
    held = router.stream("Hold")
    first = next(held)

    def work() -> None:
        while not over.is_set():
            router.generate("What else?")

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(3):
            assert in_child(lambda: router.generate("And this?").reasoning) == expected
    finally:
        over.set()
        for worker in workers:
            worker.join()
    assert router.generate("And this?").reasoning == expected
    assert [first, *held]


@needs_fork
def test_a_request_that_ran_at_the_fork_ends_with_a_reason_in_the_child() -> None:
    """A task of the parent's thread is told to the child as lost; nothing waits for it."""
    begun, over = threading.Event(), threading.Event()

    def work(task: Task) -> Iterator[Forward]:
        begun.set()
        over.wait(PATIENCE)
        yield from ()

    try:
        task = Scheduler("cpu").submit(Task(work, lambda: False))  # type: ignore[arg-type] - it has no forward to make
        assert begun.wait(PATIENCE)
        assert "forked while this request ran" in in_child(lambda: str(next(task.results())))
    finally:
        over.set()


@needs_fork
def test_a_child_of_a_process_that_used_a_gpu_is_told_what_to_do() -> None:
    """What cannot go on after a fork says so, with the way out."""
    one = Scheduler("cuda:0")
    said = in_child(lambda: str(one.submit(Task(lambda task: iter(()), lambda: False))))  # type: ignore[arg-type, return-value]
    assert said.startswith("EngineError: this process was forked")
    assert "spawn" in said


def test_a_request_after_the_end_has_begun_raises() -> None:
    """An exit handler that asks gets an error, and the process ends."""
    program = (
        "import atexit\n"
        "asks = []\n"
        "@atexit.register\n"
        "def last():\n"
        "    try: print(asks[0]())\n"
        "    except ValueError as error: print(type(error).__name__, error)\n"
        "from glimp_core import GlimpRouter\n"
        "router = GlimpRouter.from_pretrained('glimp-tiny-small', 'glimp-tiny-large')\n"
        "router.load()\n"
        "asks.append(lambda: router.generate('2+2?'))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert "EngineError the process is ending" in done.stdout, done.stderr


@pytest.mark.parametrize("family", ["llama", "lfm2"])
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_a_forward_without_memory_is_tried_once_more(family: str, error: Exception) -> None:
    """Law: where memory is short once, the caches are emptied and the reply is what it is with ample memory."""
    engine = tiny.engine(family, seed=3)
    router = GlimpRouter(engine, engine, RandomRate(0.5, seed=1), CONFIG)
    expected = router.generate("How much is one and one?").reasoning
    for at in (0, 1, 9):
        engine.forget()
        forwards: list[Any] = []

        def short(arguments: Any, at: int = at, forwards: list[Any] = forwards) -> None:
            forwards.append(arguments)
            if len(forwards) == at + 1:
                raise error

        with before_forwards([engine.loaded[0]], short):
            assert router.generate("How much is one and one?").reasoning == expected
        assert len(forwards) > at


def test_memory_that_stays_short_is_said() -> None:
    """The error says where, for how much, and what to lower."""
    router = tiny.router(RandomRate(0.5, seed=1), CONFIG)

    def short(arguments: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    says = r"memory is short on cpu, for \d+ more tokens .* lower max_batch"
    router.load()
    with before_forwards(models_of(router), short), pytest.raises(EngineError, match=says):
        router.generate("?")
