"""The examples for LlamaIndex run, on scripted models."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

import tiny
from adapters.good_model import good_router
from adapters.llamaindex_conformance import Reply
from adapters.llamaindex_glimp import Turns, pair
from glimp_llamaindex import GlimpLLM

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> Any:
    """Return the `main` of an example."""
    return runpy.run_path(str(EXAMPLES / f"llamaindex_{name}.py"))["main"]


def scripted(*replies: Reply | str) -> GlimpLLM:
    """An LLM that thinks in two steps and then replies by the script."""
    return GlimpLLM(router=pair(answer=Turns(*replies), thinking="Hm.\n\nYes.", window=100_000))


def test_short() -> None:
    """An example is read in a minute."""
    for path in EXAMPLES.glob("llamaindex_*.py"):
        assert len(path.read_text().splitlines()) < 60, path


def test_rag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The query engine answers and names its sources."""
    embedder, folder = tmp_path / "embedder", tmp_path / "notes"
    tiny.model().save_pretrained(embedder)
    tiny.tokenizer().save_pretrained(embedder)
    folder.mkdir()
    (folder / "steps.md").write_text("A step ends at a blank line.")
    example("rag")(scripted("At a blank line [1]."), folder, str(embedder))
    shown = capsys.readouterr().out
    assert "At a blank line [1]." in shown
    assert "[1] steps.md: 'Source 1:" in shown


def test_chat(capsys: pytest.CaptureFixture[str]) -> None:
    """Two turns are streamed, each with its routing."""
    example("chat")(scripted("7 pens.", "11 pens."))
    shown = capsys.readouterr().out
    assert shown.index("7 pens.") < shown.index("[3 steps") < shown.index("11 pens.")
    assert "of the tokens by the large model]" in shown


async def test_agent(capsys: pytest.CaptureFixture[str]) -> None:
    """The agent thinks, calls two tools and answers."""
    calls = Reply(calls=(("price_of", {"item": "pears"}),)), Reply(calls=(("multiply", {"a": 12, "b": 4.25}),))
    await example("agent")(scripted(*calls, "51 euros."))
    shown = capsys.readouterr().out
    assert shown.index("Hm.") < shown.index("[price_of({'item': 'pears'}) = 4.25]") < shown.index("= 51.0]")
    assert shown.rstrip().endswith("51 euros.")


async def test_handoff(capsys: pytest.CaptureFixture[str]) -> None:
    """The clerk looks up both prices, hands over, and the cashier answers."""
    both = Reply(calls=(("price_of", {"item": "pears"}), ("price_of", {"item": "plums"})))
    over = Reply(calls=(("handoff", {"to_agent": "cashier", "reason": "Prices are known."}),))
    await example("handoff")(scripted(both, over, Reply(calls=(("add", {"a": 4.25, "b": 5.0}),)), "9.25 euros."))
    shown = capsys.readouterr().out
    assert "clerk: handoff" in shown
    assert "cashier: 9.25 euros." in shown


def test_structured(capsys: pytest.CaptureFixture[str]) -> None:
    """The object grows and is whole at the end."""
    item = {"name": "lamp", "ordered": 6, "broken": 2}
    complaint = {"customer": "Ms Ortiz", "town": "Leeds", "items": [item], "wants": "money back", "mood": "calm"}
    example("structured")(scripted(json.dumps(complaint)))
    shown = capsys.readouterr().out
    assert "{'customer': 'Ms Ortiz'}" in shown
    assert shown.rstrip().endswith("Ms Ortiz: 2 of 6 broken")


def test_subquestions(capsys: pytest.CaptureFixture[str]) -> None:
    """One question becomes two, and their answers one."""
    questions = [{"sub_question": f"What does the {name} one cost?", "tool_name": name} for name in ("north", "south")]
    replies = (f"```json\n{json.dumps({'items': questions})}\n```", "10 euros.", "14 euros.", "North, by 4 euros.")
    example("subquestions")(scripted(*replies))
    assert capsys.readouterr().out.rstrip().endswith("North, by 4 euros.")


def test_measures_on_a_pair(capsys: pytest.CaptureFixture[str]) -> None:
    """The script that measures a real pair prints one document, in which calls at once say what single ones say."""
    llm = GlimpLLM(router=good_router(window=100_000))
    runpy.run_path(str(EXAMPLES / "experiments" / "llamaindex_pair.py"))["main"](llm)
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    called = [[call.partition("(")[0] for call in task["calls"]] for task in report["agent"]]
    assert called[1] == ["price_of", "multiply"]
    assert all(called)
    assert (report["objects"]["of"], report["together"]["equal"]) == (5, 4)
    assert report["cited"]["right"]
