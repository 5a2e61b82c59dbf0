"""Traces: what a router did, as JSON lines; written from the event stream and folded back into it."""

from glimp_core.trace.file import TraceFile
from glimp_core.trace.overview import Overview
from glimp_core.trace.reading import Run, load
from glimp_core.trace.replay import Replay, replay
from glimp_core.trace.schema import SCHEMA, Broken, Head

__all__ = ["SCHEMA", "Broken", "Head", "Overview", "Replay", "Run", "TraceFile", "load", "replay"]
