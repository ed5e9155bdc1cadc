"""What was measured, as Markdown, as JSON and as a plot."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from tools.bench import targets
from tools.bench.form_documents import FORMS
from tools.bench.forms import KINDS
from tools.bench.relays import Direct


@dataclass(kw_only=True)
class Sample:
    """One repetition of one scenario with one peer."""

    peer: str
    scenario: str
    repetition: int
    figures: dict[str, float] = field(default_factory=dict)
    error: str | None = None


@dataclass(kw_only=True)
class Results:
    """A whole run."""

    command: str
    date: str
    machine: str
    versions: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)

    def medians(self) -> dict[str, dict[str, float]]:
        """The median of every figure, for every peer in the order of their first samples."""
        found: dict[str, dict[str, list[float]]] = {}
        for sample in self.samples:
            figures = found.setdefault(sample.peer, {})
            for name, value in sample.figures.items():
                figures.setdefault(name, []).append(value)
        peers = {peer: {name: median(seen) for name, seen in figures.items()} for peer, figures in found.items()}
        _add_latency(peers)
        return peers


def _add_latency(peers: dict[str, dict[str, float]]) -> None:
    """What a gateway adds to what there is without one."""
    direct = peers.get(Direct.name, {})
    for peer, figures in peers.items():
        for name in ("get_1_p50", "chat_1_p50", "first_piece"):
            if peer != Direct.name and name in figures and name in direct:
                figures[f"{name}_added"] = figures[name] - direct[name]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the report: a column for each of its figures that was measured."""

    title: str
    note: str = ""
    columns: Mapping[str, str]


TABLES: Sequence[Table] = (
    Table(
        title="Whole chats, about 1 KB each way",
        note="us: microseconds; CPU: the gateway's CPU time for one request",
        columns={
            "chat_1_rate": "req/s alone",
            "chat_16_rate": "req/s, 16",
            "chat_64_rate": "req/s, 64",
            "chat_1_p50": "p50 alone us",
            "chat_1_p50_added": "added us",
            "chat_1_p99": "p99 alone us",
            "chat_64_p50": "p50, 64 us",
            "chat_64_p99": "p99, 64 us",
            "chat_64_cpu": "CPU us",
        },
    ),
    Table(
        title="Relayed GETs of 1 KiB",
        columns={
            "get_1_rate": "req/s alone",
            "get_16_rate": "req/s, 16",
            "get_64_rate": "req/s, 64",
            "get_1_p50": "p50 alone us",
            "get_1_p50_added": "added us",
            "get_1_p99": "p99 alone us",
            "get_64_p50": "p50, 64 us",
            "get_64_p99": "p99, 64 us",
            "get_64_cpu": "CPU us",
        },
    ),
    Table(
        title="Streamed chats",
        note="first piece: one stream alone; pieces: 16 streams of 200 pieces at a time, repeated",
        columns={
            "first_piece": "first piece us",
            "first_piece_added": "added us",
            "pieces": "pieces/s",
            "piece_cpu": "CPU us a piece",
        },
    ),
    *(
        Table(
            title=f"{count} slow streams held, ten pieces a second each",
            note="late: more than 100 ms after the upstream sent it, or never",
            columns={
                f"held_{count}_delivered": "delivered %",
                f"held_{count}_late": "late %",
                f"held_{count}_worst": "worst ms",
                f"held_{count}_flowing": "most at once",
                f"held_{count}_memory": "KB a stream",
                f"held_{count}_cpu": "CPU %",
            },
        )
        for count in (500, 2000)
    ),
    Table(
        title="Bodies of 100 MB; start; memory",
        columns={"down": "down MB/s", "up": "up MB/s", "start": "start to ready ms", "idle": "idle MB"},
    ),
    Table(
        title="Client disconnect to upstream disconnect",
        note="share of tries in which the upstream connection was closed within two seconds, and after how long",
        columns={
            "gone_waiting_share": "waiting %",
            "gone_waiting": "ms",
            "gone_waiting_worst": "worst ms",
            "gone_streaming_share": "in a stream %",
            "gone_streaming": "ms ",
            "gone_streaming_worst": "worst ms ",
        },
    ),
    Table(
        title="Message size, four whole chats at a time",
        columns={
            f"message_{size}_{kind}": f"{title}, {size.upper()}B"
            for size in ("1k", "100k", "5m")
            for kind, title in (("rate", "req/s"), ("cpu", "CPU ms"))
        },
    ),
    Table(
        title="Growth: CPU of a request in per cent of that with nothing idle",
        columns={
            "idle_clients": "beside idle clients",
            "idle_client_memory": "KB an idle client",
            "idle_upstreams": "beside idle upstream connections",
            "idle_upstreams_count": "of which open",
            "tiers": "with 1,000 tiers",
            "providers": "with 1,000 providers",
        },
    ),
    *(
        Table(
            title=f"Accounting: CPU of a {title} in per cent of that without, and intervals of 95 %",
            note="header: another one of the same size in place of the session's, which session and both are compared "
            "with; tables: the system tables; stored: CPU of the services process until the row is durable, which is "
            "in tables and both as well; segments: CPU of the engines that write and read them later",
            columns={
                f"accounting_{kind}_cpu": "CPU us",
                f"accounting_{kind}_stored": "stored us",
                f"accounting_{kind}_segments": "segments us",
                **{
                    f"accounting_{kind}_{variant}{bound}": f"{variant}{said}"
                    for variant in ("header", "session", "tables", "both")
                    for bound, said in (("", ""), ("_low", " from"), ("_high", " to"))
                },
            },
        )
        for kind, title in (("get", "relayed GET"), ("chat", "whole chat"))
    ),
    Table(
        title="Two workers on both cores, one of which the load shares",
        columns={
            f"workers_{count}_{kind}_{figure}": f"{kind}, {count}: {title}"
            for kind in ("get", "chat")
            for count in (1, 2)
            for figure, title in (("rate", "req/s"), ("cpu", "CPU us"))
        },
    ),
    *(
        Table(
            title=f"Relayed and rebuilt chats: {title}",
            note="CPU us of a chat that is relayed, and rebuilt for the same provider; %: the one of the other",
            columns={
                f"{form}_{kind}_{way}": f"{form.replace('_', ' ')}: {unit}"
                for form in FORMS
                for way, unit in (("relayed", "relayed"), ("rebuilt", "rebuilt"), ("ratio", "%"))
            },
        )
        for kind, title in KINDS.items()
    ),
)


def write(results: Results, directory: Path) -> None:
    """bench.json and bench.md."""
    medians = results.medians()
    document = asdict(results) | {"medians": medians}
    (directory / "bench.json").write_text(json.dumps(document, indent=1) + "\n")
    (directory / "bench.md").write_text(markdown(results, medians))


def markdown(results: Results, medians: Mapping[str, Mapping[str, float]]) -> str:
    """The whole report."""
    runs = max((sample.repetition for sample in results.samples), default=0) + 1
    parts = [
        f"{results.machine}, {results.date}, `{results.command}`. Medians of {runs}.",
        "\n".join(f"* {name} {version}" for name, version in results.versions.items() if version),
        *(f"Left out: {name}: {why}" for name, why in results.left_out.items()),
        targets.markdown(medians),
        *(_table(table, medians) for table in TABLES),
        _failures(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(table: Table, medians: Mapping[str, Mapping[str, float]]) -> str:
    names = [name for name in table.columns if any(name in figures for figures in medians.values())]
    rows = [
        f"| {peer} | {' | '.join(_number(figures.get(name)) for name in names)} |"
        for peer, figures in medians.items()
        if any(name in figures for name in names)
    ]
    if not rows:
        return ""
    head = f"| | {' | '.join(table.columns[name] for name in names)} |\n|---|{'---:|' * len(names)}"
    note = f"\n\n{table.note}" if table.note else ""
    return f"### {table.title}{note}\n\n" + "\n".join([head, *rows])


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 100 else f"{value:.3g}"


def _failures(results: Results) -> str:
    failed = {f"* {sample.peer}, {sample.scenario}: {sample.error}" for sample in results.samples if sample.error}
    return "### What failed\n\n" + "\n".join(sorted(failed)) if failed else ""


def machine() -> str:
    """Processor, its cores, and the system."""
    rows = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((row.partition(":")[2].strip() for row in rows if row.startswith("model name")), platform.machine())
    count = len(os.sched_getaffinity(0))
    return f"{model}, {count} cores, Linux {platform.release()}, Python {platform.python_version()}"
