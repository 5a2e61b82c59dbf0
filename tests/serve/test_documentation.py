"""What README and docs/serve.md show of the endpoint is true: commands answer, clients run, files are whole."""

import configparser
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from glimp_core import EntropyThreshold, GlimpRouter
from repo.test_readme import ROOT, SERVED, Block, blocks, run_python
from serve.conftest import Serving

SHOWN = "http://127.0.0.1:8000"


def serving_blocks() -> list[Block]:
    found = [block for page in (ROOT / "README.md", SERVED) for block in blocks(page, "sh")]
    return [block for block in found if "glimp serve" in block.text]


@pytest.mark.parametrize(
    "block", serving_blocks()[:1] + [pytest.param(b, marks=pytest.mark.slow) for b in serving_blocks()[1:]]
)
def test_a_server_starts_answers_and_ends(block: Block, tmp_path: Path) -> None:
    """The server that is shown starts, what is sent to it streams to its end, and Ctrl-C ends it."""
    if not shutil.which("curl"):
        pytest.skip("there is no curl")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    lines = block.runnable.splitlines()
    (serve,), asked = ([line for line in lines if line.startswith(word)] for word in ("glimp serve", "curl"))
    command = [*shlex.split(serve, comments=True)[1:], "--port", str(port)]
    starter = [sys.executable, "-c", "from glimp_core.cli import main; main()"]
    process = subprocess.Popen([*starter, *command], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        url = f"http://127.0.0.1:{port}"
        while process.poll() is None and not _is_up(url):
            time.sleep(0.1)
        for line in asked:
            words = shlex.split(line.replace(SHOWN, url))
            done = subprocess.run([*words, "--silent", "--fail"], capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stderr
            assert done.stdout.rstrip().endswith("data: [DONE]")
            assert '"finish_reason":"stop"' in done.stdout
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


def test_the_clients_that_are_shown_work(serving: Serving) -> None:
    """The Python blocks run against an endpoint of the bundled pair, and print what stands under them."""
    pytest.importorskip("langchain_openai")
    router = GlimpRouter.from_pretrained("glimp-tiny-small", "glimp-tiny-large", EntropyThreshold(0.3))
    with serving(router) as endpoint:
        run_python(SERVED, (SHOWN, endpoint.url))


def options() -> set[str]:
    variables = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    program = "from glimp_core.cli import main; main(['serve', '--help'])"
    helped = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, timeout=60)
    return set(re.findall(r"--[a-z-]+", helped.stdout))


def test_files_are_whole_and_options_known() -> None:
    """YAML and the unit can be read, and every option that the page or a file gives `glimp serve` exists."""
    documents: list[Any] = [yaml.safe_load(block.text) for block in blocks(SERVED, "yaml")]
    assert [next(iter(document)) for document in documents] == ["models", "model_list", "services"]
    (unit,) = blocks(SERVED, "ini")
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit.text)
    commands = [documents[2]["services"]["glimp"]["command"], parser["Service"]["ExecStart"]]
    page = SERVED.read_text()
    listed = re.findall(r"^\| (`--[^|]+)\|", page, re.MULTILINE)
    given = set(re.findall(r"(?<=[ `])--[a-z-]+", " ".join([*commands, *listed, page.partition("## Clients")[0]])))
    assert len(given) > 10
    assert given <= options()
