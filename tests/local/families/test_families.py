"""The family laws: whatever architecture is installed, what Glimp writes is what the models say, or it says no."""

from pathlib import Path
from typing import Any

import pytest

from glimp_core import GlimpRouter, ModelLoadError
from local.families.architecture import Architecture
from local.families.building import build, missing, save
from local.families.laws import LAWS, Pair
from local.families.multimodal import ALL

EVERY_RUN = (
    "qwen3", "gemma3_text", "gpt_oss", "gemma4_text", "deepseek_v3", "llama4_text", "qwen3_5_text",
    "lfm2", "falcon_h1", "mamba", "deepseek_v4",
)  # fmt: skip
"""Those that differ in kind: keys of all tokens, of a window, sinks, layers that share keys, latents, chunks, a delta
rule beside attention, convolutions, a state and attention in one layer, a state alone, compressed keys."""

SERVED = [architecture for architecture in ALL if not architecture.refused]
REFUSED = [architecture for architecture in ALL if architecture.refused]


def marked(architectures: list[Architecture]) -> list[Any]:
    return [
        pytest.param(
            architecture, id=architecture.name, marks=[] if architecture.name in EVERY_RUN else pytest.mark.slow
        )
        for architecture in architectures
    ]


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A pair of a family, made once for all its laws."""
    if reason := missing(request.param):
        pytest.skip(reason)
    return Pair(request.param, tmp_path_factory.mktemp("pair"))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("pair", marked(SERVED), indirect=True)
def test_law(pair: Pair, law: str) -> None:
    """A family is served, and the law holds."""
    LAWS[law](pair)


@pytest.mark.parametrize("architecture", [pytest.param(each, id=each.name) for each in REFUSED])
def test_refused(architecture: Architecture, tmp_path: Path) -> None:
    """A family that cannot be served is refused when it loads, by the name of its class."""
    if reason := missing(architecture):
        pytest.skip(reason)
    folder = str(save(build(architecture, architecture.layers[0], seed=3), tmp_path))
    with pytest.raises(ModelLoadError, match=architecture.refused):
        GlimpRouter.from_pretrained(folder, folder).load()


def test_every_kind_is_in_every_run() -> None:
    """The default run leaves no kind of cache out, and its names exist."""
    chosen = [architecture for architecture in ALL if architecture.name in EVERY_RUN]
    assert len(chosen) == len(EVERY_RUN)
    assert {architecture.kind for architecture in (*chosen, *REFUSED)} == {architecture.kind for architecture in ALL}
    assert len({architecture.name for architecture in ALL}) == len(ALL) >= 50
