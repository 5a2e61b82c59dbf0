"""Broken model files: each is an error of Glimp's own in one line or no harm at all, never a hang or another error."""

import random
from collections import Counter
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

import glimp_core
from glimp_core import GlimpRouter
from remote.llamacpp import write_gguf
from storms.broken_files import answered, break_folder, break_gguf, copied

SMALL = Path(glimp_core.__file__).parent / "bundled" / "glimp-tiny-small"
TEMPLATE = (SMALL / "chat_template.jinja").read_text()
LONGEST = 1500

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits of memory are Linux's here")


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    """What children need is imported once."""
    GlimpRouter.from_pretrained("glimp-tiny-small", "glimp-tiny-large", dtype="float32").load()


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the small bundled model, without its biases, for which transformers has no place."""
    folder, file = copied(SMALL, tmp_path_factory.mktemp("source") / "m"), tmp_path_factory.mktemp("whole") / "m.gguf"
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor for name, tensor in tensors.items() if "bias" not in name}, folder / "model.safetensors")
    write_gguf(folder, file, TEMPLATE)
    return file


def outcomes(source: Path, place: Path, seeds: range) -> Counter[str]:
    """Break copies of a model by these seeds, ask each, and count what comes of it."""
    counts = Counter[str]()
    for seed in seeds:
        broken = copied(source, place)
        how = (break_folder if broken.is_dir() else break_gguf)(broken, random.Random(seed))
        said = answered(broken)
        assert said.partition(":")[0] in ("answered", "ModelLoadError", "ConfigError"), (seed, how, said)
        assert "\n" not in said, (seed, how, said)
        assert len(said) < LONGEST, (seed, how, said)
        counts[said.partition(":")[0]] += 1
    return counts


def test_some_broken_files(gguf: Path, tmp_path: Path) -> None:
    """Law, for a few of each kind: a reply, or one line that says what is wrong."""
    assert answered(gguf) == answered(SMALL) == "answered"
    assert outcomes(gguf, tmp_path / "m.gguf", range(4))["ModelLoadError"]
    assert outcomes(SMALL, tmp_path / "m", range(4))["ModelLoadError"]


def test_biases_that_would_be_left_out_are_refused(tmp_path: Path) -> None:
    """transformers has no place for the biases of such a file, and would write another text without a word."""
    write_gguf(SMALL, tmp_path / "m.gguf", TEMPLATE)
    says = answered(tmp_path / "m.gguf")
    assert says.startswith("ModelLoadError: ")
    assert "has biases (blk.0.attn_k.bias, blk.0.attn_output.bias" in says


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_200_broken_gguf_files_and_100_broken_folders(
    gguf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same for 200 and 100."""
    files, folders = outcomes(gguf, tmp_path / "m.gguf", range(200)), outcomes(SMALL, tmp_path / "m", range(100))
    with capsys.disabled():
        print(f"\n200 GGUF files: {dict(files)}; 100 folders: {dict(folders)}")
