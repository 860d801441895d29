"""Traces of calls, by OpenTelemetry (extra `otel`)."""
