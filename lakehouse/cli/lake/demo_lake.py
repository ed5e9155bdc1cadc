"""The lake of `lakehouse serve --demo`: a folder of its own, filled over HTTP after the start, removed at the end."""

from __future__ import annotations

import io
import json
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import trio

from lakehouse.cli.lake.client import ErrorResponse, LakeClient, decode_ingested
from lakehouse.cli.lake.demo_corpus import CORPUS, QUESTION, demo_items
from lakehouse.cli.smoke_request import authorization, curl_authorization
from lakehouse.config import Config
from lakehouse.core.errors import LakehouseError
from lakehouse.core.extras import LAKE, install_hint, missing_modules
from lakehouse.core.groups import unwrap_single
from lakehouse.services.host.names import SERVICES, is_embedded
from lakehouse.upstream.pool import Upstream

QUERY = (
    "SELECT team, count(*) AS requests, "
    "round(sum(tokens_in * usd_per_million_in + tokens_out * usd_per_million_out) / 1e6, 2) AS usd "
    "FROM requests JOIN models USING (model) GROUP BY team ORDER BY usd DESC"
)
"""A query with a join: what the requests of each team cost."""

SEARCH: Mapping[str, object] = {"query_text": QUESTION, "corpora": [CORPUS], "k": 2}
"""A search in the handbook."""

NOT_IMPLEMENTED = 501
"""The status of a route of the lake without the extra."""


class DemoLakeError(Exception):
    """The tables of the demonstration could not be made. The message has the reason."""


class NoDemoLake(DemoLakeError):
    """This installation or this configuration has no lake that the tables could be put into."""


@contextmanager
def demo_lake(config: Config) -> Iterator[Config]:
    """The configuration with a lake in a temporary folder, which is removed with the end of the block."""
    with tempfile.TemporaryDirectory(prefix="lakehouse-demo-", ignore_cleanup_errors=True) as folder:
        yield replace(config, lake=replace(config.lake, path=str(Path(folder) / "lake")))


async def fill_demo_lake(config: Config, url: str) -> list[str]:
    """Upload the tables and the handbook to the running service. Returns lines that say what there is to try.

    Raises DemoLakeError, of which NoDemoLake is no failure.
    """
    _check(config)
    from lakehouse.cli.lake.demo_data import demo_tables  # 2 ms, which `serve` without --demo need not spend

    service = Upstream(url, name="the service")
    client = LakeClient(service, authorization(config.auth))
    rows: dict[str, int] = {}

    async def upload(name: str, data: bytes) -> None:
        rows[name] = await _upload(client, name, data)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_make_corpus, client)
            for name, data in demo_tables().items():
                nursery.start_soon(upload, name, data)
    except BaseExceptionGroup as group:
        error = unwrap_single(group)
        if not isinstance(error, ErrorResponse | LakehouseError | msgspec.DecodeError):
            raise
        missing = isinstance(error, ErrorResponse) and error.status == NOT_IMPLEMENTED
        kind = NoDemoLake if missing else DemoLakeError
        raise kind(f"the demonstration data could not be stored: {error}") from error
    finally:
        service.close()
    tables = ", ".join(f"{name} ({count:,} rows)" for name, count in sorted(rows.items()))
    return [
        f"demonstration tables: {tables}; corpus: {CORPUS}",
        f"try:  {curl_command(config, url)}",
        f"and:  {curl_search_command(config, url)}",
        f"and:  lakehouse sql --lake {shlex.quote(config.lake.path)} 'FROM teams'",
        f"or:   open {url}/#lake or {url}/#search in a browser",
    ]


async def _make_corpus(client: LakeClient) -> None:
    await client.create_index({"name": CORPUS, "model": "default"})
    await client.add_items(CORPUS, demo_items())


def _check(config: Config) -> None:
    """Check that every service is embedded: the demonstration data is never sent to another one."""
    elsewhere = [f"gateway.{name}_url" for name in SERVICES if not is_embedded(config.gateway, name)]
    if elsewhere:
        raise NoDemoLake(f"no demonstration tables: {', '.join(elsewhere)} is a URL")
    if absent := missing_modules(*LAKE):
        raise NoDemoLake(f"no demonstration tables: SQL {install_hint('lake', absent)}")


async def _upload(client: LakeClient, name: str, data: bytes) -> int:
    with io.BytesIO(data) as file:
        answer = await client.ingest(
            file, f"{name}.csv", len(data), parameters={"name": name}, on_progress=lambda _: None
        )
    return decode_ingested(answer).row_count


def curl_command(config: Config, url: str) -> str:
    """The query as a command to try."""
    return _curl(config, f"{url}/v1/sql", {"sql": QUERY})


def curl_search_command(config: Config, url: str) -> str:
    """The search as a command to try."""
    return _curl(config, f"{url}/v1/matrix/context", SEARCH)


def _curl(config: Config, url: str, document: Mapping[str, object]) -> str:
    body = shlex.quote(json.dumps(document))
    return f"curl {url}{curl_authorization(config.auth)} -H 'content-type: application/json' -d {body}"


async def query_demo_lake(config: Config, url: str) -> bytes:
    """The answer to `QUERY`. Raises DemoLakeError."""
    with _open_client(config, url, "query") as client:
        return await client.query({"sql": QUERY})


async def search_demo_lake(config: Config, url: str) -> bytes:
    """The answer to `SEARCH`. Raises DemoLakeError."""
    with _open_client(config, url, "search") as client:
        return await client.find_passages(SEARCH)


@contextmanager
def _open_client(config: Config, url: str, what: str) -> Iterator[LakeClient]:
    """A client of the service, whose failures become a DemoLakeError about `what`."""
    service = Upstream(url, name="the service")
    try:
        yield LakeClient(service, authorization(config.auth))
    except (ErrorResponse, LakehouseError) as error:
        raise DemoLakeError(f"the {what} failed: {error}") from error
    finally:
        service.close()


def format_answer(answer: bytes) -> str:
    """The JSON of a query's answer with one line for each row."""
    document: dict[str, msgspec.Raw] = msgspec.json.decode(answer, type=dict[str, msgspec.Raw])
    lines = [f"  {json.dumps(key)}: {_format_member(key, bytes(value))}" for key, value in document.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


def _format_member(key: str, value: bytes) -> str:
    if key != "rows":
        return value.decode()
    rows = msgspec.json.decode(value, type=list[msgspec.Raw])
    return "[\n" + ",\n".join(f"    {bytes(row).decode()}" for row in rows) + "\n  ]"
