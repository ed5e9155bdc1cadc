"""How long the service goes on after its client has left a search, a batch of texts, a sync, an ask.

The client closes its connections at another moment of the work in each round. Everything counts that the service
consists of: it is idle when none of its processes uses the processor any more, and has no connection to the model.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import closing

from lakehouse.core.extras import missing_modules
from lakehouse.services.embedding.names import MINILM, MINILM_PACKAGE
from tools.bench import disconnect_latency
from tools.bench.disconnect_latency import watched_upstream
from tools.bench.lake_service import PORT, TOKEN, Figure, LakeBench, lake_service
from tools.bench.process import Running
from tools.kit.left_work import LIMIT, NEVER, LakeClient, Rest, Work, make_slow_batch, make_work, wait_idle
from tools.kit.watched_upstream import Upstream

ROUNDS = 20
ROWS = 100_000
TABLES = f"""
[chatd]
ollama_url = "{disconnect_latency.URL}"
[matrixd]
cache_size = 0
[embedd]
cache_size = 0
"""


def measure(bench: LakeBench) -> Iterator[Figure]:
    """Median and maximum over the rounds, for each kind of work, on both cores."""
    rounds, rows = (3, ROWS // 20) if bench.quick else (ROUNDS, ROWS)
    client = LakeClient(port=PORT, token=TOKEN)
    cores = f"{bench.service_cores},{bench.load_cores}"
    with watched_upstream() as upstream, lake_service(bench, cores=cores, tables=TABLES) as running:
        client.fill(rows)
        for work in list_work():
            whole = client.finish(work.begin(client, -1))
            yield Figure(name=f"{work.name}: to the end", value=whole * 1e3, unit="ms")
            rests = [leave(client, running, work, whole, number, rounds) for number in range(rounds)]
            yield from describe(work.name, rests)
        asks = [leave_ask(client, running, upstream, number) for number in range(rounds)]
        yield from describe("an ask", asks)


def list_work() -> Iterator[Work]:
    """All work but the ask. MiniLM is left out where its packages are missing."""
    yield from make_work()
    if not missing_modules("xllamacpp", "gguf", MINILM_PACKAGE):
        yield make_slow_batch(MINILM)


def describe(name: str, rests: Sequence[Rest]) -> Iterator[Figure]:
    """The figures of one kind of work."""
    seconds = [rest.seconds for rest in rests]
    yield Figure(name=f"{name}: idle after, median", value=statistics.median(seconds) * 1e3, unit="ms")
    yield Figure(name=f"{name}: maximum", value=max(seconds) * 1e3, unit="ms", target=LIMIT * 1e3, at_most=True)
    yield Figure(name=f"{name}: processor time, maximum", value=max(rest.cpu for rest in rests) * 1e3, unit="ms")


def leave(client: LakeClient, running: Running, work: Work, whole: float, number: int, rounds: int) -> Rest:
    """Leave the work in one of the rounds, each at another moment of its length."""
    requests = work.begin(client, number)
    return client.leave(requests, running.process.pid, after=whole * (number + 0.5) / rounds)


def leave_ask(client: LakeClient, running: Running, upstream: Upstream, number: int) -> Rest:
    """Leave an ask while the model answers; its connection has ended at the end, too."""
    mark, pid = f"question{number}", running.process.pid
    ask = client.make("/v1/ask", {"question": f"Which {mark}?", "model": "script"})
    with client.send([ask]) as connections, closing(upstream.asked(mark)) as asked:
        asked.settimeout(NEVER)
        wait_idle(pid)
        left = time.perf_counter()
        connections[0].close()
        if asked.recv(1) != b"":
            raise RuntimeError("the model was sent more than one request")
        ended = time.perf_counter() - left
        rest = wait_idle(pid)
    return rest._replace(seconds=ended + rest.seconds)
