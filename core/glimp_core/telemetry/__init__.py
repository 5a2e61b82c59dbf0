"""OpenTelemetry spans of requests and steps. Needs `glimp[otel]`."""

from glimp_core.telemetry.spans import SpanTap

__all__ = ["SpanTap"]
