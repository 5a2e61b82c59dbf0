"""A profile of `glimp calibrate` in both adapters: it decides there as in the core, on its own pair only."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage

from glimp_core import ConfigError, GlimpRouter, load_profile
from glimp_core.calibration import Goal, calibrate
from glimp_core.pair import Pair
from glimp_core.testing import ScriptedEngine
from glimp_core.trace import TraceFile, load
from glimp_langchain import ChatGlimp
from glimp_llamaindex import GlimpLLM

ENTROPIES = [0.05 * n for n in range(20)]
STEPS = [f"{n:02}\n\n" for n in range(19)]


def engines(small: str = "s", large: str = "l") -> tuple[ScriptedEngine, ScriptedEngine]:
    return ScriptedEngine(STEPS, "4", ENTROPIES, name=small), ScriptedEngine(STEPS, "4", name=large)


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """A calibrated profile of the pair."""
    path = tmp_path / "p.json"
    calibrate(GlimpRouter(*engines()), [f"question {n}" for n in range(6)], Goal("rate", 0.25)).save(path)
    return path


def ask_chat_glimp(small: Any, large: Any, policy: Any, taps: Any) -> None:
    llm = ChatGlimp(small=small, large=large, policy=policy)
    if taps:
        llm = ChatGlimp(router=GlimpRouter(small, large, taps=taps), policy=policy)
    assert llm.invoke("2+2?").text == "4"


def ask_glimp_llm(small: Any, large: Any, policy: Any, taps: Any) -> None:
    router = Pair(small, large).router(policy)
    router.taps += taps
    assert GlimpLLM(router=router).chat([ChatMessage("2+2?")]).message.content == "4"
    assert GlimpLLM(small=small, large=large).chat([ChatMessage("2+2?")], policy=policy).message.content == "4"


@pytest.mark.parametrize("ask", [ask_chat_glimp, ask_glimp_llm])
def test_a_profile_round_trips(profile: Path, tmp_path: Path, ask: Callable[..., None]) -> None:
    """The adapter decides every step by the profile's threshold, which gives the rate that was asked for."""
    policy = load_profile(profile)
    ask(*engines(), policy, [TraceFile(tmp_path / "t")])
    done = load(tmp_path / "t")[0].completion
    assert {routed.decision.threshold for routed in done.routed} == {policy.threshold}  # type: ignore[attr-defined]
    assert done.summary().intervention_rate == 0.25


@pytest.mark.parametrize("ask", [ask_chat_glimp, ask_glimp_llm])
def test_another_pair_is_refused(profile: Path, ask: Callable[..., None]) -> None:
    """The adapter of another pair says which pair the profile is of."""
    with pytest.raises(ConfigError, match=r"calibrated on s \+ l"):
        ask(*engines("s", "other"), load_profile(profile), [])
