"""The lake under attack: `lakehouse serve` with embedded services, and canaries that ask beside the attacks."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from lakehouse.services.contracts.catalog import SYSTEM_SCHEMA
from tests.services.conformance.lakes import start

EVERYTHING = os.environ.get("LAKE_HOSTILE") == "all"
"""Whether all attacks run (`nox -s lake_hostile`), or a sample of the slow ones."""
LAKE = {"engines": 2, "memory": "1200MB", "query_timeout": "20s"}
CANARY = b"id,city\n1,Ulm\n2,Aachen\n3,Ulm\n4,Bonn\n5,Kiel\n"


@dataclass
class Attacked:
    """A running lake."""

    http: httpx.Client
    folder: Path
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    sound: bool = True
    """Whether the last attack has left nothing behind; False until that was checked."""

    def sql(self, statement: str, **more: object) -> httpx.Response:
        """The response to a statement."""
        return self.http.post("/v1/sql", json={"sql": statement, **more})

    def attack(self, statement: str, **more: object) -> httpx.Response:
        """The response to a statement that may reach its time limit: a long answer that has begun is then cut."""
        with self.http.stream("POST", "/v1/sql", json={"sql": statement, **more}) as response:
            try:
                response.read()
            except httpx.RemoteProtocolError:
                assert response.status_code == 200
        return response

    def rows(self, statement: str) -> list[list[Any]]:
        """The rows of a statement that succeeds."""
        answer = self.sql(statement)
        assert answer.status_code == 200, answer.text
        rows: list[list[Any]] = answer.json()["rows"]
        return rows

    def upload(self, name: str, body: bytes, **parameters: str) -> httpx.Response:
        """The response to an upload."""
        return self.http.post("/v1/ingest", params={"name": name, **parameters}, content=body)

    def check_sound(self) -> None:
        """No attack has left anything behind: the catalog, the functions and the settings are as at the start.

        The one schema that an engine may have is that of the system tables.
        """
        self.sound = False
        assert self.rows("SELECT sum(id), count(DISTINCT city) FROM canary") == [[15, 4]]
        assert ["canary"] in self.rows("SHOW TABLES")
        assert self.rows("SELECT current_schema(), current_database(), getvariable('canary')") == [
            ["main", "memory", None]
        ]
        schemas = self.rows("SELECT DISTINCT schema_name FROM duckdb_schemas() WHERE NOT internal")
        assert schemas in ([], [[SYSTEM_SCHEMA]])
        assert self.rows("SELECT count(*) FROM duckdb_functions() WHERE NOT internal") == [[0]]
        assert self.rows("SELECT TIMESTAMPTZ '2026-01-01 00:00:00Z'::VARCHAR") == [["2026-01-01 00:00:00+00"]]
        self.sound = True


def check_refusal(attacked: Attacked, answer: httpx.Response) -> str:
    """A failure has the envelope, a sentence, and no path of the host; the sentence."""
    error = answer.json()["error"]
    assert error["status"] == answer.status_code
    message: str = error["message"]
    assert message
    assert str(attacked.folder) not in answer.text
    assert "root:" not in answer.text
    assert "Traceback" not in answer.text
    return message


@contextmanager
def open_attacked(folder: Path) -> Iterator[Attacked]:
    """Start the service, and ingest the canary."""
    lake = folder / "lake"
    started = start(folder, {"lake": {"path": str(lake), **LAKE}}, "serve", "--bind", "127.0.0.1:0")
    try:
        with httpx.Client(base_url=started.urls[0], timeout=60, trust_env=False) as http:
            attacked = Attacked(http, lake)
            assert attacked.upload("canary", CANARY).status_code == 201
            yield attacked
    finally:
        started.stop()


class SharedService:
    """The service that the tests share. It is replaced after an attack that has not left it sound."""

    def __init__(self, stack: ExitStack, make_folder: Callable[[], Path]) -> None:
        self._stack = stack
        self._make_folder = make_folder
        self._attacked: Attacked | None = None

    def get(self) -> Attacked:
        """The running service."""
        if self._attacked is None or not self._attacked.sound:
            self._stack.close()
            self._attacked = self._stack.enter_context(open_attacked(self._make_folder()))
        return self._attacked


def ask_sql(beside: Attacked) -> httpx.Response:
    """Query the canary."""
    answer = beside.sql("SELECT city, sum(id) FROM canary GROUP BY city ORDER BY city")
    assert answer.json().get("rows") == [["Aachen", 2], ["Bonn", 4], ["Kiel", 5], ["Ulm", 4]], answer.text
    return answer


@contextmanager
def canaries(
    attacked: Attacked,
    *,
    uploads: bool = False,
    ask: Callable[[Attacked], httpx.Response] = ask_sql,
    slowest: float = math.inf,
) -> Iterator[None]:
    """Ask one question after another (or upload and ask) for the length of the block: each is answered correctly.

    `ask` checks its answer. None may take longer than `slowest` seconds.
    """
    stop = threading.Event()
    problems: list[str] = []
    answered: list[float] = []

    def ask_repeatedly(http: httpx.Client) -> None:
        beside = Attacked(http, attacked.folder)
        while not answered or not stop.wait(0.1):
            try:
                if uploads:
                    number = next(attacked.numbers)
                    stored = beside.upload("canary_upload", b"n\n%d\n" % number)
                    assert stored.status_code in (200, 201), stored.text
                    assert beside.rows("SELECT n FROM canary_upload") == [[number]]
                answered.append(ask(beside).elapsed.total_seconds())
            except (AssertionError, httpx.HTTPError, ValueError) as error:
                problems.append(f"{type(error).__name__}: {error}")
                return

    with httpx.Client(base_url=attacked.http.base_url, timeout=60, trust_env=False) as http:
        thread = threading.Thread(target=ask_repeatedly, args=(http,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
    assert problems == []
    assert answered
    assert max(answered) < slowest
