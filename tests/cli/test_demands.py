"""`glimp run --schema FILE` and `--tools FILE`: what reaches the router, and what is printed."""

import json
from pathlib import Path
from typing import Any

import pytest

from glimp_core.types import ToolCall

SCHEMA = {"type": "object", "properties": {"answer": {"type": "integer"}}}
PARAMETERS = {"type": "object", "properties": {"x": {"type": "integer"}, "näme": {"type": "string"}}}
TOOL = {"name": "add", "description": "Adds.", "parameters": PARAMETERS}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    (tmp_path / "tools.json").write_text(json.dumps([TOOL]))
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "not.json").write_text('{"not": {}}')
    return tmp_path


def test_files_reach_the_request(glimp: Any, files: Path) -> None:
    """The schema becomes the format of the answer, the tools are offered."""
    line = ["run", "x", "--schema", f"{files}/schema.json", "--tools", f"{files}/tools.json", "--tool-choice", "add"]
    assert glimp(*line).code == 0
    request = glimp.asked[0]
    assert request.response_format == {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
    assert (request.tools, request.tool_choice) == ((TOOL,), "add")


def test_calls_are_printed(glimp: Any, files: Path) -> None:
    """A call stands on a line of its own, with its arguments as JSON; with --json it is in the document."""
    glimp.script["answer"] = lambda request: [ToolCall("call_1", "add", {"x": 3, "näme": "ü"})]
    assert 'call     add {"x": 3, "näme": "ü"}' in glimp("run", "x", "--tools", f"{files}/tools.json").out.splitlines()
    document = json.loads(glimp("run", "x", "--tools", f"{files}/tools.json", "--json").out)
    assert document["tool_calls"] == [{"id": "call_1", "name": "add", "arguments": {"x": 3, "näme": "ü"}}]
    assert document["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--schema", "missing.json"], "missing.json': No such file"),
        (["--schema", "broken.json"], "cannot read JSON from"),
        (["--schema", "list.json"], "list.json' holds no JSON schema"),
        (["--schema", "not.json"], "no finite value follows"),
        (["--tools", "missing.json"], "missing.json': No such file"),
        (["--tools", "list.json"], "a tool must be"),
        (["--tools", "tools.json", "--tool-choice", "ad"], "did you mean 'add'"),
    ],
)
def test_what_demands_nothing_that_can_be_met_is_bad_input(
    glimp: Any, files: Path, options: list[str], said: str
) -> None:
    """One clear line on stderr, exit code 2, and no model is asked for."""
    ran = glimp("run", "x", *(f"{files}/{part}" if part.endswith(".json") else part for part in options))
    assert ran.code == 2
    assert said in ran.err
    assert (len(ran.err.splitlines()), ran.out, glimp.made) == (1, "", [])
