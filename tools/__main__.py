"""List the tools: `python -m tools`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Tool(NamedTuple):
    """A program of this folder: its module, what it does, and how long it takes on two cores."""

    name: str
    does: str
    takes: str


TOOLS = {
    "Measurements": (
        Tool(
            "bench",
            "gateways side by side: rates, latencies, streams, memory; see `nox -s bench`",
            "40 min",
        ),
        Tool("bench.budget", "cost of a request on the main paths beside the saved figures", "1 min"),
        Tool("bench_transport", "connection pool and httpx's transport: CPU per GET", "4 min"),
        Tool("body_memory", "bodies of 1 GiB each way: digests and memory", "20 s"),
        Tool("stream_latency", "time that a piece of a stream spends in the service", "20 s"),
        Tool("warehouse_costs", "a lake on S3 and PostgreSQL beside one in a folder, and what is left behind", "5 min"),
        Tool("record_costs", "traces and operations in PostgreSQL beside those in a folder", "1 min"),
        Tool("vector_store_costs", "indexes in PostgreSQL beside those in a folder, and what is left behind", "5 min"),
        Tool("telemetry_cost", "CPU of the log line and the counters of a request", "30 s"),
        Tool("accounting_instructions", "instructions of a request for its session and the system tables", "10 min"),
    ),
    "Promises": (
        Tool("client_endings", "how often a coding agent asks after each failure, and what it shows", "1 to 12 min"),
        Tool("disconnect", "time from a client's leaving to the end of its request, in one process", "5 s"),
        Tool("lifetime", "what outlives its request: leaving, aborts, limits, hostile requests", "2 min"),
        Tool("leaks", "what 10,000 aborted requests to an upstream leave behind", "15 s"),
        Tool("kills", "1,000 kills of the embedded model under load", "20 min"),
        Tool("lake_crashes", "100 kills of the processes of a lake under load, and what it holds then", "4 min"),
        Tool("retrieval_crashes", "100 kills of the processes of indexes under load, and what they hold then", "5 min"),
        Tool("trino_cancellation", "time from a client's leaving to the end of its statement on Trino", "2 min"),
        Tool(
            "engine_cancellation",
            "the same for DuckDB, Spark, Sail, S3, PostgreSQL and models, which it starts, by their processor time",
            "15 min",
        ),
        Tool("reloads", "1,000 reloads of the configuration under load: failures, and what is left", "15 min"),
        Tool("faults", "a provider that breaks on purpose, and a score card", "20 s to 10 min"),
        Tool("compare_proxies", "differences to nginx and Caddy; writes docs/proxy-differences.md", "30 s"),
    ),
    "Documentation and releases": (
        Tool(
            "client_grid", "what real clients do over each wire protocol; writes the grid of docs/clients.md", "2 min"
        ),
        Tool("configuration_reference", "writes docs/configuration.md", "1 s"),
        Tool("floors", "writes the picture of floors in docs/architecture.md", "1 s"),
        Tool("openapi", "writes docs/openapi.json", "1 s"),
        Tool("release_notes", "the section of a version from the changelog", "1 s"),
        Tool("try_package", "installs wheel and sdist and runs them; `nox -s package` builds them first", "2 min"),
    ),
    "Tests": (
        Tool("scaleout_servers", "a command beside servers of a lake beyond one machine, for tests", "10 s more"),
    ),
}


def render() -> Iterable[str]:
    """The lines of the list."""
    yield "python -m tools.NAME; most have --help. `tools.kit` is the library that tests and tools share."
    for title, tools in TOOLS.items():
        yield f"\n{title}"
        yield from (f"  {tool.name:24} {tool.takes:>11}  {tool.does}" for tool in tools)


if __name__ == "__main__":
    print(*render(), sep="\n")
