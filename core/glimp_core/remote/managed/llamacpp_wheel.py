"""The server in the package `xllamacpp`, as a program that accepts the main flags of `llama-server`."""

import argparse
import os
import signal
import threading
from importlib import import_module
from typing import Any

CACHE_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "bf16": 30}
"""ggml's numbers of the types of a cache."""


def flags() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        "llama-server of the wheel xllamacpp", epilog="Other flags need llama.cpp itself.", allow_abbrev=False
    )
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("-a", "--alias", default="")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("-c", "--ctx-size", type=int, default=0)
    parser.add_argument("-np", "--parallel", type=int, default=1)
    parser.add_argument("-t", "--threads", type=int)
    parser.add_argument("-b", "--batch-size", type=int)
    parser.add_argument("-ub", "--ubatch-size", type=int)
    parser.add_argument("-ngl", "--n-gpu-layers", type=int)
    parser.add_argument("-ctk", "--cache-type-k", choices=CACHE_TYPES)
    parser.add_argument("-ctv", "--cache-type-v", choices=CACHE_TYPES)
    parser.add_argument("-md", "--model-draft")
    parser.add_argument("--spec-type", help="such as ngram-simple or draft-simple")
    parser.add_argument("--metrics", action="store_true")
    return parser


def parameters(given: argparse.Namespace) -> Any:
    """Return the parameters of the server."""
    xllamacpp = import_module("xllamacpp")

    made = xllamacpp.CommonParams()
    made.model.path, made.hostnames, made.port = given.model, [given.host], given.port
    made.n_ctx, made.n_parallel, made.kv_unified = given.ctx_size, given.parallel, False
    made.endpoint_metrics, made.warmup = given.metrics, False
    if given.alias:
        made.model_alias = {given.alias}
    if key := os.environ.get("LLAMA_API_KEY"):
        made.api_keys = [key]
    if given.threads:
        made.cpuparams.n_threads = made.cpuparams_batch.n_threads = given.threads
    for flag, name in (("batch_size", "n_batch"), ("ubatch_size", "n_ubatch"), ("n_gpu_layers", "n_gpu_layers")):
        if (value := getattr(given, flag)) is not None:
            setattr(made, name, value)
    for name in ("cache_type_k", "cache_type_v"):
        if (value := getattr(given, name)) is not None:
            setattr(made, name, CACHE_TYPES[value])
    if given.model_draft:
        made.speculative.draft.mparams.path = given.model_draft
    if given.spec_type:
        kind = "COMMON_SPECULATIVE_TYPE_" + given.spec_type.upper().replace("-", "_")
        made.speculative.types = [getattr(xllamacpp.common_speculative_type, kind)]
    return made


def main() -> None:
    """Serve a model until this process gets SIGINT or SIGTERM."""
    xllamacpp = import_module("xllamacpp")

    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    server = xllamacpp.Server(parameters(flags().parse_args()))
    told.wait()
    del server


if __name__ == "__main__":
    main()
