"""Traces: the events of requests as JSON lines. They are written from the event stream and read back into events."""

from glimp_core.trace.file import TraceFile
from glimp_core.trace.overview import Overview
from glimp_core.trace.reading import Run, load
from glimp_core.trace.replay import Replay, replay
from glimp_core.trace.schema import SCHEMA, Broken, Head

__all__ = ["SCHEMA", "Broken", "Head", "Overview", "Replay", "Run", "TraceFile", "load", "replay"]
