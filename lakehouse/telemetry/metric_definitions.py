"""The series of `/metrics`: names, help texts and labels. Label values come from bounded tables only."""

from __future__ import annotations

from lakehouse.telemetry.metric_store import DURATIONS, OVERHEADS, Family

METRIC_FAMILIES: tuple[Family, ...] = (
    Family("requests", "counter", "Requests ended, by what ended them.", ("route", "outcome", "status")),
    Family("request_seconds", "histogram", "From a request's head to its end.", ("route",), DURATIONS),
    Family("upstream_seconds", "histogram", "Of that, waiting for an upstream.", ("route",), DURATIONS),
    Family("overhead_seconds", "histogram", "Of that, everything but waiting.", ("route",), OVERHEADS),
    Family("first_piece_seconds", "histogram", "From a head to the answer's first piece.", ("route",), DURATIONS),
    Family("tokens", "counter", "Tokens as the provider counted them.", ("provider", "tier", "kind")),
    Family("cached_tokens", "counter", "Input tokens that came from a cache.", ("provider", "tier")),
    Family("reasoning_tokens", "counter", "Output tokens that were reasoning.", ("provider", "tier")),
    Family("cost_usd", "counter", "US dollars, as reported by the provider.", ("provider", "tier")),
    Family("attempts", "counter", "Attempts ended; ok or what went wrong.", ("provider", "result")),
    Family("attempt_seconds", "histogram", "How long an attempt took.", ("provider",), DURATIONS),
    Family("retries", "counter", "Attempts made again on the same route.", ("provider",)),
    Family("fallbacks", "counter", "Attempts made because an earlier route failed.", ("provider",)),
    Family("hedges", "counter", "Attempts made because an earlier route was slow.", ("provider",)),
    Family("resumes", "counter", "Attempts to go on with a stream that broke.", ("provider",)),
    Family("asks", "counter", "Asks whose search ended, by whether it found a passage.", ("passages",)),
    Family("retrieval_seconds", "histogram", "Of an ask, the search for passages.", ("route",), DURATIONS),
    Family("claims", "counter", "Sentences of answers to asks, by whether they cite a passage.", ("cited",)),
    Family("log_lines_dropped", "counter", "Log lines that were dropped because their reader was too slow."),
    Family("table_rows_dropped", "counter", "Rows of the system tables that were dropped before they were stored."),
    Family("worker_cpu_seconds", "counter", "Processor time, user and system.", ("worker",)),
    Family("requests_in_flight", "gauge", "Requests begun and not ended.", ("route",)),
    Family("connections", "gauge", "Connections of clients that are open."),
    Family("circuits_open", "gauge", "Routes of a provider whose circuit is open.", ("provider",)),
    Family("upstream_in_use", "gauge", "Connections to an upstream that are busy.", ("upstream",)),
    Family("upstream_idle", "gauge", "Connections to an upstream that wait for work.", ("upstream",)),
    Family("upstream_waiting", "gauge", "Requests in the queue for a connection.", ("upstream",)),
    Family("upstream_limit", "gauge", "Connections to an upstream that may be busy.", ("upstream",)),
    Family("route_info", "gauge", "Which upstream is behind a route.", ("route", "upstream")),
    Family("workers", "gauge", "Worker processes, by whether they answered this question.", ("answered",)),
    Family("worker_resident_bytes", "gauge", "Memory that a worker holds.", ("worker",)),
    Family("worker_open_files", "gauge", "File descriptors that a worker holds.", ("worker",)),
)
