"""llama.cpp's own server (the wheel `xllamacpp`) in a process of its own, with the bundled pair in float32.

As a program: python tests/remote/llamacpp.py GGUF PORT CONTEXT SLOTS SHARED, where SHARED is 1 for slots that share the
context, as the slots of `llama-server` do by default.
"""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

MAX_SECONDS = 600
"""A server that was forgotten ends by itself."""


def write_gguf(folder: Path, path: Path, template: str = "") -> None:
    """Write a Llama checkpoint as llama.cpp reads it, with the very same float32 weights."""
    import gguf
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    if template:
        writer.add_chat_template(template)
    _write_tokenizer(writer, json.loads((folder / "tokenizer.json").read_text()), config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, tensor in load_file(folder / "model.safetensors").items():
        for part, heads in (("q_proj", config["num_attention_heads"]), ("k_proj", config["num_key_value_heads"])):
            if part in name:  # GGUF pairs neighbours in a rotation, the checkpoint the halves of a head
                tensor = tensor.reshape(heads, 2, -1, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_tokenizer(writer: Any, spec: dict[str, Any], config: dict[str, Any]) -> None:
    import gguf

    added = {token["id"]: token for token in spec["added_tokens"]}
    tokens = {number: token for token, number in spec["model"]["vocab"].items()}
    tokens |= {number: token["content"] for number, token in added.items()}
    kinds = [
        gguf.TokenType.NORMAL if number not in added
        else gguf.TokenType.CONTROL if added[number]["special"] else gguf.TokenType.USER_DEFINED
        for number in range(config["vocab_size"])
    ]  # fmt: skip
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([tokens[number] for number in range(config["vocab_size"])])
    writer.add_token_types(kinds)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in spec["model"]["merges"]])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)


class LlamaCpp:
    """A server of one model, which can be stopped, killed and started again at the same address."""

    def __init__(self, model: Path, context: int = 2048, slots: int = 1, shared: bool = False, port: int = 0):
        self.port = port or _free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._arguments = [str(model), str(self.port), str(context), str(slots), str(int(shared))]
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "LlamaCpp":
        self.start()
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it; it takes requests a moment later."""
        self.process = subprocess.Popen(
            [sys.executable, __file__, *self._arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def wait(self) -> None:
        """Wait until it takes requests."""
        deadline = time.monotonic() + 60
        while True:
            try:
                with urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5):
                    return
            except (URLError, OSError):
                assert self.process
                assert self.process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.process
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it as a power cut does."""
        if self.process:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def serve(model: str, port: str, context: str, slots: str, shared: str) -> None:
    """Serve a model in this process until it is told to end."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.port, params.hostnames = model, int(port), ["127.0.0.1"]
    params.n_ctx, params.n_parallel, params.kv_unified = int(context), int(slots), bool(int(shared))
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup, params.endpoint_metrics = False, True
    params.cache_type_k = params.cache_type_v = 0  # float32, as in this process
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    server = xllamacpp.Server(params)
    told.wait(MAX_SECONDS)
    del server  # ends as llama-server does when it is told to


if __name__ == "__main__":
    serve(*sys.argv[1:])
