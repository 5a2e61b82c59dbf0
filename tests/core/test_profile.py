"""A profile is a file that gives back the policy it was made of, and only to the pair it was made on."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glimp_core import (
    ConfigError,
    GlimpRouter,
    MaxConsecutive,
    Profile,
    RouterConfig,
    load_profile,
)
from glimp_core.pair import Pair
from glimp_core.policy.threshold import model_identity
from glimp_core.profile import CurvePoint, read_profile
from glimp_core.testing import ScriptedEngine

PAIR = ("scripted-small", "scripted-large")
PROFILE = Profile(
    threshold=0.7, interval=(0.6, 0.8), target="rate", target_value=0.25, measured_rate=0.24, measured_share=0.3,
    measured_seconds=1.5, measured_interval=(0.2, 0.3), entropy="full", on_tie=False, pair=PAIR, n=40, checked=10,
    steps=400, date="2026-01-01", curve=(CurvePoint(0.5, 0.4, 0.5), CurvePoint(1.0, 0.1, 0.2, 3.0)),
)  # fmt: skip


def engines(small: str = PAIR[0], large: str = PAIR[1]) -> tuple[ScriptedEngine, ScriptedEngine]:
    return ScriptedEngine(name=small), ScriptedEngine(name=large)


def test_a_profile_comes_back_as_it_was(tmp_path: Path) -> None:
    """Reading what was saved gives the same profile."""
    PROFILE.save(tmp_path / "p.json")
    assert read_profile(tmp_path / "p.json") == PROFILE


def test_the_document_has_the_published_keys() -> None:
    """The keys of the design, and no target rate where something else was asked for."""
    document = json.loads(json.dumps(PROFILE.document()))
    assert {"threshold", "interval", "target_rate", "measured_rate", "entropy", "pair", "n"} <= document.keys()
    assert (document["target_rate"], len(document["interval"])) == (0.25, 2)
    assert replace(PROFILE, target="seconds").document()["target_rate"] is None


def test_its_policy_serves_the_pair_it_was_made_on(tmp_path: Path) -> None:
    """A router of that pair takes the policy, as it is or wrapped, and decides by its threshold."""
    PROFILE.save(tmp_path / "p.json")
    policy = load_profile(tmp_path / "p.json")
    assert GlimpRouter(*engines(), policy).policy == policy
    assert Pair(*engines()).router(MaxConsecutive(policy, 2)).generate("?").answer == "Done."


@pytest.mark.parametrize("others", [("other", PAIR[1]), (PAIR[0], "other")])
@pytest.mark.parametrize("wrap", [lambda policy: policy, lambda policy: MaxConsecutive(policy, 2)])
def test_another_pair_is_refused(others: tuple[str, str], wrap: Any) -> None:
    """A router of other models refuses the policy and names both pairs, when made and when called."""
    policy = wrap(PROFILE.policy())
    with pytest.raises(ConfigError, match=r"calibrated on scripted-small \+ scripted-large but .*other"):
        GlimpRouter(*engines(*others), policy)
    with pytest.raises(ConfigError, match="glimp calibrate"):
        GlimpRouter(*engines(*others)).stream("?", policy=policy)


def test_another_definition_is_refused() -> None:
    """A router that measures another entropy refuses the policy."""
    with pytest.raises(ConfigError, match="top20"):
        GlimpRouter(*engines(), PROFILE.policy(), RouterConfig(entropy="top20"))


def test_a_folder_is_known_by_its_full_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same folder is the same model however it is spelled; a hub id stays as it is."""
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert model_identity("model") == model_identity("./model") == str((tmp_path / "model").resolve())
    assert model_identity("Qwen/Qwen3-8B") == "Qwen/Qwen3-8B"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("not json", "not JSON"),
        ("[1]", "schema None"),
        ('{"schema": 2}', "schema 2"),
        (json.dumps({k: v for k, v in PROFILE.document().items() if k != "interval"}), "interval"),
        (json.dumps({**PROFILE.document(), "threshold": "high"}), "threshold|whole profile"),
        (json.dumps({**PROFILE.document(), "threshold": -1}), "whole profile"),
        (json.dumps({**PROFILE.document(), "pair": ["one"]}), "whole profile"),
        (json.dumps({**PROFILE.document(), "entropy": "half"}), "half"),
    ],
)
def test_what_is_no_profile_is_refused(text: str, what: str, tmp_path: Path) -> None:
    """A file that is no profile is a ConfigError that names the file and says what is wrong."""
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(ConfigError, match=what) as refused:
        load_profile(tmp_path / "p.json")
    assert "p.json" in str(refused.value)


def test_a_missing_or_unwritable_file_is_told(tmp_path: Path) -> None:
    """Reading and writing where nothing can be is a ConfigError."""
    with pytest.raises(ConfigError, match="No such file"):
        load_profile(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="cannot be written"):
        PROFILE.save(tmp_path / "none" / "p.json")
