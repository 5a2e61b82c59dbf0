"""llama.cpp's real server, started by Glimp: the wheel `xllamacpp` with the bundled pair in float32."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import glimp_core
from glimp_core import ConfigError, EntropyThreshold, GlimpRouter, RouterConfig, SamplingParams
from glimp_core.bundled.problems import HELD_OUT, make_problem
from glimp_core.remote import LlamaCpp
from glimp_core.remote.managed import stop_servers
from remote.llamacpp import write_gguf

pytestmark = pytest.mark.skipif(not find_spec("xllamacpp"), reason="llama.cpp is not there: pip install xllamacpp")

NAMES = {"small": "glimp-tiny-small", "large": "glimp-tiny-large"}
BUNDLED = {role: Path(glimp_core.__file__).parent / "bundled" / name for role, name in NAMES.items()}
GREEDY = SamplingParams(temperature=0)
EXACT = ["--cache-type-k", "f32", "--cache-type-v", "f32", "--threads", "1"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("gguf")
    for role, source in BUNDLED.items():
        write_gguf(source, folder / f"{role}.gguf")
    return {role: str(folder / f"{role}.gguf") for role in BUNDLED}


@pytest.mark.parametrize(("entropy", "questions"), [("full", 1), pytest.param("top20", 6, marks=pytest.mark.slow)])
def test_a_managed_pair_writes_what_a_local_one_does(files: dict[str, str], entropy: str, questions: int) -> None:
    """Chains, writers, answers and entropies are those of this process, in float32 and greedily."""
    policy, config = EntropyThreshold(0.3, entropy=entropy), RouterConfig(entropy=entropy)
    engine = LlamaCpp(flags=EXACT, tokenizers={role: str(folder) for role, folder in BUNDLED.items()})
    here = GlimpRouter.from_pretrained(*NAMES.values(), policy, config, dtype="float32")
    there = GlimpRouter.from_pretrained(files["small"], files["large"], policy, config, engine=engine)
    writers = set[str]()
    for number in range(questions):
        question = make_problem(HELD_OUT + 1 + number).question
        one, other = (router.generate(question, sampling=GREEDY) for router in (here, there))
        assert (one.reasoning, one.answer) == (other.reasoning, other.answer)
        assert [step.engine for step in one.steps] == [step.engine for step in other.steps]
        for ours, theirs in zip(one.routed, other.routed, strict=True):
            assert ours.glimpse.entropy == pytest.approx(theirs.glimpse.entropy, abs=0.01)
        assert other.summary().notes == ()
        writers |= {step.engine for step in other.steps if step.phase == "thinking"}
    assert writers == {"small", "large"}
    stop_servers()


def test_a_window_and_slots(files: dict[str, str]) -> None:
    """Each slot has the window that was asked for, as far as the model has one; two requests run at once."""
    engine = LlamaCpp(window=256, slots=2, tokenizers={"small": str(BUNDLED["small"])})
    router = GlimpRouter.from_pretrained(files["small"], files["small"], engine={"small": engine})
    assert router.small.window == 256
    stop_servers()


def test_a_flag_that_the_wheel_does_not_know(files: dict[str, str]) -> None:
    """The error shows what the server said."""
    engine = LlamaCpp(flags=["--no-such-flag"], tokenizers={"small": str(BUNDLED["small"])})
    router = GlimpRouter.from_pretrained(files["small"], files["large"], engine=engine)
    with pytest.raises(glimp_core.ModelLoadError, match="unrecognized arguments: --no-such-flag"):
        router.generate("hi")


def test_a_file_without_a_chat_template(files: dict[str, str]) -> None:
    """The error names the option that names a tokenizer."""
    router = GlimpRouter.from_pretrained(files["small"], files["large"], engine=LlamaCpp(flags=EXACT))
    with pytest.raises(glimp_core.ModelLoadError, match=r"no chat template.*engine=LlamaCpp\(tokenizers="):
        router.generate("hi")
    stop_servers()


def test_without_llamacpp(files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is neither the program nor the wheel, the error names both."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ConfigError, match=r"pip install xllamacpp.*llama-server"):
        GlimpRouter.from_pretrained(files["small"], files["large"], engine="llama.cpp")
    with pytest.raises(ConfigError, match="not found at '/nowhere/llama-server'"):
        GlimpRouter.from_pretrained(files["small"], files["large"], engine=LlamaCpp(program="/nowhere/llama-server"))


FOLDER = os.environ.get("GLIMP_SMOLLM2", "")
"""A folder with SmolLM2-135M-Instruct as one .gguf file, and its tokenizer."""


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER, reason="GLIMP_SMOLLM2 is not set")
def test_smollm2_out_of_the_box() -> None:
    """A folder with one .gguf file is a model, and so is the file; this one has no chat template, so one is named."""
    file = str(next(Path(FOLDER).glob("*.gguf")))
    replies = []
    for name in (FOLDER, file):
        config = RouterConfig(reasoning="inline", entropy="top20")
        engine = LlamaCpp(flags=["--threads", "1"], tokenizers={} if name == FOLDER else dict.fromkeys(NAMES, FOLDER))
        router = GlimpRouter.from_pretrained(name, name, config=config, engine=engine)
        done = router.generate("What is 2 + 2?", sampling=SamplingParams(temperature=0, max_tokens=16))
        print(f"\n{done.answer!r} {done.summary()}")
        replies.append((done.answer, done.usage.prompt_tokens, done.routed[0].glimpse.entropy))
    assert replies[0] == replies[1]
    assert replies[0][0]
    stop_servers()
