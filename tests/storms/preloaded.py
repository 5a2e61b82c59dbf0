"""A program of a user that asks its pair once before its server forks: as a WSGI, an ASGI and a Celery application."""

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from glimp_core import EntropyThreshold, GlimpRouter
from glimp_core.serve import ServedPair, application

QUESTION = "Start with 5 and count modulo 31. First *9. Second +3. What is the result?"
PAIR = ("glimp-tiny-small", "glimp-tiny-large")
router = GlimpRouter.from_pretrained(*PAIR, policy=EntropyThreshold(0.3), dtype="float32")
PARENT = os.getpid()
expected = router.generate(QUESTION).reasoning


def asked() -> tuple[int, int, bool]:
    """Who answers, whose child it is, and whether its reply is the one from before the fork."""
    return os.getpid(), PARENT, router.generate(QUESTION).reasoning == expected


def wsgi(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Answer any HTTP request, for `gunicorn --preload`."""
    start("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(asked()).encode()]


endpoint = application([ServedPair("glimp", router)])
"""For `uvicorn --workers`."""

try:
    from celery import Celery
except ImportError:
    pass
else:
    celery = Celery("preloaded", broker="filesystem://")
    ask = celery.task(asked, name="asked")

    def keep_in(folder: str) -> None:
        """Have tasks and results lie in a folder, which the worker and who asks it share."""
        ways = {"data_folder_in": "box", "data_folder_out": "box", "control_folder": "control"}
        celery.conf.broker_transport_options = {way: f"{folder}/{name}" for way, name in ways.items()}
        celery.conf.result_backend = f"file://{folder}/results"

    keep_in(os.environ.get("GLIMP_CELERY_FOLDER", "."))
