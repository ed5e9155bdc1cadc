"""Shared parts of answer decoding: stream parsers, the answer builder, tool calls, usage, reasoning, supplements."""
