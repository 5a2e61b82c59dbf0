"""A pair file and servers on the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from glimp_core import AlwaysLarge, EntropyThreshold, RouterConfig, SamplingParams
from remote.kit import ANSWER, TOKENS, script
from remote.served import ScriptedServer

FILE = """
small = "a"
large = {model = "b", device = "cpu"}
policy = "always_large"
load = {dtype = "float32"}
router = {reasoning = "inline", answer_by = "small"}
sampling = {temperature = 0.5, max_tokens = 50, stop = ["END"]}
"""
LARGE = {"model": "b", "device": "cpu"}


@pytest.fixture
def pair_file(tmp_path: Path) -> str:
    (tmp_path / "pair.toml").write_text(FILE)
    return str(tmp_path / "pair.toml")


@pytest.mark.parametrize(
    "command", [["run", "x"], ["chat"], ["demo"], ["bench", "--n", "1", "--methods", "glimp"], ["calibrate"]]
)
def test_every_command_reads_the_file(glimp: Any, pair_file: str, command: list[str], tmp_path: Path) -> None:
    """What the file says is what the router is made with, by every door."""
    out = ["--out", str(tmp_path / "profile.json"), "--n", "4"] if command == ["calibrate"] else []
    ran = glimp(*command, *out, "--config", pair_file, stdin="one\n")
    assert glimp.made, ran.err
    ((small, large, policy, config, sampling), options) = glimp.made[0]
    assert (small, large, options) == ("a", LARGE, {"dtype": "float32"})
    assert (policy, config) == (AlwaysLarge(), RouterConfig(reasoning="inline", answer_by="small"))
    assert sampling == SamplingParams(temperature=0.5, max_tokens=50, stop=("END",))
    assert "small a" in ran.out or command[0] not in ("run", "chat", "demo")


def test_options_win_over_the_file(glimp: Any, pair_file: str) -> None:
    """Each option replaces what the file says, and leaves the rest."""
    line = "run x --large c --threshold 2 --reasoning auto --entropy top20 --on-large-failure small --temperature 0"
    assert glimp(*line.split(), "--config", pair_file).code == 0
    config = RouterConfig(answer_by="small", entropy="top20", on_large_failure="small")
    sampling = SamplingParams(temperature=0, max_tokens=50, stop=("END",))
    settings = ("a", "c", EntropyThreshold(2.0, "top20"), config, sampling)
    assert glimp.made == [(settings, {"dtype": "float32"})]


@pytest.mark.parametrize("name", ["missing.toml", "pair.toml#b", ""])
def test_a_file_that_cannot_work_is_bad_input(glimp: Any, pair_file: str, name: str) -> None:
    """One line on stderr, and exit code 2."""
    ran = glimp("run", "x", "--config", str(Path(pair_file).parent / name))
    assert ran.code == 2
    assert ran.err.count("\n") == 1


def test_a_served_pair_answers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Both models at servers, named by their addresses: the reply is theirs."""
    from glimp_core.cli import main

    TOKENS.save_pretrained(tmp_path)
    with ScriptedServer(script()) as small, ScriptedServer(script()) as large:
        line = (
            f"run x --small {small.url}#scripted --large {large.url}#scripted --small-tokenizer {tmp_path} "
            f"--large-tokenizer {tmp_path} --entropy top20 --on-large-failure small --json"
        )
        with pytest.raises(SystemExit) as left:
            main(line.split())
    out, err = capsys.readouterr()
    assert left.value.code == 0, err
    assert json.loads(out)["answer"] == ANSWER


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--small http://h/v1 --large b", "names no model there"),
        ("--small a --large b --api-key-env KEY", "api_key_env cannot work"),
        ("--small http://h/v1#a --large http://h/v1#b --dtype float32", "dtype cannot work"),
        ("--small a --large http://h/v1#b --api-key-env GLIMP_NO_SUCH_KEY", "'GLIMP_NO_SUCH_KEY' names no environment"),
    ],
)
def test_servers_that_cannot_work_are_bad_input(capsys: pytest.CaptureFixture[str], line: str, told: str) -> None:
    """Refused in one line before any server is asked."""
    from glimp_core.cli import main

    with pytest.raises(SystemExit) as left:
        main(["run", "x", *line.split()])
    assert left.value.code == 2
    assert told in capsys.readouterr().err
