"""A client that leaves a search, a batch of texts, a sync or an ask of a real lake leaves no work behind.

`python -m tools.bench.lake --only leaving` measures the same over 100,000 texts, with medians.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import httpx
import pytest

from tools.kit.left_work import NEVER, LakeClient, Work, make_work, wait_idle
from tools.kit.serve_process import run_lakehouse
from tools.kit.watched_upstream import Upstream

ROWS = 4_000
MOMENTS = (0.15, 0.5, 0.85)
"""Parts of the work after which it is left."""
MOST = 0.1
"""Seconds of processor time after that, of all processes."""


@dataclass(frozen=True, kw_only=True)
class Lake:
    """A lake with an index, a table and a model that does not answer."""

    client: LakeClient
    upstream: Upstream
    pid: int

    def count_requests(self) -> int:
        """The requests under way but the one that asks."""
        url = f"http://127.0.0.1:{self.client.port}/v1/requests"
        return sum(request["route"] != "/v1/requests" for request in httpx.get(url).json()["requests"])


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with socket.create_server(("127.0.0.1", 0)) as listener, closing(Upstream(listener)) as upstream:
        tables: dict[str, dict[str, object]] = {
            "lake": {"path": str(tmp_path_factory.mktemp("lake")), "engines": 1},
            "chatd": {"ollama_url": f"http://127.0.0.1:{listener.getsockname()[1]}"},
            "matrixd": {"cache_size": 0},
            "embedd": {"cache_size": 0},
            "observe": {"log": "off"},
        }
        with run_lakehouse(tables) as serve:
            client = LakeClient(port=serve.port)
            client.fill(ROWS)
            yield Lake(client=client, upstream=upstream, pid=serve.pid)


@pytest.mark.alone  # measures processor time
@pytest.mark.parametrize("work", [*make_work(searches=60, texts=2_000)], ids=lambda work: work.name)
def test_work_that_is_left_ends_within_a_tenth_of_a_second(lake: Lake, work: Work) -> None:
    whole = lake.client.finish(work.begin(lake.client, -1))
    for number, moment in enumerate(MOMENTS):
        requests = work.begin(lake.client, number)
        rest = lake.client.leave(requests, lake.pid, after=whole * moment)
        assert rest.cpu < MOST, f"left after {moment:.0%} of {whole:.3f} s"
        assert lake.count_requests() == 0
    lake.client.finish(work.begin(lake.client, len(MOMENTS)))


@pytest.mark.alone  # measures processor time
def test_an_ask_that_is_left_leaves_the_model_and_the_engine(lake: Lake) -> None:
    for number in range(2):
        mark = f"question{number}"
        ask = lake.client.make("/v1/ask", {"question": f"Which {mark} has a lake?", "model": "m"})
        with lake.client.send([ask]) as connections, closing(lake.upstream.asked(mark)) as asked:
            asked.settimeout(NEVER)
            connections[0].close()
            assert asked.recv(1) == b"", "the connection to the model is closed"
            assert wait_idle(lake.pid).cpu < MOST
        assert lake.count_requests() == 0
