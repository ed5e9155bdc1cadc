"""Log, metrics and traces, made from the contexts of requests that have ended. Nothing is imported here.

telemetry            one worker's telemetry: records requests, reports on all workers
access_log           the log record of a request
log, log_sink        the forms of the log; the buffer that a thread writes
metrics              how a request adds to the metrics, which are defined in `metric_definitions`
metric_store         metric values as lists of floats; `exposition` writes them for Prometheus
gauges               gauges that parts of the service register; `service_gauges` are those of every worker
worker_ipc           how workers query each other
process_reports      gauges of another process of the service, and what its requests do
traffic              the rows of the system tables that a worker makes; `traffic_ipc` is their way to the lake
traces               spans for OpenTelemetry; `genai_messages` encodes messages for them
"""
