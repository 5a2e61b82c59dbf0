"""Servers that fork a program which asked its pair before: gunicorn, Celery, uvicorn, and multiprocessing.

gunicorn and Celery are no dependencies of the tests: `pip install gunicorn celery` for these two.
"""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

HERE = Path(__file__).parent
PATIENCE = 300.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def preloaded() -> Any:
    """The program, which asks its pair when it is imported."""
    return import_module("storms.preloaded")


def in_a_child(_: int) -> Any:
    return import_module("storms.preloaded").asked()


@pytest.mark.usefixtures("preloaded")
@pytest.mark.parametrize("how", multiprocessing.get_all_start_methods())
def test_processes_of_a_pool_answer_as_their_parent(how: str) -> None:
    """Law: a pool of processes answers, forked after a request or with everything loaded anew."""
    with multiprocessing.get_context(how).Pool(2) as pool:
        answers = pool.map_async(in_a_child, range(6), chunksize=1).get(PATIENCE)
    assert len(answers) == 6
    assert all(same for _, _, same in answers)
    assert os.getpid() not in {process for process, _, _ in answers}


@contextmanager
def running(module: str, *arguments: str, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a server by its module's name with the preloaded program; it ends by SIGTERM, and without an error."""
    path = os.pathsep.join([str(HERE), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], env={**os.environ, "PYTHONPATH": path, **environment}
    )
    try:
        yield process
        process.terminate()
        assert process.wait(PATIENCE) == 0
    finally:
        if process.poll() is None:
            process.kill()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answer(request: Request) -> Any:
    """What a server says, which may have to come up first."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urlopen(request, timeout=PATIENCE) as reply:
                return json.loads(reply.read())
        except HTTPError:
            raise
        except (URLError, ConnectionError):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_workers_of_uvicorn_answer(preloaded: Any) -> None:
    """Several processes that listen at one port."""
    body = {"model": "glimp", "messages": [{"role": "user", "content": preloaded.QUESTION}], "temperature": 0}
    port, data = free_port(), json.dumps(body).encode()
    request = Request(f"http://127.0.0.1:{port}/v1/chat/completions", data, {"Content-Type": "application/json"})
    with running("uvicorn", "--workers", "2", "--port", str(port), "preloaded:endpoint"):
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: answer(request), range(8)))
        assert {one["choices"][0]["message"]["reasoning_content"] for one in answers} == {preloaded.expected}


@pytest.mark.skipif(not find_spec("gunicorn"), reason="gunicorn is not there")
@pytest.mark.parametrize("workers", [["sync"], ["gthread", "--threads", "4"]], ids=lambda options: options[0])
def test_workers_of_a_preloaded_gunicorn_answer(workers: list[str]) -> None:
    """Also one that takes the place of a worker which was killed."""
    port = free_port()
    request = Request(f"http://127.0.0.1:{port}/")
    options = ["--preload", "--workers", "2", "--timeout", "300", "--bind", f"127.0.0.1:{port}", "-k", *workers]
    with running("gunicorn", *options, "preloaded:wsgi"):
        answer(request)
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: answer(request), range(12)))
        assert all(same and process != parent for process, parent, same in answers)
        os.kill(answers[0][0], 9)
        assert all(same for _, _, same in (answer(request) for _ in range(4)))


@pytest.mark.skipif(not find_spec("celery"), reason="Celery is not there")
def test_prefork_workers_of_celery_answer(preloaded: Any, tmp_path: Path) -> None:
    """Children of a Celery worker, which was asked before it forked them."""
    for name in ("box", "results"):
        (tmp_path / name).mkdir()
    preloaded.keep_in(str(tmp_path))
    options = ["-A", "preloaded:celery", "worker", "--pool", "prefork", "-c", "2", "-l", "WARNING"]
    with running("celery", *options, GLIMP_CELERY_FOLDER=str(tmp_path)):
        answers = [preloaded.ask.delay() for _ in range(6)]
        told = [one.get(timeout=PATIENCE) for one in answers]
        assert all(same and process != parent for process, parent, same in told)
