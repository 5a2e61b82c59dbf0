"""What holds for every test: no hub, no network but loopback, one torch thread, known seeds."""

import gc
import os
import random
import signal
import socket
import sys
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # torch reads it when it is first imported, which most tests never do
os.environ["TOKENIZERS_PARALLELISM"] = "false"
for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "COLUMNS", "TERM"):
    os.environ.pop(name, None)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in what it starts in the background

hypothesis.settings.register_profile("glimp", deadline=None)  # a busy machine is no fault of the code
hypothesis.settings.load_profile("glimp")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """The modules of the tests and their libraries stay, millions of objects: nothing looks for garbage among them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connecting to anything but this machine fails at once."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in LOOPBACK:
            raise RuntimeError(f"a test tried to reach {address!r}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Random numbers are the same in every run and in any order of the tests."""
    random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
