"""A `vllm` without models: `vllm serve MODEL ...` speaks /v1/completions with scripted tokens, and goes wrong as told.

FAKE_FOLDER holds script.json ("reply" and "probe" as ids, "bytes" of each id as hex, "open": the id that the script
follows, with one more id between). Each start leaves a document there, with the arguments and the key. FAKE_TROUBLE is
a JSON document: "slow": seconds before it listens; "waits": it does not before there is a file `go`; "dies": an exit
code at the start; "dies_in_reply": how many starts end after five tokens of a reply; "freezes_in_reply": how many fall
silent there, and end a moment later; "pace": seconds a token; "merge": tokens a line; "drafted": what lines tell of
drafts; "shares": it holds shared memory and a semaphore.
"""

import json
import math
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

FOLDER = Path(os.environ["FAKE_FOLDER"])
SCRIPT = json.loads((FOLDER / "script.json").read_text())
PIECES = [bytes.fromhex(piece) for piece in SCRIPT["bytes"]]
TROUBLE = json.loads(os.environ.get("FAKE_TROUBLE", "{}"))
KEY = os.environ.get("VLLM_API_KEY")


def option(name):
    return sys.argv[sys.argv.index(name) + 1]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        listed = {"id": option("--served-model-name"), "owned_by": "vllm", "max_model_len": 4096}
        if self.path == "/metrics":
            return self.document(200, {})
        self.document(*((200, {"data": [listed]}) if self.allowed() else (401, {"error": {"message": "no key"}})))

    def allowed(self):
        return self.headers.get("Authorization") == f"Bearer {KEY}"

    def document(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not self.allowed():
            return self.document(401, {"error": {"message": "no key"}})
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for line in self.lines(body):
            self.wfile.write(b"data: " + json.dumps(line).encode() + b"\n\n")
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def lines(self, body):
        prompt, group, text = body["prompt"], [], b""
        opened = len(prompt) - 1 - prompt[::-1].index(SCRIPT["open"]) if SCRIPT["open"] in prompt else None
        script = SCRIPT["probe"] if opened is None else SCRIPT["reply"][len(prompt) - opened - 2 :]
        script = script[: body["max_tokens"]]
        (FOLDER / f"request-{time.time_ns()}.json").write_text(json.dumps([option("--served-model-name"), prompt]))
        for n, token in enumerate(script):
            text += PIECES[token]
            group.append(token)
            stopped = any(stop.encode() in text for stop in body.get("stop", ()))
            reason = body["stop"][0] if stopped else token if token in body.get("stop_token_ids", ()) else None
            finish = "stop" if reason is not None or token == SCRIPT["reply"][-1] else None
            finish = finish or ("length" if n + 1 == len(script) else None)
            if len(group) < TROUBLE.get("merge", 1) and not finish:
                continue
            yield {"choices": [self.choice(body, group, text, finish, reason)], **TROUBLE.get("drafted", {})}
            group = []
            self.misbehave(n + 1, probing=opened is None)
            if finish:
                break
        usage = {"prompt_tokens": len(prompt), "completion_tokens": n + 1}
        yield {"choices": [], "usage": usage}

    def choice(self, body, group, text, finish, reason):
        size = len(PIECES) if body.get("logprobs") == -1 else body.get("logprobs") or 0
        logprobs = None
        if size:
            others = [(i, math.log(0.1 / len(PIECES))) for i in range(len(PIECES)) if i != group[0]]
            top = [(group[0], math.log(0.9)), *others][:size]
            logprobs = {"tokens": [], "top_logprobs": [{f"token_id:{i}": lp for i, lp in top}]}
        shown = text.decode(errors="ignore")
        known = text[: len(text) - len(b"".join(PIECES[i] for i in group))].decode(errors="ignore")
        return {
            "index": 0, "text": shown[len(known) :], "token_ids": group, "logprobs": logprobs, "finish_reason": finish,
            "stop_reason": reason,
        }  # fmt: skip

    def misbehave(self, written, probing):
        time.sleep(0 if probing else TROUBLE.get("pace", 0))
        starts = len(list(FOLDER.glob("start-*")))
        if probing or written < 5:
            return
        if starts <= TROUBLE.get("dies_in_reply", 0):
            os._exit(7)
        if starts <= TROUBLE.get("freezes_in_reply", 0):
            threading.Timer(0.3, os._exit, (7,)).start()
            time.sleep(60)


def main():
    child = subprocess.Popen(["sleep", "300"])  # as a worker of an engine
    shared = []
    if TROUBLE.get("shares"):
        memory, lock = SharedMemory(create=True, size=100), get_context("spawn").Lock()
        shared = [memory.name, f"sem.{lock._semlock.name[1:]}"]
    start = {
        "arguments": sys.argv[1:],
        "key": KEY,
        "pid": os.getpid(),
        "child": child.pid,
        "time": time.time(),
        "shared": shared,
    }
    (FOLDER / f"start-{time.time_ns()}.json").write_text(json.dumps(start))
    print("Loading weights", flush=True)
    time.sleep(TROUBLE.get("slow", 0))
    while TROUBLE.get("waits") and not (FOLDER / "go").exists():
        time.sleep(0.02)
    if "dies" in TROUBLE:
        print("ValueError: the card is full\nshutting down", flush=True)
        sys.exit(TROUBLE["dies"])
    threading.Timer(600, os._exit, (9,)).start()  # one that was forgotten ends by itself
    ThreadingHTTPServer((option("--host"), int(option("--port"))), Handler).serve_forever()


main()
