"""Traces for OpenTelemetry (extra `otel`). Imported only where `[observe] traces_url` is set.

A request is a span of kind server; each attempt at a provider, or the call of a gateway upstream, is a span of kind
client below it, with the names and attributes of the semantic conventions for generative AI and for HTTP
(https://opentelemetry.io/docs/specs/semconv/gen-ai/). Spans are made from the request context when the request has
ended; while it runs only the ids are chosen that are sent in `traceparent`.
"""

from __future__ import annotations

import os
import time

import trio
from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from lakehouse._version import __version__
from lakehouse.config.urls import separate_credentials
from lakehouse.core.attempts import AttemptRecord
from lakehouse.core.context import RequestContext
from lakehouse.core.trace_context import Trace, begin_trace, new_id
from lakehouse.telemetry.access_log import shorten_and_escape
from lakehouse.telemetry.genai_messages import encode_input_messages, encode_output_messages

EXPORT_TIMEOUT = 3.0
"""Seconds for which the shutdown waits for the collector to accept the last spans."""

Attributes = dict[str, str | int | float | tuple[str, ...]]


class Traces:
    """Exports the spans of requests that have ended, from a thread, in a bounded number of batches."""

    def __init__(
        self, url: str, *, ratio: float = 1.0, content: bool = False, exporter: SpanExporter | None = None
    ) -> None:
        self._ratio = ratio
        self._content = content
        self._ids = PresetIdGenerator()
        name = os.environ.get("OTEL_SERVICE_NAME") or "lakehouse"
        resource = Resource.create({"service.name": name, "service.version": __version__})
        # `begin` decides which requests are sampled, because the decision is sent on in `traceparent`.
        self._provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False, id_generator=self._ids)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or _make_exporter(url)))
        self._tracer = self._provider.get_tracer("lakehouse", __version__)

    def begin(self, request: RequestContext, traceparent: bytes | None) -> None:
        """Add a request to the trace of its client or to a new one; keep its content if configured."""
        traced = begin_trace(traceparent, ratio=self._ratio)
        request.begin_trace(traced, with_content=self._content and traced.sampled)

    def export_spans(self, request: RequestContext, ended: float) -> None:
        """Export the spans of a request, if it is sampled. Must be called from a trio task."""
        traced = request.trace
        if traced is None or not traced.sampled:
            return
        since = time.time() - trio.current_time()
        self._export_server_span(request, traced, since, ended)
        for attempt in request.attempts:
            self._export_attempt_span(request, traced, attempt, since, ended)
        if traced.call_id:
            self._export_call_span(request, traced, since, ended)

    async def close(self) -> None:
        """Export the spans that are left, for at most `EXPORT_TIMEOUT` seconds."""
        # Bounded: a collector may not reply. The exporting thread is a daemon.
        with trio.move_on_after(EXPORT_TIMEOUT, shield=True):
            await trio.to_thread.run_sync(self._provider.shutdown, abandon_on_cancel=True)

    def _export_server_span(self, request: RequestContext, traced: Trace, since: float, ended: float) -> None:
        attributes: Attributes = {
            "http.request.method": request.method,
            "http.route": request.route,
            "lakehouse.request_id": request.id,
            "lakehouse.outcome": request.outcome or "",
            "lakehouse.attempts": request.attempt_count,
        }
        _set_attribute(attributes, "http.response.status_code", request.status)
        _set_attribute(attributes, "lakehouse.tier", request.tier)
        name = f"{request.method} {request.route}".rstrip()
        parent = None if traced.parent_id is None else _span_context(traced, traced.parent_id, remote=True)
        span = self._start_span(
            name, SpanKind.SERVER, traced, traced.span_id, parent, since + request.started, attributes
        )
        _end_span(span, since + ended, _error_type(request))

    def _export_attempt_span(
        self, request: RequestContext, traced: Trace, attempt: AttemptRecord, since: float, ended: float
    ) -> None:
        model = shorten_and_escape(attempt.model)
        attributes: Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": attempt.upstream,
            "gen_ai.request.model": model,
            "lakehouse.attempt.why": attempt.why,
        }
        _set_attribute(attributes, "http.response.status_code", attempt.status)
        if attempt.first_piece is not None:
            attributes["gen_ai.response.time_to_first_chunk"] = attempt.first_piece - attempt.started
        error = attempt.error or (None if attempt.ended is not None else "cancelled")
        if error is None and attempt is _find_answering_attempt(request):
            attributes |= self._answer_attributes(request, model)
        parent = _span_context(traced, traced.span_id)
        span_id = attempt.span_id or new_id(64)
        began, over = since + attempt.started, since + (ended if attempt.ended is None else attempt.ended)
        _end_span(
            self._start_span(f"chat {model}", SpanKind.CLIENT, traced, span_id, parent, began, attributes), over, error
        )

    def _answer_attributes(self, request: RequestContext, model: str) -> Attributes:
        attributes: Attributes = {"gen_ai.response.model": model}
        if request.finish_reason is not None:
            attributes["gen_ai.response.finish_reasons"] = (request.finish_reason,)
        if (usage := request.usage) is not None:
            _set_attribute(attributes, "gen_ai.usage.input_tokens", usage.input_tokens)
            _set_attribute(attributes, "gen_ai.usage.output_tokens", usage.output_tokens)
            _set_attribute(attributes, "gen_ai.usage.cache_read.input_tokens", usage.cached_tokens)
            _set_attribute(attributes, "gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens)
            _set_attribute(attributes, "lakehouse.cost_usd", usage.cost_usd)
        if self._content and request.content is not None:
            _set_attribute(attributes, "gen_ai.input.messages", encode_input_messages(request.content.input))
            _set_attribute(attributes, "gen_ai.output.messages", encode_output_messages(request.content.output))
        return attributes

    def _export_call_span(self, request: RequestContext, traced: Trace, since: float, ended: float) -> None:
        attributes: Attributes = {"http.request.method": request.method, "lakehouse.upstream": request.upstream or ""}
        _set_attribute(attributes, "http.response.status_code", request.status)
        parent = _span_context(traced, traced.span_id)
        began = since + request.started
        span = self._start_span(request.method, SpanKind.CLIENT, traced, traced.call_id, parent, began, attributes)
        _end_span(span, since + ended, request.error)

    def _start_span(
        self,
        name: str,
        kind: SpanKind,
        traced: Trace,
        span_id: int,
        parent: SpanContext | None,
        started: float,
        attributes: Attributes,
    ) -> trace.Span:
        self._ids.set_next(traced.trace_id, span_id)
        parent_context = context.Context()
        if parent is not None:
            parent_context = trace.set_span_in_context(trace.NonRecordingSpan(parent), parent_context)
        return self._tracer.start_span(name, parent_context, kind, attributes, start_time=_to_nanoseconds(started))


class PresetIdGenerator(IdGenerator):
    """Returns the ids that were generated at the start of the request and sent to upstreams in `traceparent`."""

    def __init__(self) -> None:
        self._trace_id = self._span_id = 0

    def set_next(self, trace_id: int, span_id: int) -> None:
        self._trace_id, self._span_id = trace_id, span_id

    def generate_trace_id(self) -> int:
        return self._trace_id

    def generate_span_id(self) -> int:
        return self._span_id


def _span_context(traced: Trace, span_id: int, *, remote: bool = False) -> SpanContext:
    return SpanContext(traced.trace_id, span_id, is_remote=remote, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _make_exporter(url: str) -> OTLPSpanExporter:
    """Make an exporter. Its endpoint, which appears in its error messages, has no password."""
    endpoint = separate_credentials(url)
    headers = {"authorization": endpoint.authorization} if endpoint.authorization else None
    return OTLPSpanExporter(endpoint=endpoint, headers=headers)


def _find_answering_attempt(request: RequestContext) -> AttemptRecord | None:
    """Find the last attempt that ended without an error."""
    return next((made for made in reversed(request.attempts) if made.ended is not None and made.error is None), None)


def _error_type(request: RequestContext) -> str | None:
    """Return the `error.type` of a request that failed in this service or an upstream; None for all others."""
    if request.outcome in ("failed", "deadline"):
        return request.error or request.outcome
    if request.status is not None and request.status >= 500:
        return request.error or str(request.status)
    return None


def _set_attribute(attributes: Attributes, name: str, value: str | float | None) -> None:
    if value is not None:
        attributes[name] = value


def _end_span(span: trace.Span, at: float, error: str | None) -> None:
    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR))
    span.end(_to_nanoseconds(at))


def _to_nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
